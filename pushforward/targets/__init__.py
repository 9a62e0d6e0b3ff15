"""Targets: the densities that the literature tries flows on, normalised, with exact samples."""

from typing import TYPE_CHECKING

from pushforward.core.names import missing
from pushforward.targets.checkerboard import Checkerboard
from pushforward.targets.curves import Circles, Spirals, SwissRoll, TwoMoons
from pushforward.targets.energies import RingMixture, SineEnergy, Smiley, TwoModes
from pushforward.targets.mixtures import GaussianGrid, GaussianRing, Pinwheel, TwoIndependent
from pushforward.targets.picture import Picture
from pushforward.targets.target import Target
from pushforward.targets.triangular import Banana, Crescent, Funnel, Rosenbrock, SineWave

__all__ = [
    "Banana", "Checkerboard", "Circles", "Crescent", "Funnel", "GaussianGrid", "GaussianRing", "Picture", "Pinwheel", "RingMixture",
    "Rosenbrock", "SineEnergy", "SineWave", "Smiley", "Spirals", "SwissRoll", "Target", "TwoIndependent", "TwoModes", "TwoMoons",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = missing(__name__)
