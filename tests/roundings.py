"""How far two computations of one thing may lie apart by roundings alone: what a comparison allows that has to hold on any processor.

BLAS sums in an order of its own for each number of rows, processor and number of threads, with or without fused steps. In any order,
each of the n steps of a sum rounds by at most u = eps / 2 of what is summed so far, which is at most the sum of sizes |x| |w| + |b|. The
worst case is n u of that, where all roundings push one way. They do not: as centred and independent errors they come to √n u, and `SURE`
times that is passed less than once in 1e7 numbers (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci.
Comput. 41, 2019). Two computations differ by √2 of one's error. The half formats are summed in float32 or better, and rounded when the sum
is done and when the bias is added.

The functions return that standard deviation for each number. Through a layer it passes as those of independent errors do: squares are
added, each times the square of its weight. Of a whole flow it is measured, by `apart`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from pushforward.native.activations import ACTIVATIONS
from pushforward.nets.parts import Block, InputLayer
from pushforward.testing.accuracy import apart

SURE = 6.0
# The steps of the longest activation, each up to a unit in the last place off.
STEPS = 4


def unit(dtype: torch.dtype) -> float:
    """Return what one rounding of each of two computations puts between them: √2 u."""
    return 2**-0.5 * torch.finfo(dtype).eps


def of_product(x: Tensor, weight: Tensor, bias: Tensor | None = None, error: Tensor | float = 0.0) -> Tensor:
    """Return the deviation of ``x W' + b``, of inputs that deviate by ``error`` themselves."""
    x, w = x.detach().double(), weight.detach().double()
    b = torch.zeros(len(w), dtype=torch.float64) if bias is None else bias.detach().double()
    summed = torch.float32 if weight.dtype.itemsize < 4 else weight.dtype
    own = (x.shape[-1] + 1) ** 0.5 * unit(summed) * (x.abs() @ w.abs().mT + b.abs())
    if summed != weight.dtype:
        own = own + 2 * unit(weight.dtype) * ((x @ w.mT).abs() + b.abs())
    return (own**2 + (torch.zeros_like(x) + error) ** 2 @ (w**2).mT).sqrt()


def of_perceptron(net, x: Tensor | None, context: Tensor | None) -> Tensor:
    """Return the deviation of each output of a perceptron, which is run in float64 for it."""
    one = unit(next(net.parameters()).dtype)
    activate, slope = ACTIVATIONS[net.activation].function, ACTIVATIONS[net.activation].steepest

    def dense(layer, h, error=0.0):
        weight, bias = layer.masked().detach(), None if layer.bias is None else layer.bias.detach()
        value = torch.nn.functional.linear(h, weight.double(), None if bias is None else bias.double())
        return value, of_product(h, weight, bias, error)

    def activated(h, error):
        return activate(h), ((slope * error) ** 2 + STEPS * (one * (1 + h.abs())) ** 2).sqrt()

    def added(h, error, more, by):
        return h + more, (error**2 + by**2 + (one * (h + more)) ** 2).sqrt()

    h = error = None
    for layer in net.layers:
        if isinstance(layer, InputLayer):
            parts = [dense(part, t.detach().double()) for part, t in ((layer.x, x), (layer.c, context)) if part is not None]
            h, error = parts[0] if len(parts) == 1 else added(*parts[0], *parts[1])
        elif isinstance(layer, Block):
            h, error = added(h, error, *dense(layer.outer, *activated(*dense(layer.inner, *activated(h, error)))))
        else:
            h, error = dense(layer, *activated(h, error))
    return error


def of_flow(flow, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Return the deviation of each log-density of a float32 flow."""
    given = None if context is None else context.double()
    exact = copy.deepcopy(flow).double()
    deviation = apart(exact, lambda flow, move: [flow.log_prob(move(x.double()), given)], torch.float32)[0]
    return (deviation**2 + STEPS * (unit(torch.float32) * exact.log_prob(x.double(), given).detach()) ** 2).sqrt()


def within(got: Tensor, expected: Tensor, deviation: Tensor | float) -> bool:
    """Tell whether two tensors are of one shape and dtype, and no number is farther off than `SURE` times its deviation."""
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    return bool(((got.double() - expected.double()).abs() <= SURE * deviation).all())
