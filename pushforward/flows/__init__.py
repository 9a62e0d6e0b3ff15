"""Named flows: functions that return a ready flow from a number of features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pushforward.flows.affine import IAF, MAF, NICE, RealNVP
from pushforward.flows.gaussianization import GF
from pushforward.flows.mixture import mixture
from pushforward.flows.monotone import BNAF, BPF, NAF, SOSPF, UNAF
from pushforward.flows.posterior import HouseholderFlow, PlanarFlow, RadialFlow, SylvesterFlow
from pushforward.flows.residual import ResidualFlow
from pushforward.flows.spline import NCSF, NSF
from pushforward.names import missing

__all__ = [
    "BNAF", "BPF", "GF", "IAF", "MAF", "NAF", "NCSF", "NICE", "NSF", "SOSPF", "UNAF", "HouseholderFlow", "PlanarFlow", "RadialFlow",
    "RealNVP", "ResidualFlow", "SylvesterFlow", "mixture",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = missing(__name__)
