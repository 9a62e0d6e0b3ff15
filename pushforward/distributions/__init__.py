"""Flows, base distributions, and torch's distributions by name; no logic of its own.

torch's classes are here with what Pyro adds to them (``to_event``, ``expand_by``, ``shape``, and a call that draws): each is a subclass of
torch's. Of the names that torch has too, ``StudentT`` and ``VonMises`` are here the plans of bases.
``kl_divergence`` takes flows as well.
"""

import typing as _typing

from torch.distributions import *

from pushforward.bases import *  # type: ignore[assignment]
from pushforward.contrib.pyro.face.compose import ComposeTransformModule as ComposeTransformModule
from pushforward.contrib.pyro.face.conditional import *
from pushforward.contrib.pyro.face.conditional_distribution import *
from pushforward.contrib.pyro.face.distribution import *
from pushforward.contrib.pyro.face.events import *
from pushforward.contrib.pyro.face.transform import *
from pushforward.core.names import missing as _missing
from pushforward.distributions.torchs import *
from pushforward.flow.conditioned import ConditionedFlow as ConditionedFlow
from pushforward.flow.flow import Flow as Flow
from pushforward.flow.kl import kl_divergence as kl_divergence

if _typing.TYPE_CHECKING:
    from pushforward.distributions import conditional as conditional
    from pushforward.distributions import constraints as constraints
    from pushforward.distributions import transforms as transforms
else:
    _LATER = ("conditional", "constraints", "transforms")
    __all__ = [*(name for name in dir() if not name.startswith("_") and name != "torchs"), *_LATER]
    __getattr__ = _missing(__name__, later=_LATER)
