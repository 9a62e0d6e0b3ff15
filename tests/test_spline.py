"""The spline against the papers' formulas, and where it must be exact: identity, tails, knots, round trip, gradients."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.bijectors import Elementwise, Spline
from pushforward.kernels.spline import HEIGHT_BOUND, MIDDLE_BOUND, SLOPE_BOUND, WIDTH_BOUND

ORDERS = ["quadratic", "linear"]


def draw(order, elements, seed, scale=1.0, bins=8, bound=5.0, dtype=torch.float32):
    """Return a spline and parameters of a given size for it, ``(rows, elements)`` each."""
    spline = Spline(bins=bins, bound=bound, order=order)
    generator = torch.Generator().manual_seed(seed)
    parameters = {
        name: (scale * torch.randn(value.shape, generator=generator, dtype=torch.float64)).to(dtype)
        for name, value in spline.init((elements,)).items()
    }
    return spline, parameters


def clamp(x, bound):
    return 2 * bound / math.pi * math.atan(math.pi * x / (2 * bound))


def softmax(logits):
    shares = [math.exp(v - max(logits)) for v in logits]
    return [v / sum(shares) for v in shares]


def reference(x, spline, widths, heights, slopes, middles=None):
    """Return value and slope at one number in float64, written out from the papers' formulas for one element's parameters."""
    bound, bins = spline.bound, spline.bins
    if abs(x) >= bound:
        return x, 1.0
    w = [2 * bound * v for v in softmax([clamp(v / 4, WIDTH_BOUND) for v in widths])]
    h = [2 * bound * v for v in softmax([clamp(v / 4, HEIGHT_BOUND) for v in heights])]
    d = [1.0, *(math.exp(clamp(v / 4, SLOPE_BOUND)) for v in slopes), 1.0]
    xs = [-bound + sum(w[:k]) for k in range(bins + 1)]
    ys = [-bound + sum(h[:k]) for k in range(bins + 1)]
    k = max(k for k in range(bins) if xs[k] <= x)
    if middles is None:
        # Durkan et al. (2019), equations 4 and 5.
        s, xi = h[k] / w[k], (x - xs[k]) / w[k]
        denominator = s + (d[k + 1] + d[k] - 2 * s) * xi * (1 - xi)
        value = ys[k] + h[k] * (s * xi**2 + d[k] * xi * (1 - xi)) / denominator
        slope = s**2 * (d[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + d[k] * (1 - xi) ** 2) / denominator**2
        return value, slope
    # Dolatabadi et al. (2020), algorithm 1: weights at the knots and at a point between them.
    lam = 0.5 + clamp(middles[k] / 4, MIDDLE_BOUND)
    wa = 1.0
    wb = math.sqrt(d[k] / d[k + 1]) * wa
    wc = (lam * wa * d[k] + (1 - lam) * wb * d[k + 1]) * w[k] / h[k]
    ya, yb = ys[k], ys[k] + h[k]
    yc = ((1 - lam) * wa * ya + lam * wb * yb) / ((1 - lam) * wa + lam * wb)
    phi = (x - xs[k]) / w[k]
    if phi <= lam:
        bottom = wa * (lam - phi) + wc * phi
        return (wa * ya * (lam - phi) + wc * yc * phi) / bottom, lam * wa * wc * (yc - ya) / bottom**2 / w[k]
    bottom = wc * (1 - phi) + wb * (phi - lam)
    return (wc * yc * (1 - phi) + wb * yb * (phi - lam)) / bottom, (1 - lam) * wb * wc * (yb - yc) / bottom**2 / w[k]


@pytest.mark.parametrize("scale", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("bins", [2, 8])
@pytest.mark.parametrize("order", ORDERS)
def test_against_the_papers(order, bins, scale):
    spline, parameters = draw(order, 1, seed=bins, scale=scale, bins=bins, bound=3.0, dtype=torch.float64)
    one = {name: value[:, 0].tolist() for name, value in parameters.items()}
    x = torch.linspace(-3.5, 3.5, 701, dtype=torch.float64)[:, None]
    value, ladj = spline.forward(x, **parameters)
    expected = torch.tensor([reference(v, spline, **one) for v in x[:, 0].tolist()], dtype=torch.float64)
    assert torch.allclose(value[:, 0], expected[:, 0], rtol=0, atol=1e-11)
    assert torch.allclose(ladj[:, 0], expected[:, 1].log(), rtol=0, atol=1e-9)
    back, minus = spline.inverse(expected[:, :1], **parameters)
    # Where the map is flat, the rounding of its value is as many times larger on the way back.
    assert ((back - x).abs() * expected[:, 1:].clamp(max=1)).max() < 1e-12
    assert torch.allclose(minus[:, 0], -expected[:, 1].log(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("elements", [2, 5])
@pytest.mark.parametrize("order", ORDERS)
def test_round_trip_in_float32(order, elements):
    errors = []
    for seed in range(20):
        spline, parameters = draw(order, elements, seed, scale=3.0)
        x = torch.randn(1000, elements, generator=torch.Generator().manual_seed(1000 + seed))
        y = spline.forward(x, **parameters)[0]
        errors.append(float((spline.inverse(y, **parameters)[0] - x).abs().max()))
    assert statistics.median(errors) <= 1e-5
    assert max(errors) <= 5e-5


@pytest.mark.parametrize("order", ORDERS)
def test_starts_as_the_identity(order):
    x = torch.cat([torch.linspace(-6, 6, 2001), torch.tensor([0.0, 1e-40, -1e-30, 5.0, -5.0, 1e30])])[:, None]
    module = Spline(order=order).build(1)
    for function in (module.forward, module.inverse):
        value, ladj = function(x)
        # One rounding of a number of the box's size.
        assert torch.allclose(value, x, rtol=2e-7, atol=5 * 2**-23)
        assert ladj.abs().max() < 1e-6
    outside = x[x.abs() >= 5]
    assert torch.equal(module(outside[:, None])[0], outside[:, None])


@pytest.mark.parametrize("bound", [5.0, 0.3, 70.0])
@pytest.mark.parametrize("order", ORDERS)
def test_tails_are_exact(order, bound):
    spline, parameters = draw(order, 3, seed=1, scale=3.0, bound=bound)
    edge = torch.tensor(bound)
    beyond = torch.stack([edge, torch.nextafter(edge, torch.tensor(math.inf)), 1.5 * edge, torch.tensor(1e10), torch.tensor(3e38)])
    x = torch.cat([beyond, -beyond])[:, None].expand(-1, 3).clone().requires_grad_()
    for function in (spline.forward, spline.inverse):
        value, ladj = function(x, **parameters)
        assert torch.equal(value, x)
        assert torch.equal(ladj, torch.zeros_like(ladj))
        assert torch.equal(torch.autograd.grad(value.sum(), x)[0], torch.ones_like(x))


@pytest.mark.parametrize("order", ORDERS)
def test_value_and_slope_are_continuous_and_monotone(order):
    for seed in range(10):
        spline, parameters = draw(order, 1, seed, scale=3.0, dtype=torch.float64)
        widths = {name: value[:, 0].tolist() for name, value in parameters.items()}["widths"]
        knots = -5 + 10 * np.cumsum([0, *softmax([clamp(v / 4, WIDTH_BOUND) for v in widths])])
        near = torch.tensor(np.stack([knots - 1e-9, knots + 1e-9]))
        for function, points in (
            (spline.forward, near),
            (spline.inverse, spline.forward(near.reshape(-1, 1), **parameters)[0].reshape(2, -1)),
        ):
            value, ladj = function(points.reshape(-1, 1), **parameters)
            value, ladj = value.reshape(2, -1), ladj.reshape(2, -1)
            assert (value[1] - value[0]).abs().max() < 1e-7
            assert (ladj[1] - ladj[0]).abs().max() < 1e-6
        x = torch.linspace(-5.5, 5.5, 20_001, dtype=torch.float64)[:, None]
        for function in (spline.forward, spline.inverse):
            value, ladj = function(x, **parameters)
            assert (value.diff(dim=0) > 0).all()
            assert ((value.abs() < 5) == (x.abs() < 5)).all()
            assert torch.isfinite(ladj).all()


@pytest.mark.parametrize("order", ORDERS)
def test_monotone_in_float32(order):
    for seed in range(10):
        spline, parameters = draw(order, 1, seed, scale=10.0)
        x = torch.linspace(-5.5, 5.5, 20_001)[:, None]
        for function in (spline.forward, spline.inverse):
            assert (function(x, **parameters)[0].diff(dim=0) >= -1e-6).all()


FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
USUAL = st.floats(-40, 40, width=32)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), order=st.sampled_from(ORDERS), bins=st.integers(2, 6), bound=st.sampled_from([5.0, 1.0, 30.0]))
def test_no_gradient_is_ever_nan(data, order, bins, bound):
    spline = Spline(bins=bins, bound=bound, order=order)
    parameters = {
        name: torch.tensor(data.draw(st.lists(st.one_of(USUAL, FLOATS), min_size=len(value), max_size=len(value)))).reshape(-1, 1)
        for name, value in spline.init((1,)).items()
    }
    table = spline._table(**parameters, **({} if order == "linear" else {"middles": None}))
    own = data.draw(st.lists(st.one_of(FLOATS, st.floats(-bound, bound, width=32)), min_size=1, max_size=5))
    fixed = [0.0, 1e20, -1e20, 1e38, 3.4028234e38, 1e-45, -1e-45, 1e-38, bound, -bound]
    for row, function in ((0, spline.forward), (2, spline.inverse)):
        knots = table[row, :, 0]
        beside = [torch.nextafter(knots, torch.full_like(knots, end)) for end in (-math.inf, math.inf)]
        points = torch.cat([torch.tensor(own + fixed), knots, *beside])[:, None].requires_grad_()
        tensors = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        value, ladj = function(points, **tensors)
        assert torch.isfinite(value).all()
        assert torch.isfinite(ladj).all()
        for out in (value.sin().sum(), ladj.sum()):
            for gradient in torch.autograd.grad(out, [points, *tensors.values()], retain_graph=True, allow_unused=True):
                assert gradient is None or torch.isfinite(gradient).all()


@settings(max_examples=100, deadline=None)
@given(x=FLOATS, seed=st.integers(0, 1000), order=st.sampled_from(ORDERS), scale=st.sampled_from([0.0, 1.0, 10.0]))
def test_both_directions_agree_anywhere(x, seed, order, scale):
    spline, parameters = draw(order, 1, seed, scale)
    point = torch.tensor([[x]])
    value, ladj = spline.forward(point, **parameters)
    back, minus = spline.inverse(value, **parameters)
    # A slope as small as exp(-3) gives back only so many digits.
    assert float((back - point).abs()) <= 2e-5 * math.exp(max(0.0, -float(ladj)))
    assert float((ladj + minus).abs()) <= 1e-3
    assert math.isfinite(float(ladj))


@pytest.mark.parametrize(("order", "per_element"), [("quadratic", 3 * 8 - 1), ("linear", 4 * 8 - 1)])
def test_parameter_counts(order, per_element):
    assert sum(p.numel() for p in Spline(order=order).build((2, 3)).parameters()) == 6 * per_element
    net = Elementwise(Spline(order=order), net=torch.nn.Linear(4, 6 * per_element)).build((2, 3), 4)
    assert sum(p.numel() for p in net.parameters()) == (4 + 1 + 1) * 6 * per_element
