"""Rows of the maps of low rank and of the residual and block autoregressive structures."""

from __future__ import annotations

from cases.core import SMALL
from pushforward.core.bijector import Bijector
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.planar import Planar
from pushforward.kernels.radial import Radial
from pushforward.kernels.sylvester import Sylvester
from pushforward.layers.block_autoregressive import BlockAutoregressive
from pushforward.layers.residual import Residual

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "Planar": (Planar(), (3,), None),
    "Planar, one feature": (Planar(), (1,), None),
    "Planar, leaky": (Planar("leaky_relu"), (2, 5), None),
    "Planar given context": (Elementwise(Planar(), net=SMALL), (3,), (2,)),
    "Radial": (Radial(), (2,), None),
    "Radial, one feature": (Radial(bound=2.0), (1,), None),
    "Radial given context, matrix": (Elementwise(Radial(), net=SMALL), (2, 5), (2,)),
    "Sylvester": (Sylvester(), (5,), None),
    "Sylvester, one feature": (Sylvester(), (1,), None),
    "Sylvester, orthogonal": (Sylvester("orthogonal", rank=2), (2, 3), None),
    "Sylvester, triangular, given context": (Elementwise(Sylvester("triangular"), net=SMALL), (3,), (2,)),
    "Sylvester given context": (Elementwise(Sylvester(reflections=2, rank=1), net=SMALL), (2,), (2,)),
    "Residual": (Residual((16, 16)), (3,), None),
    "Residual, elu, one feature": (Residual((8,), activation="elu"), (1,), None),
    "Residual, tanh, matrix": (Residual((16,), activation="tanh"), (2, 2), (2,)),
    "Residual given context": (Residual((16, 16), coefficient=0.97, activation="sin"), (2,), (2,)),
    "BlockAutoregressive": (BlockAutoregressive((4,)), (2,), None),
    "BlockAutoregressive, normal": (BlockAutoregressive((4, 2), residual="normal"), (1,), None),
    "BlockAutoregressive, no residual": (BlockAutoregressive((3,), activation="leaky_tanh", residual=None), (1,), None),
    "BlockAutoregressive given context": (BlockAutoregressive((3,), activation="leaky_relu", residual=None), (2, 1), (2,)),
}
# Rows that take the compiler half a minute, or less, and are another row's with other numbers.
HEAVY = {
    "BlockAutoregressive, normal",
    "BlockAutoregressive, no residual",
    "BlockAutoregressive given context",
    "Residual, elu, one feature",
    "Residual given context",
    "Sylvester given context",
}
