"""The compiled kernels against the pure PyTorch ones in float64, and all that a caller may do with them."""

from __future__ import annotations

import ast
import copy
import fnmatch
import io
import math
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.data import DataLoader

import pushforward
import pushforward.bijectors as bij
from pushforward.kernels.kernel import evaluate, reference
from pushforward.kernels.spline import HEIGHT_BOUND, MIDDLE_BOUND, SLOPE_BOUND, WIDTH_BOUND
from pushforward.native import library
from pushforward.native.elementwise import AFFINE, elementwise
from pushforward.native.layout import MAX_BINS
from pushforward.native.library import LIBRARY, SWITCH
from pushforward.testing import randomize

pytestmark = pytest.mark.compiled

ROOT = Path(__file__).parents[1]
ORDERS = ["quadratic", "linear"]
KERNELS = {
    "affine": bij.Affine(),
    "quadratic": bij.Spline(bins=5, bound=3.0),
    "linear": bij.Spline(bins=4, bound=3.0, order="linear"),
    "network": bij.MonotonicNetwork(units=3, panels=2, bound=3.0),
    "sigmoid": bij.DeepSigmoid(units=4),
    "squares": bij.SumOfSquares(degree=2, terms=3, bound=3.0, slope=0.1, tails="gentle"),
    "gentle bernstein": bij.Bernstein(degree=5, bound=3.0, tails="gentle"),
    "identity bernstein": bij.Bernstein(degree=9, bound=3.0, tails="identity"),
}
ROUNDING = 2.0**-24
"""Half an ulp of 1 in float32."""

each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
each_order = pytest.mark.parametrize("order", ORDERS)
both_ways = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


def size_of(kernel, elements=1):
    return sum(value.numel() for value in kernel.init((elements,)).values())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(kernel, batch, elements=1, scale=1.0, seed=0, dtype=torch.float32):
    """Return points and parameters, one set for each row."""
    g = generator(seed)
    x = 1.2 * getattr(kernel, "bound", 3.0) * (2 * torch.rand(*batch, elements, generator=g, dtype=torch.float64) - 1)
    theta = scale * torch.randn(*batch, size_of(kernel, elements), generator=g, dtype=torch.float64)
    return x.to(dtype), theta.to(dtype)


def compiled(kernel, inverse):
    return lambda x, theta: elementwise(x, theta, kernel.code(), inverse)


def plain(kernel, inverse):
    run = reference(kernel)
    return lambda x, theta: run(x, theta, inverse)


def gradients(function, x, theta, gy, gladj):
    x, theta = x.detach().requires_grad_(), theta.detach().requires_grad_()
    return torch.autograd.grad(function(x, theta), (x, theta), (gy, gladj))


def same_bits(a, b):
    return torch.equal(torch.nan_to_num(a, nan=1e9), torch.nan_to_num(b, nan=1e9)) and torch.equal(a.isnan(), b.isnan())


def test_the_library_is_in_use():
    assert LIBRARY.handle is not None
    assert LIBRARY.state.startswith("compiled, ")


# Accuracy


def ulp(value):
    """Return the distance between float32 numbers of this size."""
    return 2.0 ** (torch.floor(torch.log2(value.abs().clamp(min=2.0**-126))) - 23)


def special_points(spline, theta, inverse):
    """Return for each row of parameters points inside, at knots and beside them, at edges and beyond, denormal, zero and huge."""
    bound, rows = torch.tensor(spline.bound), len(theta)
    inner, outer = torch.nextafter(bound, torch.tensor(0.0)), torch.nextafter(bound, torch.tensor(1e9))
    ends = torch.stack([bound, inner, outer, 1.5 * bound, torch.tensor(1e30)])
    fixed = torch.cat([torch.tensor([0.0, 1e-45, 1e-40, 1e-38, 1e-10]), ends])
    spread = spline.bound * (2 * torch.rand(rows, 30, generator=generator(7)) - 1)
    parts = dict(zip(spline.init((1,)), theta.double().unsqueeze(-1).split([len(v) for v in spline.init((1,)).values()], 1), strict=True))
    knots = spline._table(**{"middles": None, **parts})[:, 2 if inverse else 0, :, 0].float()
    beside = [torch.nextafter(knots, torch.full_like(knots, end)) for end in (-math.inf, math.inf)]
    return torch.cat([spread, torch.cat([fixed, -fixed]).expand(rows, -1), knots, *beside], 1)


def conditioning(spline, x, theta, inverse):
    """Return how much value and ladj change per unit of change, at worst, of all clamped logits, each relative to 1 + its size.

    A logit is a quarter of its parameter.

    The kernels take an arctangent and an exponential of each logit in float32, and hardly any rounding follows: this is what those
    two cost. At a knot, where derivatives jump, the larger side counts.
    """
    bounds = {"widths": 4 * WIDTH_BOUND, "heights": 4 * HEIGHT_BOUND, "slopes": 4 * SLOPE_BOUND, "middles": 4 * MIDDLE_BOUND}
    bound = torch.cat([torch.full((len(v),), bounds[name], dtype=torch.float64) for name, v in spline.init((1,)).items()])
    turned = math.pi * theta.double() / (2 * bound)
    size, slope = (2 * bound / math.pi * torch.atan(turned)).abs(), 1 / (1 + turned * turned)
    run = plain(spline, inverse)
    found = []
    for shift in (-4, 0, 4):
        raw = theta.double().requires_grad_()
        outputs = run(x.double() + shift * 2.0**-23 * spline.bound, raw)
        parts = [torch.autograd.grad(out.sum(), raw, retain_graph=True)[0] for out in outputs]
        found.append(torch.stack([((part / slope).abs() * (4 + size)).sum(1) for part in parts]))
    return torch.stack(found).amax(0)


