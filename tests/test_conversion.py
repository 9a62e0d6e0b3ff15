"""The maps and networks that take other libraries' parameters, each against its formula. The libraries themselves: tests/interop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pushforward.contrib.conversion.kernels import RawAffine, RawLinear, RawSpline
from pushforward.contrib.conversion.weights import Outputs, Weights


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softclip(a, limit):
    return a / (1 + a.abs() / limit)


SCALES = {
    "exp": (RawAffine(), torch.exp),
    "exp, clipped": (RawAffine(clip=(-0.5, 0.4)), lambda a: torch.exp(a.clamp(-0.5, 0.4))),
    "softclip": (RawAffine("softclip", 0.01), lambda a: torch.exp(softclip(a, -math.log(0.01)))),
    "softplus": (RawAffine("softplus", 0.1), lambda a: F.softplus(a) + 0.1),
    "sigmoid": (RawAffine("sigmoid", 0.1), lambda a: torch.sigmoid(a) + 0.1),
    "inverse sigmoid": (RawAffine("inverse sigmoid"), lambda a: 1 / torch.sigmoid(a)),
}


@pytest.mark.parametrize("convex", [False, True])
@pytest.mark.parametrize("name", SCALES)
def test_an_affine_map_has_the_scale_of_another_library(name, convex):
    plan, scale_of = SCALES[name]
    plan = plan.replace(convex=convex)
    x, loc, raw = drawn(3, 50)
    scale = scale_of(raw)
    y = scale * x + (1 - scale) * loc if convex else scale * x + loc
    torch.testing.assert_close(plan.forward(x, loc, raw), (y, scale.log()))
    torch.testing.assert_close(plan.inverse(y, loc, raw), (x, -scale.log()))


@pytest.mark.parametrize("order", ["quadratic", "linear"])
@pytest.mark.parametrize("form", ["softplus", "softclip"])
def test_a_spline_has_the_knots_of_another_library(form, order):
    plan = RawSpline(5, 3.0, order, form, 0.02, 0.03, 0.04, end_slope=0.7)
    rows = {"widths": drawn(5, 1), "heights": drawn(5, 1, seed=1), "slopes": drawn(4, 1, seed=2)}
    if order == "linear":
        rows["middles"] = drawn(5, 1, seed=3)
    if form == "softplus":
        shares = (least + (1 - 5 * least) * rows[name].softmax(0) for name, least in (("widths", 0.02), ("heights", 0.03)))
        slopes = 0.04 + F.softplus(rows["slopes"])
    else:
        limit = -math.log(0.04)
        shares = (softclip(rows[name], limit / 2).softmax(0) for name in ("widths", "heights"))
        slopes = torch.exp(softclip(rows["slopes"], limit))
    x, y = (6 * share.cumsum(0)[:-1] - 3 for share in shares)
    torch.testing.assert_close(plan.forward(x, **rows), (y, slopes.log()))
    torch.testing.assert_close(plan.inverse(y, **rows), (x, -slopes.log()))
    inside = torch.tensor([[-3 + 1e-9], [3 - 1e-9]], dtype=torch.float64)
    torch.testing.assert_close(plan.forward(inside, **rows)[1], torch.full_like(inside, math.log(0.7)), rtol=1e-6, atol=0)


def test_a_linear_map_is_its_matrix():
    matrix, loc, x = drawn(3, 3), drawn(3, seed=1), drawn(20, 3, seed=2)
    y, ladj = x @ matrix.T + loc, torch.linalg.det(matrix).abs().log()
    torch.testing.assert_close(RawLinear().forward(x, matrix, loc), (y, ladj))
    torch.testing.assert_close(RawLinear().inverse(y, matrix, loc), (x, -ladj))


@pytest.mark.parametrize("by_element", [True, False])
def test_outputs_are_taken_by_element_or_by_parameter(by_element):
    """Ours come parameter by parameter, each of all elements; some of theirs, multiplied and moved."""
    linear = nn.Linear(4, 15).double()
    h = drawn(6, 4)
    theirs = linear(h).unflatten(-1, (5, 3) if by_element else (3, 5))
    first, second, third = theirs.unbind(-1 if by_element else -2)
    found = Outputs(5, (2, 0, 1), by_element, (2.0, 3.0, 1.0), (1.0, -1.0, 0.0)).of(Weights.read(linear))
    torch.testing.assert_close(h @ found.weight.T + found.bias, torch.cat([2 * third + 1, 3 * first - 1, second], -1))
