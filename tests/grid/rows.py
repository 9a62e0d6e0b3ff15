"""The rows of the grid: every plan of the registry, for any number D of entries of an event.

A plan is taken as the catalogue makes it, with its defaults. What is written here is only what that cannot know: where the plan itself
depends on D, how many numbers an event of matrices or triangles has, and what a plan refuses.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

from pushforward import bijectors as bij
from pushforward import flows
from pushforward.core.bijector import Bijector
from pushforward.core.layer import Shape
from pushforward.core.spec import registry
from pushforward.kernels.kernel import Kernel
from pushforward.report.catalogue import catalogue, example

NET = bij.MLP((8,))
CONTEXT = (2,)
STRUCTURES = (bij.Coupling, bij.Autoregressive, bij.InverseAutoregressive)
SIZES = (1, 2, 5, 64)
LARGE_ROOT = 16
"""The large D of maps whose inverse is a numerical root."""

catalogue()  # imports every module that defines plans
PLANS = {
    name: example(cls)  # type: ignore[arg-type]
    for name, cls in sorted(registry().items())
    if issubclass(cls, Bijector) and cls.bijective and cls.__module__.startswith("pushforward.")
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A plan for events of D entries, as it is or given a context.

    Args:
        plan: The plan for D entries; ``given`` says whether there is a context.
        shape: The shape of an event of about D entries.
        given: Whether it can have a context, and whether it needs one.
        refuses: The D that it refuses.
        blind: The D at which a context cannot change it: one number has a single reflection.
    """

    plan: Callable[[int, bool], Bijector]
    shape: Callable[[int], Shape] = lambda d: (d,)
    given: tuple[bool, ...] = (False, True)
    refuses: tuple[int, ...] = ()
    blind: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the D of this row."""
        return tuple(min(d, LARGE_ROOT) if self.root else d for d in SIZES if d not in self.refuses)

    @functools.cached_property
    def root(self) -> bool:
        """Tell whether some direction is a search, by what its layers declare: a root, or more than one evaluation."""
        layers = list(self.plan(5, False).build(self.shape(5)).leaves())
        return any(max(layer.facts.roots) > 0 or max(layer.facts.evaluations) > 1 for layer in layers)

    @property
    def fixed(self) -> bool:
        """Tell whether it has no parameters, so that their size says nothing."""
        return not list(self.plan(5, False).build(self.shape(5)).parameters())


def kernels_of_numbers() -> dict[str, Kernel]:
    """Return the kernels with parameters that map numbers: those that every structure takes."""
    return {name: plan for name, plan in PLANS.items() if isinstance(plan, Kernel) and plan.event_dim == 0 and plan.init((1,))}


def parts(plan: Bijector) -> Iterator[str]:
    """Give the names of a plan and of all plans inside it."""
    yield type(plan).__name__
    for field in dataclasses.fields(plan):  # type: ignore[arg-type]
        value = getattr(plan, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Bijector):
                yield from parts(item)


def _free_or_given(kernel: Kernel) -> Callable[[int, bool], Bijector]:
    return lambda d, given: bij.Elementwise(kernel, NET) if given else kernel


def _in(structure: Callable[..., Bijector], kernel: Kernel) -> Callable[[int, bool], Bijector]:
    return lambda d, given: structure(kernel, net=NET)


def _fixed(plan: Bijector) -> Callable[[int, bool], Bijector]:
    return lambda d, given: plan


def _side(d: int) -> int:
    """Return the side of a matrix for D: 1, 2 and 5 as they are, 8 for the large one, whose entries are then as many."""
    return d if d <= 5 else 8


def _lower(d: int) -> Shape:
    return (_side(d) * (_side(d) + 1) // 2,)


def _below(d: int) -> Shape:
    return (max(_side(d) * (_side(d) - 1) // 2, 1),)


def _square(d: int) -> Shape:
    return (_side(d), _side(d))


def _parts(d: int, given: bool) -> list[Bijector]:
    """Return D plans of numbers, some learnt, some given the context, some fixed."""
    learnt: Bijector = bij.Elementwise(bij.Affine(), NET) if given else bij.Affine()
    return [(learnt, bij.Exp(), bij.Spline(4))[i % 3] for i in range(d)]


def _named(name: str, d: int, given: bool) -> Bijector:
    """Return the layers of a named flow, two of each and with small networks."""
    small: dict[str, dict[str, object]] = {
        "HouseholderFlow": {"widths": (8,)}, "BNAF": {"factors": (4,)}, "NAF": {"units": 4}, "UNAF": {"units": 4},
        "SOSPF": {"degree": 2}, "BPF": {"degree": 6}, "GF": {"components": 4},
    }  # fmt: skip
    options = {"transforms": 2, **({} if name == "BNAF" else {"widths": (8,)}), **small.get(name, {})}
    flow = getattr(flows, name)(d, CONTEXT[0] if given else 0, **options)
    assert isinstance(flow.plan, Bijector)
    return flow.plan


# What depends on D, or acts on matrices and triangles; the rest of the registry follows from the plan.
SPECIAL: dict[str, Row] = {
    "Autoregressive": Row(lambda d, given: bij.Autoregressive(bij.Affine(), list(range(d))[::-1], net=NET)),
    "BlockAutoregressive": Row(lambda d, given: bij.BlockAutoregressive((4,))),
    "Cholesky": Row(lambda d, given: bij.Cholesky(), _square, (False,)),
    "Compose": Row(
        lambda d, given: bij.Compose([bij.Coupling(bij.Spline(4), net=NET), bij.Reverse(), bij.Affine(), bij.AffineFixed(1.0, -2.0)])
    ),
    "Concatenate": Row(lambda d, given: bij.Concatenate(_parts(d, given))),
    "CorrCholesky": Row(lambda d, given: bij.CorrCholesky(), _below, (False,)),
    "Coupling": Row(lambda d, given: bij.Coupling(bij.Affine(), "alternating", flip=True, net=NET)),
    "Elementwise": Row(lambda d, given: bij.Elementwise(bij.Affine(), NET if given else None)),
    "Householder": Row(_free_or_given(bij.Householder()), blind=(1,)),
    "Inverse": Row(lambda d, given: bij.Coupling(bij.Spline(4), net=NET).inv),
    "InverseAutoregressive": Row(lambda d, given: bij.InverseAutoregressive(bij.Affine(), list(range(d))[::-1], net=NET)),
    "LowerCholesky": Row(lambda d, given: bij.LowerCholesky(), _lower, (False,)),
    "LowerCholeskyAffine": Row(
        lambda d, given: bij.LowerCholeskyAffine(
            [0.1 * i for i in range(d)], [[(i == j) + 0.1 * (i > j) for j in range(d)] for i in range(d)]
        ),
        given=(False,),
    ),
    "OnAxis": Row(lambda d, given: bij.OnAxis(bij.Coupling(bij.Affine(), net=NET), -1), lambda d: (2, d)),
    "Permute": Row(lambda d, given: bij.Permute([*range(1, d), 0]), given=(False,)),
    "Reshape": Row(lambda d, given: bij.Reshape(d, (1, d, 1)), given=(False,)),
    "Residual": Row(lambda d, given: bij.Residual((8, 8))),
    "SimplexToOrdered": Row(_fixed(bij.SimplexToOrdered()), given=(False,), refuses=(1,)),
    "Stack": Row(lambda d, given: bij.Stack(_parts(d, given))),
}
ROWS: dict[str, Row] = dict(SPECIAL)
for _name, _plan in PLANS.items():
    if _name not in SPECIAL:
        _learnt = isinstance(_plan, Kernel) and type(_plan).size != "0"
        ROWS[_name] = Row(_free_or_given(_plan) if _learnt else _fixed(_plan), given=(False, True) if _learnt else (False,))
for _name, _kernel in kernels_of_numbers().items():
    for _structure in STRUCTURES:
        ROWS[f"{_structure.__name__} of {_name}"] = Row(_in(_structure, _kernel))
for _name in sorted(set(flows.__all__) - {"mixture"}):
    ROWS[f"flows.{_name}"] = Row(lambda d, given, name=_name: _named(name, d, given), blind=(1,) * (_name == "HouseholderFlow"))
