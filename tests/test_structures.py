"""Structures: what the parameters see is what the plan says, no less and no more, and costs what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pushforward
import pushforward.bijectors as bij
from pushforward.core.spec import PlanError
from pushforward.nets.conditioner import Parameters
from pushforward.testing import randomize

AFFINE, SPLINE = bij.Affine(), bij.Spline(bins=4)


def built(plan, event_shape, context_shape=None, seed=0, scale=1.0):
    """Build in float64 with random parameters."""
    torch.manual_seed(seed)
    return randomize(plan.build(event_shape, context_shape), scale, seed).double()


def sparsity(function, module, context=None, points=12):
    """Return ``(out, in)``: where the Jacobian of a map is not zero at some of a few points."""
    generator = torch.Generator().manual_seed(5)
    size = math.prod(module.event_shape)
    found = torch.zeros(size, size, dtype=torch.bool)
    for _ in range(points):
        x = 1.5 * torch.randn(*module.event_shape, generator=generator, dtype=torch.float64)
        found |= torch.func.jacrev(lambda v: function(v, context)[0])(x).reshape(size, size).detach() != 0
    return found.numpy()


def parameter_sparsity(module, inputs, context=0, points=12):
    """Return ``(elements, inputs + context)``: what each element's parameters depend on."""
    generator = torch.Generator().manual_seed(6)
    net = module.parameters_of
    found = None
    for _ in range(points):
        given = [1.5 * torch.randn(n, generator=generator, dtype=torch.float64) if n else None for n in (inputs, context)]

        def flat(x, c):
            return torch.cat([value.reshape(-1, value.shape[-1]) for value in net(x, c).values()])

        parts = [torch.func.jacrev(flat, i)(*given) != 0 for i, n in enumerate((inputs, context)) if n]
        seen = torch.cat(parts, -1)
        found = seen if found is None else found | seen
    return found.numpy()


COUPLINGS = {
    "halves": ({}, 4, [0, 1]),
    "halves of five": ({}, 5, [0, 1]),
    "halves, flip": ({"flip": True}, 5, [2, 3, 4]),
    "alternating": ({"mask": "alternating"}, 5, [0, 2, 4]),
    "alternating, flip": ({"mask": "alternating", "flip": True}, 5, [1, 3]),
    "indices": ({"mask": [3, 0]}, 5, [0, 3]),
    "indices, flip": ({"mask": [3, 0], "flip": True}, 5, [1, 2, 4]),
    "nothing passes": ({"mask": []}, 3, []),
    "one feature": ({}, 1, []),
    "one feature, flip": ({"flip": True}, 1, []),
}


@pytest.mark.parametrize("kernel", [AFFINE, SPLINE])
@pytest.mark.parametrize("name", COUPLINGS)
def test_coupling_sees_what_passes(name, kernel):
    arguments, features, passing = COUPLINGS[name]
    plan = bij.Coupling(kernel, net=bij.MLP((16,)), **arguments)
    module = built(plan, features)
    assert plan.passing(features) == tuple(passing)
    expected = np.eye(features, dtype=bool)
    for i in set(range(features)) - set(passing):
        expected[i, passing] = True
    for function in (module.forward, module.inverse):
        assert (sparsity(function, module) == expected).all()
    x = torch.randn(3, features, dtype=torch.float64)
    assert torch.equal(module(x)[0][:, passing], x[:, passing])
    assert module.facts.evaluations == (1, 1)


def test_coupling_of_images_splits_channels():
    module = built(bij.Coupling(AFFINE, "alternating", net=bij.MLP((16,))), (3, 2, 1))
    expected = np.eye(6, dtype=bool)
    expected[2:4, [0, 1, 4, 5]] = True
    assert (sparsity(module.forward, module) == expected).all()


def test_one_feature_sees_the_context():
    for plan in (bij.Coupling(SPLINE), bij.Autoregressive(SPLINE), bij.InverseAutoregressive(AFFINE)):
        module = built(plan, 1, 2)
        assert module.facts.uses_context
        x = torch.zeros(1, dtype=torch.float64) + 0.3
        one, two = (module(x, torch.tensor([0.1, c], dtype=torch.float64))[0] for c in (0.0, 1.0))
        assert one != two


ORDERS = {"0, 1, 2, ...": (None, 5), "given": ([3, 1, 0, 2], 4), "one": (None, 1), "backwards": ([2, 1, 0], 3)}


