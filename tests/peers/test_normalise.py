"""Normalisation and mixtures beside those of Pyro, nflows, normflows and Zuko: the same numbers, or where theirs are wrong."""

from __future__ import annotations

import math

import normflows
import pyro.distributions.transforms as T
import pytest
import torch
import zuko
from nflows import transforms as nflows

from pushforward.bases.mixture import Mixture
from pushforward.distributions import Flow, wrap
from pushforward.layers.actnorm import ActNorm, BatchNorm


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unbounded(log_scale, bound=3.0):
    """Return what the smooth clamp takes to a log-scale."""
    return (2 * bound / math.pi) * torch.tan(log_scale * (math.pi / (2 * bound)))


def put(module, loc, scale, mean, std):
    """Give a layer its learned part, y = loc + scale x, and its statistics, m + v y."""
    with torch.no_grad():
        module.parameters_of.offset.copy_(torch.cat([loc, unbounded(scale.log())]))
        module.loc.copy_(mean)
        module.scale.copy_(std)


def same(ours, theirs, point, other):
    """Hold value, log-determinant and gradient of both to 1e-6."""
    (x, ladj), (z, theirs_ladj) = ours, theirs
    assert torch.allclose(x, z, atol=1e-6)
    assert torch.allclose(ladj, theirs_ladj.expand_as(ladj), atol=1e-6)
    one = torch.autograd.grad(torch.sin(x).sum() + ladj.sum(), point)[0]
    two = torch.autograd.grad(torch.sin(z).sum() + theirs_ladj.expand_as(ladj).sum(), other)[0]
    assert torch.allclose(one, two, atol=1e-6)


LOC, SCALE, MEAN, STD = rows(3), (0.5 * rows(3, seed=1)).exp(), 3 * rows(3, seed=2), rows(3, seed=3).exp()


def test_batch_norm_is_pyros_in_evaluation():
    theirs = T.BatchNorm(3).double().eval()
    ours = BatchNorm().build((3,)).double()
    with torch.no_grad():
        theirs.beta.copy_(LOC)
        theirs.gamma.copy_(SCALE)
        theirs.moving_mean.copy_(MEAN)
        theirs.moving_variance.copy_(STD**2)
    # Theirs maps data to beta + gamma (y - mean) / std.
    gamma = SCALE + 1e-6
    put(ours, -LOC / gamma, 1 / gamma, MEAN, (STD**2 + 1e-5).sqrt())
    y, other = (rows(20, 3, seed=4).requires_grad_() for _ in range(2))
    back = theirs._inverse(other)
    same(ours.inverse(y), (back, -theirs.log_abs_det_jacobian(back, other).sum(-1)), y, other)
    x, again = (rows(20, 3, seed=5).requires_grad_() for _ in range(2))
    forward = theirs._call(again)
    same(ours(x), (forward, theirs.log_abs_det_jacobian(again, forward).sum(-1)), x, again)


def test_updates_move_like_pyros_but_for_the_unbiased_variance():
    theirs, ours = T.BatchNorm(3).double().train(), BatchNorm(epsilon=0.0).build((3,)).double()
    ours.calibrated.fill_(True)  # theirs starts with mean 0 and variance 1 and blends the first batch, too
    for seed in range(4):
        y = 2 + rows(50, 3, seed=seed)
        theirs._inverse(y)
        ours.update(y)
    assert torch.allclose(ours.loc, theirs.moving_mean, atol=1e-12)
    decayed = 0.9**4
    assert torch.allclose(ours.scale**2 - decayed, (theirs.moving_variance - decayed) * 49 / 50, atol=1e-12)


def test_in_training_pyros_forward_is_not_the_inverse_of_its_inverse_and_ours_is():
    theirs, ours = T.BatchNorm(3).double().train(), BatchNorm().build((3,)).double().train()
    y = 5 + 2 * rows(50, 3)
    assert (theirs._call(theirs._inverse(y)) - y).abs().max() > 1
    ours.update(y)
    assert torch.allclose(ours(ours.inverse(y)[0])[0], y, atol=1e-12)
    # A row's value depends on the rows beside it.
    assert (theirs._inverse(y)[:5] - theirs._inverse(y[:5])).abs().max() > 0.01
    assert torch.equal(ours.inverse(y)[0][:5], ours.inverse(y[:5])[0])


def test_batch_norm_is_nflows_in_evaluation():
    theirs = nflows.BatchNorm(3).double().eval()
    with torch.no_grad():
        theirs.bias.copy_(LOC)
        theirs.unconstrained_weight.copy_(SCALE)
        theirs.running_mean.copy_(MEAN)
        theirs.running_var.copy_(STD**2)
    weight = theirs.weight.detach()
    ours = BatchNorm().build((3,)).double()
    put(ours, -LOC / weight, 1 / weight, MEAN, (STD**2 + 1e-5).sqrt())
    # Theirs goes from data to noise.
    y, other = (rows(20, 3, seed=4).requires_grad_() for _ in range(2))
    same(ours.inverse(y), theirs(other), y, other)
    x, again = (rows(20, 3, seed=5).requires_grad_() for _ in range(2))
    same(ours(x), theirs.inverse(again), x, again)


