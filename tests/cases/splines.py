"""Rows of the piecewise polynomial splines, of the kernels on the circle, and of the network that sees angles."""

from __future__ import annotations

from cases.core import SMALL
from pushforward.core.bijector import Bijector
from pushforward.kernels.circular import CircularShift, CircularSpline, Unwrap
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.piecewise import CubicSpline, LinearSpline, QuadraticSpline
from pushforward.layers.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.layers.coupling import Coupling
from pushforward.nets.periodic import Periodic

CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "LinearSpline": (LinearSpline(), (2,), None),
    "LinearSpline, 16 bins": (LinearSpline(bins=16, bound=3.0), (1,), None),
    "LinearSpline given context": (Elementwise(LinearSpline(bins=4), net=SMALL), (5,), (2,)),
    "QuadraticSpline": (QuadraticSpline(), (2,), None),
    "QuadraticSpline, 16 bins": (QuadraticSpline(bins=16, bound=3.0), (1,), None),
    "QuadraticSpline given context": (Elementwise(QuadraticSpline(bins=3), net=SMALL), (3,), (2,)),
    "Autoregressive quadratic spline": (Autoregressive(QuadraticSpline(bins=4), net=SMALL), (3,), (2,)),
    "CubicSpline": (CubicSpline(), (2,), None),
    "CubicSpline, 16 bins": (CubicSpline(bins=16, bound=3.0), (1,), None),
    "CubicSpline given context": (Elementwise(CubicSpline(bins=2), net=SMALL), (3,), (2,)),
    "Coupling cubic spline": (Coupling(CubicSpline(bins=4), net=SMALL), (5,), (2,)),
    "Unwrap": (Unwrap(), (2,), None),
    "CircularShift": (CircularShift(), (2,), None),
    "CircularShift given context": (Elementwise(CircularShift(), net=SMALL), (1,), (2,)),
    "CircularSpline": (CircularSpline(), (2,), None),
    "CircularSpline, no rotation": (CircularSpline(bins=2, rotation=False), (1,), None),
    "CircularSpline given context": (Elementwise(CircularSpline(bins=4), net=SMALL), (5,), (2,)),
    "Coupling circular spline, periodic": (Coupling(CircularSpline(bins=4), net=Periodic(SMALL)), (5,), (2,)),
    "Autoregressive circular spline, periodic": (Autoregressive(CircularSpline(bins=4), net=Periodic(SMALL)), (3,), None),
    "InverseAutoregressive circular shift, periodic": (
        InverseAutoregressive(CircularShift(), net=Periodic(SMALL, circular=[0, 2])),
        (3,),
        (2,),
    ),
}
# Other numbers, or a kernel and a structure that both have rows of every day: other bins; the structure of "Autoregressive spline" and of
# "Coupling spline" over a kernel that has a row given context; and the network on angles, which stays in a coupling and an inverse.
HEAVY = {
    "LinearSpline, 16 bins",
    "QuadraticSpline, 16 bins",
    "CubicSpline, 16 bins",
    "Autoregressive quadratic spline",
    "Coupling cubic spline",
    "Autoregressive circular spline, periodic",
}
