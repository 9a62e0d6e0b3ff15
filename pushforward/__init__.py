"""pushforward: normalizing flows on PyTorch."""

from pushforward import bijectors, distributions, flows, plots, testing
from pushforward.config import show_config
from pushforward.core import Base, Bijector, TransformModule
from pushforward.describe import Description
from pushforward.flow import ConditionedFlow, Flow, load
from pushforward.flows import IAF, MAF, NICE, NSF, RealNVP
from pushforward.kernel import Kernel
from pushforward.parameters import Net
from pushforward.spec import PlanError, Spec
from pushforward.train.fit import History, fit

__version__ = "0.1.0"

__all__ = [
    "IAF", "MAF", "NICE", "NSF", "Base", "Bijector", "ConditionedFlow", "Description", "Flow", "History", "Kernel", "Net", "PlanError",
    "RealNVP", "Spec", "TransformModule", "bijectors", "distributions", "fit", "flows", "load", "plots",
    "show_config", "testing",
]  # fmt: skip
