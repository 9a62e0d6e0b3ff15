"""Moving trained flows of other libraries: what their converters share. It imports none of them.

A converter reads each layer and returns a `Converted`: a plan of ours and the tensors that go into what it builds.

- kernels whose parameters are what the other library's network gives: `RawAffine`, `RawSpline`, `RawLinear`;
- `mlp` and `residual` copy networks, masked ones by their masks; `Outputs` says which of their outputs is which parameter; `CopiedMLP`
  and `CopiedResidual` are the plans of the copies;
- `stack` finds the layers of a perceptron that is a sequence of modules; `made`, `residual_net` and `rational_quadratic` read networks
  and splines as nflows and normflows make them;
- `free`, `elementwise`, `coupling`, `autoregressive`, `linear`, `normal` put a kernel and a network together; ``layer.inv`` turns a layer
  round, as layers that map data to noise have to be;
- `each` goes through layers and names the one that is refused; `assemble` makes the flow.

What is made is a flow like any other. To load one from its file, import this module first.
"""

from pushforward.contrib.conversion.copying import CopiedNet, mlp, residual
from pushforward.contrib.conversion.families import made, rational_quadratic, residual_net, stack
from pushforward.contrib.conversion.kernels import RawAffine, RawLinear, RawSpline
from pushforward.contrib.conversion.layers import (
    Converted,
    assemble,
    autoregressive,
    coupling,
    each,
    elementwise,
    free,
    linear,
    normal,
)
from pushforward.contrib.conversion.nets import CopiedMLP, CopiedResidual
from pushforward.contrib.conversion.weights import Outputs, activation_name

__all__ = [
    "Converted",
    "CopiedMLP",
    "CopiedNet",
    "CopiedResidual",
    "Outputs",
    "RawAffine",
    "RawLinear",
    "RawSpline",
    "activation_name",
    "assemble",
    "autoregressive",
    "coupling",
    "each",
    "elementwise",
    "free",
    "linear",
    "made",
    "mlp",
    "normal",
    "rational_quadratic",
    "residual",
    "residual_net",
    "stack",
]  # fmt: skip
