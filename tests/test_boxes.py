"""Bounded values through layers: boxes that learnable layers map onto themselves, and bases whose parts lie in sets of their own."""

import math

import pytest
import torch
from torch.distributions import Dirichlet, Gamma

import pushforward as pf
from pushforward import bijectors as bij
from pushforward.bases import BoxUniform, CircleUniform, Product, StandardNormal, VonMises, wrap
from pushforward.core import sets
from pushforward.core.spec import PlanError
from pushforward.testing.case import randomize

N, NET = StandardNormal(), bij.MLP((8,))
ANGLE = Product([CircleUniform(), N], [1, 2])
CIRCLE = bij.CircularSpline(rotation=False)

# name -> (base, layers, shape, support in words)
BOXES = {
    "spline": (BoxUniform(-3.0, 3.0), [bij.Spline(bound=3.0)], 2, "(-3, 3)"),
    "spline, linear order": (BoxUniform(-3.0, 3.0), [bij.Spline(bound=3.0, order="linear")], 2, "(-3, 3)"),
    "spline, wider box": (BoxUniform(-4.0, 3.0), [bij.Spline(bound=3.0)], 2, "(-4, 3)"),
    "pieces": (BoxUniform(-3.0, 3.0), [kind(bound=3.0) for kind in (bij.LinearSpline, bij.QuadraticSpline, bij.CubicSpline)], 2, "(-3, 3)"),
    "coupling": (BoxUniform(-3.0, 3.0), [bij.Coupling(bij.Spline(bound=3.0), net=NET), bij.Reverse()], 3, "(-3, 3)"),
    "autoregressive": (BoxUniform(-3.0, 3.0), [bij.Autoregressive(bij.Spline(bound=3.0), net=NET)], 3, "(-3, 3)"),
    "inverse autoregressive": (BoxUniform(-3.0, 3.0), [bij.InverseAutoregressive(bij.Spline(bound=3.0), net=NET).inv], 3, "(-3, 3)"),
    "polynomial": (BoxUniform(-3.0, 3.0), [bij.Bernstein(bound=3.0, tails="identity")], 2, "(-3, 3)"),
    "circle": (CircleUniform(), [CIRCLE, bij.AffineFixed(1.0, -1.0)], 2, "(-2.14159, 4.14159)"),
    "after a sigmoid": (
        N,
        [bij.Affine(), bij.Sigmoid(), bij.AffineFixed(-1, 2), bij.Coupling(bij.Spline(bound=1.0), net=NET), bij.AffineFixed(0.5, 0.5)],
        2,
        "(0, 1)",
    ),
    "powers of the unit interval": (BoxUniform(), [bij.SignedPower(), bij.Sigmoid().inv, bij.Affine()], 2, "(-inf, inf)"),
    "another box for each feature": (
        BoxUniform([0.0, -1.0], [1.0, 1.0]),
        [bij.Concatenate([bij.Exp(), bij.Spline(bound=1.0)])],
        2,
        "blocks of 1 in (1, 2.71828), 1 in (-1, 1)",
    ),
    "matrix of boxes": (
        BoxUniform([[0.0, -1.0], [2.0, 3.0]], 4.0),
        [bij.Reverse(), bij.OnAxis(bij.Permute([1, 0]), 1), bij.Reshape((2, 2), 4)],
        (2, 2),
        "blocks of 1 in (3, 4), 1 in (2, 4), 1 in (-1, 4), 1 in (0, 4)",
    ),
    "half-lines": (wrap(Gamma(torch.tensor(2.0), 1.0)), [bij.Exp(), bij.Power(-1.0)], (), "(0, 1)"),
    "whole line from a half": (BoxUniform(), [bij.Sigmoid().inv, bij.Exp(), bij.Power(-1.0)], 2, "(0, inf)"),
    "angle": (Product([CircleUniform(), N], [1, 1]), [bij.Concatenate([bij.Unwrap(), bij.Compose([])], [1, 1])], 2, "(-inf, inf)"),
    "angle, then anything": (
        ANGLE,
        [bij.Concatenate([bij.Unwrap(), bij.Affine()], [1, 2]), bij.Permute([2, 0, 1]), bij.Affine()],
        3,
        "(-inf, inf)",
    ),
    "permuted": (ANGLE, [bij.Permute([1, 2, 0])], 3, "blocks of 2 in (-inf, inf), 1 in (-3.14159, 3.14159)"),
    "permuted back": (ANGLE, [bij.Permute([2, 0, 1]).inv], 3, "blocks of 2 in (-inf, inf), 1 in (-3.14159, 3.14159)"),
    "permuted, then part by part": (
        ANGLE,
        [bij.Permute([1, 0, 2]), bij.Concatenate([bij.Affine(), bij.Unwrap(), bij.Spline()])],
        3,
        "(-inf, inf)",
    ),
    "affine, given": (
        ANGLE,
        [bij.AffineFixed((1.0, 2.0, 3.0), (2.0, -1.0, 1.0))],
        3,
        "blocks of 1 in (-5.28319, 7.28319), 2 in (-inf, inf)",
    ),
    "only the others move": (
        ANGLE,
        [bij.Coupling(bij.Affine(), mask=[0], net=NET)],
        3,
        "blocks of 1 in (-3.14159, 3.14159), 2 in (-inf, inf)",
    ),
    "cut anew": (
        Product([N, CircleUniform(), CircleUniform()], [1, 1, 1]),
        [bij.Concatenate([bij.Exp(), CIRCLE], [1, 2])],
        3,
        "blocks of 1 in (0, inf), 2 in (-3.14159, 3.14159)",
    ),
    "stacked": (Product([BoxUniform(), N], [1, 1]), [bij.Stack([bij.Sigmoid().inv, bij.Affine()])], 2, "(-inf, inf)"),
    "two simplices": (Product([wrap(Dirichlet(torch.ones(3)))] * 2, [3, 3]), [], 6, "blocks of 3 in Simplex(), 3 in Simplex()"),
    "product of products": (
        Product([ANGLE, BoxUniform()], [3, 1]),
        [bij.Reverse()],
        4,
        "blocks of 1 in (0, 1), 2 in (-inf, inf), 1 in (-3.14159, 3.14159)",
    ),
    "chain that narrows what it takes": (
        BoxUniform(0.0, 2.0),
        bij.Compose([bij.AffineFixed(0.0, 0.5), bij.Sigmoid().inv]),
        2,
        "(-inf, inf)",
    ),
}


