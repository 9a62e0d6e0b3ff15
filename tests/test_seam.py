"""What wraps a layer or a base keeps what it wraps: measured, updated, described, supported, saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import constraints

import pushforward as pf
from pushforward import bijectors as bij
from pushforward import flows
from pushforward.bases import BoxUniform, OrderStatistics, Product, StandardNormal
from pushforward.bijectors import ActNorm, BatchNorm, Compose, Concatenate, OnAxis, Stack, Standardize
from pushforward.core import sets
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow

N = StandardNormal()


def rows(*shape):
    return 50 * torch.randn(400, *shape, generator=torch.Generator().manual_seed(0)) + 1000


# Each wraps the layer that `made` gives around events of the shape beside it.
WRAPPERS = {
    "alone": (lambda layer: layer, (2,)),
    "inverse": (lambda layer: layer.inv, (2,)),
    "chain": (lambda layer: Compose([bij.Reverse(), layer]), (2,)),
    "inverse chain": (lambda layer: Compose([layer, bij.Reverse()]).inv, (2,)),
    "chain of inverses": (lambda layer: Compose([layer.inv, bij.Reverse()]), (2,)),
    "axis": (lambda layer: OnAxis(layer, 1), (3, 2)),
    "inverse axis": (lambda layer: OnAxis(layer, 1).inv, (3, 2)),
    "concatenate": (lambda layer: Concatenate([layer, layer], [1, 1]), (2,)),
    "stack": (lambda layer: Stack([layer, layer]), (2, 3)),
    "inverse of parts": (lambda layer: Concatenate([layer.inv, layer], [1, 1]).inv, (2,)),
}


@pytest.mark.parametrize("layer", [Standardize(), ActNorm(), BatchNorm()], ids=repr)
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_layer_is_measured(name, layer):
    wrap, shape = WRAPPERS[name]
    y = rows(*shape)
    flow = Flow(N, [wrap(layer)], shape)
    flow.calibrate(y)
    x = flow.to_base(y)[0].detach()
    assert float(x.mean().abs()) < 0.02
    assert float(x.std()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_layer_is_updated(name):
    wrap, shape = WRAPPERS[name]
    flow = Flow(N, [wrap(BatchNorm(momentum=0.5))], shape)
    assert flow.transform.facts.has_statistics
    y = rows(*shape)
    flow.update(y)
    assert float(flow.to_base(y)[0].detach().mean().abs()) < 0.02
    for _ in range(25):
        flow.update(y / 10)
    x = flow.to_base(y / 10)[0].detach()
    assert float(x.mean().abs()) < 0.02
    assert float(x.std()) == pytest.approx(1.0, abs=0.02)


def test_a_fit_updates_what_is_in_parts():
    y = rows(2)
    found = []
    for plan in ([BatchNorm()], [Concatenate([BatchNorm(), BatchNorm()], [1, 1])]):
        flow = Flow(N, plan, 2)
        found.append(pf.fit(flow, y, epochs=2, standardize=False, seed=0, progress=False).best_loss)
    assert found[1] == pytest.approx(found[0], rel=1e-3)


@pytest.mark.parametrize("plan", [bij.Residual(), bij.BlockAutoregressive()], ids=repr)
def test_layers_that_have_layers_inside_are_described_as_one(plan):
    description = plan.describe(3)
    assert [layer.name for layer in description.layers] == [repr(plan)]
    assert "input and output have the same size" in str(description)


def test_a_description_says_that_sizes_are_alike_only_where_they_are():
    assert "the same size" not in str(bij.StickBreaking().describe(3))
    assert "the same size" in str(bij.Affine().describe(3))


@pytest.mark.parametrize("inner", [bij.StickBreaking(), bij.Ordered()], ids=repr)
@pytest.mark.parametrize(("shape", "axis"), [((2, 3), 0), ((2, 3), 1), ((2, 3, 4), 1)])
def test_the_support_of_a_layer_on_another_axis_holds_its_samples(inner, shape, axis):
    flow = Flow(N, [bij.Affine(), OnAxis(inner, axis)], shape)
    y = flow.sample((200,))
    inside = flow.support.check(y)
    assert inside.shape == (200,)
    assert bool(inside.all())
    assert bool(torch.isfinite(flow.log_prob(y)).all())
    assert not bool(flow.support.check(-y).any())
    assert f"on axis {axis - len(shape)}" in sets.name(flow.support) or axis == len(shape) - 1
    pf.fit(flow, y, epochs=1, progress=False)
    x = flow.to_base(y)[0]
    torch.testing.assert_close(flow.from_base(x)[0], y, rtol=1e-4, atol=1e-5)


def test_a_moved_set_knows_its_members_and_takes_values_in():
    moved = sets.Moved(sets.Simplex(), -2, -1, 2)
    made = moved.member(torch.randn(5, 3, 4))
    assert bool(moved.check(made).all())
    torch.testing.assert_close(made.sum(-2), torch.ones(5, 4))
    assert bool(moved.check(moved.settle(made)).all())
    assert moved == sets.Moved(sets.Simplex(), -2, -1, 2)
    assert not sets.same(moved, sets.Moved(sets.Simplex(), -3, -1, 3))


def test_ends_go_through_chains_and_their_inverses():
    chain = Compose([bij.AffineFixed(0.0, 2.0), bij.AffineFixed(1.0, 3.0)])
    box = BoxUniform(0.0, 1.0)
    assert sets.name(Flow(box, chain, 1).support) == "(1, 7)"
    back = Flow(box, chain.inv, 1)
    low, high = sets.bounds(back.support)
    assert (low, high) == pytest.approx((-1 / 6, 0.0))
    assert bool(back.support.check(back.sample((100,))).all())


@pytest.mark.parametrize("contexts", [False, True])
def test_weights_count_in_standardisation(contexts):
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(500, 1, generator=g), 100 + torch.randn(500, 1, generator=g)])
    weights = torch.cat([torch.ones(500), torch.full((500,), 1e-9)])
    flow = pf.NSF(1, context=1) if contexts else pf.NSF(1)
    given = {"context": x + torch.randn(1000, 1, generator=g)} if contexts else {}
    pf.fit(flow, x, weights=weights, epochs=1, seed=0, progress=False, **given)
    loc = next(layer for layer in flow.transform.leaves() if isinstance(layer.plan, Standardize)).loc
    assert abs(float(loc)) < 1
    if contexts:
        assert abs(float(flow.context_units.loc)) < 1


@pytest.mark.parametrize("validate", [True, False])
def test_a_file_keeps_whether_values_are_checked(tmp_path, validate):
    path = tmp_path / "flow.safetensors"
    Flow(N, [bij.Exp()], 1, validate_args=validate).save(path)
    flow = pf.load(path)
    outside = torch.tensor([[-1.0]])
    if validate:
        with pytest.raises(ValueError, match="expected values in"):
            flow.log_prob(outside)
    else:
        assert flow.log_prob(outside).tolist() == [-torch.inf]


def test_numbers_of_numpy_are_numbers():
    flow = pf.NSF(np.int64(3), context=np.int32(2), transforms=np.int64(2))
    assert flow.event_shape == (3,)
    assert flow == flow
    assert flow.plan == pf.NSF(3, context=2, transforms=2).plan
    pf.fit(pf.NSF(1), rows(1), epochs=np.int64(1), batch_size=np.int64(50), progress=False)
    with pytest.raises(PlanError, match="got True"):
        pf.NSF(True)


def test_a_mixture_keeps_the_names_of_its_columns():
    parts = [pf.MAF(2), pf.NSF(2)]
    for part in parts:
        part.columns = ("height", "rain")
    assert flows.mixture(parts).columns == ("height", "rain")
    parts[1].columns = ("rain", "height")
    assert flows.mixture(parts).columns is None


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (Product([BoxUniform(-1.0, 1.0), N], [1, 1]).build((2,)).support, "blocks of 1 in (-1, 1), 1 in (-inf, inf)"),
        (OrderStatistics(N, descending=True).build((3,)).support, "descending vectors of numbers in (-inf, inf)"),
        (constraints.positive, "(0, inf)"),
    ],
)
def test_sets_are_named_in_full(constraint, words):
    assert sets.name(constraint) == words
