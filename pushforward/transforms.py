"""Pyro's face: transforms by Pyro's names and with its arguments, over the plans of `pushforward.bijectors`; no logic of its own.

A class takes sizes, and a network where one gives its parameters; the lower-case function of the same name makes the network.
All are transforms of torch and modules. torch's own transforms are here by their names, too.
"""

import typing as _typing

from torch.distributions.transforms import *

from pushforward.contrib.pyro.face.compose import *
from pushforward.contrib.pyro.face.conditional import *
from pushforward.contrib.pyro.face.dense_nets import *
from pushforward.contrib.pyro.face.fixed import *  # type: ignore[assignment]
from pushforward.contrib.pyro.face.masked_nets import *
from pushforward.contrib.pyro.face.matrices import *
from pushforward.contrib.pyro.face.named import *
from pushforward.contrib.pyro.face.permute import *
from pushforward.contrib.pyro.face.transform import *
from pushforward.core.names import missing as _missing

if not _typing.TYPE_CHECKING:  # which sees what is imported above
    __all__ = [name for name in dir() if not name.startswith("_")]
    __getattr__ = _missing(__name__)
