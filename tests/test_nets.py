"""Hypernetworks: their values, masks and sizes, the context joined in once, and modules of a user's own."""

from __future__ import annotations

import copy

import numpy as np
import page_nets
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import pushforward.bijectors as bij
from pushforward.core.spec import PlanError
from pushforward.distributions import DiagNormal, Flow, StandardNormal
from pushforward.flows import NSF, RealNVP
from pushforward.native.activations import ACTIVATIONS
from pushforward.nets.conditioner import Parameters
from pushforward.nets.dense import LEAST, Dense, product
from pushforward.nets.mlp import MLP, ResidualMLP
from pushforward.nets.signature import Signature
from pushforward.nets.strategies import DIRECT
from pushforward.testing import randomize
from tests.roundings import of_perceptron, of_product, within


def weights(net):
    return [m for m in net.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_is_what_it_says(activation):
    net = randomize(bij.MLP((5, 7), activation).build(Signature((3,), (4,), (2,))), 0.5)
    x, c = torch.randn(6, 3), torch.randn(6, 2)
    of_x, of_c, middle, last = weights(net)
    function = getattr(F, activation, None) or getattr(torch, activation)
    hidden = function(x @ of_x.weight.T + c @ of_c.weight.T + of_x.bias)
    hidden = function(hidden @ middle.weight.T + middle.bias)
    assert torch.allclose(net(x, c), hidden @ last.weight.T + last.bias, atol=1e-5)
    assert of_c.bias is None


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_residual_mlp_is_what_it_says(activation):
    net = randomize(bij.ResidualMLP(6, 2, activation).build(Signature((3,), (4,))), 0.5)
    enter, one_in, one_out, two_in, two_out, leave = weights(net)
    a, x = ACTIVATIONS[activation].function, torch.randn(6, 3)
    h = enter(x)
    h = h + one_out(a(one_in(a(h))))
    h = h + two_out(a(two_in(a(h))))
    assert torch.allclose(net(x, None), leave(a(h)), atol=1e-5)


@pytest.mark.parametrize("net", [bij.MLP((5, 7)), bij.ResidualMLP(6)])
def test_a_new_net_is_a_constant(net):
    start = torch.randn(4)
    module = net.build(Signature((3,), (4,), (2,)), start)
    assert torch.equal(module(torch.randn(8, 3), torch.randn(8, 2)), start.expand(8, 4))
    assert torch.equal(net.build(Signature(None, (4,), (2,)))(None, torch.randn(8, 2)), torch.zeros(8, 4))


@pytest.mark.parametrize("behind", [bij.MLP((5, 7), "silu"), bij.ResidualMLP(6, 1, "tanh")], ids=repr)
def test_a_potential_is_a_gradient(behind):
    """Its Jacobian in x is symmetric, as that of a gradient is, and of others is not."""
    torch.manual_seed(0)
    net = randomize(bij.Potential(behind).build(Signature((3,), (3,), (2,))), 0.5).double()
    x, c = torch.randn(6, 3, dtype=torch.float64, requires_grad=True), torch.randn(6, 2, dtype=torch.float64)
    expected = torch.autograd.grad(net.net(x, c).sum(), x)[0] + net.offset
    torch.testing.assert_close(net(x, c), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net(x[:1, None], c), net(x[:1].expand(6, -1), c)[None], rtol=1e-12, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x, c).sum(0), x).permute(1, 0, 2)
    torch.testing.assert_close(jacobian, jacobian.mT, rtol=1e-9, atol=1e-9)
    assert float(jacobian.detach().abs().max()) > 1e-2
    plain = randomize(behind.build(Signature((3,), (3,), (2,))), 0.5).double()
    other = torch.autograd.functional.jacobian(lambda x: plain(x, c).sum(0), x).permute(1, 0, 2)
    assert not torch.allclose(other, other.mT, rtol=1e-3, atol=1e-3)


def test_a_new_potential_is_a_constant_and_can_be_put_back_to_one():
    start, x, c = torch.randn(3), torch.randn(8, 3), torch.randn(8, 2)
    module = bij.Potential(bij.MLP((5,), "silu")).build(Signature((3,), (3,), (2,)), start)
    assert torch.equal(module(x, c), start.expand(8, 3))
    assert torch.equal(module.constant(), start)
    randomize(module, 0.5)
    assert module.constant() is None
    module.start_at(start)
    assert torch.equal(module(x, c), start.expand(8, 3))


