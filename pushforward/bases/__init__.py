"""Base distributions: what a flow pushes forward."""
# Written by `make generated`; not by hand.

from pushforward.bases.mixture import Mixture, Pushforward
from pushforward.bases.mixture_of_normals import MixtureOfNormals
from pushforward.bases.mixture_of_von_mises_fisher import MixtureOfVonMisesFisher
from pushforward.bases.normal import DiagNormal, FullNormal, StandardNormal
from pushforward.bases.order_statistics import OrderStatistics
from pushforward.bases.product import Product
from pushforward.bases.resampled import Resampled
from pushforward.bases.sphere import SphereUniform, VonMisesFisher
from pushforward.bases.student import GeneralizedNormal, StudentT
from pushforward.bases.truncated import Truncated
from pushforward.bases.uniform import BoxUniform, CircleUniform
from pushforward.bases.von_mises import VonMises
from pushforward.bases.wrapped import Wrapped, wrap

__all__ = [
    "BoxUniform", "CircleUniform", "DiagNormal", "FullNormal", "GeneralizedNormal", "Mixture", "MixtureOfNormals",
    "MixtureOfVonMisesFisher", "OrderStatistics", "Product", "Pushforward", "Resampled", "SphereUniform", "StandardNormal", "StudentT",
    "Truncated", "VonMises", "VonMisesFisher", "Wrapped", "wrap",
]  # fmt: skip
