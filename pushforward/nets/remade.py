"""A narrow layer and the next as one step, for whose gradient the activations between them are not kept, but made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from pushforward.core.numerics import Rule, differentiable
from pushforward.native.activations import ACTIVATIONS
from pushforward.native.program import Program, counted, interpret, of_tensors
from pushforward.nets.dense import product


def remade(program: Program, x: Tensor | None, context: Tensor | None, tensors: Sequence[Tensor | None]) -> Tensor:
    """Return what the first two layers give.

    Args:
        program: That of the whole perceptron, whose second layer takes the first.
        x: ``(*batch, inputs)``, or None.
        context: ``(*batch, contexts)``, whose batch broadcasts, or None.
        tensors: Those of all layers, as `of_tensors` takes them.
    """
    # As learnt, with masks and gains taken, since the gradient is that of what is multiplied.
    own = None if x is None else counted(program, tensors, 0)
    beside, bias = tensors[2:4]
    both = Program(program.activation, (-1, 0), (-1, -1), (1.0, 1.0), (False, False))
    out: Tensor = differentiable(RULE, both, x, context, own, beside, bias, counted(program, tensors, 1), tensors[7])
    return out


def _layers(both: Program, context: Tensor | None, *weights: Tensor | None) -> Callable[[int, Tensor | None], Tensor]:
    own, beside, bias, weight, second_bias = weights
    return of_tensors(both, (own, None, beside, bias, weight, None, None, second_bias), context, product)


def _forward(both: Program, x: Tensor | None, *rest: Tensor | None) -> Tensor:
    return interpret(both, x, _layers(both, *rest))


def _backward(both: Program, given: Sequence[Tensor | None], _: None, g: Tensor) -> list[Tensor | None]:
    x, context, own, beside, bias, weight, _second_bias = given
    assert weight is not None
    activation = ACTIVATIONS[both.activation]
    z = _layers(both, *given[1:])(0, x)
    h = activation.function(z)
    gz = activation.gradient(g @ weight, z, h)
    rows, narrow, units = (t.reshape(-1, t.shape[-1]) for t in (g, gz, h))
    found = [None if t is None or of is None else _back(gz @ of, t) for t, of in ((x, own), (context, beside))]
    for taken in (x, context):  # a context that several samples share stands for each of them
        wide = None if taken is None else taken.to(gz.dtype).expand(*gz.shape[:-1], -1).reshape(-1, taken.shape[-1])
        found.append(None if wide is None else narrow.mT @ wide)
    return [*found, None if bias is None else narrow.sum(0), rows.mT @ units, rows.sum(0)]


def _back(gradient: Tensor, to: Tensor) -> Tensor | None:
    return gradient.sum_to_size(to.shape) if to.requires_grad else None


RULE = Rule(_forward, _backward, _forward, keep=False)
