"""Round trips of the splines of all libraries, with the same points and parameters of the same size."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from peers import Peer, PeerCase

from pushforward.bijectors import Spline
from pushforward.testing import Case

SEEDS, POINTS, ELEMENTS, SCALE = 20, 1000, 5, 3.0
PEERS = {
    "quadratic": ("nflows", "normflows", "zuko", "pyro", "flowtorch"),
    "linear": ("pyro", "flowtorch"),
}


def round_trips() -> list[dict[str, Any]]:
    """Return for each library and order the errors of round trips in float32."""
    rows = []
    for order, libraries in PEERS.items():
        ours = Case(Spline(order=order), (ELEMENTS,))
        rows.append({"library": "pushforward", "order": order, **errors(ours)})
        family = "Spline" if order == "quadratic" else "Spline, linear"
        rows += [{"library": name, "order": order, **errors(PeerCase(Peer(family, name), (ELEMENTS,)))} for name in libraries]
    return rows


def errors(case: Case) -> dict[str, Any]:
    """Return for each kind of points the median over seeds of the largest error of a round trip, the worst, and what was raised."""
    found: dict[str, Any] = {}
    for kind, draw in POINTS_OF.items():
        trips: list[float] = []
        raised: list[str] = []
        for seed in range(SEEDS):
            module = case.build(torch.float32, SCALE, seed)
            x = draw(torch.Generator().manual_seed(seed))
            try:
                with torch.no_grad():
                    trips.append(largest(module.inverse(module(x)[0])[0] - x))
            except Exception as error:
                raised.append(f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}")
                trips.append(float("inf"))
        found[kind] = {"median": word(statistics.median(trips)), "worst": word(max(trips)), "raised": raised}
    return found


# Where a flow's base puts its points, and all over the box, whose ends are 5 for every library, and a little beyond.
POINTS_OF: dict[str, Callable[[torch.Generator], torch.Tensor]] = {
    "normal": lambda draw: torch.randn(POINTS, ELEMENTS, generator=draw),
    "box": lambda draw: 11 * torch.rand(POINTS, ELEMENTS, generator=draw) - 5.5,
}


def largest(error: torch.Tensor) -> float:
    return float(torch.nan_to_num(error.abs().double(), nan=float("inf")).max())


def word(value: float) -> float | str:
    return value if value < float("inf") else "inf"
