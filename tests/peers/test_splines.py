"""Piecewise splines against nflows, the spline on the circle against Zuko and normflows; and where these are wrong."""

from __future__ import annotations

import math

import pytest
import torch
from nflows.transforms.splines import cubic_spline, quadratic_spline
from nflows.transforms.splines.cubic import unconstrained_cubic_spline
from nflows.transforms.splines.linear import unconstrained_linear_spline
from nflows.transforms.splines.quadratic import unconstrained_quadratic_spline
from normflows.utils.splines import unconstrained_rational_quadratic_spline as circular_spline
from zuko.flows import NCSF
from zuko.flows.spline import CircularRQSTransform

from pushforward.flow.flow import Flow
from pushforward.kernels.circular import CircularSpline, wrap
from pushforward.kernels.piecewise import END_BOUND, CubicSpline, LinearSpline, QuadraticSpline
from pushforward.kernels.spline import HEIGHT_BOUND, SLOPE_BOUND, WIDTH_BOUND
from pushforward.layers.autoregressive import Autoregressive
from pushforward.nets.mlp import MLP
from pushforward.nets.periodic import Periodic
from pushforward.testing.case import randomize

BINS, BOUND, LEAST = 6, 3.0, 1e-3
PI = math.pi


def draw(*shape, seed=0, scale=0.4):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def points(bound, count=400):
    return torch.linspace(-bound, bound, count + 2, dtype=torch.float64)[1:-1]


def before_clamp(value, bound):
    """Return what `soft_clamp` maps to a value."""
    assert value.abs().max() < bound
    return 2 * bound / PI * torch.tan(PI * value / (2 * bound))


def middle(logits):
    """Return logits of the same softmax, as near to zero as can be."""
    return logits - (logits.max() + logits.min()) / 2


def shares(logits):
    """Return the bins that a peer makes of logits: none below a least one."""
    return LEAST + (1 - LEAST * len(logits)) * torch.softmax(logits, -1)


def compare(ours, parameters, theirs, x, inverse=False):
    """Hold value, log-determinant and the gradient of both to the point against a peer's."""
    found, wanted = [], []
    for function, out in ((lambda v: (ours.inverse if inverse else ours.forward)(v, **parameters), found), (theirs, wanted)):
        point = x.clone()[:, None].requires_grad_() if out is found else x.clone().requires_grad_()
        y, ladj = function(point)
        gradient = torch.autograd.grad((torch.sin(y) * 0.7 + ladj).sum(), point)[0]
        out += [y.flatten(), ladj.flatten(), gradient.flatten()]
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() < 1e-6 * (1 + b.abs().max())


@pytest.fixture
def double():
    # The bins that nflows' linear spline makes when it goes backwards have torch's default precision.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def linear(seed):
    """Return logits of nflows and our parameters of the same linear spline."""
    logits = draw(BINS, seed=seed)
    return logits, {"heights": 4 * before_clamp(middle(logits), HEIGHT_BOUND)[:, None]}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_linear(seed, inverse):
    logits, parameters = linear(seed)
    x = points(1.3 * BOUND)
    if inverse:  # all but the last bin, of which the next test is
        last = BOUND - 2 * BOUND * float(torch.softmax(logits, -1)[-1])
        x = x[(x < last) | (x > BOUND)]
    compare(
        LinearSpline(BINS, BOUND),
        parameters,
        lambda x: unconstrained_linear_spline(x, logits.expand(len(x), -1), inverse=inverse, tail_bound=BOUND),
        x,
        inverse,
    )


@pytest.mark.usefixtures("double")
def test_nflows_linear_is_off_in_its_last_bin():
    # Its search moves the last knot by 1e-6, in place, and the slope of the bin is then taken from there.
    logits, parameters = linear(0)
    x = torch.tensor([0.5 * BOUND * (1 + (BINS - 2) / BINS)], dtype=torch.float64)  # in the middle of the last bin
    given, plan = logits[None], LinearSpline(BINS, BOUND)
    y = unconstrained_linear_spline(x, given, tail_bound=BOUND)[0]
    back = unconstrained_linear_spline(y, given, inverse=True, tail_bound=BOUND)[0]
    assert 1e-7 < float((back - x).abs()) < 1e-5
    ours = plan.forward(x[:, None], **parameters)[0]
    assert (ours[:, 0] - y).abs() < 1e-12
    assert (plan.inverse(ours, **parameters)[0][:, 0] - x).abs() < 1e-14


