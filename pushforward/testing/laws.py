"""The laws of a bijection. Each has a worst figure, which is held against a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pushforward.core.bijector import Bijector
from pushforward.testing import accuracy, behaviour, robustness
from pushforward.testing.case import Case


class LawError(AssertionError):
    """A layer or a flow breaks a law; the message names each law with its figure and its limit."""


@dataclass(frozen=True)
class Law:
    """A property with the worst figure that is allowed."""

    name: str
    limit: float
    figure: Callable[[Any], float]


def check_bijector(
    bijector: Bijector,
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    only: Iterable[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Check that a bijector keeps the laws, at initial, threefold, tenfold, hundredfold and extreme parameters.

    Args:
        bijector: The plan, of the library or of your own.
        event_shape: Shape of an event.
        context_shape: Shape of a context (None: not conditional).
        only: Names of laws to check (None: all of `LAWS`).
        seed: Seed of every draw.

    Returns:
        The worst figure of each law, in the law's own unit.

    Raises:
        LawError: Some law is broken; the message has them all.

    >>> from pushforward.bijectors import Spline
    >>> sorted(check_bijector(Spline(), 2, only=["empty batch", "copies"]))
    ['copies', 'empty batch']
    """
    case = Case(bijector, _shape(event_shape), None if context_shape is None else _shape(context_shape), seed)
    return run_laws(LAWS, case, repr(bijector), only)


def run_laws(laws: Sequence[Law], case: Any, name: str, only: Iterable[str] | None) -> dict[str, float]:
    """Return the figures of the laws, or raise `LawError` with all that are broken."""
    wanted = None if only is None else set(only)
    if wanted and (unknown := wanted - {law.name for law in laws}):
        raise ValueError(f"expected names of laws, got {sorted(unknown)}; there are {[law.name for law in laws]}")
    figures, broken = {}, []
    for law in laws:
        if wanted is not None and law.name not in wanted:
            continue
        try:
            with torch.random.fork_rng(devices=[]):  # building and drawing are the check's own affair
                figures[law.name] = float(law.figure(case))
        except Exception as error:
            broken.append(f"{law.name}: {type(error).__name__}: {error}")
            continue
        if not figures[law.name] <= law.limit:
            broken.append(f"{law.name}: expected at most {law.limit:g}, got {figures[law.name]:g}")
    if broken:
        raise LawError(f"{name} breaks {len(broken)} law(s):\n  " + "\n  ".join(broken))
    return figures


def _shape(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


LAWS: tuple[Law, ...] = (
    Law("round trip, float32, in roundings", 4, accuracy.round_trip_units(1.0, 4)),
    Law("round trip, float32, parameters x10, in roundings", 16, accuracy.round_trip_units(10.0, 16)),
    Law("round trip, float64, in units of 1e-11", 1, accuracy.round_trip(torch.float64, 1.0, 1e-11)),
    Law("round trip, float32, in units of 2e-5", 1, accuracy.round_trip(torch.float32, 1.0, 2e-5)),
    Law("round trip, float32, parameters x10, in units of 1e-3", 1, accuracy.round_trip(torch.float32, 10.0, 1e-3)),
    Law("round trip at knots, edges, denormals, |x| <= 10", 1, accuracy.knots),
    Law("any x up to 1e30", 0, accuracy.anywhere),
    Law("ladj against autograd, float64", 1e-12, accuracy.ladj_exact(1.0)),
    Law("ladj against autograd, float64, parameters x10", 1e-12, accuracy.ladj_exact(10.0)),
    Law("ladj, float32 against float64", 1e-5, accuracy.ladj_precision),
    Law("gradients against differences", 1e-6, accuracy.gradients),
    Law("second derivatives against differences", 1e-5, accuracy.second_derivatives),
    Law("extreme parameters", 0, robustness.extremes),
    Law("a NaN or infinite row is alone", 0, robustness.own_row),
    Law("outside the domain", 0, robustness.domain),
    Law("shapes, strides, contexts", 0, behaviour.shapes),
    Law("empty batch", 0, behaviour.empty),
    Law("float32 and float64 kept", 0, robustness.precision_kept),
    Law("bfloat16, float16, autocast", 0.05, robustness.half),
    Law("no hidden state", 0, behaviour.no_state),
    Law("copies", 0, behaviour.copies),
    Law("vmap and per-sample gradients", 1e-9, behaviour.functional),
    Law("one graph under torch.compile", 0, behaviour.compiled),
    Law("meta device", 0, behaviour.meta),
    Law("a row alone, train and eval, in ulps", 2, robustness.row_alone),
)