def test_a_potential_of_a_module_of_the_users():
    own = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    plan = bij.Potential(own)
    net = plan.build(Signature((3,), (3,), (2,)))
    assert plan.summary(Signature((3,), (3,), (2,))) == "gradient of Sequential"
    x = torch.randn(4, 3, requires_grad=True)
    expected = torch.autograd.grad(own(torch.cat([x, torch.ones(4, 2)], -1)).sum(), x)[0]
    torch.testing.assert_close(net(x, torch.ones(2)), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bij.Coupling(bij.Affine(), net=bij.Potential()).build(4), "expected as many outputs as inputs, without a mask"),
        (lambda: bij.Continuous(bij.Potential(), on=["circle"]).build(1), "expected as many outputs as inputs"),
        (lambda: bij.Potential().build(Signature(None, (2,), (2,))), "expected as many outputs as inputs"),
        (lambda: bij.Potential().build(Signature((2,), (2,), mask=np.eye(2, dtype=bool))), "without a mask"),
        (lambda: bij.Continuous(bij.Potential(page_nets.ConvNet((3,)))).build((2, 4, 4)), "expected a net of flat values"),
    ],
)
def test_what_a_potential_is_not_for(make, message):
    with pytest.raises(PlanError, match=message):
        make()


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (bij.MLP((5, 7)), (3 + 2 + 1) * 5 + (5 + 1) * 7 + (7 + 1) * 4),
        (bij.MLP((5,)), (3 + 2 + 1) * 5 + (5 + 1) * 4),
        (bij.ResidualMLP(6, 3), (3 + 2 + 1) * 6 + 3 * 2 * (6 + 1) * 6 + (6 + 1) * 4),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_sizes(net, expected, masked):
    mask = np.tril(np.ones((4, 3), dtype=bool), -1) if masked else None
    signature = Signature((3,), (4,), (2,), mask)
    module = net.build(signature)
    assert sum(p.numel() for p in module.parameters()) == expected
    text = net.summary(signature)
    assert text.startswith(type(net).__name__)
    assert "(3 + 2 context)" in text
    assert "→ 4, relu" in text


@pytest.mark.parametrize("net", [bij.MLP((24, 24), "tanh"), bij.ResidualMLP(24, 3, "tanh")])
def test_masks_are_exact(net):
    generator = np.random.default_rng(0)
    for _ in range(10):
        mask = generator.random((6, 5)) < 0.5
        module = randomize(net.build(Signature((5,), (6,), (2,), mask)), 1.0)
        x, c = torch.randn(5), torch.randn(2)
        seen = torch.func.jacrev(lambda v, module=module, c=c: module(v, c))(x) != 0
        assert (seen.numpy() == mask).all()
        assert (torch.func.jacrev(lambda v, module=module, x=x: module(x, v))(c) != 0).all()


def test_masked_weights_stay_masked_under_training():
    module = bij.Autoregressive(bij.Affine(), net=bij.MLP((16, 16))).build(4)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        y, ladj = module.inverse(torch.randn(32, 4))
        (y.square().sum(-1) - ladj).mean().backward()
        optimizer.step()
    seen = torch.func.jacrev(lambda v: module.parameters_of(v, None)["loc"])(torch.randn(4)) != 0
    assert not seen.triu().any()


def test_two_builds_share_no_weights():
    plan = bij.Coupling(bij.Affine(), net=nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4)))
    one, other = plan.build(4), plan.build(4)
    assert not {id(p) for p in one.parameters()} & {id(p) for p in other.parameters()}
    assert not {id(p) for p in one.parameters()} & {id(p) for p in plan.net.parameters()}
    # Both start from the weights that the user gave.
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    flow = Flow(StandardNormal(), [plan, bij.Reverse(), plan], 4)
    assert len({id(p) for p in flow.parameters()}) == 2 * len(list(one.parameters()))


def test_a_module_of_ones_own_is_trained_and_conditions():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2 + 3, 16), nn.SiLU(), nn.Dropout(0.5), nn.Linear(16, 4))

        def forward(self, visible):
            return self.layers(visible)

    flow = Flow(StandardNormal(), bij.Coupling(bij.Affine(), net=Own()), 4, 3).eval()
    before = {name: p.clone() for name, p in flow.named_parameters()}
    optimizer = torch.optim.SGD(flow.parameters(), lr=0.1)
    (-flow.log_prob(torch.randn(64, 4), torch.randn(64, 3)).mean()).backward()
    optimizer.step()
    assert all(not torch.equal(before[name], p) for name, p in flow.named_parameters())
    assert flow.log_prob(torch.randn(7, 4), torch.randn(3)).shape == (7,)
    assert flow.sample((5,), torch.randn(2, 3)).shape == (5, 2, 4)
    assert "Own 5 → 4" in str(flow.describe())
    x, c = torch.randn(6, 4), torch.randn(6, 3)
    assert not torch.equal(flow.log_prob(x, c), flow.log_prob(x, c + 1))


