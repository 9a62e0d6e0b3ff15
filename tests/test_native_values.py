"""What is not finite, and what is huge, in compiled code as in its reference: it goes through the formula, and stays in its row.

Values agree number by number. Of gradients a row as a whole is compared, and of the parameters all of them together: whether anything
in it is no number. Which of a spoiled row's gradients are numbers depends on the way the sums go.
"""

from __future__ import annotations

import functools
import math
from unittest import mock

import pytest
import torch

import pushforward.bijectors as bij
from pushforward.kernels.kernel import reference
from pushforward.native import library
from pushforward.native.elementwise import elementwise
from pushforward.testing import randomize

pytestmark = pytest.mark.compiled

KERNELS = {
    "affine": bij.Affine(),
    "quadratic": bij.Spline(bins=4, bound=3.0),
    "linear": bij.Spline(bins=3, bound=3.0, order="linear"),
    "sigmoid": bij.DeepSigmoid(units=3),
    "squares": bij.SumOfSquares(degree=2, terms=2, tails="gentle"),
}
NET = bij.MLP((9, 9), "silu")
STRUCTURES = {
    "free": lambda kernel: kernel,
    "coupling": lambda kernel: bij.Coupling(kernel, net=NET),
    "relu": lambda kernel: bij.Coupling(kernel, net=bij.ResidualMLP(8, 1)),
    "autoregressive": lambda kernel: bij.Autoregressive(kernel, net=NET),
    "inverse autoregressive": lambda kernel: bij.InverseAutoregressive(kernel, net=bij.MLP((9, 9))),
    "contextual": lambda kernel: bij.Elementwise(kernel, net=NET),
    "matrix": lambda kernel: bij.Linear(),
}
BAD = [math.nan, math.inf, -math.inf]
HUGE = [1e6, -1e15]
"""Sums of numbers of 1e15 leave no digits that could be compared, in float32 nor those of 1e6."""
ROWS, ROW = 35, 33

each_kernel = pytest.mark.parametrize("kernel", KERNELS)
each_structure = pytest.mark.parametrize("structure", STRUCTURES)
both_ways = pytest.mark.parametrize("way", ["forward", "inverse"])
each_precision = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def without():
    return mock.patch.object(library, "LIBRARY", library.Library(None, "off", "torch's"))


def evaluated(layer, way, x, c, cotangents):
    """Return value and ladj; the gradients of each row; those of the parameters."""
    given = [t.detach().clone().requires_grad_() for t in (x, c) if t is not None]
    y, ladj = getattr(layer, way)(given[0], given[1] if c is not None else None)
    found = torch.autograd.grad((y, ladj), [*given, *layer.parameters()], cotangents, materialize_grads=True)
    return [y.detach(), ladj.detach()], found[: len(given)], found[len(given) :]


def spoiled(gradients):
    return any(bool((~torch.isfinite(g)).any()) for g in gradients)


