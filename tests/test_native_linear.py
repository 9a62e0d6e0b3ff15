"""The compiled linear map against its formula in float64, and all that a caller may do with it."""

from __future__ import annotations

import copy

import pytest
import torch

import pushforward.bijectors as bij
from pushforward.native import linear as native
from pushforward.native.library import LIBRARY
from pushforward.testing import randomize

pytestmark = pytest.mark.compiled

both_ways = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


def layer(size, bias=True, scale=0.3, dtype=torch.float32, seed=0):
    return randomize(bij.Linear(bias).build((size,)), scale, seed).to(dtype)


def run(module, x, inverse):
    return (module.inverse if inverse else module.forward)(x)


def matrix_of(module):
    """Return the matrix and the bias of a layer, put together entry by entry in float64."""
    module = copy.deepcopy(module).double()
    size, theta = module.event_shape[0], module.parameters_of.offset.detach()
    half = size * (size - 1) // 2

    def clamp(v, bound):
        return 2 * bound / torch.pi * torch.atan(torch.pi * v / (2 * bound))

    left, right, place = torch.eye(size).double(), torch.eye(size).double(), 0
    for row in range(1, size):
        for target, start in ((left, place), (right.T, half + place)):
            raw = theta[start : start + row]
            target[row, :row] = raw / (1 + (raw**2).sum() / 4).sqrt()
        place += row
    logs = clamp(theta[2 * half : 2 * half + size], 3.0)
    loc = theta[2 * half + size :] if module.plan.bias else torch.zeros(size).double()
    return left @ torch.diag(logs.exp()) @ right, loc, logs.sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "bias"), [(2, True), (3, False), (10, True), (33, True), (native.MAX_WIDTH, False)])
def test_value_and_ladj(size, bias, dtype):
    module = layer(size, bias, 0.5 / size**0.5, dtype)
    x = torch.randn(70, size, generator=torch.Generator().manual_seed(1), dtype=dtype)
    assert native.takes(x, module.parameters_of.offset)
    matrix, loc, logs = matrix_of(module)
    eps = torch.finfo(dtype).eps
    y, ladj = module(x)
    reach = (x.double().abs() @ matrix.abs().T + loc.abs()).max()
    torch.testing.assert_close(
        y.double(), x.double() @ matrix.T + loc, rtol=0, atol=float((1 if dtype == torch.float32 else 8) * eps * reach)
    )
    torch.testing.assert_close(ladj.double(), logs.expand(70), rtol=4 * eps, atol=8 * eps)
    # The point that comes back differs by what rounding y costs, and no more than a few times that.
    back, back_ladj = module.inverse(y)
    allowed = eps * (y.double().abs() @ torch.linalg.inv(matrix).abs().T + x.double().abs())
    assert ((back.double() - x.double()).abs() <= (2 if dtype == torch.float32 else 16) * allowed).all()
    assert torch.equal(back_ladj, -ladj)


@both_ways
@pytest.mark.parametrize(("size", "bias"), [(2, True), (5, False), (17, True)])
def test_gradients(size, bias, inverse):
    module = layer(size, bias, dtype=torch.float64)
    theta = module.parameters_of.offset
    rows = 3 * native._GROUP + 37
    x = torch.randn(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    weights = torch.randn(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    heights = torch.linspace(-1, 2, rows, dtype=torch.float64)  # their sum is not zero, as the log-determinant is that of all rows

    def of(y, ladj):
        return torch.autograd.grad((y * weights).sum() + (ladj * heights).sum(), [x, theta])

    kernel = module.kernel
    reference = (kernel.inverse if inverse else kernel.forward)(x, **module.parameters_of.named(theta))
    for got, expected in zip(of(*run(module, x, inverse)), of(*reference), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@both_ways
def test_second_derivatives(inverse):
    module = layer(3, dtype=torch.float64)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    theta = module.parameters_of.offset.detach().requires_grad_()

    def function(x, theta):
        return module.kernel.compiled(x, theta, inverse)

    assert torch.autograd.gradcheck(function, (x, theta))
    assert torch.autograd.gradgradcheck(function, (x, theta))


@both_ways
@pytest.mark.parametrize("batch", [(), (0,), (1,), (31,), (33,), (2, 3), (0, 3), (500,)])
def test_any_shape_and_stride(batch, inverse):
    module = layer(4)
    x = torch.randn(*batch, 4, generator=torch.Generator().manual_seed(4))
    wide = torch.randn(*batch, 9)
    wide[..., 2:6] = x
    for point in (x, wide[..., 2:6], x[..., None].expand(*batch, 4, 2)[..., 0]):
        y, ladj = run(module, point, inverse)
        assert y.shape == (*batch, 4)
        assert ladj.shape == batch
        assert torch.equal(y, run(module, x, inverse)[0])


@both_ways
def test_a_row_is_the_same_bits_wherever_it_stands(inverse):
    module = layer(6)
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(5))
    whole = run(module, x, inverse)[0]
    for place in (0, 1, 31, 32, 127, 128, 299):
        assert torch.equal(run(module, x[place], inverse)[0], whole[place])


@both_ways
def test_threads_change_no_bit(inverse):
    module = layer(20)
    found = []
    before = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            x = torch.randn(6000, 20, generator=torch.Generator().manual_seed(6), requires_grad=True)
            y, ladj = run(module, x, inverse)
            found.append([y, ladj, *torch.autograd.grad(y.sin().sum() + ladj.sum(), [x, module.parameters_of.offset])])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@both_ways
def test_a_row_that_is_no_number_is_alone(inverse):
    module = layer(3)
    x = torch.randn(40, 3, requires_grad=True)
    with torch.no_grad():
        x[7, 1] = torch.nan
    y, _ = run(module, x, inverse)
    assert y[7].isnan().any()
    assert torch.isfinite(y[torch.arange(40) != 7]).all()
    grad = torch.autograd.grad(y[torch.arange(40) != 7].sum(), x)[0]
    assert torch.isfinite(grad[torch.arange(40) != 7]).all()


def test_function_transforms_take_the_formula():
    module = layer(3, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: module(row)[0]))(x)
    torch.testing.assert_close(jacobian, matrix_of(module)[0].expand(5, 3, 3))
    tangent = torch.func.jvp(lambda v: module(v)[0], (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(tangent, matrix_of(module)[0].sum(1).expand(5, 3))


@pytest.mark.parametrize(
    ("size", "dtype", "device"),
    [(1, "float32", "cpu"), (native.MAX_WIDTH + 1, "float32", "cpu"), (3, "bfloat16", "cpu"), (3, "float32", "meta")],
)
def test_what_the_compiled_code_leaves_to_the_formula(size, dtype, device):
    x = torch.zeros(2, size, dtype=getattr(torch, dtype), device=device)
    assert not native.takes(x, torch.zeros(size * size + size, dtype=x.dtype, device=device))


def test_without_the_library_the_formula_takes_over(monkeypatch):
    module, x = layer(5), torch.randn(9, 5)
    compiled = module(x)
    monkeypatch.setattr("pushforward.native.library.LIBRARY", type(LIBRARY)(None, "not built", "torch's"))
    for got, expected in zip(module(x), compiled, strict=True):
        torch.testing.assert_close(got, expected)