@pytest.mark.parametrize("net", [bij.MLP((24, 24)), bij.MLP((7, 3, 9)), bij.ResidualMLP(24)], ids=["MLP", "narrow MLP", "ResidualMLP"])
@pytest.mark.parametrize("name", ORDERS)
def test_autoregressive_orders(name, net):
    order, features = ORDERS[name]
    order_or_range = order or list(range(features))
    for kind in (bij.Autoregressive, bij.InverseAutoregressive):
        plan = kind(AFFINE, order=order, net=net)
        parents = plan.parents(features)
        assert [[order_or_range.index(j) < order_or_range.index(i) for j in range(features)] for i in range(features)] == parents.tolist()
        module = built(plan, features)
        seen = parameter_sparsity(module, features).reshape(-1, features, features).any(0)
        assert (seen <= parents).all()
        if min(getattr(net, "widths", (99,))) >= features:
            assert (seen == parents).all()
        expected = np.eye(features, dtype=bool) | parents
        parallel = module.inverse if kind is bij.Autoregressive else module.forward
        assert (sparsity(parallel, module) <= expected).all()
        assert module.facts.evaluations == (1, 1)
        assert module.facts.depth == ((features, 1) if kind is bij.Autoregressive else (1, features))


@st.composite
def graphs(draw):
    """A graph of features, and which numbers of a context each feature's parameters see; None: all of them."""
    features = draw(st.integers(1, 6))
    order = draw(st.permutations(range(features)))
    graph = np.zeros((features, features), dtype=bool)
    context = draw(st.integers(0, 3))
    beside = np.array(draw(st.lists(st.booleans(), min_size=features * context, max_size=features * context)), dtype=bool)
    for a in range(features):
        for b in range(a):
            graph[order[a], order[b]] = draw(st.booleans())
    return graph, context, beside.reshape(features, context) if draw(st.booleans()) else None


def depth(graph):
    """Return the number of features on the longest path."""
    memo = {}

    def of(i):
        if i not in memo:
            memo[i] = 1 + max((of(j) for j in np.flatnonzero(graph[i])), default=0)
        return memo[i]

    return max(of(i) for i in range(len(graph)))


@settings(max_examples=60, deadline=None)
@given(
    graph=graphs(), widths=st.lists(st.integers(6, 20), min_size=1, max_size=3), residual=st.booleans(), inverse=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_graph(graph, widths, residual, inverse, seed):
    graph, context, beside = graph
    net = bij.ResidualMLP(widths[0], len(widths), "tanh") if residual else bij.MLP(widths, "tanh")
    kind = bij.InverseAutoregressive if inverse else bij.Autoregressive
    features = len(graph)
    table = graph if beside is None else np.concatenate([graph, beside], 1)
    module = built(kind(AFFINE, adjacency=table, net=net), features, context or None, seed)
    # With a smooth activation every path counts at almost every point: what may be seen is seen, what may not is exactly zero.
    seen = parameter_sparsity(module, features, context, points=3).reshape(-1, features, features + context)
    assert (seen[:, :, :features] == graph).all()
    assert (seen[:, :, features:] == (True if beside is None else beside)).all()
    assert module.facts.uses_context == bool(context and (beside is None or beside.any()))
    steps = depth(graph)
    assert module.facts.evaluations == (1, 1)
    assert module.facts.depth == ((1, steps) if inverse else (steps, 1))
    x = torch.randn(4, features, dtype=torch.float64)
    c = torch.randn(4, context, dtype=torch.float64) if context else None
    y = module(x, c)[0]
    back = module.inverse(y, c)[0]
    assert torch.allclose(back, x, atol=1e-9)


CONTEXT_GRAPH = [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 0, 1, 1]]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("net", [bij.MLP((9, 9)), bij.MLP((200, 200)), bij.ResidualMLP(9), bij.Periodic(bij.MLP((9, 9)))], ids=str)
def test_what_a_graph_hides_of_a_context_stays_hidden(net, compiled, monkeypatch):
    """In every way in which a net is run: compiled, by torch's operators, with gradients, step by step, and for a row alone."""
    if not compiled:
        monkeypatch.setattr("pushforward.native.perceptron.takes", lambda *_: False)
    for kind in (bij.Autoregressive, bij.InverseAutoregressive):
        module = built(kind(bij.Spline(4), adjacency=CONTEXT_GRAPH, net=net), 3, 2)
        with torch.no_grad():  # what training would leave of weights that a mask forbids
            for parameter in module.parameters():
                parameter.add_(0.1)
        x, c = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
        for hidden, rows in ((0, [1]), (1, [0, 1])):
            other = c.clone()
            other[:, hidden] += 1
            for function in (module, module.inverse):
                for record in (True, False):
                    with torch.set_grad_enabled(record):
                        y, z = function(x, c)[0], function(x, other)[0]
                # What a feature does not see directly it may see through another, in the direction that makes them one by one.
                if function is (module.inverse if kind is bij.Autoregressive else module):
                    assert torch.equal(y[:, rows], z[:, rows])
                    assert (y[:, 2] != z[:, 2]).any()
                alone = function(x[:1], c[:1])[0]
                torch.testing.assert_close(alone, y[:1])
        torch.testing.assert_close(module.inverse(module(x, c)[0], c)[0], x)
        gradient = torch.autograd.functional.jacobian(lambda c, x=x[:1], flat=module.parameters_of.flat: flat(x, c), c[:1])
        seen = (gradient != 0).reshape(-1, 3, 2).any(0)
        assert (seen.numpy() == np.array(CONTEXT_GRAPH, dtype=bool)[:, 3:]).all()


