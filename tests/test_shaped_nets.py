"""Nets that take shapes: what they are given, the order of what they give, their masks, and that users' are tried."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from page_nets import Attention, ConvNet
from torch import nn

import pushforward as pf
import pushforward.bijectors as bij
from pushforward.core.spec import PlanError, Spec
from pushforward.distributions import DiagNormal, Flow, StandardNormal
from pushforward.nets.conditioner import Parameters
from pushforward.nets.net import Net, built
from pushforward.nets.signature import Signature
from pushforward.nets.trial import MOST
from pushforward.testing import LAWS, check_bijector, randomize
from tests.test_export import check

CONV, ATTENTION = ConvNet((4,)), Attention(4)
AFFINE = bij.Affine()
LAYERS = {
    "coupling, convolutions": (bij.Coupling(AFFINE, net=CONV), (3, 2, 2), None),
    "coupling, convolutions, given context": (bij.Coupling(bij.Spline(bins=2), flip=True, net=CONV), (3, 2, 2), (2,)),
    "coupling, attention": (bij.Coupling(AFFINE, mask="alternating", net=ATTENTION), (5, 2), None),
    "autoregressive, attention": (bij.Autoregressive(AFFINE, net=ATTENTION), (3, 2), None),
    "autoregressive, attention, given context": (bij.Autoregressive(bij.Spline(bins=2), order=[2, 0, 1], net=ATTENTION), (3, 2), (2,)),
    "inverse autoregressive, attention": (bij.InverseAutoregressive(AFFINE, net=ATTENTION), (3, 2), None),
    "images given images": (bij.Elementwise(AFFINE, net=ConvNet((4,))), (2, 3, 3), (1,)),
}
# The compiler and derivatives of derivatives take most of the time; a row of each net has them.
SLOW = {law.name for law in LAWS if re.search("compile|differences|extreme", law.name)}
WHOLE = {"coupling, convolutions, given context", "autoregressive, attention, given context"}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_shaped_nets_keep_the_laws(name):
    plan, event, context = LAYERS[name]
    only = None if name in WHOLE else [law.name for law in LAWS if law.name not in SLOW]
    assert check_bijector(plan, event, context, only=only)


# What a net is given and gives


@dataclass(frozen=True, repr=False)
class Noted(Net):
    """Gives the numbers of its outputs, and notes what it was built for and what it is called with."""

    shaped = True
    noted = []  # noqa: RUF012

    def build(self, signature, start=None):
        self.noted.clear()
        self.noted.append((signature, start))
        return Counting(signature)


class Counting(nn.Module):
    def __init__(self, signature):
        super().__init__()
        outputs = torch.arange(float(signature.sizes[1])).reshape(signature.outputs) / signature.sizes[1]
        self.outputs = nn.Parameter(outputs)

    def forward(self, x, context):
        Noted.noted.append((x, context))
        return self.outputs.expand(len(context if x is None else x), *self.outputs.shape)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kernel", [AFFINE, bij.Spline(bins=3)])
def test_outputs_are_parameters_by_features_in_the_shape_of_the_event(kernel, flip):
    layer = bij.Coupling(kernel, flip=flip, net=Noted()).build((3, 2, 4))
    signature, start = Noted.noted[0]
    passing, moving = (2, 1) if flip else (1, 2)
    rows = sum(value.numel() for value in kernel.init((1,)).values())
    assert signature.inputs == (passing, 2, 4)
    assert signature.outputs == (rows * moving, 2, 4)
    assert signature.context is None
    assert signature.mask is None
    # Row k of all parameters, for moving feature i, at a place: entry k * moving + i of the first axis, there.
    named = layer.parameters_of(torch.zeros(passing * 8))
    table = torch.cat([value.reshape(-1, moving, 2, 4) for value in named.values()])
    assert torch.equal(table.reshape(signature.outputs), layer.parameters_of.net.module.outputs)
    begin = torch.cat([value.reshape(-1, moving, 2, 4) for value in kernel.init((moving * 8,)).values()])
    assert torch.equal(start, begin.reshape(signature.outputs))


def test_outputs_of_a_convolution_move_their_own_pixels():
    layer = randomize(bij.Coupling(AFFINE, net=CONV).build((3, 2, 4)), 1.0).double()
    x = torch.randn(5, 3, 2, 4, dtype=torch.float64)
    loc, log_scale = layer.parameters_of.net.module(x[:, :1], None).split(2, 1)
    expected, _ = AFFINE.forward(x[:, 1:], loc=loc, log_scale=log_scale)
    torch.testing.assert_close(layer(x)[0][:, 1:], expected)
    assert torch.equal(layer(x)[0][:, :1], x[:, :1])


@pytest.mark.parametrize(
    ("batch", "of_context"), [((), ()), ((5,), (5,)), ((5,), ()), ((), (5,)), ((4, 5), (5,)), ((4, 1), (1, 5)), ((0,), ())]
)
def test_a_net_gets_one_axis_of_batch(batch, of_context):
    layer = bij.Coupling(AFFINE, mask=[2], net=Noted()).build((3, 2, 4), (2, 3))
    assert Noted.noted[0][0].context == (2, 3)
    Noted.noted.clear()
    x, c = torch.randn(*batch, 3, 2, 4), torch.randn(*of_context, 2, 3)
    y, ladj = layer(x, c)
    both = torch.broadcast_shapes(batch, of_context)
    assert y.shape == (*both, 3, 2, 4)
    assert ladj.shape == both
    [(seen, context)] = Noted.noted
    rows = torch.Size(both).numel()
    assert torch.equal(seen, x[..., 2:, :, :].expand(*both, 1, 2, 4).reshape(rows, 1, 2, 4))
    assert torch.equal(context, c.expand(*both, 2, 3).reshape(rows, 2, 3))


def test_nothing_visible_is_none():
    layer = bij.Coupling(AFFINE, mask=[], net=Noted()).build((3, 2), 4)
    assert Noted.noted[0][0].inputs is None
    Noted.noted.clear()
    layer(torch.randn(6, 3, 2), torch.randn(4))
    [(x, context)] = Noted.noted
    assert x is None
    assert context.shape == (1, 4)  # entered once for all rows


def test_context_layers_and_bases_of_images_are_shaped():
    plan = Flow(DiagNormal(net=CONV), bij.Elementwise(AFFINE, net=ConvNet((3,))), (2, 3, 3), 4)
    assert "network     OwnConvNet 4 context → 3 → 4 channels" in str(plan.describe())
    assert plan(torch.randn(5, 4)).sample().shape == (5, 2, 3, 3)
    layer = bij.Elementwise(AFFINE, net=Noted()).build((2, 3), (1, 2))
    assert layer.parameters_of.net.of_outputs == (4, 3)
    assert Noted.noted[0][0].context == (1, 2)


def test_flat_plans_and_modules_are_given_flat_values():
    @dataclass(frozen=True, repr=False)
    class Flat(Net):
        def build(self, signature, start=None):
            signatures.append(signature)
            return bij.MLP((8,)).build(signature, start)

    signatures = []
    for plan in (bij.Coupling(AFFINE, net=Flat()), bij.Autoregressive(AFFINE, net=Flat())):
        layer = randomize(plan.build((4, 3), (2, 2)), 1.0)
        assert layer(torch.randn(5, 4, 3), torch.randn(2, 2))[0].shape == (5, 4, 3)
        assert "Flat(): (" in layer.parameters_of.summary
    assert [s.words() for s in signatures] == ["(6 + 4 context) → 12", "(12 + 4 context) → 24"]
    assert signatures[0].mask is None
    assert (signatures[1].mask == np.tile(np.kron(np.tri(4, k=-1), np.ones((3, 3))), (2, 1)).astype(bool)).all()
    own = bij.Coupling(AFFINE, net=nn.Linear(10, 12)).build((4, 3), (2, 2))
    assert own(torch.randn(5, 4, 3), torch.randn(5, 2, 2))[0].shape == (5, 4, 3)


def test_a_periodic_net_shows_a_shaped_one_cosines_and_sines_as_channels():
    kernel = bij.CircularSpline(bins=2)
    layer = bij.Coupling(kernel, net=bij.Periodic(CONV)).build((4, 2, 3))
    assert "cos and sin of 2 of 2 inputs, OwnConvNet 4×2×3 →" in layer.parameters_of.summary
    randomize(layer, 1.0)
    x = torch.randn(5, 4, 2, 3)
    net = layer.parameters_of.net.module
    torch.testing.assert_close(net.net(torch.cat([x[:, :2].cos(), x[:, :2].sin()], 1), None), net(x[:, :2], None))
    graph = bij.Autoregressive(kernel, net=bij.Periodic(ATTENTION, circular=[1])).build((3, 2))
    assert graph.parameters_of.net.module.net.allowed[:3].tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 1, 1]]
    with pytest.raises(ValueError, match=r"PeriodicNet: expected x of shape \(\*batch, 2, 2, 3\)"):
        net(torch.randn(5, 12), None)


# What holds of a flow with them


@pytest.mark.parametrize("context", [None, (2,)])
@pytest.mark.parametrize("net", [CONV, ATTENTION], ids=["convolutions", "attention"])
def test_flows_are_saved_copied_described_and_counted(net, context, tmp_path):
    event = (2, 3, 3) if net is CONV else (3, 2)
    layers = [bij.Coupling(AFFINE, net=net), bij.Reverse(), bij.Coupling(AFFINE, net=net)]
    if net is ATTENTION:
        layers[0] = bij.Autoregressive(AFFINE, net=net)
    flow = randomize(Flow(StandardNormal(), layers, event, context), 0.5)
    assert Spec.from_json(flow.plan.to_json()) == flow.plan
    c = None if context is None else torch.randn(7, *context)
    x = torch.randn(7, *event)
    flow.save(tmp_path / "flow")
    again = pf.load(tmp_path / "flow")
    assert again.plan == flow.plan
    for copied in (again, copy.deepcopy(flow)):
        # The weights are the same bits; what torch makes of them may depend on where they lie in memory.
        assert all(torch.equal(one, other) for one, other in zip(copied.state_dict().values(), flow.state_dict().values(), strict=True))
        torch.testing.assert_close(copied.log_prob(x, c), flow.log_prob(x, c))
    described = flow.describe()
    assert described.parameters == sum(p.numel() for p in flow.parameters())
    for layer, module in zip(described.layers, flow.transform.layers, strict=True):
        assert layer.parameters == sum(p.numel() for p in module.parameters())
    entrance = ("1×3×3" if net is CONV else "3×2") + (" + 2 context" if context else "")
    assert entrance in described.layers[0].network
    assert "channels" in described.layers[0].network or net is ATTENTION


def test_a_new_shaped_net_is_the_identity():
    for plan, event, context in LAYERS.values():
        x = torch.randn(5, *event)
        torch.testing.assert_close(
            plan.build(event, context)(x, None if context is None else torch.randn(context))[0], x, rtol=1e-5, atol=1e-5
        )


def test_what_cannot_start_anew_says_so():
    parameters = Parameters({"loc": torch.zeros(4)}, Noted(), None, (3,))
    with pytest.raises(PlanError, match=r"Counting: expected a net that can start as a constant, such as MLP\(\)"):
        parameters.start_at(torch.ones(4))


@pytest.mark.compiler
@pytest.mark.parametrize("name", ["coupling, convolutions, given context", "inverse autoregressive, attention"])
def test_layers_are_exported_for_any_number_of_rows(name):
    plan, event, context = LAYERS[name]
    layer = randomize(plan.build(event, context), 0.5)
    check(layer, torch.randn(40, *event), *(() if context is None else (torch.randn(40, *context),)))


def test_hooks_of_the_users_module_run():
    layer, seen = bij.Coupling(AFFINE, net=CONV).build((2, 2, 2)), []
    layer.parameters_of.net.module.layers[0].register_forward_hook(lambda *_: seen.append(1))
    layer.parameters_of.net.register_forward_hook(lambda *_: seen.append(2))
    layer(torch.randn(3, 2, 2, 2))
    assert seen == [1, 2]


# Masks


def test_the_mask_is_of_the_first_axes():
    graph = [[0, 0, 0], [1, 0, 0], [1, 0, 0]]
    for plan, expected in (
        (bij.Autoregressive(AFFINE, order=[1, 0, 2], net=Noted()), [[0, 1, 0], [0, 0, 0], [1, 1, 0]]),
        (bij.InverseAutoregressive(AFFINE, adjacency=graph, net=Noted()), graph),
        (bij.Autoregressive(AFFINE, adjacency=[[*row, i == 2, 0] for i, row in enumerate(graph)], net=Noted()), None),
    ):
        plan.build((3, 2, 5), (2,))
        signature = Noted.noted[0][0]
        assert (signature.inputs, signature.outputs) == ((3, 2, 5), (6, 2, 5))
        wanted = expected if expected is not None else [[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 1, 0]]
        assert signature.mask.astype(int).tolist() == wanted * 2


def test_attention_depends_on_what_its_graph_names():
    graph = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]]
    layer = randomize(bij.InverseAutoregressive(AFFINE, adjacency=graph, net=ATTENTION).build((4, 2)), 1.0).double()
    x = torch.randn(4, 2, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda v: layer(v)[0])(x)
    seen = (jacobian != 0).any(3).any(1)
    assert torch.equal(seen, torch.tensor(graph, dtype=torch.bool) | torch.eye(4, dtype=torch.bool))
    assert layer.facts.depth == (1, 2)


shapes = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)


@given(shapes, shapes, st.none() | shapes, st.booleans(), st.randoms(use_true_random=False))
def test_a_flat_mask_says_of_numbers_what_the_mask_says_of_their_entries(inputs, outputs, context, beside, random):
    numbers = 0 if context is None else int(np.prod(context))
    columns = inputs[0] + (numbers if beside else 0)
    mask = np.array([[random.random() < 0.5 for _ in range(columns)] for _ in range(outputs[0])])
    signature = Signature(inputs, outputs, context, mask)
    flat = signature.flat()
    assert flat.sizes == signature.sizes
    assert flat.is_flat
    assert flat.flat() is flat
    if signature.is_flat:
        assert flat is signature
    rest_in, rest_out = int(np.prod(inputs[1:])), int(np.prod(outputs[1:]))
    for output in range(flat.sizes[1]):
        for column in range(flat.mask.shape[1]):
            of = column // rest_in if column < flat.sizes[0] else inputs[0] + column - flat.sizes[0]
            assert flat.mask[output, column] == mask[output // rest_out, of]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((2, (3,)), r"Signature: expected inputs to be a shape such as \(3,\) or \(3, 8, 8\), got 2"),
        (((), (3,)), r"expected inputs to be a shape .*, got \(\)"),
        (((2,), None), "expected outputs to be a shape .*, got None"),
        (((2,), (3, 0)), r"Signature: outputs: expected positive whole numbers, got \(3, 0\)"),
        (((2,), (3,), 4), "expected context to be a shape .*, got 4"),
        (
            ((2, 2), (3, 2), (2, 2), np.ones((3, 4))),
            r"expected a mask of shape \(3, 2\), or \(3, 6\) with the numbers of the context, got \(3, 4\)",
        ),
    ],
)
def test_wrong_signatures_are_refused(arguments, words):
    with pytest.raises(PlanError, match=words):
        Signature(*arguments)


@pytest.mark.parametrize("plan", [bij.MLP((4,)), bij.ResidualMLP(4)])
@pytest.mark.parametrize(("signature", "got"), [(3, "3"), (Signature((2, 2), (3,)), "2×2 → 3")])
def test_flat_nets_want_flat_signatures(plan, signature, got):
    with pytest.raises(PlanError, match=rf"{type(plan).__name__}\(.*: expected a signature of one axis each, .*, got {got}"):
        plan.build(signature)


# A net of the user's is tried when it is built


@dataclass(frozen=True, repr=False)
class Tried(Net):
    """A masked linear layer that starts as a constant, with a connection more; with shapes it acts along the first axis."""

    more: tuple[int, int] | None = None
    wants_shapes: bool = True

    @property
    def shaped(self):
        return self.wants_shapes

    def build(self, signature, start=None):
        return Along(signature, self.more)


class Along(nn.Module):
    def __init__(self, signature, more):
        super().__init__()
        mask = np.ones((signature.outputs[0], signature.inputs[0]), bool) if signature.mask is None else signature.mask.copy()
        if more is not None:
            mask[more] = True
        self.mask, self.count = torch.tensor(mask), signature.inputs[0]
        self.weight = nn.Parameter(torch.zeros(mask.shape))

    def forward(self, x, context):
        columns = x if context is None or self.mask.shape[1] == self.count else torch.cat([x.flatten(1), context.flatten(1)], 1)
        return torch.einsum("oi,bi...->bo...", self.weight * self.mask, columns)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 3), st.lists(st.integers(1, 2), max_size=2), st.booleans(), st.data())
def test_a_net_that_looks_at_what_it_must_not_see_is_refused(features, rows, rest, wants_shapes, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=features**2, max_size=features**2)), bool).reshape(features, features)
    signature = Signature((features, *rest), (rows * features, *rest), None, np.tile(mask, (rows, 1)))
    built(Tried(None, wants_shapes), signature, None)
    hidden = ~(signature if wants_shapes else signature.flat()).mask
    if hidden.any():
        output, seen = (int(i) for i in data.draw(st.sampled_from(np.argwhere(hidden).tolist())))
        with pytest.raises(PlanError, match=f"Tried: output {output} depends on feature {seen}, which it must not see"):
            built(Tried((output, seen), wants_shapes), signature, None)


def test_numbers_of_the_context_are_tried_as_well():
    graph = [[0, 0, 1, 0], [1, 0, 0, 1]]
    bij.Autoregressive(AFFINE, adjacency=graph, net=Tried()).build((2,), 2)
    with pytest.raises(PlanError, match="Tried: output 2 depends on number 1 of the context, which it must not see"):
        bij.Autoregressive(AFFINE, adjacency=graph, net=Tried((2, 3))).build((2,), 2)


def test_a_module_that_starts_with_zeros_is_tried_with_others():
    module = nn.Linear(3, 6)
    nn.init.zeros_(module.weight)
    with pytest.raises(PlanError, match=r"Linear: output \d depends on feature \d, which it must not see; mask the module, or use MLP"):
        bij.Autoregressive(AFFINE, net=module).build(3)


def test_of_a_large_mask_some_rows_are_tried():
    size = 4 * MOST
    mask = np.tri(size, k=-1, dtype=bool)
    calls = []
    original = torch.autograd.grad
    try:
        torch.autograd.grad = lambda *a, **k: calls.append(1) or original(*a, **k)
        built(Tried(), Signature((size,), (size,), None, mask), None)
    finally:
        torch.autograd.grad = original
    assert len(calls) == MOST
    turned = Signature((size,), (size,), None, mask)

    @dataclass(frozen=True, repr=False)
    class Turned(Tried):
        def build(self, signature, start=None):
            return Along(Signature(signature.inputs, signature.outputs, None, signature.mask.T), None)

    with pytest.raises(PlanError, match="Turned: output"):
        built(Turned(), turned, None)


def test_a_trial_leaves_weights_buffers_and_random_numbers_as_they_are():
    signature = Signature((3, 2), (6, 2), None, np.tile(np.tri(3, k=-1, dtype=bool), (2, 1)))
    start = torch.randn(6, 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tried = built(ATTENTION, signature, start)
        after = torch.rand(1)
        torch.manual_seed(0)
        plain = ATTENTION.build(signature, start)
        assert torch.equal(after, torch.rand(1))
    for (name, one), other in zip(tried.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert torch.equal(tried(torch.randn(4, 3, 2), None), start.expand(4, 6, 2))
    with torch.no_grad():
        built(ATTENTION, signature, start)
    with torch.device("meta"):
        built(ATTENTION, signature, None)


@dataclass(frozen=True, repr=False)
class Wrong(Net):
    """Nets that do not do what they say."""

    how: str

    shaped = True

    def build(self, signature, start=None):
        return {"takes": nn.Conv1d(1, 1, 1), "gives": Dropping(), "kind": Dropping(True)}[self.how]


class Dropping(nn.Module):
    def __init__(self, whole=False):
        super().__init__()
        self.whole = whole

    def forward(self, x, context):
        return (x,) if self.whole else x.flatten(1)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("takes", r"Wrong: expected to build a module that takes x of shape \(batch, 1, 2, 2\) and None for context: .+"),
        ("gives", r"Wrong: expected an output of shape \(batch, 4, 2, 2\), got \(2, 4\) for a batch of 2"),
        ("kind", r"Wrong: expected an output of shape \(batch, 4, 2, 2\), got tuple for a batch of 2"),
    ],
)
def test_a_net_of_other_shapes_is_refused(how, words):
    with pytest.raises(PlanError, match=words):
        bij.Coupling(AFFINE, net=Wrong(how)).build((3, 2, 2))


def test_convolutions_refuse_what_they_do_not_take():
    for plan, event in ((bij.Autoregressive(AFFINE, net=CONV), (3, 2, 2)), (bij.Coupling(AFFINE, net=CONV), (4, 2))):
        with pytest.raises(PlanError, match=r"ConvNet\(.*\): expected images \(C, H, W\) in a layer without an order, such as Coupling"):
            plan.build(event)


# What it is good for


@pytest.mark.fits
def test_convolutions_learn_from_images_what_a_flat_net_of_as_many_parameters_does_not():
    """One channel is the other, blurred, plus noise: the density is exact, and the distance of two fits to it too."""
    generator = torch.Generator().manual_seed(0)
    size, noise = 8, 0.1
    blur = torch.tensor([[0.1, 0.3, 0.1], [0.3, -0.9, 0.3], [0.1, 0.3, 0.1]])[None, None]

    def draw(rows):
        a = torch.randn(rows, 1, size, size, generator=generator)
        mean = torch.tanh(2 * torch.conv2d(a, blur, padding=1))
        return torch.cat([a, mean + noise * torch.randn(a.shape, generator=generator)], 1)

    def exact(x):
        mean = torch.tanh(2 * torch.conv2d(x[:, :1], blur, padding=1))
        normal = torch.distributions.Normal
        return (normal(0.0, 1.0).log_prob(x[:, :1]) + normal(mean, noise).log_prob(x[:, 1:])).flatten(1).sum(1)

    train, test = draw(2000), draw(2000)
    distance, counts = [], []
    for net in (ConvNet((8, 8)), bij.MLP((6,))):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            flow = Flow(StandardNormal(), bij.Coupling(bij.Affine(bound=4.0), net=net), (2, size, size))
            counts.append(sum(p.numel() for p in flow.parameters()))
            optimiser = torch.optim.Adam(flow.parameters(), lr=0.01)
            for step in range(150):
                rows = train[torch.arange(100) + 100 * (step % 20)]
                optimiser.zero_grad()
                (-flow.log_prob(rows).mean() / size**2).backward()
                optimiser.step()
        with torch.no_grad():
            distance.append(float((exact(test) - flow.log_prob(test)).mean()))
    assert counts[0] < counts[1]
    assert 0 < distance[0] < distance[1] / 3