@both_ways
@each_order
@pytest.mark.parametrize("bins", [2, 3, 8, 32])
def test_splines_are_as_accurate_as_float32_parameters_permit(order, bins, inverse):
    errors = {"compiled": [[], []], "plain": [[], []]}
    for bound in (0.5, 5.0, 50.0):
        for scale in (0.1, 1.0, 10.0):
            spline = bij.Spline(bins, bound, order)
            theta = scale * torch.randn(24 if bins < 32 else 10, size_of(spline), generator=generator(bins))
            x = special_points(spline, theta, inverse)
            theta, x = theta.repeat_interleave(x.shape[1], 0), x.reshape(-1, 1)
            exact, exact_ladj = plain(spline, inverse)(x.double(), theta.double())
            value, ladj = compiled(spline, inverse)(x, theta)
            given, given_ladj = plain(spline, inverse)(x, theta)
            outside = (x.abs() >= bound)[:, 0]
            assert torch.equal(value[outside], x[outside])
            assert (ladj[outside] == 0).all()
            box = ulp(exact.abs().clamp(min=bound))[:, 0]
            off, off_ladj = (value.double() - exact).abs()[:, 0], (ladj.double() - exact_ladj).abs()
            # Each clamped logit is worth two roundings, and the result one (of ladj, whose log is taken in float32, two): no more.
            of_value, of_ladj = 2 * ROUNDING * conditioning(spline, x, theta, inverse)
            assert (off <= 0.51 * ulp(exact)[:, 0] + of_value).all()
            assert (off_ladj <= 3 * ROUNDING * (1 + exact_ladj.abs()) + of_ladj).all()
            # So the value is within 4 ulps of the box and ladj within 1e-6 wherever the parameters' own rounding does not cost more ...
            assert (off <= 4 * box)[of_value <= 3 * box].all()
            if scale == 0.1:  # ... which is everywhere for parameters of a layer that has just begun to learn.
                assert (off <= 1.5 * box).all()
                assert (off_ladj <= 1e-6).all()
            for name, one, two in (("compiled", off, off_ladj), ("plain", (given - exact).abs()[:, 0], (given_ladj - exact_ladj).abs())):
                errors[name][0].append((one.double() / box)[~outside])
                errors[name][1].append(two.double()[~outside])
            fine, fine_ladj = compiled(spline, inverse)(x.double(), theta.double())
            assert ((fine - exact).abs() <= 1e-12 * max(1, bound)).all()
            # Both sides round here: a narrow bin magnifies what the reference's own knots are off.
            assert ((fine_ladj - exact_ladj).abs() <= (1e-12 if scale == 0.1 else 1e-9)).all()
    for ours, theirs in zip(errors["compiled"], errors["plain"], strict=True):
        ours, theirs = torch.cat(ours), torch.cat(theirs)
        # The reference takes its arctangents and exponentials from torch, to half an ulp; the worst are within the bound above.
        for share, times in ((0.5, 2), (0.9, 2), (0.99, 4), (0.999, 16)):
            assert ours.quantile(share) <= times * theirs.quantile(share), share
    assert torch.cat(errors["compiled"][0]).quantile(0.95) <= 4


@pytest.mark.parametrize("make", [compiled, plain], ids=["compiled", "plain"])
@each_order
def test_where_a_spline_is_flat_values_near_zero_come_back_as_they_are(order, make):
    """They round as they themselves are large, not as the box is: what is off by a rounding of 5 is off by 100 times that in x."""
    kernel, g = bij.Spline(order=order), generator(3)
    theta = 30 * torch.randn(100_000, size_of(kernel), generator=g, dtype=torch.float64)
    y = 1e-3 * torch.randn(len(theta), 1, generator=g, dtype=torch.float64)
    x, ladj = make(kernel, True)(y, theta)
    off = (make(kernel, False)(x, theta)[0] - y).abs()[ladj > math.log(100)]
    assert len(off) > 20
    assert off.max() < 3 * 2.0**-53  # a rounding of the box is 10 of these


@both_ways
@pytest.mark.parametrize("bound", [0.5, 3.0, 20.0])
def test_affine_is_accurate_to_a_few_roundings(bound, inverse):
    kernel = bij.Affine(bound)
    for scale in (0.1, 1.0, 10.0, 1e4):
        x = torch.cat([torch.randn(2000, generator=generator(1)) * 10, torch.tensor([0.0, -0.0, 1e-45, 1e-38, 1e20, -1e25])])[:, None]
        theta = scale * torch.randn(len(x), 2, generator=generator(2))
        exact, exact_ladj = plain(kernel, inverse)(x.double(), theta.double())
        value, ladj = compiled(kernel, inverse)(x, theta)
        loc = theta[:, :1].double().clamp(-1e8, 1e8)
        # exp(s) is as good as s is, so a scale of e^20 has lost 20 roundings of the value; a difference loses what its terms had.
        parts = (x.double().abs() + loc.abs()) * torch.exp(exact_ladj)[:, None] if inverse else (exact - loc).abs() + loc.abs()
        allowed = ROUNDING * (3 + 4 * exact_ladj.abs()[:, None]) * parts + 2.0**-148
        assert ((value.double() - exact).abs() <= allowed).all()
        assert ((ladj.double() - exact_ladj).abs() <= 4 * ulp(exact_ladj)).all()
        fine, fine_ladj = compiled(kernel, inverse)(x.double(), theta.double())
        assert ((fine - exact).abs() <= 1e-14 * (1 + exact_ladj.abs()[:, None]) * parts).all()
        assert ((fine_ladj - exact_ladj).abs() <= 1e-14 * (1 + exact_ladj.abs())).all()