def test_a_graph_of_a_context_is_a_plan_like_any_other(tmp_path):
    plan = bij.Autoregressive(AFFINE, adjacency=CONTEXT_GRAPH, net=bij.MLP((9,)))
    assert pushforward.core.spec.Spec.from_json(plan.to_json()) == plan
    flow = pushforward.Flow(pushforward.distributions.StandardNormal(), plan, 3, 2)
    flow.save(tmp_path / "flow.safetensors")
    x, c = torch.randn(5, 3), torch.randn(5, 2)
    assert torch.equal(pushforward.load(tmp_path / "flow.safetensors").log_prob(x, c), flow.log_prob(x, c))
    blind = bij.Autoregressive(AFFINE, adjacency=[[0, 0], [1, 0]], net=bij.MLP((9,))).build(2, 3)
    assert blind.facts.uses_context
    assert not bij.Autoregressive(AFFINE, adjacency=[[0, 0, 0], [1, 0, 0]], net=bij.MLP((9,))).build(2, 1).facts.uses_context


def test_narrow_nets_see_no_more_than_they_may():
    for widths in ((1,), (2, 1), (3, 3), (1, 5)):
        module = built(bij.Autoregressive(AFFINE, net=bij.MLP(widths)), 8, 1)
        seen = parameter_sparsity(module, 8, 1).reshape(-1, 8, 9).any(0)
        assert (seen[:, :8] <= np.tril(np.ones((8, 8), dtype=bool), -1)).all()


