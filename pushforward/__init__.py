"""pushforward: normalizing flows on PyTorch."""

from typing import TYPE_CHECKING

from pushforward import startup as _startup

_startup.end_command_at_once()

from pushforward import bijectors, data, flows, plots, targets, testing, train
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.describe import Description
from pushforward.core.layer import Layer
from pushforward.core.names import missing
from pushforward.core.spec import PlanError, Spec
from pushforward.files import load
from pushforward.flow.conditioned import ConditionedFlow
from pushforward.flow.flow import Flow
from pushforward.flows import CNF, IAF, MAF, NICE, NSF, RealNVP
from pushforward.inference.distill import DistillHistory, distill
from pushforward.inference.importance import ImportanceSample, importance
from pushforward.inference.variational import TargetHistory, fit_target
from pushforward.kernels.kernel import Kernel
from pushforward.nets.net import Net
from pushforward.nets.signature import Signature
from pushforward.report.versions import show_config
from pushforward.tables import TableFlow
from pushforward.train.choose import choose
from pushforward.train.compare import compare
from pushforward.train.comparison import Comparison
from pushforward.train.fit import fit
from pushforward.train.history import History
from pushforward.train.objective import FlowMatching, Likelihood
from pushforward.train.search import ChoiceHistory, Chosen

__version__ = "0.1.0"

TransformModule = Layer
"""The name that `Layer` had at first."""

__all__ = [
    "CNF", "IAF", "MAF", "NICE", "NSF", "Base", "Bijector", "ChoiceHistory", "Chosen", "Comparison", "ConditionedFlow",
    "Description", "DistillHistory", "Flow", "FlowMatching", "History", "ImportanceSample", "Kernel", "Layer", "Likelihood", "Net",
    "PlanError", "RealNVP", "Signature", "Spec", "TableFlow", "TargetHistory", "TransformModule", "bijectors", "choose", "compare", "data",
    "distill", "distributions", "fit", "fit_target", "flows", "importance", "load", "plots", "show_config", "targets", "testing", "train",
    "transforms",
]  # fmt: skip

if TYPE_CHECKING:
    from pushforward import distributions, transforms
else:  # to a type checker such a function stands for any name
    __getattr__ = missing(__name__, later=("distributions", "transforms"))