@pytest.mark.parametrize("name", [name for name in KERNELS if name not in ("squares", "sigmoid")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_parameters_are_the_identity(name, dtype):
    kernel = KERNELS[name]
    x = torch.linspace(-4, 4, 4001, dtype=dtype)[:, None]
    theta = torch.zeros(size_of(kernel), dtype=dtype)
    eps = torch.finfo(dtype).eps
    for inverse in (False, True):
        value, ladj = compiled(kernel, inverse)(x, theta)
        # In float32 one rounding; in float64, which is all that it computes in, a few, or as many as a polynomial has terms.
        few = max(4, getattr(kernel, "degree", 0))
        assert ((value - x).abs() <= (0.5 if dtype == torch.float32 else few) * eps * kernel.bound).all()
        assert (ladj.abs() <= (1 if dtype == torch.float32 else few) * eps).all()


@both_ways
@pytest.mark.parametrize("name", ["affine", *ORDERS])
def test_gradients_are_as_accurate_as_the_references(name, inverse):
    errors = {"compiled": [], "plain": []}
    for bins in (2, 3, 8, 32) if name != "affine" else (1,):
        for scale in (0.1, 1.0, 3.0, 10.0):
            kernel = bij.Affine(3.0) if name == "affine" else bij.Spline(bins, 5.0, name)
            x, theta = draw(kernel, (600,), scale=scale, seed=bins)
            cotangents = torch.randn(600, 1, generator=generator(5)), torch.randn(600, generator=generator(6))
            fine = [t.double() for t in (x, theta, *cotangents)]
            exact = gradients(plain(kernel, inverse), *fine)
            results = {
                "compiled": gradients(compiled(kernel, inverse), x, theta, *cotangents),
                "plain": gradients(plain(kernel, inverse), x, theta, *cotangents),
                "double": gradients(compiled(kernel, inverse), *fine),
            }
            # In units of the largest gradient of the row: a sum over bins leaves no more of a small one.
            off = {key: [(a - b).abs() / (1 + b.abs().amax(1, keepdim=True)) for a, b in zip(found, exact, strict=True)]
                   for key, found in results.items()}  # fmt: skip
            for part, (ours, theirs) in enumerate(zip(off["compiled"], off["plain"], strict=True)):
                for share, times in ((0.5, 2), (0.9, 2), (0.99, 4)):
                    # The gradient of the inverse starts from its result as it was rounded, which counts where bins are narrow; the
                    # reference, which has its bins in float64, still has it in that.
                    narrow = {0.1: 1, 1.0: 2, 3.0: 5, 10.0: 60}[scale] if inverse else 1
                    most = narrow * max(times * theirs.double().quantile(share), 4 * ROUNDING)
                    assert ours.double().quantile(share) <= most, (bins, scale, part)
            assert all(error.max() <= (1e-11 if scale < 10 else 1e-9) for error in off["double"])
            for key in errors:
                errors[key].append(torch.cat([part.flatten() for part in off[key]]).double())
    ours, theirs = torch.cat(errors["compiled"]), torch.cat(errors["plain"])
    for share, times in ((0.5, 8), (0.9, 6), (0.99, 15), (0.999, 50)):
        assert ours.quantile(share) <= (times if inverse else 3) * theirs.quantile(share), share


# NaN and infinity


@both_ways
@each_kernel
def test_what_is_no_number_stays_in_its_row(kernel, inverse):
    elements = 3
    for dtype, every in ((torch.float32, 1), (torch.float64, 5)):
        count = draw(kernel, (1,), elements)[1].shape[1]
        bads = {place: (math.nan, math.inf, -math.inf) if place % 5 == 0 else (math.nan,) for place in range(0, count, every)}
        cases = [(place, bad) for place, few in bads.items() for bad in few]
        # Each in a row of its own, with a row between that nobody spoils; the first three in the value.
        spoilt = 1 + 2 * torch.arange(3 + len(cases))
        x, theta = draw(kernel, (2 * len(spoilt) + 1,), elements, seed=3, dtype=dtype)
        x = x / 2  # inside the box
        point, parameters = x.clone(), theta.clone()
        of_value = torch.tensor([math.nan, math.inf, -math.inf])
        point[spoilt[:3], 1] = of_value.to(dtype)
        for row, (place, bad) in zip(spoilt[3:], cases, strict=True):
            parameters[row, place] = bad
        cotangents = torch.ones_like(x), torch.ones_like(x[:, 0])
        usual = (*compiled(kernel, inverse)(x, theta), *gradients(compiled(kernel, inverse), x, theta, *cotangents))
        found = (*compiled(kernel, inverse)(point, parameters), *gradients(compiled(kernel, inverse), point, parameters, *cotangents))
        for before, after in zip(usual, found, strict=True):
            assert torch.equal(after[::2], before[::2])
        # What is no number is so in the reference too, and nowhere else; a value alone says so if its ladj cannot.
        for after, right in zip(found[:2], plain(kernel, inverse)(point, parameters), strict=True):
            assert torch.equal(after.isnan(), right.isnan())
            assert torch.allclose(after, right, equal_nan=True, rtol=1e-3, atol=1e-3)
        value, ladj = found[0][spoilt[:3]], found[1][spoilt[:3]]
        assert torch.equal(value[:, 1].nan_to_num(7.0, 8.0, -8.0), of_value.to(dtype).nan_to_num(7.0, 8.0, -8.0))
        assert torch.equal(value[:, [0, 2]], usual[0][spoilt[:3]][:, [0, 2]])
        # A spline passes what is outside its box, and infinity is; NaN is nowhere, and has no slope either.
        assert torch.isfinite(ladj[1:]).all()
        assert torch.isfinite(ladj[0]) if kernel.code().kind == AFFINE else ladj[0].isnan()


@both_ways
@each_order
def test_a_parameter_that_is_no_number_counts_where_it_is_used(order, inverse):
    spline = bij.Spline(4, 2.0, order)
    theta = torch.zeros(size_of(spline))
    inside, outside = torch.tensor([[-1.9], [-1.1]]), torch.tensor([[-3.0], [2.0], [1e30]])
    run = compiled(spline, inverse)
    # Widths and heights fill the box together, so each bin needs all of them; a slope or a middle is its bin's alone.
    for place in range(len(theta)):
        bad = theta.clone()
        bad[place] = math.nan
        value, ladj = run(outside, bad)
        assert torch.equal(value, outside)
        assert (ladj == 0).all()
        value, ladj = run(inside, bad)
        used = place < 8 or place in (8, 11)
        # A height that is unknown leaves the bin, and so where a value comes from, unknown; a width likewise the other way.
        assert value.isnan().all() == used
        assert ladj.isnan().all() == used
        if not used:
            assert torch.equal(value, run(inside, theta)[0])


# Shapes, strides, threads


@both_ways
@each_kernel
@pytest.mark.parametrize("batch", [(), (0,), (1,), (5,), (33,), (2, 3), (2, 1, 3, 2), (0, 3)])
def test_any_shape(kernel, batch, inverse):
    for elements in (1, 7, 31, 32, 33, 63, 64, 65, 100) if len(batch) < 2 else (1, 7, 33):
        x, theta = draw(kernel, batch, elements, dtype=torch.float64)
        gy, gladj = torch.randn(x.shape, generator=generator(1)).double(), torch.randn(batch, generator=generator(2)).double()
        shared = theta.reshape(-1, theta.shape[-1])[0] if theta.numel() else theta.new_ones(theta.shape[-1])
        for parameters in (theta, shared):
            found, wanted = (
                (*function(x, parameters), *gradients(function, x, parameters, gy, gladj))
                for function in (compiled(kernel, inverse), plain(kernel, inverse))
            )
            for ours, theirs in zip(found, wanted, strict=True):
                assert ours.shape == theirs.shape
                assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-10), elements


LAYOUTS = {
    "transposed": lambda t: t.t().contiguous().t(),
    "every other row": lambda t: t.repeat_interleave(2, 0)[::2],
    "every other column": lambda t: t.repeat_interleave(2, 1)[:, ::2],
    "part of a wider one": lambda t: torch.cat([t, t, t], 1)[:, t.shape[1] : 2 * t.shape[1]],
    "one row for all": lambda t: t[:1].expand(len(t), -1),
    "one number for all": lambda t: t[:1, :1].expand(t.shape),
    "off the start": lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].reshape(t.shape),
}


