"""Rows of the monotone networks."""

from __future__ import annotations

from cases.core import SMALL
from pushforward.core.bijector import Bijector
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.monotonic import MonotonicNetwork
from pushforward.kernels.neural import DeepSigmoid, DenseSigmoid
from pushforward.layers.autoregressive import Autoregressive
from pushforward.layers.coupling import Coupling

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "DeepSigmoid": (DeepSigmoid(), (2,), None),
    "DeepSigmoid, tanh": (DeepSigmoid(activation="tanh"), (1,), None),
    "DeepSigmoid, elu": (DeepSigmoid(units=4, activation="elu"), (5,), None),
    "DeepSigmoid, leaky_relu": (DeepSigmoid(activation="leaky_relu"), (2,), None),
    "DeepSigmoid, 2 layers, given context": (Elementwise(DeepSigmoid(units=4, layers=2), net=SMALL), (2,), (3,)),
    "Coupling DeepSigmoid": (Coupling(DeepSigmoid(units=4), net=SMALL), (3,), (2,)),
    "Autoregressive DeepSigmoid": (Autoregressive(DeepSigmoid(units=4), net=SMALL), (2,), None),
    "DenseSigmoid": (DenseSigmoid(), (2,), None),
    "DenseSigmoid, 3 layers, elu": (DenseSigmoid(units=3, layers=3, activation="elu"), (1,), None),
    "DenseSigmoid given context": (Elementwise(DenseSigmoid(units=3), net=SMALL), (3,), (2,)),
    "MonotonicNetwork": (MonotonicNetwork(), (2,), None),
    "MonotonicNetwork, one panel": (MonotonicNetwork(units=16, panels=1, bound=3.0), (1,), None),
    "MonotonicNetwork given context": (Elementwise(MonotonicNetwork(units=4, panels=2), net=SMALL), (5,), (2,)),
    "Autoregressive MonotonicNetwork": (Autoregressive(MonotonicNetwork(units=4, panels=2), net=SMALL), (2,), (2,)),
}
# Where roots are sought in PyTorch the compiler takes half a minute for each: one row a plan, the one of its name, is for every day.
HEAVY = {name for name, (plan, _, _) in CASES.items() if name != type(plan).__name__}