def test_nflows_has_no_inverse_in_training_and_a_running_variance_that_starts_at_zero():
    theirs = nflows.BatchNorm(3).double()
    y = rows(50, 3)
    with pytest.raises(nflows.InverseNotAvailable):
        theirs.inverse(y)
    theirs(y)
    assert theirs.eval()(y)[0].std(0).min() > 2.5  # after one batch; the data has standard deviation 1
    ours = BatchNorm().build((3,)).double()
    ours.update(y)
    assert torch.allclose(ours.inverse(y)[0].std(0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-4)


def test_normflows_uses_the_batch_even_in_evaluation():
    theirs = normflows.flows.BatchNorm().double().eval()
    y = 4 + 2 * rows(50, 3)
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert torch.isnan(theirs(y[:1])[0]).all()
    assert (theirs(y)[0][:5] - theirs(y[:5])[0]).abs().max() > 0.01
    ours = BatchNorm(epsilon=1e-10).build((3,)).double()
    ours.calibrate(y)
    x = ours.inverse(y)[0]
    # With the variance that theirs divides by 49, not 50, the same numbers.
    assert torch.allclose(theirs(y)[0], x * (49 / 50) ** 0.5, atol=1e-6)
    assert torch.isfinite(ours.inverse(y[:1])[0]).all()


def test_act_norm_is_nflows():
    theirs = nflows.ActNorm(3).double().eval()
    with torch.no_grad():
        theirs.log_scale.copy_(-SCALE.log())
        theirs.shift.copy_(-LOC / SCALE)
    ours = ActNorm().build((3,)).double()
    put(ours, LOC, SCALE, torch.zeros(3), torch.ones(3))
    y, other = (rows(20, 3, seed=4).requires_grad_() for _ in range(2))
    same(ours.inverse(y), theirs(other), y, other)


def test_act_norm_is_nflows_on_images_and_after_initialisation():
    theirs, ours = nflows.ActNorm(3).double().train(), ActNorm().build((3, 4, 4)).double()
    y = MEAN.reshape(3, 1, 1) + STD.reshape(3, 1, 1) * rows(30, 3, 4, 4)
    z, ladj = theirs(y)  # measured at its first call
    ours.calibrate(y)
    x, ours_ladj = ours.inverse(y)
    # Theirs divides by the unbiased deviation.
    count = 30 * 16
    ratio = ((count - 1) / count) ** 0.5
    assert torch.allclose(z, x * ratio, atol=1e-6)
    assert torch.allclose(ladj, ours_ladj + 3 * 16 * math.log(ratio), atol=1e-6)


def test_act_norm_is_normflows_and_ours_keeps_a_constant_feature_finite():
    theirs = normflows.flows.ActNorm((3,)).double()
    with torch.no_grad():
        theirs.s.copy_(SCALE.log()[None])
        theirs.t.copy_(LOC[None])
        theirs.data_dep_init_done = torch.tensor(1.0)
    ours = ActNorm().build((3,)).double()
    put(ours, LOC, SCALE, torch.zeros(3), torch.ones(3))
    x, other = (rows(20, 3, seed=4).requires_grad_() for _ in range(2))
    same(ours(x), theirs(other), x, other)
    y = torch.stack([torch.full((20,), 0.1, dtype=torch.float64), *rows(2, 20)], 1)
    with torch.no_grad():
        first = nflows.ActNorm(3).double().train()(y)[0]
        ours.calibrate(y)
        assert not torch.isfinite(first).all() or first[:, 0].abs().max() > 1e6
        assert torch.isfinite(ours.inverse(y)[0]).all()


def test_one_row_is_nan_in_nflows_and_not_here():
    y = rows(1, 3)
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert torch.isnan(nflows.ActNorm(3).double().train()(y)[0]).all()
    ours = ActNorm().build((3,)).double()
    ours.calibrate(y)
    assert torch.equal(ours.inverse(y)[0], torch.zeros(1, 3, dtype=torch.float64))


def components(loc, scale):
    normal = torch.distributions.Normal
    return [wrap(torch.distributions.Independent(normal(a, b), 1)) for a, b in zip(loc, scale, strict=True)]


def test_mixture_is_zukos():
    loc, scale, logits = rows(4, 3), rows(4, 3, seed=1).exp(), rows(4, seed=2)
    theirs = zuko.distributions.Mixture(zuko.distributions.DiagNormal(loc, scale), logits)
    ours = Flow(Mixture(components(loc, scale)), [], 3).double()
    ours.base.parameters_of.offset.data.copy_(logits)
    y, other = (2 * rows(50, 3, seed=4) for _ in range(2))
    y.requires_grad_()
    other.requires_grad_()
    same((y * 1, ours.log_prob(y)), (other * 1, theirs.log_prob(other)), y, other)


def test_mixture_is_normflows():
    loc, scale, weights = rows(4, 3).numpy(), rows(4, 3, seed=1).exp().numpy(), torch.softmax(rows(4, seed=2), 0).numpy()
    theirs = normflows.distributions.GaussianMixture(4, 3, loc=loc, scale=scale, weights=weights).double()
    ours = Flow(Mixture(components(torch.tensor(loc), torch.tensor(scale))), [], 3).double()
    ours.base.parameters_of.offset.data.copy_(torch.tensor(weights).log())
    y = 2 * rows(50, 3, seed=4)
    assert torch.allclose(ours.log_prob(y), theirs.log_prob(y), atol=1e-6)