@both_ways
@each_kernel
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_stride(kernel, layout, inverse):
    run = compiled(kernel, inverse)
    for elements in (1, 3, 32, 40):
        x, theta = draw(kernel, (37,), elements, scale=2.0, seed=elements)
        gy, gladj = torch.randn(37, elements, generator=generator(1)), torch.randn(37, 1, generator=generator(2))
        for moved in range(4):
            tensors = [x, theta, gy, gladj]
            tensors[moved] = layout(tensors[moved])
            tensors[3] = tensors[3][:, 0]
            packed = [t.contiguous() for t in tensors]
            assert all(map(torch.equal, run(*tensors[:2]), run(*packed[:2])))
            assert all(map(torch.equal, gradients(run, *tensors), gradients(run, *packed)))


@both_ways
@each_kernel
def test_shared_parameters_have_the_sum_of_the_rows_gradients(kernel, inverse):
    for rows in (1, 2, 15, 16, 17, 100):
        x, theta = draw(kernel, (rows,), 5, seed=rows, dtype=torch.float64)
        cotangents = torch.randn(rows, 5, generator=generator(1)).double(), torch.randn(rows, generator=generator(2)).double()
        shared = gradients(compiled(kernel, inverse), x, theta[0], *cotangents)
        each = gradients(compiled(kernel, inverse), x, theta[:1].expand(rows, -1), *cotangents)
        assert torch.equal(shared[0], each[0])
        assert torch.allclose(shared[1], each[1].sum(0), rtol=1e-12, atol=1e-12)


