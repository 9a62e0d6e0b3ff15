"""Likelihood with kinetic and Jacobian costs: what is integrated, its gradient, and what a fit makes of it."""

import copy

import numpy as np
import pytest
import torch

import pushforward as pf
import pushforward.bijectors as bij
from pushforward.solvers.path import Path
from pushforward.testing import randomize
from pushforward.testing.case import Case
from pushforward.train import Likelihood, RegularisedLoss

NETS = {
    "perceptron": bij.MLP((5, 4), "silu"),
    "residual": bij.ResidualMLP(5, 1, "tanh"),
    "a net that is called": bij.Periodic(bij.MLP((4,), "sigmoid"), circular=(0,)),
}


def points(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadrature(layer, y, context, count=12):
    """Return the costs of the way from y, by Gauss' rule of Legendre's polynomials over places that the solver reaches at its times."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    times = 0.5 * (1 - torch.from_numpy(nodes))
    of, used = layer.field.rates()
    z, given, _ = layer._rows(y, context)
    total, last = torch.zeros(len(y), 2, dtype=torch.float64), 1.0
    for t, w in sorted(zip(times.tolist(), weights.tolist(), strict=True), reverse=True):
        z = Path(layer.tableau, of, last, t, 1.0, 1).follow(z, given, used)
        x, last = z[:, : y.shape[-1]], t
        at = torch.full((len(y),), t, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda x, at=at: layer.velocity(at, x, context).sum(0), x).permute(1, 0, 2)
        if layer.probes:
            jacobian = (jacobian @ layer.field.probes.double().mT) / layer.probes**0.5
        costs = torch.stack([layer.velocity(at, x, context).square().mean(-1), jacobian.square().sum((1, 2)) / y.shape[-1]], -1)
        total += 0.5 * w * costs
    return total.detach()


@pytest.mark.parametrize(("name", "trace"), [*((name, "exact") for name in NETS), ("perceptron", "hutchinson"), ("residual", "hutch++")])
def test_costs_are_the_integrals_along_the_way(name, trace):
    size = 2 if trace == "exact" else 5  # of which four probes are not all
    layer = Case(bij.Continuous(NETS[name], 1e-5, trace=trace, probes=4), (size,), (3,)).build(torch.float64, 0.7, 0)
    assert bool(layer.probes) == (trace != "exact")
    y, context = points(2, size), points(2, 3, seed=2)
    x, ladj, costs = layer.pull_with_costs(y, context)
    plain = layer.pull(y, context)
    torch.testing.assert_close(x, plain[0], rtol=0, atol=3e-5)
    torch.testing.assert_close(ladj, plain[1], rtol=0, atol=3e-5)
    assert (costs > 0).all()
    torch.testing.assert_close(costs.detach(), quadrature(layer, y, context), rtol=0, atol=5e-5)


def stirred(layers, size=2, context=None, seed=0):
    torch.manual_seed(seed)
    return randomize(pf.Flow(pf.bases.StandardNormal(), layers, size, context), 0.7, seed).double()


FIELD = bij.Continuous(bij.MLP((4,), "silu"), 1e-4)
EQUAL = bij.Continuous(bij.MLP((4,), "silu"), 1e-3, "rk4", 3)


def test_the_loss_adds_costs_of_all_layers_to_the_density_and_has_its_gradient():
    flow, x, c, w = stirred([EQUAL, bij.Affine(), FIELD], 2, 1), points(3, 2), points(3, 1), torch.rand(3, dtype=torch.float64)
    loss = RegularisedLoss(flow, Likelihood(kinetic=0.3, jacobian=0.2))
    log_prob, costs = loss.of_rows(x, c)
    torch.testing.assert_close(log_prob, flow.log_prob(x, c), rtol=0, atol=1e-4)
    layers = list(flow.transform.leaves())
    y, _, last = layers[2].pull_with_costs(x, c)
    first = layers[0].pull_with_costs(layers[1].pull(y, c)[0], c)[2]
    torch.testing.assert_close(costs, first + last)
    torch.testing.assert_close(loss(x, c, w), (w * (0.3 * costs[:, 0] + 0.2 * costs[:, 1] - log_prob)).mean())
    parameters = list(flow.parameters())
    slopes = torch.autograd.grad(loss(x, c), parameters)
    directions = [points(*p.shape, seed=5) for p in parameters]
    ends = []
    with torch.no_grad():
        for sign in (1, -1):
            for p, d in zip(parameters, directions, strict=True):
                p.add_(d, alpha=sign * 1e-4)
            ends.append(float(loss(x, c)))
            for p, d in zip(parameters, directions, strict=True):
                p.sub_(d, alpha=sign * 1e-4)
    claimed = sum(float((s * d).sum()) for s, d in zip(slopes, directions, strict=True))
    assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(claimed, rel=1e-4)


def evaluations(flow, x):
    layer, scale = flow.transform.layers
    return float(layer.evaluations(scale.pull(x)[0]).double().mean())


def test_a_fit_with_costs_has_plain_nats_held_out_and_the_seed_repeats_it():
    x = points(60, 2).float()
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        flow = pf.CNF(2, widths=(4,), tolerance=1e-1)
        history = pf.fit(flow, x, objective=Likelihood(kinetic=5.0), validation=x[:20], epochs=1, batch_size=40, progress=False)
        with torch.no_grad():
            nats = [-flow.log_prob(x[:20]).mean().item()]
        found.append((history.train, history.validation))
    assert found[0] == found[1]
    assert history.best_loss == pytest.approx(nats[0], rel=1e-5)
    assert history.objective == "likelihood"


@pytest.mark.fits
def test_costs_make_ways_that_take_fewer_evaluations():
    x = pf.targets.GaussianRing().sample((2000,), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    start = pf.CNF(2, widths=(32, 32), tolerance=1e-2)
    found = {}
    for name, objective in (("plain", "likelihood"), ("costs", Likelihood(kinetic=0.5, jacobian=0.3))):
        flow = copy.deepcopy(start)
        history = pf.fit(flow, x, objective=objective, epochs=8, schedule="cosine", mixture=0, progress=False)
        with torch.no_grad():
            found[name] = evaluations(flow, x[:500]), history.best_loss
    assert found["costs"][0] < 0.95 * found["plain"][0]
    assert found["costs"][1] < found["plain"][1] + 0.3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Likelihood(kinetic=-1.0), ValueError, "Likelihood: expected kinetic to be a finite number of at least 0, got -1.0"),
        (lambda: Likelihood(jacobian="x"), ValueError, "Likelihood: expected jacobian to be a finite number"),
        (lambda: RegularisedLoss(3, Likelihood(0.1)), TypeError, "RegularisedLoss: expected a Flow, got int"),
        (lambda: RegularisedLoss(pf.CNF(2), "x"), TypeError, "RegularisedLoss: expected plan to be a Likelihood, got str"),
        (lambda: RegularisedLoss(pf.MAF(2), Likelihood(0.1)), ValueError, "its Continuous layers in its list of layers.*got none"),
        (lambda: RegularisedLoss(pf.CNF(2), Likelihood(0.1))(torch.zeros(3, 2), None, torch.ones(2)), ValueError, r"got \(2,\)"),
        (lambda: pf.fit(pf.MAF(2), torch.randn(50, 2), objective=Likelihood(0.1)), ValueError, "fit: expected a flow with its Continuous"),
        (
            lambda: pf.fit(pf.CNF(2), torch.randn(50, 2), objective=Likelihood(0.1), compile=True),
            ValueError,
            "fit: expected compile=False for a Likelihood with kinetic or jacobian, got True",
        ),
        (
            lambda: RegularisedLoss(pf.CNF(3, support=["sphere"] * 3), Likelihood(0.1)),
            ValueError,
            "RegularisedLoss: expected fields on lines and circles for a Likelihood with kinetic or jacobian, got one on a sphere",
        ),
    ],
)
def test_what_it_is_given_is_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_no_costs_are_plain_likelihood():
    assert Likelihood().plain
    flows, x = [pf.MAF(2, transforms=1) for _ in range(2)], points(50, 2).float()
    flows[1].load_state_dict(flows[0].state_dict())
    first, second = (
        pf.fit(flow, x, objective=given, epochs=1, progress=False).train
        for flow, given in zip(flows, ("likelihood", Likelihood()), strict=True)
    )
    assert first == second
