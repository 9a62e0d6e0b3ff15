"""What all kernels share: gradients of functions that are evaluated once more."""

from __future__ import annotations

import torch

from pushforward.core import numerics


def test_a_gradient_of_a_gradient_takes_each_tensor_as_independent():
    """A kernel's parameters depend on values that it gets too; the way from the one to the other is not the kernel's to differentiate."""
    x = torch.tensor([0.3, 1.1], dtype=torch.float64, requires_grad=True)

    def function(x, theta):
        return x * theta**2, torch.sin(x + theta)

    def loss(evaluate):
        y, ladj = evaluate(x, torch.tanh(2 * x))
        return (y + ladj).sum()

    expected = torch.autograd.grad(loss(function), x)[0]
    got = torch.autograd.grad(loss(lambda *t: numerics.recomputed(function, *t)), x, create_graph=True)[0]
    torch.testing.assert_close(got, expected)
    second = torch.autograd.functional.hessian(lambda v: (lambda y, ladj: (y + ladj).sum())(*function(v, torch.tanh(2 * v))), x)
    torch.testing.assert_close(torch.autograd.grad(got.sum(), x)[0], second.sum(0))