def test_narrow_nets_of_a_graph_are_refused():
    fork = [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    with pytest.raises(PlanError, match=r"MLP: expected hidden widths of at least 2, one unit for each set of parents, got \(1,\)"):
        bij.Autoregressive(AFFINE, adjacency=fork, net=bij.MLP((1,))).build(4)


def test_tokens_see_whole_earlier_tokens():
    module = built(bij.Autoregressive(AFFINE, net=bij.MLP((24, 24))), (3, 2))
    seen = parameter_sparsity(module, 6).reshape(-1, 6, 6)
    assert (seen == np.kron(np.tril(np.ones((3, 3), dtype=bool), -1), np.ones((2, 2), dtype=bool))).all()


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_on_axis(axis):
    module = built(bij.OnAxis(bij.Coupling(AFFINE, net=bij.MLP((16,))), axis), (2, 4))
    index = np.arange(8).reshape(2, 4)
    first = axis in (0, -2)
    still = index[:1] if first else index[:, :2]
    expected = np.eye(8, dtype=bool)
    expected[np.ix_(np.setdiff1d(index, still), still.ravel())] = True
    assert (sparsity(module.forward, module) == expected).all()


MOVED = {
    "vectors": bij.Linear(),
    "features": bij.Coupling(AFFINE, net=bij.MLP((16,))),
    "given a context": bij.Elementwise(bij.Linear(), net=bij.MLP((16,))),
    "measured": bij.ActNorm(),
    "longer vectors": bij.StickBreaking(),
    "turned round": bij.Linear().inv,
}


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("name", MOVED)
def test_on_axis_moves_there_and_back(name, axis):
    """Of three axes a move and its way back are two moves; of two they are the same swap."""
    plan, shape, context = MOVED[name], (2, 3, 4), 2 if name == "given a context" else None
    place, own = 1 + axis % 3, 1 + plan.axis % 3
    moved = list(shape)
    moved.insert(own - 1, moved.pop(place - 1))
    whole, alone = built(bij.OnAxis(plan, axis), shape, context), built(plan, tuple(moved), context)
    x = torch.randn(5, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    c = None if context is None else torch.randn(5, context, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    if name == "measured":
        whole.calibrate(x + 3)
        alone.calibrate((x + 3).movedim(place, own))
    y, ladj = whole(x, c)
    expected, of_alone = alone(x.movedim(place, own), c)
    assert torch.equal(y, expected.movedim(own, place))
    assert torch.equal(ladj, of_alone)
    assert whole.out_shape == y.shape[1:]
    back, minus = whole.inverse(y, c)
    expected, of_alone = alone.inverse(y.movedim(place, own), c)
    assert torch.equal(back, expected.movedim(own, place))
    assert torch.equal(minus, of_alone)
    torch.testing.assert_close(back, x)


@pytest.mark.parametrize("inverse", [False, True])
def test_on_axis_follows_along_its_axis(inverse):
    plan, x = bij.BatchNorm(momentum=0.3), torch.randn(50, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    whole, alone = (bij.OnAxis(plan, 2), plan) if not inverse else (bij.OnAxis(plan, 2).inv, plan.inv)
    whole, alone = whole.build((2, 3, 4)), alone.build((4, 2, 3))
    for scale in (1.0, 3.0):
        whole.update(scale * x + torch.arange(4.0))
        alone.update((scale * x + torch.arange(4.0)).movedim(3, 1))
    assert torch.equal(whole(x)[0], alone(x.movedim(3, 1))[0].movedim(1, 3))


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (bij.Permute([2, 0, 1]), [2, 0, 1]),
        (bij.Reverse(), [2, 1, 0]),
        (bij.Inverse(bij.Permute([2, 0, 1])), [1, 2, 0]),
        (bij.Compose([bij.Reverse(), bij.Permute([2, 0, 1])]), [0, 2, 1]),
    ],
)
def test_rearrangements_move_features(plan, expected):
    x = torch.arange(12.0).reshape(2, 3, 2)
    module = plan.build((3, 2))
    assert torch.equal(module(x)[0], x[:, expected])
    assert torch.equal(module.inverse(x[:, expected])[0], x)
    assert not list(module.parameters())


def test_compose_runs_from_base_to_data():
    plan = bij.Compose([bij.AffineFixed(0.0, 2.0), bij.AffineFixed(1.0, 1.0), bij.Exp()])
    y, ladj = plan.build(())(torch.tensor(0.5))
    assert y == pytest.approx(math.exp(2 * 0.5 + 1))
    assert ladj == pytest.approx(math.log(2) + 2)


def test_parameters_see_nothing_where_there_is_no_net():
    module = bij.Elementwise(AFFINE).build(3, 2)
    assert not module.facts.uses_context
    assert module.facts.depends_on == "nothing"


@pytest.mark.parametrize("features", [2, 3, 8])
@pytest.mark.parametrize("bins", [2, 8])
def test_parameter_counts(features, bins):
    def count(plan, context=None):
        return sum(p.numel() for p in plan.build(features, context).parameters())

    def mlp(inputs, outputs, context=0):
        return (inputs + context + 1) * 16 + (16 + 1) * outputs

    moving = features - features // 2
    net = bij.MLP((16,))
    assert count(bij.Affine()) == 2 * features
    assert count(bij.Additive()) == features
    assert count(bij.Linear()) == features**2 + features
    assert count(bij.Linear(bias=False)) == features**2
    assert count(bij.Spline(bins)) == features * (3 * bins - 1)
    assert count(bij.Spline(bins, order="linear")) == features * (4 * bins - 1)
    assert count(bij.Coupling(bij.Affine(), net=net)) == mlp(features // 2, 2 * moving)
    assert count(bij.Coupling(bij.Spline(bins), net=net), 3) == mlp(features // 2, (3 * bins - 1) * moving, 3)
    assert count(bij.Autoregressive(bij.Affine(), net=net)) == mlp(features, 2 * features)
    assert count(bij.InverseAutoregressive(bij.Spline(bins), net=net), 3) == mlp(features, (3 * bins - 1) * features, 3)
    assert count(bij.Elementwise(bij.Linear(), net=net), 3) == mlp(0, features**2 + features, 3)
    for plan in (bij.Reverse(), bij.Shuffle(), bij.Standardize(), bij.Exp(), bij.AffineFixed(1.0, 2.0)):
        assert count(plan) == 0


def test_parameters_come_from_one_place():
    flow = bij.Compose([bij.Coupling(SPLINE), bij.Linear(), bij.Autoregressive(AFFINE), bij.Elementwise(AFFINE, bij.MLP())]).build(4, 2)
    owned = {id(p) for part in flow.modules() if isinstance(part, Parameters) for p in part.parameters()}
    assert owned == {id(p) for p in flow.parameters()}


@pytest.mark.parametrize(
    "plan", [bij.Coupling(SPLINE), bij.Autoregressive(AFFINE), bij.InverseAutoregressive(SPLINE), bij.Linear(), bij.Spline()]
)
def test_a_new_layer_is_the_identity(plan):
    x = torch.randn(50, 4)
    y, ladj = plan.build(4, 2)(x, torch.randn(50, 2)) if plan not in (bij.Linear(), bij.Spline()) else plan.build(4)(x)
    assert torch.allclose(y, x, atol=1e-6)
    assert ladj.abs().max() < 1e-5