def slopes_of_quadratic(shares_of_widths, seed):
    """Return inner slopes over those of the ends, which are 1 after nflows' normalisation, and nflows' logits for all of them."""
    inner = torch.exp(draw(BINS - 1, seed=seed))
    weight = (shares_of_widths[1:] + shares_of_widths[:-1]) / 2
    d = inner / ((weight * inner).sum() / weight.sum())
    all_of_them = torch.cat([d.new_ones(1), d, d.new_ones(1)])
    # nflows: heights = least + (1 - least) v / area, v = softplus(logit) + 1e-3, of which the scale is free.
    v = 3 * (all_of_them - LEAST) / (1 - LEAST)
    return torch.log(inner), torch.log(torch.expm1(v - 1e-3))


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_quadratic(seed, inverse):
    logits = draw(BINS, seed=seed)
    widths = shares(logits)
    inner, heights = slopes_of_quadratic(widths, seed + 10)
    parameters = {
        "widths": 4 * before_clamp(middle(torch.log(widths)), WIDTH_BOUND)[:, None],
        "slopes": 4 * before_clamp(inner, SLOPE_BOUND)[:, None],
    }
    box = {"left": -BOUND, "right": BOUND, "bottom": -BOUND, "top": BOUND}
    compare(
        QuadraticSpline(BINS, BOUND),
        parameters,
        lambda x: quadratic_spline(x, logits.expand(len(x), -1), heights.expand(len(x), -1), inverse=inverse, **box),
        points(BOUND),
        inverse,
    )


def test_nflows_quadratic_is_not_smooth_where_it_means_to_be():
    # With linear tails it sets both ends so that their slopes become exactly 1, by its comment; they do not, since the two outer bins
    # are counted at half of their share. Ours are.
    widths, heights = draw(1, BINS, scale=1.0), draw(1, BINS - 1, seed=1, scale=1.0)
    inside = torch.tensor([-BOUND + 1e-9], dtype=torch.float64)
    theirs = unconstrained_quadratic_spline(inside, widths, heights, tail_bound=BOUND)[1]
    ours = QuadraticSpline(BINS, BOUND).forward(inside[:, None], widths=widths.T, slopes=heights.T)[1]
    assert theirs.abs() > 1e-2
    assert ours.abs() < 1e-7


def boxes(w, h):
    """Return our parameters of bins from logarithms of their widths and of their heights."""
    return {"widths": 4 * before_clamp(middle(w), WIDTH_BOUND)[:, None], "heights": 4 * before_clamp(middle(h), HEIGHT_BOUND)[:, None]}


def cubic_parameters(seed):
    """Return logits of nflows and our parameters of the same cubic spline."""
    logits_w, logits_h, ends = draw(BINS, seed=seed), draw(BINS, seed=seed + 1), draw(2, seed=seed + 2) - math.log(2)
    w, h = torch.log(shares(logits_w)), torch.log(shares(logits_h))
    parameters = {
        **boxes(w, h),
        "ends": before_clamp(ends + math.log(2), END_BOUND)[:, None],
    }
    return (logits_w, logits_h, ends[:1], ends[1:]), parameters


@pytest.mark.parametrize("seed", range(5))
def test_cubic(seed):
    logits, parameters = cubic_parameters(seed)
    compare(
        CubicSpline(BINS, BOUND),
        parameters,
        lambda x: unconstrained_cubic_spline(x, *(p.expand(len(x), -1) for p in logits), tail_bound=BOUND),
        points(1.3 * BOUND),
    )


@pytest.mark.parametrize("seed", range(5))
def test_cubic_inverse_where_nflows_has_one(seed):
    logits, parameters = cubic_parameters(seed)
    y = points(BOUND)
    given = [p.expand(len(y), -1) for p in logits]
    box = {"left": -BOUND, "right": BOUND, "bottom": -BOUND, "top": BOUND}
    x, ladj = cubic_spline(y, *given, inverse=True, **box)
    good = (cubic_spline(x.clamp(-BOUND, BOUND), *given, **box)[0] - y).abs() < 1e-9
    ours, ours_ladj = CubicSpline(BINS, BOUND).inverse(y[:, None], **parameters)
    assert (ours[:, 0] - x)[good].abs().max() < 1e-6
    assert (ours_ladj[:, 0] - ladj)[good].abs().max() < 1e-6
    again = CubicSpline(BINS, BOUND).forward(ours, **parameters)[0][:, 0]
    assert (again - y).abs().max() < 1e-13
    assert good.double().mean() > 0.3