def made(name, scale=2.0):
    base, layers, shape, _ = BOXES[name]
    flow = pf.Flow(base, layers, shape)
    randomize(flow, scale)
    return flow


@pytest.mark.parametrize("name", BOXES)
def test_samples_lie_in_the_support_and_have_a_density(name):
    torch.manual_seed(0)
    flow = made(name)
    assert sets.name(flow.support) == BOXES[name][3]
    y = flow.sample((2000,))
    rank = len(flow.event_shape)
    assert bool(sets.independent(flow.support, rank).check(y).all())
    assert bool(torch.isfinite(flow.log_prob(y)).all())
    ends = sets.elements(flow.support, flow.event_shape)
    if ends is not None:
        # As wide as is said: up to where a support ends there is a density, and past it there is none.
        for end, way in ((ends[0], -1), (ends[1], 1)):
            inside, beyond = (torch.where(torch.isinf(end), y[0].double(), end + side * way * 0.001).float() for side in (-1, 1))
            assert bool(torch.isfinite(flow.log_prob(inside)))
            assert flow.log_prob(beyond).item() == -math.inf or bool(torch.isinf(end).all())


@pytest.mark.parametrize("name", ["spline", "coupling", "circle", "after a sigmoid", "powers of the unit interval", "half-lines"])
def test_the_density_integrates_to_one_over_the_support(name):
    base, layers, shape, _ = BOXES[name]
    two = 2 if shape == 3 else shape
    flow = pf.Flow(base, layers, two).double()
    randomize(flow, 1.0)
    # By the middles of cells of the unit square, of which the logistic function makes the plane.
    side = 400
    ends = sets.bounds(flow.support)
    u = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    if ends == sets.REAL:
        cell, x = -torch.log(u) - torch.log1p(-u), torch.logit(u)
    else:
        cell, x = math.log(ends[1] - ends[0]) * torch.ones_like(u), ends[0] + (ends[1] - ends[0]) * u
    grids = [torch.cartesian_prod(*[v] * math.prod(flow.event_shape)).reshape(-1, *flow.event_shape) for v in (x, cell)]
    volume = grids[1].reshape(len(grids[1]), -1).sum(1)
    with torch.no_grad():
        total = torch.logsumexp(flow.log_prob(grids[0]) + volume, 0).exp() / side ** max(1, math.prod(flow.event_shape))
    assert total.item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("base", "layers", "words"),
    [
        (BoxUniform(-2.0, 2.0), bij.Spline(bound=3.0), r"got only those in \(-2, 2\), whose image is not known; .* a spline whose bound"),
        (BoxUniform(), bij.Affine(), r"got only those in \(0, 1\), whose image is not known"),
        (Product([BoxUniform(), N], [1, 1]), bij.Affine(), r"only those in blocks of 1 in \(0, 1\), .* let Concatenate give each block"),
        (Product([BoxUniform(), N], [1, 1]), bij.Linear(), "whose image is not known"),
        (Product([BoxUniform(), N], [1, 1]), bij.Coupling(bij.Affine(), mask=[1]), "whose image is not known"),
        (Product([BoxUniform(), N], [1, 1]), bij.Sigmoid().inv, r"expected values in \(0, 1\), got values in blocks of"),
        (BoxUniform(0.0, 10.0), bij.Unwrap().inv, "whose image is not known"),
        (Product([VonMises(), N], [1, 1]), bij.Concatenate([bij.Compose([]), bij.Unwrap()]), r"part 1: expected values in \(-3.14"),
        (N, [bij.AffineFixed(0.0, 0.5), bij.Sigmoid().inv], r"layer 1: .* expected values in \(0, 1\), got values in \(-inf, inf\)"),
    ],
)
def test_what_has_no_known_image_is_refused(base, layers, words):
    with pytest.raises(PlanError, match=words):
        pf.Flow(base, layers, 2)