def test_more_bins_than_the_library_takes_go_to_the_reference():
    assert bij.Spline(MAX_BINS).code() is not None
    assert bij.Spline(MAX_BINS + 1).code() is None
    for bins in (MAX_BINS, MAX_BINS + 1):
        layer = randomize(bij.Spline(bins).build(2), 1.0, 0).double()
        x, _ = draw(layer.kernel, (3,), 2, dtype=torch.float64)
        found = layer(x)
        wanted = plain(layer.kernel, False)(x, layer.parameters_of.flat())
        assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found, wanted, strict=True))
        assert torch.allclose(layer.inverse(found[0])[0], x, atol=1e-9)


@both_ways
@each_kernel
@pytest.mark.parametrize("elements", [1, 3, 31, 32, 33, 65])
def test_a_row_is_the_same_bits_wherever_it_stands(kernel, elements, inverse):
    run = compiled(kernel, inverse)
    x, theta = draw(kernel, (101,), elements, scale=2.0)
    cotangents = torch.randn(101, elements, generator=generator(1)), torch.randn(101, generator=generator(2))
    together = (*run(x, theta), *gradients(run, x, theta, *cotangents))
    for rows in (slice(0, 1), slice(50, 51), slice(100, 101), slice(13, 46), slice(99, 101)):
        part = x[rows], theta[rows]
        alone = (*run(*part), *gradients(run, *part, *(g[rows] for g in cotangents)))
        assert all(torch.equal(whole[rows], one) for whole, one in zip(together, alone, strict=True))


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@both_ways
@each_kernel
def test_threads_change_no_bit(kernel, inverse, set_threads):
    run = compiled(kernel, inverse)
    for elements, rows in ((1, 500), (40, 200), (700, 100)):
        x, theta = draw(kernel, (rows,), elements, scale=2.0)
        cotangents = torch.randn(rows, elements, generator=generator(1)), torch.randn(rows, generator=generator(2))
        found = []
        for threads in (1, 2, 3):
            set_threads(threads)
            of_all = gradients(run, x, theta, *cotangents)
            found.append((*run(x, theta), *of_all, *gradients(run, x, theta[0], *cotangents)))
        for more in found[1:]:
            assert all(map(torch.equal, found[0], more))


# Operators

CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")


def operands(kernel, inverse):
    x, theta = draw(kernel, (4,), 2, dtype=torch.float64)
    gy, gladj = torch.randn(4, 2, generator=generator(1)).double(), torch.randn(4, generator=generator(2)).double()
    for parameters in (theta, theta[0]):
        yield [t.clone().requires_grad_() for t in (x, parameters, gy, gladj)], (*kernel.code(), inverse)


# torch's checker records a backward of its own, in anomaly mode
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.compiler
@both_ways
@each_kernel
def test_operators_keep_torchs_rules(kernel, inverse):
    for tensors, numbers in operands(kernel, inverse):
        traced = (*CHECKS, "test_aot_dispatch_static", "test_aot_dispatch_dynamic")
        value = torch.library.opcheck(torch.ops.pushforward.elementwise.default, (*tensors[:2], *numbers), test_utils=traced)
        slope = torch.library.opcheck(torch.ops.pushforward.elementwise_backward.default, (*tensors, *numbers), test_utils=CHECKS)
        assert set(value.values()) == set(slope.values()) == {"SUCCESS"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "inverse"), [("affine", False), ("affine", True), ("quadratic", True)])
def test_second_gradients_can_be_traced(name, inverse):
    tensors, numbers = next(operands(KERNELS[name], inverse))
    operator = torch.ops.pushforward.elementwise_backward.default
    found = torch.library.opcheck(operator, (*tensors, *numbers), test_utils="test_aot_dispatch_static")
    assert found == {"test_aot_dispatch_static": "SUCCESS"}


@both_ways
@each_kernel
def test_second_derivatives(kernel, inverse):
    x, theta = draw(kernel, (3,), 1, scale=0.7, dtype=torch.float64)
    x = torch.cat([x[:2] / 2, 5 + x[2:].abs()])  # the last one outside the box
    run = compiled(kernel, inverse)
    for parameters in (theta, theta[0]):
        tensors = (x.requires_grad_(), parameters.clone().requires_grad_())
        assert torch.autograd.gradcheck(run, tensors)
        # Each second derivative by itself where all rows share their parameters; where each has its own they are as many times more, of
        # the same formulas, and a random sum of all is compared.
        assert torch.autograd.gradgradcheck(run, tensors, fast_mode=parameters is theta)


def loops(function, tensors, in_dims):
    """Return what vmap should: the function on one slice after the other."""
    size = next(t.shape[d] for t, d in zip(tensors, in_dims, strict=True) if d is not None)
    rows = [function(*(t if d is None else t.select(d, i) for t, d in zip(tensors, in_dims, strict=True))) for i in range(size)]
    return [torch.stack(parts) for parts in zip(*rows, strict=True)]