def test_nflows_cubic_loses_its_inverse_near_the_identity():
    # With all logits equal but for the ends, the inner bins are straight lines: it divides by a leading coefficient of zero.
    zeros = torch.zeros(400, BINS, dtype=torch.float64)
    ends = torch.full((400, 1), -math.log(2) + 0.3, dtype=torch.float64)
    y = points(BOUND)
    theirs = unconstrained_cubic_spline(y, zeros, zeros, ends, ends, inverse=True, tail_bound=BOUND)[0]
    assert (~torch.isfinite(theirs)).sum() > 100
    plan = CubicSpline(BINS, BOUND)
    parameters = {name: value.double() for name, value in plan.init((1,)).items()} | {"ends": torch.full((2, 1), 0.3, dtype=torch.float64)}
    x = plan.inverse(y[:, None], **parameters)[0]
    assert (plan.forward(x, **parameters)[0][:, 0] - y).abs().max() < 1e-13


# The circle


def circle(widths, heights, slopes):
    """Return our parameters of a circular spline from shares of the bins, K of each, and K slopes."""
    w, h = torch.log(widths), torch.log(heights)
    return {
        **boxes(w, h),
        "slopes": 4 * before_clamp(torch.log(slopes), SLOPE_BOUND)[:, None],
    }


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_circular_against_normflows(seed, inverse):
    w, h, d = draw(BINS, seed=seed), draw(BINS, seed=seed + 1), draw(BINS, seed=seed + 2) + 0.5
    parameters = circle(shares(w), shares(h), LEAST + torch.nn.functional.softplus(d))
    compare(
        CircularSpline(BINS, rotation=False),
        parameters,
        lambda x: circular_spline(x, *(p.expand(len(x), -1) for p in (w, h, d)), inverse=inverse, tails="circular", tail_bound=PI),
        points(PI),
        inverse,
    )


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_circular_against_zuko(seed, inverse):
    w, h, d = draw(BINS, seed=seed), draw(BINS, seed=seed + 1), draw(BINS - 1, seed=seed + 2)
    theirs = CircularRQSTransform(w, h, d)

    def soft(v, slope):  # Zuko's own bound of logits
        return v / (1 + (2 * v / math.log(slope)).abs())

    slopes = torch.cat([d.new_ones(1), torch.exp(d / (1 + (d / math.log(1e-3)).abs()))])
    parameters = circle(torch.softmax(soft(w, 1e-3), -1), torch.softmax(soft(h, 1e-3), -1), slopes)
    plan = CircularSpline(BINS, rotation=False)
    x = points(PI)
    # Theirs turns by a half before the spline; ours after it, or not at all.
    if inverse:
        value, ladj = theirs.inv.call_and_ladj(x)
        ours, ours_ladj = plan.inverse(x[:, None], **parameters)
        ours = wrap(ours + PI)
    else:
        value, ladj = theirs.call_and_ladj(x)
        ours, ours_ladj = plan.forward(x[:, None] + PI, **parameters)
        ours = wrap(ours)
    assert wrap(ours[:, 0] - value).abs().max() < 1e-6
    assert (ours_ladj[:, 0] - ladj).abs().max() < 1e-6


def test_zuko_and_normflows_are_not_periodic():
    torch.manual_seed(0)
    theirs = NCSF(2, hidden_features=(16, 16))()
    x = torch.tensor([-3.2, 0.5])
    turned = x + torch.tensor([2 * PI, 0.0])
    assert (theirs.log_prob(x) - theirs.log_prob(turned)).abs() > 1e-3
    # Outside its circle the spline of normflows is the identity, whatever it is inside.
    given = [draw(1, BINS, seed=s, scale=1.0) for s in range(3)]
    outside, inside = (torch.tensor([v], dtype=torch.float64) for v in (3.5, 3.5 - 2 * PI))
    values = [circular_spline(v, *given, tails="circular", tail_bound=PI) for v in (outside, inside)]
    assert float(values[0][1]) == 0.0
    assert (values[0][1] - values[1][1]).abs() > 1e-3

    base = torch.distributions.VonMises(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    ours = Flow(base, [Autoregressive(CircularSpline(), net=Periodic(MLP((16, 16))))] * 2, event_shape=2).double()
    randomize(ours, 1.0)
    assert (ours.log_prob(x.double()) - ours.log_prob(turned.double())).abs() < 1e-6
    assert torch.isfinite(ours.log_prob(x.double()))