def normal(generator, dtype, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def sizes(structure):
    """Give numbers of features and columns of context: one and many, none and some, as the structure takes them."""
    one, many, given = (1, 0), (3, 0), (3, 2)
    return {"matrix": (many, given), "relu": (many, given), "contextual": (given,)}.get(structure, (one, given))


def cases(structure, features, context):
    """Yield what is put where: into a feature, the context, or a cotangent of the row."""
    for bad in BAD + HUGE:
        for feature in range(features if bad in BAD[1:] + HUGE[:1] else 1):
            yield "x", feature, bad
        if context and structure not in ("free", "matrix"):
            yield "c", 0, bad
    for feature in range(features):
        yield "gy", feature, math.nan
    yield "gladj", 0, math.nan


@each_structure
@each_kernel
@both_ways
@each_precision
def test_compiled_code_and_reference_are_of_one_mind(structure, kernel, way, dtype):
    if structure == "matrix" and kernel != "affine":
        return  # it has no kernel on numbers
    for features, context in sizes(structure):
        plan = STRUCTURES[structure](KERNELS[kernel])
        layer = randomize(plan.build(features, context or None), 0.5, 0).to(dtype)
        g = torch.Generator().manual_seed(1)
        draw = functools.partial(normal, g, dtype)
        x, c, gy, gladj = draw(ROWS, features), draw(ROWS, context) if context else None, draw(ROWS, features), draw(ROWS)
        usual = evaluated(layer, way, x, c, (gy, gladj))
        others = torch.arange(ROWS) != ROW
        limit = 1e-4 if dtype == torch.float32 else 1e-8
        for name, place, value in cases(structure, features, context):
            point = {"x": x.clone(), "c": None if c is None else c.clone(), "gy": gy.clone(), "gladj": gladj.clone()}
            point[name].reshape(ROWS, -1)[ROW, place] = value
            cotangents = (point["gy"], point["gladj"])
            ours = evaluated(layer, way, point["x"], point["c"], cotangents)
            with without():
                theirs = evaluated(layer, way, point["x"], point["c"], cotangents)
            told = (features, context, name, place, value)
            huge = value in HUGE
            exact = not huge or (value == 1e6 and dtype == torch.float64)
            for a, b in zip(ours[0], theirs[0], strict=True):
                assert torch.equal(a.isnan(), b.isnan()), told
                for part in [slice(None)] if exact else [others]:
                    assert torch.allclose(a[part], b[part], rtol=limit, atol=limit, equal_nan=True), told
            # Other rows have the very numbers that they have without this one.
            for kind in (0, 1):
                for a, b in zip(ours[kind], usual[kind], strict=True):
                    assert torch.equal(a[others], b[others]), told
            for a, b in zip(ours[1], theirs[1], strict=True):
                assert torch.allclose(a[others], b[others], rtol=limit, atol=limit), told
            if name in ("x", "c") and math.isnan(value):
                assert ours[0][0][ROW].isnan().any() or ours[0][1][ROW].isnan(), told
            if huge:
                assert torch.isfinite(ours[0][0]).all(), told
                assert torch.isfinite(ours[0][1]).all(), told
            for a, b in zip((*ours[1], *ours[2]), (*theirs[1], *theirs[2]), strict=True) if huge and exact else ():
                assert torch.allclose(a, b, rtol=1e-6, atol=1e-6 * float(b.abs().max() + 1)), told
            # The compiled gradient of a sequence takes all steps at once, where infinity meets the masked weights of the others.
            sequential = layer.facts.depth[way == "inverse"] > 1 and math.isinf(value)
            for a, b in (([g[ROW] for g in ours[1]], [g[ROW] for g in theirs[1]]), (ours[2], theirs[2])):
                assert spoiled(a) == spoiled(b) or (sequential and spoiled(a)), told


@each_kernel
@both_ways
def test_parameters_that_are_no_numbers(kernel, way):
    """Values agree; of gradients, whether a row is spoiled, the gradient of the parameter itself aside, which is zero or NaN."""
    plan, elements, inverse = KERNELS[kernel], 3, way == "inverse"
    g = torch.Generator().manual_seed(2)
    count = sum(v.numel() for v in plan.init((elements,)).values())
    x, theta = torch.randn(ROWS, elements, generator=g).double(), torch.randn(ROWS, count, generator=g).double()
    run = {"ours": lambda x, t: elementwise(x, t, plan.code(), inverse), "theirs": lambda x, t: reference(plan)(x, t, inverse)}
    for place in range(count):
        for bad in BAD:
            spoilt = theta.clone()
            spoilt[ROW, place] = bad
            found = {}
            for who, function in run.items():
                given = x.clone().requires_grad_(), spoilt.clone().requires_grad_()
                y, ladj = function(*given)
                gx, gtheta = torch.autograd.grad((y, ladj), given, (torch.ones_like(y), torch.ones_like(ladj)))
                gtheta = torch.cat([gtheta[:, :place], gtheta[:, place + 1 :]], 1)
                found[who] = y.detach(), ladj.detach(), gx, gtheta
            for a, b in zip(found["ours"][:2], found["theirs"][:2], strict=True):
                assert torch.equal(a.isnan(), b.isnan()), (place, bad)
                assert torch.allclose(a, b, rtol=1e-8, atol=1e-8, equal_nan=True), (place, bad)
            others = torch.arange(ROWS) != ROW
            for a, b in zip(found["ours"][2:], found["theirs"][2:], strict=True):
                assert torch.allclose(a[others], b[others], rtol=1e-8, atol=1e-8)
            assert spoiled([found["ours"][3][ROW]]) == spoiled([found["theirs"][3][ROW]]), (place, bad)


@pytest.mark.parametrize("order", ["quadratic", "linear"])
@both_ways
@pytest.mark.parametrize("bins", [8, 64, 300, 1000])
def test_gradients_of_many_bins_in_float32(bins, way, order):
    """A bin is a difference of sums: in float64 both in the compiled code and in the reference, so it costs no digits."""
    plan, inverse = bij.Spline(bins, order=order), way == "inverse"
    g = torch.Generator().manual_seed(bins)
    count = sum(v.numel() for v in plan.init((2,)).values())
    x = 1.5 * torch.randn(200, 2, generator=g, dtype=torch.float64).clamp(-3, 3)
    cotangents = torch.randn(200, 2, generator=g, dtype=torch.float64), torch.randn(200, generator=g, dtype=torch.float64)
    for shape in ((200, count), (count,)):
        theta = torch.randn(*shape, generator=g, dtype=torch.float64)

        def gradients(function, dtype, theta=theta):
            given = [t.to(dtype).requires_grad_() for t in (x, theta)]
            return torch.autograd.grad(function(*given), given, [t.to(dtype) for t in cotangents])

        exact = gradients(lambda x, t: reference(plan)(x, t, inverse), torch.float64)
        for function in (lambda x, t: elementwise(x, t, plan.code(), inverse), lambda x, t: reference(plan)(x, t, inverse)):
            for got, right in zip(gradients(function, torch.float32), exact, strict=True):
                # The value itself is rounded, by up to 2^-22 of the box here, of which the mean bin is one part in `bins`. In the middle
                # each function that a gradient is a product of, some sixteen, adds a rounding.
                assert (got - right).abs().max() <= 16 * bins * 2.0**-22 * right.abs().max()
                assert ((got - right).abs() / right.abs().clamp(min=1e-6)).median() <= (bins + 16) * 2.0**-24