@both_ways
@each_kernel
def test_vmap(kernel, inverse):
    run, size = compiled(kernel, inverse), size_of(kernel, 2)
    x = torch.randn(4, 3, 2, generator=generator(1), dtype=torch.float64)
    theta = torch.randn(4, 3, size, generator=generator(2), dtype=torch.float64)
    cases = [
        (x, theta, (0, 0)),  # both
        (x, theta[0], (0, None)),  # points only
        (x, theta[0, 0], (0, None)),  # points, with parameters that all rows share
        (x[0], theta, (None, 0)),  # parameters only
        (x[0], theta[:, 0], (None, 0)),  # parameters that the rows of each sample share
        (x[:, 0], theta[:, 0], (0, 0)),  # samples without rows
        (x, theta.movedim(0, 2), (0, 2)),
        (x.movedim(0, 1), theta.movedim(0, 1), (1, 1)),
        (x.movedim(0, 2), theta[:, 0], (-1, 0)),
    ]

    def slopes(x, theta):
        return torch.func.grad(lambda x, theta: sum(out.sin().sum() for out in run(x, theta)), argnums=(0, 1))(x, theta)

    for x_, theta_, in_dims in cases:
        for function in (run, slopes):
            found, wanted = torch.func.vmap(function, in_dims)(x_, theta_), loops(function, (x_, theta_), in_dims)
            assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(found, wanted, strict=True))
    for function in (run, slopes):
        nested = torch.func.vmap(torch.func.vmap(function, (0, None)), (0, 0))(x, theta[:, 0])
        wanted = [loops(function, (x[i], theta[i, 0]), (0, None)) for i in range(4)]
        assert all(torch.allclose(a, torch.stack(b), atol=1e-12) for a, b in zip(nested, zip(*wanted, strict=True), strict=True))


@both_ways
@each_kernel
def test_jacobians(kernel, inverse):
    """Reverse mode goes through the compiled kernels; forward mode through the reference, and they themselves refuse it."""
    x, theta = draw(kernel, (), 2, dtype=torch.float64)
    run, known = compiled(kernel, inverse), plain(kernel, inverse)
    for which in (0, 1):
        of_run = torch.func.jacrev(run, which)(x, theta)
        of_known = torch.func.jacrev(known, which)(x, theta)
        assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(of_run, of_known, strict=True))
        twice = torch.func.jacrev(torch.func.jacrev(lambda *given: run(*given)[1], which), which)(x, theta)
        assert torch.allclose(
            twice, torch.func.jacrev(torch.func.jacrev(lambda *given: known(*given)[1], which), which)(x, theta), atol=1e-9
        )
    with pytest.raises(NotImplementedError, match="jvp"), forward_ad.dual_level():
        run(forward_ad.make_dual(x, x), theta)


@pytest.mark.parametrize("plan", [bij.Coupling(bij.Spline(4)), bij.Autoregressive(bij.Affine()), bij.Affine(), bij.Spline(order="linear")])
def test_layers_have_forward_mode(plan):
    layer = randomize(plan.build(3), 1.0, 0).double()
    x = torch.randn(3, generator=generator(1), dtype=torch.float64)
    for function in (layer.forward, layer.inverse):
        wanted = torch.func.jacrev(lambda v, f=function: f(v)[0])(x)
        assert torch.allclose(torch.func.jacfwd(lambda v, f=function: f(v)[0])(x), wanted, atol=1e-10)
        with forward_ad.dual_level():
            tangent = forward_ad.unpack_dual(function(forward_ad.make_dual(x[None], torch.ones(1, 3).double()))[0]).tangent
        assert torch.allclose(tangent[0], wanted.sum(1), atol=1e-10)
        of_ladj = torch.func.hessian(lambda v, f=function: f(v)[1])(x)
        assert torch.allclose(of_ladj, torch.func.jacrev(torch.func.jacrev(lambda v, f=function: f(v)[1]))(x), atol=1e-9)


def test_gradients_of_each_sample():
    flow = pushforward.NSF(3, 2, transforms=2)
    randomize(flow, 0.5, 0).double()
    x, c = torch.randn(5, 3, generator=generator(1)).double(), torch.randn(5, 2, generator=generator(2)).double()
    parameters = dict(flow.named_parameters())

    def loss(parameters, x, c):
        return torch.func.functional_call(_Scored(flow), {f"flow.{k}": v for k, v in parameters.items()}, (x, c))

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, x, c)
    for i in range(5):
        own = torch.autograd.grad(flow.log_prob(x[i], c[i]), list(parameters.values()))
        assert all(torch.allclose(each[name][i], g, atol=1e-10) for name, g in zip(parameters, own, strict=True))


class _Scored(torch.nn.Module):
    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, x, c):
        return self.flow.log_prob(x, c)


@pytest.mark.compiler
@both_ways
@each_kernel
def test_the_compiler_takes_it_whole(kernel, inverse):
    torch.compiler.reset()
    run = compiled(kernel, inverse)
    whole = torch.compile(run, fullgraph=True, backend="aot_eager")
    x, theta = draw(kernel, (6,), 3)
    cotangents = torch.randn(6, 3, generator=generator(1)), torch.randn(6, generator=generator(2))
    for parameters in (theta, theta[0]):
        assert all(map(torch.equal, whole(x, parameters), run(x, parameters)))
        assert all(map(torch.equal, gradients(whole, x, parameters, *cotangents), gradients(run, x, parameters, *cotangents)))


# Memory


def kept(layer, x, context=None):
    """Return how many numbers autograd keeps for a pass beside the parameters of the layer, each storage once."""
    seen = {}
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x, context)
    return sum(size for place, size in seen.items() if place not in own)