def test_a_fit_leaves_bounded_values_in_their_box():
    x = 0.4 * torch.randn(600, 2, generator=torch.Generator().manual_seed(0)).tanh() - 0.2
    flow = pf.Flow(BoxUniform(-1.0, 1.0), [bij.Coupling(bij.Spline(bound=1.0), flip=flip, net=NET) for flip in (False, True)], 2)
    history = pf.fit(flow, x, epochs=15, progress=False)
    assert not any(isinstance(part, bij.Standardize) for part in flow.plan.bijectors)
    assert sets.bounds(flow.support) == (-1.0, 1.0)
    # The uniform density is log 4; what the data has is well below.
    assert history.best_loss < 0.8 < history.start == pytest.approx(math.log(4), abs=1e-5)


def test_a_fit_leaves_angles_in_their_units():
    flow = pf.Flow(Product([CircleUniform(), N], [1, 1]), [bij.Concatenate([bij.Unwrap(), bij.Affine()]), bij.AffineFixed()], 2)
    plan = flow.plan
    pf.fit(flow, torch.rand(100, 2), epochs=1, progress=False)
    assert flow.plan == plan


def test_sets_of_parts_are_compared_entry_by_entry():
    box, real = torch.distributions.constraints.interval(0.0, 1.0), torch.distributions.constraints.real
    one = sets.Parts((box, real), (2, 1), -1, 1)
    other = sets.Parts((box, box, real), (1, 1, 1), -1, 1)
    stacked = sets.Parts((box, box, real), None, -1, 1)
    assert sets.same(one, other)
    assert sets.same(one, stacked)
    assert not sets.same(one, sets.Parts((box, real), (1, 2), -1, 1))
    assert not sets.contains(one, sets.Parts((box, real), (2, 2), -1, 1))
    simplex = sets.Parts((sets.Simplex(), real), (2, 1), -1, 1)
    assert sets.same(simplex, sets.Parts((sets.Simplex(), real), (2, 1), -1, 1))
    assert not sets.contains(one, simplex)
    for parts in (one, other, stacked):
        assert torch.equal(sets.elements(parts, (3,)), torch.tensor([[0, 0, -math.inf], [1, 1, math.inf]], dtype=torch.float64))
        assert sets.same(sets.of_elements(sets.elements(parts, (3,))), parts)


def test_a_flow_of_blocks_is_saved_and_loaded(tmp_path):
    flow = made("permuted, then part by part")
    flow.save(tmp_path / "flow.safetensors")
    loaded = pf.load(tmp_path / "flow.safetensors")
    y = flow.sample((5,))
    assert torch.equal(loaded.log_prob(y), flow.log_prob(y))
    with torch.device("meta"):
        assert sets.name(made("permuted", 0.0).support) == BOXES["permuted"][3]
