"""Zuko's and nflows' ways of calling work on every named flow, with the shapes that their own classes give."""

import copy

import nflows.flows
import pytest
import torch
import zuko

import pushforward as pf
from pushforward.bases import StandardNormal
from pushforward.contrib.zuko import to_zuko

NAMES = [name for name in pf.flows.__all__ if name != "mixture"]
SMALL = {"transforms": 2, "widths": (8,)}
pytestmark = pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated:UserWarning")  # nflows' own


def moved(name, context, seed=0):
    """Return a small named flow that is not the identity any more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"transforms": 1, "factors": (4,)} if name == "BNAF" else SMALL
        flow = getattr(pf.flows, name)(3, context, **sizes)
        with torch.no_grad():
            for p in flow.parameters():
                p += 0.1 * torch.randn_like(p)
    return flow


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("conditional", [False, True])
def test_zukos_way(name, conditional):
    torch.manual_seed(1)
    flow = moved(name, 2 if conditional else 0)
    theirs = zuko.flows.NSF(3, 2 if conditional else 0, transforms=1, hidden_features=(8,))
    contexts = [torch.randn(2), torch.randn(5, 2), torch.randn(4, 5, 2)] if conditional else [None]
    for c in contexts:
        ours, wanted = flow(c), theirs(c)
        assert ours.batch_shape == wanted.batch_shape
        assert ours.event_shape == wanted.event_shape
        assert ours.sample((7,)).shape == wanted.sample((7,)).shape
        assert ours.sample().shape == wanted.sample().shape
        x, log_prob = ours.rsample_and_log_prob((7,))
        assert x.shape == wanted.rsample((7,)).shape
        assert log_prob.shape == wanted.log_prob(x.detach()).shape
        assert ours.log_prob(x.detach()).shape == log_prob.shape
        torch.testing.assert_close(ours.log_prob(x.detach()), log_prob.detach(), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_nflows_way(name):
    torch.manual_seed(1)
    flow, free = moved(name, 2), moved(name, 0)
    x, c = flow.sample((5,), torch.zeros(2)), torch.randn(5, 2)
    assert flow.log_prob(x, context=c).shape == (5,)
    assert flow.log_prob(inputs := x, context=c[0]).shape == inputs.shape[:1]
    # torch's order of axes: the samples first, then the contexts.
    assert flow.sample(7, context=c).shape == (7, 5, 3)
    assert free.sample(7).shape == (7, 3)
    assert free.log_prob(free.sample(7)).shape == (7,)


def test_nflows_has_the_axes_of_samples_and_contexts_the_other_way_round():
    theirs = nflows.flows.MaskedAutoregressiveFlow(3, 8, num_layers=1, num_blocks_per_layer=1)
    assert theirs.sample(7).shape == pf.MAF(3).sample(7).shape
    conditional = nflows.flows.Flow(nflows.transforms.IdentityTransform(), nflows.distributions.ConditionalDiagonalNormal([2]))
    c = torch.randn(5, 4)
    assert conditional.sample(7, context=c).shape == (5, 7, 2)
    assert pf.MAF(2, 4).sample(7, context=c).transpose(0, 1).shape == (5, 7, 2)


@pytest.mark.parametrize("size", [-1, 2.5, "3", True, (2, -1)])
def test_a_sample_size_that_is_none_is_refused(size):
    with pytest.raises((TypeError, ValueError), match="sample: expected sample_shape"):
        pf.MAF(2).sample(size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("conditional", [False, True])
def test_as_a_zuko_flow_the_density_is_the_same(name, conditional):
    torch.manual_seed(1)
    flow = moved(name, 2 if conditional else 0)
    made = to_zuko(flow)
    assert isinstance(made, zuko.flows.Flow)
    assert {id(p) for p in made.parameters()} == {id(p) for p in flow.parameters()}
    c = torch.randn(5, 2) if conditional else None
    given = made(c)
    assert isinstance(given, zuko.distributions.NormalizingFlow)
    assert given.batch_shape == flow(c).batch_shape
    assert given.event_shape == flow.event_shape
    x, log_prob = given.rsample_and_log_prob((7,))
    torch.testing.assert_close(given.log_prob(x.detach()), flow.log_prob(x.detach(), c), rtol=0, atol=0)
    torch.testing.assert_close(given.log_prob(x.detach()), log_prob.detach(), rtol=1e-3, atol=2e-3)
    z, ladj = given.transform.call_and_ladj(x.detach())
    back, minus = given.transform.inv.call_and_ladj(z)
    torch.testing.assert_close(back, x.detach(), rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(minus, -ladj, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(given.transform.inv(z), back)
    torch.testing.assert_close(given.transform.inv.inv(x.detach()), z)
    assert bool(given.transform.domain.check(x).all())
    if conditional:
        assert made(c[0]).expand((4,)).sample((2,)).shape == (2, 4, 3)


def test_a_zuko_flow_trains_saves_and_copies():
    torch.manual_seed(0)
    flow = pf.NSF(2, **SMALL)
    made = to_zuko(flow)
    x = torch.randn(200, 2) * 0.3 + 1
    before = flow.log_prob(x).mean().item()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        loss = -made().log_prob(x).mean()
        loss.backward()
        optimizer.step()
    assert flow.log_prob(x).mean().item() > before + 0.5
    other = to_zuko(pf.NSF(2, **SMALL))
    other.load_state_dict(made.state_dict())
    assert torch.equal(other().log_prob(x), flow.log_prob(x))
    assert torch.equal(copy.deepcopy(made)().log_prob(x), flow.log_prob(x))


def test_a_zuko_transform_is_not_scored_by_its_own_samples():
    """The log-determinant against autograd's."""
    flow = moved("NSF", 0)
    x = torch.randn(3)
    transform = to_zuko(flow)().transform
    jacobian = torch.autograd.functional.jacobian(transform, x)
    torch.testing.assert_close(transform.log_abs_det_jacobian(x, transform(x)), torch.linalg.slogdet(jacobian)[1], rtol=1e-4, atol=1e-4)


def test_what_is_no_zuko_flow_is_refused():
    with pytest.raises(TypeError, match=r"to_zuko: expected a pushforward\.Flow, got NSF"):
        to_zuko(zuko.flows.NSF(2, transforms=1))
    with pytest.raises(ValueError, match="to_zuko: expected a flow without a batch shape"):
        to_zuko(pf.Flow(torch.distributions.Normal(torch.zeros(4, 2), 1.0), pf.bijectors.Affine()))
    with pytest.raises(ValueError, match="to_zuko: expected a context of one axis"):
        to_zuko(pf.Flow(StandardNormal(), pf.bijectors.AffineCoupling(), 2, (2, 3)))
    made = to_zuko(pf.NSF(2, 3, **SMALL))
    with pytest.raises(ValueError, match="expected a context"):
        made()
    with pytest.raises(ValueError, match="expected context of shape"):
        made(torch.zeros(5, 1))
    with pytest.raises(ValueError, match="expected value of shape"):
        made(torch.zeros(3)).log_prob(torch.zeros(4, 1))
    with pytest.raises(ValueError, match="expected no context"):
        to_zuko(pf.NSF(2, **SMALL))(torch.zeros(3))