@pytest.mark.parametrize("way", ["compiled", "reference"])
@each_order
def test_what_is_kept_for_the_gradient_does_not_grow_with_bins(order, way, monkeypatch):
    if way == "reference":
        monkeypatch.setattr(library, "LIBRARY", library.Library(None, "off", "torch's"))
    rows, elements = 50, 4
    x = torch.randn(rows, elements, generator=generator(1)).requires_grad_()
    c = torch.randn(rows, 3, generator=generator(2))
    beside = {}
    for bins in (4, 64):
        spline = bij.Spline(bins, order=order)
        size = size_of(spline, elements)
        free, given = spline.build(elements), bij.Elementwise(spline, net=bij.MLP((4,))).build(elements, 3)
        # Beside the parameters themselves, nothing has an axis of bins.
        beside[bins] = kept(free, x), kept(given, x, c) - rows * size
    assert beside[4] == beside[64]
    # At most what comes in and what goes out.
    assert beside[4][0] <= 2 * x.numel() + rows


# Switch, fallback, building

RUN = """
import sys, torch, pushforward
import pushforward.bijectors as bij
from pushforward.testing import randomize
pushforward.show_config()
torch.manual_seed(1)
flow = randomize(pushforward.NSF(3, transforms=2), 0.5, 0)
iaf = randomize(bij.InverseAutoregressive(bij.Affine()).build(3), 0.5, 0)
x = torch.linspace(-3, 3, 60).reshape(20, 3)
scores = flow.log_prob(x)
scores.sum().backward()
gradient = torch.cat([p.grad.flatten() for p in flow.parameters() if p.grad is not None])
out = [scores, gradient, *flow.transform.inverse(x), *flow.transform(x), *iaf.inverse(x)]
torch.save([t.detach() for t in out], sys.argv[1])
"""


THERE = [name for name in library.SETS if LIBRARY.handle is not None and LIBRARY.handle.pushforward_choose(name.encode())]
if LIBRARY.handle is not None:
    LIBRARY.handle.pushforward_choose(os.environ[SWITCH].encode() if os.environ.get(SWITCH) in THERE else None)


def started(value, *command):
    """Return how Python ended that was started with the switch at this value."""
    environment = {**os.environ, SWITCH: value}
    return subprocess.run([sys.executable, "-W", "error", "-c", *command], env=environment, capture_output=True, text=True, check=False)


