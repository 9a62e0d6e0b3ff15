"""pushforward: normalizing flows on PyTorch."""

from typing import TYPE_CHECKING

from pushforward import startup as _startup

_startup.end_command_at_once()

from pushforward import bijectors, flows, plots, targets, testing
from pushforward.base import Base
from pushforward.config import show_config
from pushforward.core import Bijector, TransformModule
from pushforward.describe import Description
from pushforward.flow import ConditionedFlow, Flow, load
from pushforward.flows import IAF, MAF, NICE, NSF, RealNVP
from pushforward.kernel import Kernel
from pushforward.names import missing
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

if TYPE_CHECKING:
    from pushforward import distributions, transforms
else:  # to a type checker such a function stands for any name
    __getattr__ = missing(__name__, later=("distributions", "transforms"))
