"""The sequential direction of autoregressive layers: the same as full passes, step by step or compiled, for the work of one pass."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_structures import graphs
from torch.utils._python_dispatch import TorchDispatchMode

import pushforward.bijectors as bij
from pushforward.kernels.kernel import Kernel
from pushforward.native import library
from pushforward.native.activations import ACTIVATIONS
from pushforward.native.layout import MAX_LAYERS
from pushforward.nets.conditioner import flat_context
from pushforward.testing import randomize


@dataclass(frozen=True, repr=False)
class _Bent(Kernel):
    """A kernel as a user may write one: no compiled code, and its inverse is found numerically."""

    def init(self, shape):
        return {"bend": torch.zeros(shape), "shift": torch.zeros(2, *shape)}

    def forward(self, x, bend, shift):
        bend = 0.9 * torch.tanh(bend)
        inner = torch.tanh(x + shift[..., 0, :])
        return x + bend * inner + shift[..., 1, :], torch.log1p(bend * (1 - inner * inner))


KERNELS = {
    "affine": bij.Affine(),
    "quadratic": bij.Spline(bins=4),
    "linear": bij.Spline(bins=3, bound=4.0, order="linear"),
    "a user's": _Bent(),
}
# Its sets of parents, sorted by size, do not come in the order of the steps at which they are known.
UNSORTED = [
    [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
    [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0],
]  # fmt: skip

each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
both_kinds = pytest.mark.parametrize("kind", [bij.Autoregressive, bij.InverseAutoregressive])


def built(plan, event_shape, context_shape=None, dtype=torch.float64, scale=0.7, seed=0):
    torch.manual_seed(seed)
    return randomize(plan.build(event_shape, context_shape), scale, seed).to(dtype)


def data(module, batch=(7,), context=None, dtype=torch.float64, seed=1):
    """Return points, and contexts for each of them (``"each"``), one for all (``"one"``) or none."""
    g = torch.Generator().manual_seed(seed)
    x = 1.5 * torch.randn(*batch, *module.event_shape, generator=g, dtype=torch.float64)
    c = None
    if context is not None:
        c = torch.randn(*(batch if context == "each" else ()), *module.context_shape, generator=g, dtype=torch.float64).to(dtype)
    return x.to(dtype), c


def some(kernel, *cases):
    """Return all cases, or for a kernel whose numerical inverse takes its time the first."""
    return cases if kernel.code() is not None else cases[:1]


def plain():
    """Leave the library out, so that the steps run in torch."""
    return mock.patch.object(library, "LIBRARY", library.Library(None, "off", "torch's"))


def only_compiled():
    """Refuse the steps in torch, so that what runs is sure to be compiled, unless there is to be no compiled code."""
    if os.environ.get("PUSHFORWARD_NATIVE") == "0":
        return contextlib.nullcontext()
    return mock.patch("pushforward.layers.incremental.Steps._reference", side_effect=AssertionError("not compiled"))


def sequential(module, x, c):
    return (module.forward if module.forward_sequential else module.inverse)(x, c)


def full_passes(module, x, c):
    """Return the same by one full pass for each step."""
    c = flat_context(c, module.context_shape)
    flat = x.flatten(x.dim() - module.rank)
    flat = flat.float() if flat.dtype == torch.bfloat16 else flat
    batch = flat.shape[:-1] if c is None else torch.broadcast_shapes(flat.shape[:-1], c.shape[:-1])
    y, ladj = module._full_passes(not module.forward_sequential, flat.expand(*batch, -1), c)
    return y.unflatten(-1, module.event_shape).to(x.dtype), ladj


def results(function, module, x, c, second=False):
    """Return value, ladj, and all their gradients: of points, context and parameters; or the second derivatives of those."""
    x, c = x.detach().requires_grad_(), None if c is None else c.detach().requires_grad_()
    tensors = [x, *([] if c is None else [c]), *module.parameters()]
    y, ladj = function(module, x, c)
    g = torch.Generator().manual_seed(9)
    weights = [torch.randn(out.shape, generator=g, dtype=torch.float64).to(out.dtype) for out in (y, ladj)]
    total = (weights[0] * (y + 0.3 * y * y)).sum() + (weights[1] * ladj).sum()
    found = torch.autograd.grad(total, tensors, allow_unused=True, create_graph=second)
    found = [torch.zeros_like(t) if f is None else f for f, t in zip(found, tensors, strict=True)]
    if second:
        directions = [torch.randn(f.shape, generator=g, dtype=torch.float64) for f in found]
        along = sum((f * d).sum() for f, d in zip(found, directions, strict=True))
        twice = torch.autograd.grad(along, tensors, allow_unused=True)
        found += [torch.zeros_like(t) if f is None else f for f, t in zip(twice, tensors, strict=True)]
    return [t.detach() for t in (y, ladj, *found)]


def agree(ours, theirs, limit):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if b.numel():
            assert float((a.double() - b.double()).abs().max()) <= limit * (1 + float(b.double().abs().max()))


def check(module, x, c, limit=1e-9, second=False):
    """Hold the compiled sweep (where the kernel has one) and the steps in torch against full passes."""
    wanted = results(full_passes, module, x, c, second)
    code = module.kernel.code() is not None
    # A second derivative of the compiled sweep is taken through the steps in torch.
    with only_compiled() if code and not second and x.dtype != torch.bfloat16 else contextlib.nullcontext():
        agree(results(sequential, module, x, c, second), wanted, limit)
    with plain():
        agree(results(sequential, module, x, c, second), wanted, limit)


@both_kinds
@each_kernel
@pytest.mark.parametrize("context", [None, "each", "one"])
def test_it_equals_full_passes(kernel, kind, context):
    for net in some(kernel, bij.MLP((16, 12)), bij.ResidualMLP(14, 2, "tanh"), bij.MLP((9,), "silu")):
        for order in ([2, 0, 3, 1], None):
            module = built(kind(kernel, order=order, net=net), 4, None if context is None else 2)
            assert module.facts.evaluations == (1, 1)
            check(module, *data(module, context=context))


@both_kinds
@pytest.mark.parametrize("residual", [False, True], ids=["MLP", "ResidualMLP"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation, residual, kind):
    net = bij.ResidualMLP(10, 2, activation) if residual else bij.MLP((10, 11), activation)
    for dtype, limit in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        module = built(kind(bij.Affine(), net=net), 4, 2, dtype)
        check(module, *data(module, (33,), "each", dtype), limit)


def test_activations_where_they_saturate():
    """The sweep has exponentials of its own: large, small and negative arguments keep values and gradients right and finite."""
    for activation in ACTIVATIONS:
        module = built(bij.Autoregressive(bij.Affine(), net=bij.MLP((8,), activation)), 2)
        net = module.parameters_of.net
        with torch.no_grad():
            # The second feature's units see the first alone: give them arguments from tiny to huge.
            net.layers[0].x.bias.zero_()
            net.layers[0].x.weight.copy_(torch.tensor([[1e-8, 1e-3, 1.0, 30.0, -1.0, -30.0, 300.0, -2000.0]]).T.expand(8, 2))
            net.layers[1].weight.mul_(1e-3)
        for dtype, limit in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
            x, c = data(module, (64,), dtype=dtype)
            check(module.to(dtype), x, c, limit)
            assert all(torch.isfinite(t).all() for t in results(sequential, module, x, c))


@settings(max_examples=30, deadline=None)
@given(
    graph=graphs(), name=st.sampled_from(sorted(KERNELS)), widths=st.lists(st.integers(6, 20), min_size=1, max_size=3),
    residual=st.booleans(), context=st.sampled_from([None, "each", "one"]), inverse=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_graph(graph, name, widths, residual, context, inverse, seed):
    graph, _, _ = graph
    net = bij.ResidualMLP(widths[0], len(widths), "tanh") if residual else bij.MLP(widths, "tanh")
    kind = bij.InverseAutoregressive if inverse else bij.Autoregressive
    module = built(kind(KERNELS[name], adjacency=graph, net=net), len(graph), None if context is None else 2, seed=seed)
    assert_no_unit_twice(module)
    check(module, *data(module, (5,), context, seed=seed))


@both_kinds
@each_kernel
def test_units_that_have_to_be_sorted(kernel, kind):
    for net in some(kernel, bij.MLP((12, 17)), bij.ResidualMLP(12, 2), bij.MLP((7, 20, 9), "elu")):
        for context in (None, "each"):
            module = built(kind(kernel, adjacency=UNSORTED, net=net), 6, None if context is None else 3)
            assert any(order is not None for order in module.incremental.sorting)
            check(module, *data(module, context=context))


@both_kinds
@each_kernel
def test_events_with_further_axes(kernel, kind):
    for order in some(kernel, [2, 0, 1], None):
        for context, shape in some(kernel, ("each", (2, 2)), ("one", (2, 2)), (None, None)):
            module = built(kind(kernel, order=order, net=bij.MLP((12, 9), "tanh")), (3, 2), shape)
            check(module, *data(module, (5,), context))
            check(module, *data(module, (2, 3), context))


@both_kinds
def test_batches_and_contexts_broadcast(kind):
    module = built(kind(bij.Affine(), net=bij.MLP((12,), "tanh")), 3, 2)
    g = torch.Generator().manual_seed(1)
    for of_x, of_c in (
        ((), ()),
        ((), (4,)),
        ((4,), ()),
        ((5, 1), (4,)),
        ((1,), (3,)),
        ((3,), (1,)),
        ((0,), ()),
        ((0,), (0,)),
        ((2, 0), (0,)),
    ):
        x, c = (torch.randn(*batch, n, generator=g, dtype=torch.float64) for batch, n in ((of_x, 3), (of_c, 2)))
        wanted = results(full_passes, module, x, c)
        assert wanted[0].shape == (*torch.broadcast_shapes(of_x, of_c), 3)
        check(module, x, c)


@both_kinds
@each_kernel
def test_no_rows(kernel, kind):
    module = built(kind(kernel, net=bij.MLP((8,))), 3, 2)
    for batch in ((0,), (2, 0)):
        x, c = data(module, batch, "each")
        check(module, x, c)
        assert all((g == 0).all() for g in results(sequential, module, x, c)[4:])


@both_kinds
@each_kernel
def test_float32_is_no_worse_than_full_passes(kernel, kind):
    for seed in some(kernel, 0, 1, 2):
        exact = built(kind(kernel, net=bij.MLP((24, 24))), 6, 2, seed=seed)
        x, c = data(exact, (64,), "each", seed=seed)
        rough = built(kind(kernel, net=bij.MLP((24, 24))), 6, 2, torch.float32, seed=seed)
        x, c = x.float(), c.float()
        exact.load_state_dict(rough.state_dict())
        wanted = results(full_passes, exact, x.double(), c.double())
        theirs = results(full_passes, rough, x, c)
        for use in (contextlib.nullcontext(), plain()):
            with use:
                ours = results(sequential, rough, x, c)
            for a, b, w in zip(ours, theirs, wanted, strict=True):
                worst, allowed = (float((t - w).abs().max()) for t in (a, b))
                assert worst <= 4 * allowed + 1e-5 * (1 + float(w.abs().max()))


@both_kinds
@each_kernel
def test_half_precision_networks(kernel, kind):
    module = built(kind(kernel, net=bij.MLP((12, 12), "tanh")), 4, 2, torch.bfloat16, scale=0.3)
    x, c = data(module, (16,), "each", torch.bfloat16)
    check(module, x, c, limit=0.05)
    y, ladj = sequential(module, x, c)
    assert y.dtype == torch.bfloat16
    assert ladj.dtype == torch.float32


@both_kinds
@each_kernel
def test_second_derivatives(kernel, kind):
    for net in some(kernel, bij.MLP((10, 8), "tanh"), bij.ResidualMLP(10, 1, "softplus")):
        for context in (None, "each"):
            module = built(kind(kernel, net=net), 3, None if context is None else 2)
            check(module, *data(module, (4,), context), limit=1e-8, second=True)


@both_kinds
def test_second_derivatives_against_differences(kind):
    module = built(kind(bij.Spline(bins=4), net=bij.MLP((8,), "tanh")), 3)
    x, _ = data(module, (2,))
    assert torch.autograd.gradcheck(lambda x: sequential(module, x, None), x.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x: sequential(module, x, None), x)


@both_kinds
@each_kernel
def test_narrow_nets(kernel, kind):
    for widths in some(kernel, (2, 1), (1,), (1, 1), (1, 5), (3, 2)):
        for context in (None, "each"):
            module = built(kind(kernel, net=bij.MLP(widths, "tanh")), 6, None if context is None else 2)
            check(module, *data(module, context=context))
    module = built(kind(kernel, net=bij.ResidualMLP(1, 2, "tanh")), 3)
    check(module, *data(module))


@both_kinds
@each_kernel
def test_one_feature(kernel, kind):
    module = built(kind(kernel, net=bij.MLP((4,))), 1, 2)
    check(module, *data(module, context="each"))


@both_kinds
def test_deeper_nets_than_the_library_takes(kind):
    for layers in (MAX_LAYERS, MAX_LAYERS + 1):
        module = built(kind(bij.Affine(), net=bij.MLP((3,) * layers, "tanh")), 3)
        wanted = results(full_passes, module, *data(module))
        with only_compiled() if layers == MAX_LAYERS else mock.patch("pushforward.layers.incremental.sweep", side_effect=AssertionError):
            agree(results(sequential, module, *data(module)), wanted, 1e-9)


@both_kinds
def test_only_what_is_wanted_gets_a_gradient(kind):
    module = built(kind(bij.Spline(bins=4), net=bij.MLP((8,), "tanh")), 3, 2)
    x, c = data(module, context="each")
    every = results(sequential, module, x, c)[2:]
    module.requires_grad_(False)
    x.requires_grad_()
    y, ladj = sequential(module, x, c)
    (gx,) = torch.autograd.grad(y.sum() + ladj.sum(), x)
    with plain():
        y, ladj = full_passes(module, x, c)
        assert torch.allclose(gx, torch.autograd.grad(y.sum() + ladj.sum(), x)[0], atol=1e-10)
    module.requires_grad_(True)
    module.parameters_of.net.layers[0].requires_grad_(False)
    x = x.detach()
    y, ladj = sequential(module, x, c)
    assert y.requires_grad
    torch.autograd.backward((y, ladj), (torch.ones_like(y), torch.ones_like(ladj)))
    assert [p.grad is not None for p in module.parameters()] == [p.requires_grad for p in module.parameters()]
    assert len(every) == 2 + len(list(module.parameters()))
    with torch.no_grad():
        assert not sequential(module, x, c)[0].requires_grad


@both_kinds
@each_kernel
def test_any_stride(kernel, kind):
    module = built(kind(kernel, net=bij.MLP((8, 8), "tanh")), 3, 2)
    x, c = data(module, (37,), "each")
    for layout in (
        lambda t: t.t().contiguous().t(),
        lambda t: t.repeat_interleave(2, 0)[::2],
        lambda t: t.repeat_interleave(2, 1)[:, ::2],
        lambda t: t[:1].expand(len(t), -1),
        lambda t: t.flip(0).contiguous().flip(0),
    ):
        for moved in ((layout(x), c), (x, layout(c))):
            packed = tuple(t.contiguous() for t in moved)
            agree(results(sequential, module, *moved), results(sequential, module, *packed), 1e-13)
    # Cotangents without memory of their own, as those of a sum are.
    x.requires_grad_()
    y, ladj = sequential(module, x, c)
    ours = torch.autograd.grad(y.sum() + ladj.sum(), x, retain_graph=True)[0]
    theirs = torch.autograd.grad((y, ladj), x, (torch.ones_like(y), torch.ones_like(ladj)))[0]
    assert torch.allclose(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.compiled
@both_kinds
@pytest.mark.parametrize("kernel", [KERNELS["affine"], KERNELS["quadratic"], KERNELS["linear"]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_is_the_same_bits_alone_and_in_a_batch_and_with_any_threads(kernel, kind, dtype):
    # Without a context, whose product with its weights is torch's.
    module = built(kind(kernel, net=bij.MLP((20, 20), "silu")), 5, None, dtype)
    x, _ = data(module, (101,), dtype=dtype)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.no_grad(), only_compiled():
                found.append(sequential(module, x, None))
    finally:
        torch.set_num_threads(before)
    together = found[0]
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(together, other, strict=True))
    with torch.no_grad():
        for rows in (slice(0, 1), slice(50, 51), slice(100, 101), slice(13, 46), slice(64, 101)):
            y, ladj = sequential(module, x[rows], None)
            assert torch.equal(y, together[0][rows])
            assert torch.equal(ladj, together[1][rows])


@each_kernel
def test_what_is_no_number_stays_in_its_row(kernel):
    module = built(bij.Autoregressive(kernel, net=bij.MLP((9,), "tanh")), 4)
    x, _ = data(module, (40,))
    usual = sequential(module, x, None)
    for bad in (math.nan, math.inf, -math.inf):
        broken = x.clone()
        broken[17, 1] = bad
        y, ladj = sequential(module, broken, None)
        others = torch.arange(40) != 17
        assert torch.allclose(y[others], usual[0][others], atol=1e-12)
        assert torch.allclose(ladj[others], usual[1][others], atol=1e-12)
        # The first feature came before; what follows a value that is no number is none either.
        assert torch.allclose(y[17, 0], usual[0][17, 0], atol=1e-12)
        assert y[17, 1].isnan() if math.isnan(bad) else not torch.isfinite(y[17, 1])
        if math.isnan(bad):
            assert y[17].isnan().tolist() == [False, True, True, True]


# Transforms and compiler


@both_kinds
@each_kernel
def test_transforms_go_through_the_steps(kernel, kind):
    module = built(kind(kernel, net=bij.MLP((8,), "tanh")), 3, 2)
    x, c = data(module, (4,), "each")
    wanted = sequential(module, x, c)
    for in_dims, tensors in (((0, 0), (x, c)), ((1, 0), (x.t(), c)), ((0, None), (x, c[0]))):
        found = torch.func.vmap(lambda x, c: sequential(module, x, c), in_dims)(*tensors)
        known = wanted if in_dims[1] == 0 else sequential(module, x, c[0])
        assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found, known, strict=True))
    slopes = torch.func.vmap(torch.func.jacrev(lambda x, c: sequential(module, x, c)[0]))(x, c)
    assert torch.allclose(torch.linalg.slogdet(slopes)[1], wanted[1], atol=1e-9)


@pytest.mark.compiler
@both_kinds
def test_the_compiler_takes_the_steps_whole(kind):
    torch.compiler.reset()
    module = built(kind(bij.Spline(bins=4), net=bij.MLP((8, 8), "tanh")), 3, 2)
    x, c = data(module, (6,), "each")
    whole = torch.compile(lambda x, c: sequential(module, x, c), fullgraph=True, backend="aot_eager")
    agree(results(lambda _, x, c: whole(x, c), module, x, c), results(sequential, module, x, c), 1e-10)


# Work


class Products(TorchDispatchMode):
    """Counts multiply-adds and output columns of matrix products."""

    def __init__(self):
        super().__init__()
        self.work = self.columns = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[1].split(".")[0]
        assert name not in ("bmm", "baddbmm", "einsum", "matmul", "linear", "_sparse_mm", "dot", "mv", "addmv"), name
        if name in ("mm", "addmm"):
            (rows, inner), (_, columns) = (t.shape for t in args[-2:])
            self.work += rows * inner * columns
            self.columns += columns
        return function(*args, **(kwargs or {}))


def counted(function, *args):
    with Products() as products, torch.no_grad():
        function(*args)
    return products


def assert_no_unit_twice(module):
    for stops, order in zip(module.incremental.schedule.edges, module.incremental.sorting, strict=True):
        assert (np.diff(stops) >= 0).all()
        assert order is None or sorted(order) == list(range(len(order)))
    for blocks, dense in zip(module.incremental.blocks, module.incremental.weights(module.parameters_of.net)[::2], strict=False):
        assert blocks[0][0] == 0
        assert all(end == start for (_, end), (start, _) in zip(blocks, blocks[1:], strict=False))
        assert blocks[-1][1] <= len(dense)
    assert sorted(module.incremental.order) == list(range(math.prod(module.event_shape)))


@both_kinds
@pytest.mark.parametrize("kernel", [KERNELS["affine"], KERNELS["quadratic"]])
@pytest.mark.parametrize("net", [bij.MLP((32, 32)), bij.MLP((40,)), bij.ResidualMLP(32, 2)], ids=repr)
def test_the_work_is_that_of_one_pass(kernel, kind, net):
    for features, order, graph in ((8, None, None), (5, [3, 1, 0, 4, 2], None), (6, None, UNSORTED)):
        for context in (None, "each"):
            plan = kind(kernel, order=order, adjacency=graph, net=net)
            module = built(plan, features, None if context is None else 3)
            assert_no_unit_twice(module)
            x, c = data(module, (8,), context)
            with plain():
                steps = counted(sequential, module, x, c)
                one = counted(module.inverse if module.forward_sequential else module.forward, x, c)
            assert one.work > 0
            assert steps.work <= one.work
            # Each hidden unit and each parameter is one column of one product; units that no one sees may be left out.
            assert steps.columns <= one.columns


# Networks of a user


class _Below(torch.nn.Module):
    """A linear map of what comes before, not masked by the library."""

    def __init__(self, features, rows):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(rows * features, features))
        self.register_buffer("mask", torch.ones(features, features).tril(-1).repeat(rows, 1))

    def forward(self, x):
        return torch.tanh(x) @ (self.weight * self.mask).T


@both_kinds
@each_kernel
def test_a_net_of_the_users_own_works_by_full_passes(kernel, kind):
    features = 4
    rows = sum(value.numel() for value in kernel.init((1,)).values())
    torch.manual_seed(0)
    module = kind(kernel, net=_Below(features, rows)).build(features).double()
    assert module.incremental is None
    assert max(module.facts.evaluations) == max(module.facts.depth) == features
    x, _ = data(module)
    forward, back = (module.forward, module.inverse) if module.forward_sequential else (module.inverse, module.forward)
    y, ladj = forward(x)
    again, minus = back(y)
    assert torch.allclose(again, x, atol=1e-8)
    assert torch.allclose(minus, -ladj, atol=1e-8)
    slopes = torch.func.vmap(torch.func.jacrev(lambda v: forward(v)[0]))(x)
    assert (slopes.triu(1) == 0).all()
    assert torch.allclose(torch.linalg.slogdet(slopes)[1], ladj, atol=1e-8)