# Torch, which knows nothing of the switch, is imported once, and then forked for each value.
EACH = """
import os, sys, torch
switch, program, *rest = sys.argv[1:]
for value, file in zip(rest[::2], rest[1::2]):
    child = os.fork()
    if not child:
        os.environ[switch], sys.argv[1:] = value, [file]
        exec(program)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_each_choice_says_so_and_computes_the_same(tmp_path, monkeypatch):
    files = {value: tmp_path / f"of-{value}.pt" for value in ("0", "1", *THERE)}
    run = started("1", EACH, SWITCH, RUN, *(word for pair in files.items() for word in map(str, pair)))
    assert run.returncode == 0, run.stderr
    said = [line.split(maxsplit=1)[1] for line in run.stdout.splitlines() if line.startswith("kernels")]
    lines = dict(zip(files, said, strict=True))
    results = {value: torch.load(file, weights_only=True) for value, file in files.items()}
    assert lines["0"] == f"off, since {SWITCH} is 0"
    assert lines["1"] == LIBRARY.state.split(", since")[0] or os.environ.get(SWITCH)
    for value in THERE:
        assert re.fullmatch(rf"compiled, (NEON|{value}), since {SWITCH} is {value}", lines[value], re.IGNORECASE)
        for off, on in zip(results["0"], results[value], strict=True):
            assert off.shape == on.shape
            assert (off - on).abs().max() <= 1e-5 * (1 + on.abs().max())
    # The best is taken where none is asked for, and each is the code that it says: the same bits as when it is.
    assert lines["1"] == lines[THERE[-1]].split(", since")[0]
    for none in (None, ""):
        monkeypatch.delenv(SWITCH) if none is None and SWITCH in os.environ else monkeypatch.setenv(SWITCH, "")
        assert library.load(Path(library.__file__).parent).state == lines["1"]
    monkeypatch.undo()
    library.load(Path(library.__file__).parent)  # the same library once more: what it is asked for last is what it takes
    assert all(map(torch.equal, results["1"], results[THERE[-1]]))
    if len(THERE) > 1:
        assert not all(map(torch.equal, results[THERE[0]], results[THERE[-1]]))


@pytest.mark.parametrize("value", ["2", "off", "AVX2", "avx512", "true", " 1"])
def test_a_switch_that_there_is_none_of_is_an_error(value, monkeypatch):
    says = f"{SWITCH}: expected 0 (off), 1 (the best instruction set), baseline or avx2, got {value!r}"
    monkeypatch.setenv(SWITCH, value)
    with pytest.raises(ValueError, match=re.escape(says) + "$"):
        library.load(Path(library.__file__).parent)
    if value == "2":  # and so ends the import
        run = started(value, "import pushforward")
        assert run.returncode == 1
        assert run.stderr.strip().splitlines()[-1] == f"ValueError: {says}"


def test_a_set_that_the_processor_lacks_or_that_is_not_built_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv(SWITCH, "avx2")
    with pytest.raises(ValueError, match=f"{SWITCH} is avx2, but the compiled kernels are not built"):
        library.load(tmp_path)

    class Function:
        def __call__(self, name=None):
            return b"baseline" if name in (None, b"baseline") else None

    class Layout:
        def __call__(self):
            return library.SIGNATURE.encode()

    class Old:
        """A library on a processor that has the baseline alone."""

        def __getattr__(self, name):
            self.__dict__[name] = Layout() if name == "pushforward_layout" else Function()
            return self.__dict__[name]

    (tmp_path / "_kernels.so").touch()
    monkeypatch.setattr(library.ctypes, "CDLL", lambda _: Old())
    with pytest.raises(ValueError, match=rf"{SWITCH}: this processor has no avx2; expected 0 \(off\), 1 .* or baseline"):
        library.load(tmp_path)
    monkeypatch.setenv(SWITCH, "baseline")
    monkeypatch.setattr(library, "_openmp", lambda: None)
    assert library.load(tmp_path).state.endswith(f", since {SWITCH} is baseline")


def test_without_a_library_it_says_why(tmp_path, monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)
    built = next(Path(library.__file__).parent.glob("_kernels*"))
    absent = library.load(tmp_path)
    assert absent.handle is None
    assert absent.state.startswith("not built: ")
    (tmp_path / built.name).write_bytes(b"no library at all")
    broken = library.load(tmp_path)
    assert broken.handle is None
    assert broken.state.startswith("not loaded: ")
    assert built.name in broken.state
    (tmp_path / built.name).write_bytes(built.read_bytes())
    assert library.load(tmp_path).handle is not None
    monkeypatch.setenv(SWITCH, "0")
    assert library.load(tmp_path).state == f"off, since {SWITCH} is 0"


def test_without_a_library_the_reference_takes_over(monkeypatch):
    kernel = KERNELS["quadratic"]
    x, theta = draw(kernel, (5,), 2, dtype=torch.float64)
    spline = kernel.build(2).double()

    def run():
        return evaluate(kernel, x, theta, spline.parameters_of.named, False)

    with_library = run()
    monkeypatch.setattr(library, "LIBRARY", library.Library(None, "not built", "torch's"))
    monkeypatch.setattr(library, "call", lambda *_: pytest.fail("called a library that is not there"))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(run(), with_library, strict=True))


def test_the_build_is_optional_and_has_all_its_sources():
    tree = ast.parse((ROOT / "setup.py").read_text())
    extension = next(node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Extension")
    arguments = {keyword.arg: keyword.value for keyword in extension.keywords}
    assert ast.literal_eval(arguments["optional"]) is True
    found, queue = set(), [ROOT / source for source in ast.literal_eval(arguments["sources"])]
    while queue:
        file = queue.pop()
        if file not in found:
            found.add(file)
            queue += [file.parent / name for name in re.findall(r'^\s*#include "([^"]+)"', file.read_text(), re.MULTILINE)]
    folder = ROOT / "pushforward" / "native" / "src"
    assert found == {file for file in folder.iterdir() if file.is_file()}
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines()]
    patterns = next(words[2:] for words in lines if words[:2] == ["recursive-include", "pushforward/native/src"])
    assert all(any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns) for file in found)


# Copies and processes


def test_copies_agree():
    for kind in (pushforward.NSF, pushforward.MAF):
        flow = randomize(kind(3, 2, transforms=2), 0.5, 0)
        x, c = torch.randn(7, 3, generator=generator(1)), torch.randn(7, 2, generator=generator(2))
        saved = io.BytesIO()
        torch.save(flow, saved)
        saved.seek(0)
        for other in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), torch.load(saved, weights_only=False)):
            assert torch.equal(other.log_prob(x, c), flow.log_prob(x, c))
            assert all(map(torch.equal, other.transform(x, c), flow.transform(x, c)))
            assert all(map(torch.equal, other.transform.inverse(x, c), flow.transform.inverse(x, c)))


class _Scores(torch.utils.data.Dataset):
    def __init__(self, flow, x):
        self.flow, self.x = flow, x

    def __len__(self):
        return 3

    def __getitem__(self, _):
        return self.flow.log_prob(self.x).detach()


# newer Pythons warn of any fork in a process that has threads
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_may_score(set_threads):
    flow = randomize(pushforward.NSF(3, transforms=2), 0.5, 0)
    x = torch.randn(2000, 3, generator=generator(1))
    set_threads(2)  # so that the parent has threads, which a fork does not inherit
    wanted = flow.log_prob(x).detach()
    found = list(DataLoader(_Scores(flow, x), num_workers=1, batch_size=None, multiprocessing_context="fork", timeout=60))
    assert len(found) == 3
    assert all(torch.equal(scores, wanted) for scores in found)


@pytest.mark.parametrize("flow", [pushforward.NSF(2), pushforward.MAF(2), pushforward.IAF(2)], ids=["NSF", "MAF", "IAF"])
def test_torch_jit_traces_what_is_computed(flow):
    flow = copy.deepcopy(flow).requires_grad_(False)  # torch.jit takes parameters of a function as constants
    first, later = torch.randn(2, 50, 2, generator=generator(0)).unbind()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes are checked in Python, of which torch.jit warns
        traced = torch.jit.trace(lambda rows: flow.log_prob(rows), first, check_trace=False)
        assert torch.allclose(traced(later), flow.log_prob(later), atol=1e-5)