def test_a_masked_module_of_ones_own():
    class Lower(nn.Linear):
        def forward(self, visible):
            mask = torch.ones(3, 3).tril(-1).repeat(2, 1)
            return F.linear(visible, self.weight * mask, self.bias)

    x = torch.randn(5, 3)
    layer = bij.Autoregressive(bij.Affine(), net=Lower(3, 6)).build(3)
    assert torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-5)
    with pytest.raises(PlanError, match="Linear: output 0 depends on feature 0, which it must not see; mask the module, or use MLP"):
        bij.Autoregressive(bij.Affine(), net=nn.Linear(3, 6)).build(3)


class Products(TorchDispatchMode):
    """Notes of each matrix product how many rows it takes, whoever asks for it."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.rows.append(args[-2].shape[0])
        return func(*args, **(kwargs or {}))


def rows_of(flow, run):
    """Return the number of rows that each linear layer of the networks sees while ``run`` runs: of values, and of contexts."""
    seen = {"x": [], "c": []}
    handles = []
    for part in flow.modules():
        if isinstance(part, Parameters) and part.net is not None:
            for name, module in part.net.named_modules():
                if isinstance(module, Dense):
                    key = "c" if name.endswith(".c") else "x"
                    handles.append(module.register_forward_hook(lambda m, i, o, key=key: seen[key].append(i[0].numel() // m.in_features)))
    run()
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("structure", ["coupling", "autoregressive"])
def test_one_context_for_many_samples_is_entered_once(structure):
    flow = NSF(3, 4, structure=structure, transforms=2, widths=(8, 8))
    context, x = torch.randn(4), torch.randn(10_000, 3)
    for given in (context, context[None]):
        seen = rows_of(flow, lambda given=given: flow.log_prob(x, given))
        assert set(seen["c"]) == {1}
        assert set(seen["x"]) == {10_000}
    seen = rows_of(flow, lambda: flow.sample((10_000,), context))
    assert set(seen["c"]) == {1}
    seen = rows_of(flow, lambda: flow.sample((100,), torch.randn(7, 4)))
    assert set(seen["c"]) == {7}
    # Compiled code shows no products; on the meta device the same work is done by the reference.
    layer = copy.deepcopy(flow.transform.layers[0]).to("meta")
    with Products() as products:
        layer(torch.empty(100, 7, 3, device="meta"), torch.empty(7, 4, device="meta"))
    assert products.rows.count(7) == 1
    assert set(products.rows) == {7, 700}


def test_parameters_of_the_context_alone_are_computed_once():
    flow = Flow(DiagNormal(net=bij.MLP((8,))), bij.Elementwise(bij.Spline(), net=bij.MLP((8,))), 3, 4)
    seen = rows_of(flow, lambda: flow.log_prob(torch.randn(10_000, 3), torch.randn(4)))
    assert set(seen["c"]) == set(seen["x"]) == {1}


def test_contexts_of_several_axes_are_joined():
    flow = Flow(StandardNormal(), bij.Coupling(bij.Affine(), net=bij.MLP((8,))), 3, (2, 5))
    assert weights(flow.transform)[1].in_features == 10
    assert flow.log_prob(torch.randn(6, 3), torch.randn(6, 2, 5)).shape == (6,)
    assert flow.log_prob(torch.randn(6, 3), torch.randn(2, 5)).shape == (6,)


@pytest.mark.parametrize("net", [bij.MLP((32,), "silu"), bij.ResidualMLP(32), nn.Linear(4, 4)], ids=["MLP", "ResidualMLP", "own"])
def test_named_flows_take_any_net(net):
    flow = RealNVP(4, 2, net=net, transforms=2)
    assert flow.log_prob(torch.randn(5, 4), torch.randn(5, 2)).shape == (5,)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bij.MLP(()), r"MLP: expected widths to be a list of .*positive whole numbers, not an empty one, got \(\)"),
        (lambda: bij.MLP((8, 0)), r"MLP: expected widths to be a list of .*positive whole numbers, got \(8, 0\)"),
        (lambda: bij.MLP((8.5,)), r"MLP: expected widths to be a list of .*positive whole numbers, got \(8.5,\)"),
        (lambda: bij.MLP(64), "MLP: expected widths to be a list of .*positive whole numbers, got 64"),
        (lambda: bij.MLP((8,), "swish"), "MLP: expected activation to be one of relu, .*, got 'swish'"),
        (lambda: bij.MLP((8,), F.relu), "MLP: expected activation to be one of relu, .*, got <function"),
        (lambda: bij.MLP((True,)), r"MLP: expected widths to be a list of .*positive whole numbers, got \(True,\)"),
        (lambda: bij.ResidualMLP(0), "ResidualMLP: expected width to be a whole number of at least 1, got 0"),
        (lambda: bij.ResidualMLP(8, -1), "ResidualMLP: expected blocks to be a whole number of at least 1, got -1"),
        (lambda: bij.ResidualMLP("wide"), "ResidualMLP: expected width to be a whole number of at least 1, got 'wide'"),
        (lambda: bij.Coupling(bij.Affine(), net=[64, 64]), r"Coupling: expected net to be a plan such as MLP\(\) or an nn.Module, got"),
        (lambda: bij.Coupling(bij.Affine(), net=bij.MLP), r"Coupling: expected net to be a plan such as MLP\(\) or an nn.Module, got"),
        (lambda: bij.Coupling(bij.Affine(), net=None), r"Coupling: expected net to be a plan such as MLP\(\) or an nn.Module, got None"),
        (lambda: bij.Elementwise(bij.Affine(), net=3), r"Elementwise: expected net to be a plan such as MLP\(\) or an nn.Module, got 3"),
        (
            lambda: bij.Coupling(bij.Affine(), net=nn.Linear(2, 5)).build(4),
            r"Linear: expected an output of shape \(batch, 4\), got \(2, 5\) for a batch of 2",
        ),
        (
            lambda: bij.Coupling(bij.Affine(), net=nn.Linear(3, 4)).build(4),
            r"Linear: expected a module that takes \(batch, 2 inputs \+ 0 context\)",
        ),
        (
            lambda: bij.Coupling(bij.Affine(), net=nn.LSTM(2, 4)).build(4),
            r"LSTM: expected an output of shape \(batch, 4\), got tuple for a batch of 2",
        ),
        (
            lambda: bij.Coupling(bij.Affine(), net=nn.Flatten(0)).build(4),
            r"Flatten: expected an output of shape \(batch, 4\), got \(4,\) for a batch of 2",
        ),
    ],
)
def test_wrong_nets_are_refused(make, words):
    with pytest.raises(PlanError, match=words):
        make()


# Large masked layers are multiplied in blocks


def staircase(outputs, inputs, seed=0):
    """Return a mask as autoregression has them, once for each of two parameters."""
    reach = np.arange(outputs // 2) * inputs // (outputs // 2)
    return np.tile(np.arange(inputs)[None] < reach[:, None], (2, 1))


def scattered(outputs, inputs, seed=0):
    return np.random.default_rng(seed).random((outputs, inputs)) < 0.3


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask", [staircase(LEAST + 130, LEAST), scattered(LEAST, LEAST + 7)], ids=["staircase", "scattered"])
def test_blocks_give_the_masked_product_and_its_gradients(mask, bias):
    torch.manual_seed(0)
    layer = Dense(mask.shape[1], mask.shape[0], mask, bias).double()
    layer.mask = layer.mask.double()
    assert layer.blocks
    # Values beside the mask must not count, whoever wrote them.
    layer.weight.data.add_(0.1 * torch.randn_like(layer.weight))
    x = torch.randn(6, 3, mask.shape[1], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 3, mask.shape[0], dtype=torch.float64)

    def gradients(run):
        return [run, *torch.autograd.grad((run * weights).sum(), [x, *layer.parameters()])]

    for got, expected in zip(gradients(layer(x)), gradients(product(x, layer.masked(), layer.bias)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_blocks_differentiate_twice_and_leave_transforms_to_the_plain_product():
    mask = staircase(LEAST, LEAST)
    layer = Dense(LEAST, LEAST, mask).double()
    layer.mask = layer.mask.double()
    x = torch.randn(3, LEAST, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(layer(x).pow(2).sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(slope.pow(2).sum(), x)[0]
    dense = layer.masked().detach()
    inner = 4 * (x @ dense.T + layer.bias) @ dense
    expected = 2 * inner @ dense.T @ dense
    torch.testing.assert_close(second, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))


def test_blocks_give_a_row_alone_what_they_give_it_in_a_batch():
    mask = staircase(LEAST, LEAST)
    layer = Dense(LEAST, LEAST, mask)
    x = torch.randn(40, LEAST)
    whole, deviation = layer(x), of_product(x, layer.masked(), layer.bias)
    assert deviation.max() < 1e-5 * whole.abs().max()
    for place in (0, 7, 39):
        assert within(layer(x[place]), whole[place], deviation[place])
        assert within(layer(x[place : place + 2]), whole[place : place + 2], deviation[place : place + 2])
    assert layer(x[:0]).shape == (0, LEAST)


def test_blocks_on_the_meta_device_and_under_autocast():
    layer, x = Dense(LEAST, LEAST, staircase(LEAST, LEAST)), torch.randn(8, LEAST)
    assert copy.deepcopy(layer).to("meta")(x.to("meta")).shape == (8, LEAST)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), layer(x), rtol=0.05, atol=0.05)


def test_small_layers_are_multiplied_whole():
    assert Dense(LEAST - 1, LEAST, staircase(LEAST, LEAST - 1)).blocks == ()
    assert Dense(LEAST, LEAST).blocks == ()


@pytest.mark.parametrize("mask", [None, np.tril(np.ones((6, 6), dtype=bool), -1)], ids=["all", "masked"])
@pytest.mark.parametrize("width", [64, 256, LEAST])
def test_outputs_of_wide_nets_move_with_the_root_of_their_width(width, mask):
    """A step of all last weights by the same amount moves the outputs with the width up to 64 units, and with its root beyond."""
    torch.manual_seed(0)
    net = bij.MLP((width, width), "sigmoid").build(Signature((6,), (6,), mask=mask))
    x = torch.randn(50, 6)
    before = net(x, None)
    with torch.no_grad():
        net.layers[-1].weight.add_(0.005)
    moved = (net(x, None) - before).abs()[:, -1].mean()
    # Sigmoids of small sums are a half; of an output's hidden units a part is masked.
    seen = 1.0 if mask is None else float(net.layers[-1].allowed[-1].mean())
    torch.testing.assert_close(moved, torch.tensor(0.005 * min(width, (64 * width) ** 0.5) * 0.5 * seen), rtol=0.15, atol=0)
    exact = net.layers[-1].masked()
    assert torch.allclose(net.layers[-1](torch.ones(5, width)), exact.sum(1) + net.layers[-1].bias, atol=1e-4)


@pytest.mark.parametrize("mask", [None, np.tri(60, k=-1, dtype=bool)])
def test_units_start_with_weights_by_the_root_of_what_they_see(mask):
    """As torch's own linear layers: evenly between plus and minus one over that root, whatever the layer's width."""
    torch.manual_seed(0)
    net = bij.MLP((600, 600)).build(Signature((60,), (60,), (5,), mask))
    for layer, beside in ((net.layers[0].x, 5), (net.layers[0].c, 60), (net.layers[1], 0)):
        seen = layer.allowed.sum(1) + (beside if mask is None or layer is net.layers[1] or layer is net.layers[0].x else 60)
        size = layer.weight.detach() * torch.as_tensor(np.sqrt(seen))[:, None]
        size = size[torch.as_tensor(layer.allowed)]
        assert size.abs().max() == pytest.approx(1, abs=0.01)
        assert size.std() == pytest.approx(3**-0.5, abs=0.01)


def every_layer_called(net, *given):
    """Return what the layers give when each is called, as where one is hooked."""
    handle = net.layers[0].register_forward_hook(lambda *_: None)
    out = net(*given)
    handle.remove()
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("plan", [MLP((128, 90)), ResidualMLP(128, 2), MLP((128, 128, 70), "silu")], ids=repr)
@pytest.mark.parametrize(("inputs", "context", "masked"), [(5, 0, False), (5, 2, False), (0, 4, False), (5, 2, True)])
def test_layers_that_are_not_called_give_what_they_would(plan, inputs, context, masked, dtype):
    mask = np.repeat(np.tril(np.ones((5, 5), dtype=bool), -1), 3, 0) if masked else None
    net = plan.build(Signature.of_sizes(inputs, 15, context, mask)).to(dtype)
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    # As kernels give them: at least float32, whatever the weights are.
    x, c = (torch.randn(*batch, size, dtype=max(dtype, torch.float32, key=lambda d: d.itemsize)) if size else None
            for batch, size in (((4, 6), inputs), ((6,), context)))  # fmt: skip
    assert DIRECT.takes(net.call(x, c))
    out = DIRECT.run(net.call(x, c))
    assert out.dtype == dtype
    # The same operators on tensors of the same shapes give the same bits.
    expected = every_layer_called(net, x, c)
    assert torch.equal(out, expected)
    assert torch.equal(net(x, c), expected)
    for one, other in zip(*(torch.autograd.grad(y.sin().sum(), list(net.parameters())) for y in (out, expected)), strict=True):
        assert torch.equal(one, other)
    few = [None if t is None else t[:1, :3] if t.dim() == 3 else t[:3] for t in (x, c)]
    assert not DIRECT.takes(net.call(*few))
    # Another number of rows is another sum to BLAS.
    deviation = of_perceptron(net, *few).reshape(3, -1)
    assert deviation.max() < 300 * torch.finfo(dtype).eps * expected.abs().max()
    assert within(net(*few).reshape(3, -1), expected[:3] if inputs == 0 else expected[0, :3], deviation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(DIRECT.run(net.call(x, c)), every_layer_called(net, x, c))


def test_hooks_of_all_modules_see_every_layer():
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        for plan in (MLP((8, 8)), MLP((128, 128))):
            net = plan.build(Signature((3,), (5,)))
            seen.clear()
            net(torch.randn(6, 3))
            assert [module for module in seen if isinstance(module, Dense)] == net.dense()
    finally:
        handle.remove()


@pytest.mark.parametrize("plan", [MLP((32, 24, 16)), ResidualMLP(24)], ids=repr)
def test_masks_lie_in_memory_as_their_weights_do(plan):
    # A product of two layouts takes several times as long, in each step.
    net = plan.build(Signature((5,), (15,), (2,), np.repeat(np.tril(np.ones((5, 5), dtype=bool), -1), 3, 0))).double()
    masked = [layer for layer in net.modules() if isinstance(layer, Dense) and layer.mask is not None]
    assert len(masked) >= 4
    assert all(layer.mask.stride() == layer.weight.stride() for layer in masked)


@pytest.mark.parametrize(
    ("plan", "inputs", "context", "masked"),
    [
        (MLP((120, 90)), 3, 0, False),
        (MLP((120, 90, 50), "tanh"), 3, 2, False),
        (MLP((110, 80), "silu"), 0, 4, False),
        (MLP((160, 120)), 5, 2, True),
    ],
)
def test_activations_of_few_inputs_are_made_again(plan, inputs, context, masked, monkeypatch):
    monkeypatch.setattr("pushforward.nets.strategies.LARGE", 1)
    mask = np.repeat(np.tril(np.ones((5, 5), dtype=bool), -1), 3, 0) if masked else None
    net = plan.build(Signature.of_sizes(inputs, 15, context, mask)).double()
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    assert net.traits.narrow
    assert not net.traits.small
    x, c = (torch.randn(*batch, size).double().requires_grad_() if size else None for batch, size in (((4, 6), inputs), ((6,), context)))
    wanted = [t for t in (x, c) if t is not None] + list(net.parameters())

    hidden = (24 if inputs else 6) * plan.widths[0]

    def everything():
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            out = net(x, c)
        first = torch.autograd.grad(out.sin().sum(), wanted, retain_graph=True)
        again = torch.autograd.grad(out.sin().sum(), wanted, create_graph=True)
        return kept.count(hidden), [out, *first, *again, *torch.autograd.grad(sum(g.square().sum() for g in again), wanted)]

    kept, got = everything()
    monkeypatch.undo()
    kept_plainly, expected = everything()
    assert kept == 0
    assert kept_plainly > 0
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_activations_are_made_again_in_half_precision_and_under_a_trace(monkeypatch):
    torch.manual_seed(0)
    net = randomize(MLP((80, 60)).build(Signature((3,), (7,), (2,))), 0.5, 0)
    x, c = torch.randn(20, 3, requires_grad=True), torch.randn(20, 2)
    plain = torch.autograd.grad(net.bfloat16()(x, c).float().sin().sum(), [x, *net.parameters()])
    monkeypatch.setattr("pushforward.nets.strategies.LARGE", 1)
    again = torch.autograd.grad(net(x, c).float().sin().sum(), [x, *net.parameters()])
    for one, other in zip(again, plain, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05 * float(other.abs().max()))
    net.float()
    traced = torch.jit.trace(net, (x, c))
    more = torch.randn(9, 3), torch.randn(9, 2)
    torch.testing.assert_close(traced(*more), net(*more))
