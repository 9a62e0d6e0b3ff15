"""Golden files: saved flows, and the densities that the version which saved them gives.

For each of `recipes` there is a file that `Flow.save` wrote, in float32, and in ``expected.safetensors`` some rows of data and context
and their log-densities in float64. tests/test_golden.py holds every later version to them: a file that someone has must load, with the
same numbers in it, and mean the same density.

What is there is never written anew, since it speaks for the version that wrote it: what is missing is added. A new plan, base or named
flow needs nothing here.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributions as td
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributions import constraints

import pushforward as pf
from pushforward import bijectors as bij
from pushforward import distributions as bases
from pushforward import flows
from pushforward.core import sets
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.spec import Spec
from pushforward.flow.flow import Flow
from pushforward.testing import randomize
from scripts.generated.writer import ROOT, Writer

sys.path.insert(0, str(ROOT / "tests"))
from combinators import Row, source  # the tables of the tests
from every_plan import EVERY

from tests.named_flow_plans import small

FOLDER = ROOT / "tests" / "data" / "golden"
EXPECTED = "expected.safetensors"
ROWS = 16
D, C = 3, 2
W = {"transforms": 2, "widths": (6, 5)}
SMALL = bij.MLP((5,))
S = bases.StandardNormal()

# By name of the flow: how it is made for a number of features of the context. Those that came later are made at small sizes.
NAMED: dict[str, Callable[[int], Flow]] = {
    "BNAF": lambda c: flows.BNAF(D, c, transforms=2, factors=(3,)),
    "BPF": lambda c: flows.BPF(D, c, degree=5, **W),
    "GF": lambda c: flows.GF(D, c, components=3, **W),
    "HouseholderFlow": lambda c: flows.HouseholderFlow(D, c, **W),
    "IAF": lambda c: flows.IAF(D, c, **W),
    "MAF": lambda c: flows.MAF(D, c, **W),
    "NAF": lambda c: flows.NAF(D, c, units=3, **W),
    "NCSF": lambda c: flows.NCSF(D, c, bins=4, **W),
    "NICE": lambda c: flows.NICE(D, c, **W),
    "NSF": lambda c: flows.NSF(D, c, bins=4, **W),
    "PlanarFlow": lambda c: flows.PlanarFlow(D, c, **W),
    "RadialFlow": lambda c: flows.RadialFlow(D, c, **W),
    "RealNVP": lambda c: flows.RealNVP(D, c, **W),
    "ResidualFlow": lambda c: flows.ResidualFlow(D, c, **W),
    "SOSPF": lambda c: flows.SOSPF(D, c, degree=2, **W),
    "SylvesterFlow": lambda c: flows.SylvesterFlow(D, c, **W),
    "UNAF": lambda c: flows.UNAF(D, c, units=3, **W),
    "mixture": lambda c: flows.mixture([flows.MAF(D, c, **W), flows.NSF(D, c, bins=4, **W)], SMALL if c else None),
}
NAMED |= {name: lambda c, name=name: small(name, D, c) for name in flows.__all__ if name not in NAMED}
# What changes names of tensors or fields of the header beside that.
MORE: dict[str, Callable[[], Flow]] = {
    "NSF, autoregressive, linear": lambda: flows.NSF(D, bins=4, order="linear", structure="autoregressive", **W),
    "NSF, residual network": lambda: flows.NSF(D, C, bins=4, transforms=2, net=bij.ResidualMLP(5, 1)),
    "NSF, three supports": lambda: flows.NSF(D, bins=4, support=["real", "positive", constraints.interval(1.0, 3.0)], **W),
    "NCSF, autoregressive": lambda: flows.NCSF(D, bins=4, structure="autoregressive", **W),
    "SylvesterFlow, triangular": lambda: flows.SylvesterFlow(D, variant="triangular", **W),
    "SylvesterFlow, orthogonal": lambda: flows.SylvesterFlow(D, variant="orthogonal", **W),
    "MAF, one feature": lambda: flows.MAF(1, C, **W),
    "MAF, wide": lambda: flows.MAF(D, transforms=1, widths=(48,)),
    "CNF, Hutchinson": lambda: flows.CNF(6, C, trace="hutchinson", probes=4, seed=3, tolerance=1e-3, **W),
    "CNF, Hutch++": lambda: flows.CNF(6, trace="hutch++", probes=4, tolerance=1e-3, **W),
    "values are checked": lambda: Flow(S, [bij.Exp()], D, validate_args=True),
    "base of torch": lambda: Flow(td.Independent(td.Normal(torch.zeros(D), torch.ones(D)), 1), [bij.Affine()]),
    "matrix events": lambda: Flow(S, [bij.OnAxis(bij.Linear(), 0), bij.Autoregressive(bij.Affine(), net=SMALL)], (D, 2)),
    "measured layers": lambda: Flow(S, [bij.ActNorm(), bij.Coupling(bij.Affine(), net=SMALL), bij.BatchNorm()], D),
    "parts": lambda: Flow(S, [bij.Concatenate([bij.Affine(), bij.Spline(bins=4).inv], [1, 2])], D),
}


def of_plan(plan: Spec, event_shape: tuple[int, ...] | None, context_shape: tuple[int, ...] | None) -> Flow:
    """Return a flow that has a plan of the tables, a bijector or a base."""
    if isinstance(plan, Base):
        return Flow(plan, [], event_shape, context_shape)
    base, shape = source(Row("", plan, event_shape, context_shape), False)
    return Flow(S, plan if base == S else [base.bijector, plan], shape, context_shape)


def recipes() -> dict[str, Callable[[], Flow]]:
    """Return how each flow is made, by the name of its file: every named flow without and with a context, every plan, and more."""
    pairs = {f"{name}{', given context' * bool(c)}": (make, c) for name, make in NAMED.items() for c in (0, C)}
    named = {name: lambda make=make, c=c: make(c) for name, (make, c) in pairs.items()}
    plans = {
        f"plan, {name}": lambda row=row: of_plan(*row)
        for name, row in EVERY.items()
        if isinstance(row[0], Base) or (isinstance(row[0], Bijector) and row[0].bijective)
    }
    return named | MORE | plans


def path_of(name: str, folder: Path = FOLDER) -> Path:
    """Return the file of a flow."""
    return folder / f"{name.replace(', ', '-').replace(' ', '_')}.safetensors"


def rows_of(flow: Flow, seed: int) -> tuple[Tensor, Tensor | None]:
    """Return rows inside the flow's support, in a column of which a few are far out, and contexts of which a few are."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(400, *flow.event_shape, generator=draw)
    if sets.bounds(flow.support) == sets.REAL:
        noise.reshape(400, -1)[:, 0].copy_(torch.sinh(3 * noise.reshape(400, -1)[:, 0]))
        y = 2 * noise + 1
    else:
        y = flow.sample((400,), None if flow.context_shape is None else torch.zeros(flow.context_shape))
    context = None if flow.context_shape is None else torch.sinh(2 * torch.randn(400, *flow.context_shape, generator=draw)) + 3
    return y, context


