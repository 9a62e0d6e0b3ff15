"""Layers that a solver makes, each with a promise of its own: what the laws have to measure, and to find where it is not kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from pushforward.core import numerics
from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.layer import Layer
from pushforward.core.promise import Accuracy, Effort
from pushforward.kernels.kernel import Kernel

UNITS = 8


@dataclass(frozen=True, repr=False)
class RungeKutta(Bijector):
    """y = x(1) of dx/dt = f(x), x(0) = x, in steps of the classical method; a tolerance of 0 is no promise but the default."""

    steps: int = 8
    tolerance: float = 1e-5

    event_dim = 1
    formula = "y = x(1),  dx/dt = 4 mean_k v_k tanh(w_k x + b_k)"

    def make(self, event_shape, context_shape):
        return RungeKuttaModule(self, event_shape, context_shape)


class RungeKuttaModule(Layer):
    """The field is a perceptron of bounded weights, so its trace is a sum, and how far steps are off has a bound."""

    def __init__(self, plan, event_shape, context_shape):
        super().__init__(plan, event_shape, context_shape)
        (size,) = event_shape
        self.steps = plan.steps
        self.w = nn.Parameter(torch.linspace(-1, 1, UNITS * size).reshape(UNITS, size))
        self.b = nn.Parameter(torch.linspace(-1, 1, UNITS))
        self.v = nn.Parameter(torch.zeros(UNITS, size))
        accuracy, effort = Accuracy.within(plan.tolerance), Effort(4 * plan.steps, 4 * plan.steps)
        self.facts = Facts(accuracy=(accuracy, accuracy), effort=(effort, effort))

    def field(self, x):
        w, b, v = (numerics.soft_clamp(numerics.working(p), 1.0) for p in (self.w, self.b, self.v))
        # Sums of products, whose bits do not depend on how many rows there are.
        h = torch.tanh((x.unsqueeze(-2) * w).sum(-1) + b)
        return 4 * (h.unsqueeze(-1) * v).mean(-2), 4 * ((1 - h * h) * (w * v).sum(-1)).mean(-1)

    def flow(self, value, sign):
        x, step = numerics.working(value), sign / self.steps
        total = torch.zeros(x.shape[:-1], dtype=x.dtype, device=x.device)
        for _ in range(self.steps):
            k1, t1 = self.field(x)
            k2, t2 = self.field(x + step / 2 * k1)
            k3, t3 = self.field(x + step / 2 * k2)
            k4, t4 = self.field(x + step * k3)
            x, total = x + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4), total + step / 6 * (t1 + 2 * t2 + 2 * t3 + t4)
        return x.to(value.dtype), total

    def push(self, x, context=None):
        return self.flow(x, 1.0)

    def pull(self, y, context=None):
        return self.flow(y, -1.0)


@dataclass(frozen=True, repr=False)
class FixedPoint(Kernel):
    """y = x + mean_k s_k tanh(x - c_k) / 2, whose inverse is sought by ``passes`` of x = y - g(x), each of which halves the error."""

    passes: int = 22
    tolerance: float = 2e-6
    terms: int = 3

    formula = "y = x + mean_k s_k tanh(x - c_k) / 2"
    inverse_method = "a fixed number of passes"

    @property
    def accuracy(self):
        return Accuracy(), Accuracy.within(self.tolerance)

    def init(self, shape):
        centres = torch.linspace(-2, 2, self.terms).reshape(-1, *[1] * len(shape))
        return {"centres": centres.repeat(1, *shape), "sizes": torch.zeros(self.terms, *shape)}

    def added(self, x, centres, sizes):
        s, t = numerics.soft_clamp(sizes, 1.0), torch.tanh(x.unsqueeze(-2) - centres)
        return (s * t).mean(-2) / 2, torch.log1p((s * (1 - t * t)).mean(-2) / 2)

    def forward(self, x, centres, sizes):
        g, ladj = self.added(x, centres, sizes)
        return x + g, ladj

    def inverse(self, y, centres, sizes):
        x = y
        for _ in range(self.passes):
            x = y - self.added(x, centres, sizes)[0]
        return x, -self.added(x, centres, sizes)[1]
