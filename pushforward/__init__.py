"""pushforward: normalizing flows on PyTorch."""

from pushforward import startup as _startup

_startup.end_command_at_once()

from pushforward import bijectors, distributions, flows, plots, targets, testing, transforms
from pushforward.config import show_config
from pushforward.core import Base, Bijector, TransformModule
from pushforward.describe import Description
from pushforward.flow import ConditionedFlow, Flow, load
from pushforward.flows import IAF, MAF, NICE, NSF, RealNVP
from pushforward.kernel import Kernel
from pushforward.parameters import Net
from pushforward.spec import PlanError, Spec
from pushforward.train.fit import History, fit
from pushforward.train.importance import ImportanceSample, importance
from pushforward.train.variational import TargetHistory, fit_target

__version__ = "0.1.0"

__all__ = [
    "IAF", "MAF", "NICE", "NSF", "Base", "Bijector", "ConditionedFlow", "Description", "Flow", "History", "ImportanceSample", "Kernel",
    "Net", "PlanError", "RealNVP", "Spec", "TargetHistory", "TransformModule", "bijectors", "distributions", "fit", "fit_target", "flows",
    "importance", "load", "plots", "show_config", "targets", "testing", "transforms",
]  # fmt: skip