def make(name: str, seed: int) -> tuple[Flow, Tensor, Tensor | None]:
    """Return a flow whose numbers are random and which has measured rows, with some of these in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = recipes()[name]()
        randomize(flow, 0.3, seed)
        y, context = rows_of(flow, seed)
        flow.standardize(y, context)
        # What is measured puts learned parts back to the identity.
        randomize(flow, 0.1, seed + 1)
    flow.columns = tuple(f"column {i}" for i in range(math.prod(flow.event_shape)))
    x = y[:ROWS].double()
    if (ends := sets.bounds(flow.support)) is not None and math.isfinite(ends[0]):
        x[-1] = ends[0] - 1.0
    return flow, x, None if context is None else context[:ROWS].double()


def stale() -> list[str]:
    """Return the names of the flows that have no golden file yet."""
    known = load_file(FOLDER / EXPECTED) if (FOLDER / EXPECTED).is_file() else {}
    return [name for name in sorted(recipes()) if not path_of(name).is_file() or f"{name}/log_prob" not in known]


def write() -> None:
    """Add the files that are missing."""
    if not (missing := stale()):
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = load_file(FOLDER / EXPECTED) if (FOLDER / EXPECTED).is_file() else {}
    for name in missing:
        flow, x, context = make(name, zlib.crc32(name.encode()))
        flow.save(path_of(name))
        exact = pf.load(path_of(name)).double()
        exact._validate_args = False
        with torch.no_grad():
            known |= {f"{name}/x": x, f"{name}/log_prob": exact.log_prob(x, context)}
        if context is not None:
            known[f"{name}/context"] = context
    save_file(known, FOLDER / EXPECTED)


WRITER = Writer(stale, write)
