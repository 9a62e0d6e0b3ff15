"""The compiled perceptron against torch's own operators, and all that a caller may do with it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations, prune

import pushforward.bijectors as bij
from pushforward.native.activations import ACTIVATIONS
from pushforward.native.layout import MAX_LAYERS
from pushforward.native.library import LIBRARY
from pushforward.nets.signature import Signature
from pushforward.nets.strategies import COMPILED

pytestmark = pytest.mark.compiled

CHAIN = np.repeat(np.tril(np.ones((5, 5), dtype=bool), -1), 3, 0)
NETS = {
    "inputs": (bij.MLP((20, 17)), 3, 0, None),
    "inputs and context": (bij.MLP((20, 9)), 3, 2, None),
    "context": (bij.MLP((40,)), 0, 5, None),
    "one unit": (bij.MLP((1, 1)), 1, 0, None),
    "residual": (bij.ResidualMLP(17, 2), 4, 3, None),
    "masked": (bij.MLP((20, 20)), 5, 2, CHAIN),
    "residual, masked": (bij.ResidualMLP(13, 2), 5, 0, CHAIN),
}
nets = pytest.mark.parametrize("name", NETS)


def build(name, activation="relu", dtype=torch.float64, scale=0.5):
    plan, inputs, context, mask = NETS[name]
    plan = plan.replace(activation=activation)
    net = plan.build(Signature.of_sizes(inputs, 15, context, mask))
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, scale)
    return net.to(dtype)


def rows(name, count=77, dtype=torch.float64, grad=True):
    _, inputs, context, _ = NETS[name]
    draw = torch.Generator().manual_seed(1)
    x, c = (torch.randn(count, size, generator=draw, dtype=dtype) if size else None for size in (inputs, context))
    return [t if t is None else t.requires_grad_(grad) for t in (x, c)]


def compiled(net, *given):
    call = net.call(*given)
    assert COMPILED.takes(call), "the compiled code was not used"
    return COMPILED.run(call)


def taken(net, *given):
    """Tell whether the compiled code takes a call."""
    return COMPILED.takes(net.call(*given))


def by_torch(net, *given):
    """Return what the layers give when each is called."""
    handle = net.layers[0].register_forward_hook(lambda *_: None)
    assert not taken(net, *given)
    out = net(*given)
    handle.remove()
    return out


def differentiate(out, net, given):
    wanted = [t for t in given if t is not None] + list(net.parameters())
    return torch.autograd.grad(out.sin().sum(), wanted)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@nets
def test_value_and_gradient(name, activation):
    net, given = build(name, activation), rows(name)
    out, expected = compiled(net, *given), by_torch(net, *given)
    # torch's softplus is linear from 20 on, which leaves out 2e-9.
    size = 1e-8 if activation == "softplus" else 1e-12
    torch.testing.assert_close(out, expected, rtol=size, atol=size)
    for got, exact in zip(differentiate(out, net, given), differentiate(expected, net, given), strict=True):
        torch.testing.assert_close(got, exact, rtol=size, atol=size * float(1 + exact.abs().max()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@nets
def test_float32_rounds_as_little_as_torch(name, activation):
    exact, given = build(name, activation, scale=0.3), rows(name)
    expected = exact(*given)
    exact_gradients = differentiate(expected, exact, given)
    net, narrow = copy.deepcopy(exact).float(), [t if t is None else t.detach().float().requires_grad_() for t in given]
    results = [compiled(net, *narrow), by_torch(net, *narrow)]
    ours, theirs = ((out.double() - expected).abs().max() for out in results)
    assert ours <= 3 * theirs + 1e-6 * expected.abs().max()
    found = [differentiate(out, net, narrow) for out in results]
    for own, other, best in zip(*found, exact_gradients, strict=True):
        assert (own - best).abs().max() <= 3 * (other - best).abs().max() + 2e-6 * best.abs().max()


@nets
def test_second_derivatives(name):
    net, given = build(name, "tanh"), rows(name, 3)
    wanted = [t for t in given if t is not None] + list(net.parameters())

    def grads(out):
        first = torch.autograd.grad(out.sin().sum(), wanted, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), wanted)

    for got, exact in zip(grads(compiled(net, *given)), grads(by_torch(net, *given)), strict=True):
        torch.testing.assert_close(got, exact, rtol=1e-9, atol=1e-9)


def test_a_masked_output_depends_on_what_it_may_see_alone():
    net, (x, c) = build("masked"), rows("masked", 1)
    jacobian = torch.autograd.functional.jacobian(lambda v: compiled(net, v, c)[0], x)[:, 0]
    assert (jacobian[~torch.from_numpy(CHAIN)] == 0).all()
    assert (jacobian[torch.from_numpy(CHAIN)] != 0).any()
    compiled(net, x, c).sum().backward()
    for dense in net.dense():
        assert (dense.weight.grad[dense.mask == 0] == 0).all()


@nets
def test_a_row_is_the_same_bits_wherever_it_stands(name):
    net, (x, c) = build(name, dtype=torch.float32), rows(name, 300, torch.float32)
    whole = compiled(net, x, c)
    for place in (0, 1, 31, 32, 255, 256, 299):
        alone = compiled(net, None if x is None else x[place], None if c is None else c[place])
        assert torch.equal(alone, whole[place])


def test_threads_change_no_bit():
    net, found, before = build("masked", dtype=torch.float32), [], torch.get_num_threads()
    given = rows("masked", 5000, torch.float32)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            out = compiled(net, *given)
            found.append([out, *differentiate(out, net, given)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("batch", [(), (0,), (1,), (33,), (2, 3), (0, 3)])
def test_any_shape_and_stride(batch):
    net = build("inputs and context", dtype=torch.float32)
    draw = torch.Generator().manual_seed(2)
    x, c = torch.randn(*batch, 3, generator=draw), torch.randn(*batch, 2, generator=draw)
    wide = torch.randn(*batch, 9)
    wide[..., 2:5] = x
    expected = compiled(net, x, c)
    assert expected.shape == (*batch, 15)
    for point in (x, wide[..., 2:5], x[..., None].expand(*batch, 3, 2)[..., 0]):
        assert torch.equal(compiled(net, point, c), expected)
    gradients = torch.autograd.grad(expected.sum(), list(net.parameters()))
    assert all(torch.isfinite(g).all() for g in gradients)
    if 0 in batch:
        assert all((g == 0).all() for g in gradients)


def test_one_context_for_all_rows():
    net, (x, c) = build("inputs and context"), rows("inputs and context")
    one = c[:1].detach().requires_grad_()
    for given in (one, one[0]):
        out = compiled(net, x, given)
        torch.testing.assert_close(out, compiled(net, x, one.expand(77, 2)))
        expected = torch.autograd.grad(by_torch(net, x, given).sin().sum(), one)[0]
        torch.testing.assert_close(torch.autograd.grad(out.sin().sum(), one)[0], expected)
    # Contexts of several samples each are multiplied once each: torch does that.
    assert not taken(net, x[:6].reshape(2, 3, 3), c[:3])
    assert net(x[:6].reshape(2, 3, 3), c[:3]).shape == (2, 3, 15)


def test_a_row_that_is_no_number_is_alone():
    net, (x, _) = build("inputs"), rows("inputs")
    with torch.no_grad():
        x[7, 1] = torch.nan
    out, others = compiled(net, x, None), torch.arange(77) != 7
    assert out[7].isnan().any()
    assert torch.isfinite(out[others]).all()
    assert torch.isfinite(torch.autograd.grad(out[others].sum(), x)[0][others]).all()


def test_what_hangs_on_a_layer_is_done():
    net, (x, _) = build("inputs"), rows("inputs")
    seen = []
    handle = net.layers[1].register_forward_hook(lambda *_: seen.append(1))
    net(x)
    assert seen == [1]
    handle.remove()
    plain = net(x)
    pruned = copy.deepcopy(net)
    prune.l1_unstructured(pruned.layers[1], "weight", amount=0.5)
    assert not torch.equal(pruned(x), plain)
    scaled = copy.deepcopy(net)
    parametrizations.weight_norm(scaled.layers[1])
    with torch.no_grad():
        scaled.layers[1].parametrizations.weight.original0.mul_(2)
    assert not torch.allclose(scaled(x), plain)


def test_weights_put_in_for_a_call_are_those_differentiated():
    net, (x, _) = build("inputs", "tanh"), rows("inputs")
    other = {name: (0.5 * p.detach()).requires_grad_() for name, p in net.named_parameters()}
    first = torch.func.functional_call(net, other, (x, None))
    with torch.no_grad():
        moved = copy.deepcopy(net)
        for parameter in moved.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(first, moved(x))
    gradient = torch.autograd.grad(first.sum(), list(other.values()), create_graph=True)
    expected = torch.autograd.grad(moved(x).sum(), list(moved.parameters()))
    for got, exact in zip(gradient, expected, strict=True):
        torch.testing.assert_close(got, exact)


def test_nothing_is_kept_that_grows_with_the_width():
    def kept(net, x):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            net(x)
        return sum(sizes) - sum(p.numel() for p in net.parameters())

    x = torch.randn(1000, 3)
    assert kept(bij.MLP((5, 5)).build(Signature((3,), (7,))), x) == kept(bij.MLP((50, 50)).build(Signature((3,), (7,))), x) == x.numel()


def test_function_transforms_and_tangents_take_the_layers():
    net, (x, _) = build("inputs"), rows("inputs", 5, grad=False)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: net(row)))(x)
    tangent = torch.func.jvp(net, (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(jacobian.sum(-1), tangent)
    expected = torch.autograd.functional.jacobian(lambda v: compiled(net, v, None).sum(0), x.requires_grad_()).movedim(1, 0)
    torch.testing.assert_close(jacobian, expected)


@pytest.mark.parametrize(
    "change",
    [lambda net, x: (net.bfloat16(), x.bfloat16()), lambda net, x: (net.to("meta"), x.to("meta")), lambda net, x: (net, x.float())],
)
def test_what_the_compiled_code_leaves_to_torch(change):
    net, x = change(build("inputs"), rows("inputs", grad=False)[0])
    assert not taken(net, x, None)
    assert net(x).shape == (77, 15)


def test_large_nets_are_left_to_torch():
    assert bij.MLP((20, 20)).build(Signature((3,), (7,))).traits.small
    assert not bij.MLP((128, 128)).build(Signature((3,), (7,))).traits.small
    assert not bij.MLP((2,) * (MAX_LAYERS + 1)).build(Signature((3,), (7,))).traits.small


def test_under_autocast_the_layers_run():
    net, (x, _) = build("inputs", dtype=torch.float32), rows("inputs", dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not taken(net, x, None)
        assert net(x).dtype == torch.bfloat16


def test_without_the_library_torch_takes_over(monkeypatch):
    net, (x, _) = build("inputs"), rows("inputs")
    expected = compiled(net, x, None)
    monkeypatch.setattr("pushforward.native.library.LIBRARY", type(LIBRARY)(None, "not built", "torch's"))
    assert not taken(net, x, None)
    torch.testing.assert_close(net(x), expected)
