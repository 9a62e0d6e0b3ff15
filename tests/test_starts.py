"""Where layers begin once a flow has met rows: the knots of splines, and what stays as it was."""

from __future__ import annotations

import math

import pytest
import torch

import pushforward as pf
from pushforward.bijectors import MLP, Autoregressive, Coupling, CubicSpline, QuadraticSpline, ResidualMLP, Spline, Standardize
from pushforward.distributions import Flow, StandardNormal
from pushforward.kernels.bins import fill
from pushforward.kernels.spline import WIDTH_BOUND, evenly_spaced, logits
from pushforward.nets.perceptron import Perceptron

FEATURES, CONTEXT = 4, 2
FLOWS = {
    "NSF": lambda: pf.NSF(FEATURES),
    "NSF given a context": lambda: pf.NSF(FEATURES, context=CONTEXT),
    "NSF, linear order": lambda: pf.NSF(FEATURES, order="linear", transforms=2),
    "autoregressive NSF": lambda: pf.NSF(FEATURES, structure="autoregressive", transforms=2),
    "NSF of one column": lambda: pf.NSF(1),
    "residual nets": lambda: pf.NSF(FEATURES, transforms=2, net=ResidualMLP(32)),
    "MAF": lambda: pf.MAF(FEATURES),
    "MAF given a context": lambda: pf.MAF(FEATURES, context=CONTEXT),
    "other splines": lambda: Flow(StandardNormal(), [Coupling(CubicSpline()), Autoregressive(QuadraticSpline())], FEATURES),
}


def met(flow, seed=0, **how):
    """Return the rows that a flow has met, and their contexts."""
    generator = torch.Generator().manual_seed(seed)
    x = 3 + 2 * torch.rand(500, *flow.event_shape, generator=generator)
    c = torch.randn(500, *flow.context_shape, generator=generator) if flow.context_shape else None
    flow.standardize(x, c, **how)
    return x, c


def values(flow):
    return {name: value.clone() for name, value in flow.state_dict().items()}


def differs(before, after):
    """Return the names of the parameters that are others; those that roundings alone move are not."""
    return {name for name, value in before.items() if not torch.allclose(value.double(), after[name].double(), rtol=1e-5, atol=0)}


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_that_met_rows_is_the_same_normal_distribution(name):
    """Wherever knots begin, the map is the identity between the rows' units."""
    torch.manual_seed(0)
    flow = FLOWS[name]().double()
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.rand(500, *flow.event_shape, generator=generator, dtype=torch.float64)
    c = torch.randn(500, *flow.context_shape, generator=generator, dtype=torch.float64) if flow.context_shape else None
    flow.standardize(x, c)
    expected = torch.distributions.Normal(x.mean(0), x.std(0, correction=0)).log_prob(x).sum(-1)
    torch.testing.assert_close(flow.log_prob(x, c), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", FLOWS)
def test_what_has_begun_stays_and_so_does_what_was_asked_to(name):
    torch.manual_seed(0)
    flow = FLOWS[name]()
    new = values(flow)
    met(flow, starts=False)
    plain = values(flow)
    assert differs({key: plain[key] for key in new if "loc" not in key and "scale" not in key and "calibrated" not in key}, new) == set()
    met(flow)
    begun = values(flow)
    assert bool(differs(plain, begun)) == ("MAF" not in name)  # affine maps have one identity
    met(flow)
    assert differs(begun, values(flow)) == set()


@pytest.mark.parametrize("name", FLOWS)
def test_what_has_learnt_something_is_never_moved(name):
    torch.manual_seed(0)
    flow = FLOWS[name]()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    learnt = {key: value.clone() for key, value in flow.named_parameters()}
    met(flow)
    found = dict(flow.named_parameters())
    # A layer for columns far out, were one added, would have no parameters, so names are the same.
    assert all(torch.equal(value, found[key]) for key, value in learnt.items())


def test_frozen_parameters_stay_with_all_of_their_layer():
    torch.manual_seed(0)
    flow = pf.NSF(FEATURES, transforms=2)
    first, second = (layer for layer in flow.transform.layers if isinstance(layer.plan, Coupling))
    next(first.parameters()).requires_grad_(False)
    before = [values(layer) for layer in (first, second)]
    met(flow)
    assert differs(before[0], values(first)) == set()
    assert differs(before[1], values(second))


def test_layers_of_the_users_own_nets_keep_what_these_give():
    torch.manual_seed(0)
    own = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 46))
    flow = Flow(StandardNormal(), [Coupling(Spline(), net=own), Standardize()], FEATURES)
    before = {name: value.clone() for name, value in flow.named_parameters()}
    met(flow)
    assert all(torch.equal(value, before[name]) for name, value in flow.named_parameters())


def test_values_that_nothing_standardises_leave_layers_where_they_were():
    """Splines on a box whose ends the values keep: equal bins suit them."""
    flow = Flow(pf.bases.BoxUniform(-5.0, 5.0), [Coupling(Spline()), Coupling(Spline(), flip=True)], 2)
    before = values(flow)
    flow.standardize(8 * torch.rand(100, 2) - 4)
    assert differs(before, values(flow)) == set()


@pytest.mark.parametrize("bound", [1.0, 3.0, 5.0, 20.0])
@pytest.mark.parametrize("bins", [3, 8, 16, 40])
def test_knots_are_evenly_spaced_in_arsinh(bins, bound):
    share = torch.softmax(logits(evenly_spaced(bins, bound, (1,)).double(), WIDTH_BOUND), -2)
    start, size = (part[:, 0] for part in fill(share, bound))
    knots = torch.cat([start, torch.tensor([bound], dtype=torch.float64)])
    torch.testing.assert_close(knots, -knots.flip(0), rtol=0, atol=1e-5 * bound)
    expected = bound * torch.sinh(math.asinh(bound) * torch.linspace(-1, 1, bins + 1, dtype=torch.float64)) / bound
    ratio = expected.diff().max() / expected.diff().min()
    if ratio <= math.exp(2 * 0.6 * WIDTH_BOUND):  # as far as logits go
        torch.testing.assert_close(knots, expected, rtol=0, atol=1e-5 * bound)
    else:
        assert size.max() / size.min() == pytest.approx(math.exp(2 * 0.6 * WIDTH_BOUND), rel=1e-4)


def test_more_bins_lie_where_standardised_values_do():
    torch.manual_seed(0)
    flow = pf.NSF(FEATURES)

    def inner():
        layer = next(layer for layer in flow.transform.layers if isinstance(layer.plan, Coupling))
        theta = layer.parameters_of.named(layer.parameters_of.net.layers[-1].bias.detach())["widths"]
        edges = fill(torch.softmax(logits(theta.double(), WIDTH_BOUND), -2), layer.kernel.bound)[0][1:, 0]
        return int((edges.abs() < math.sqrt(3)).sum())

    assert inner() == 3
    met(flow)
    assert inner() == 5


def test_what_hangs_on_a_net_keeps_its_weights():
    torch.manual_seed(0)
    layer = Coupling(Spline(), net=MLP((8,))).build(4)
    net = layer.parameters_of.net
    assert isinstance(net, Perceptron)
    handle = net.layers[0].register_forward_hook(lambda *_: None)
    before = values(layer)
    layer.begin()
    assert differs(before, values(layer)) == set()
    handle.remove()
    layer.begin()
    assert differs(before, values(layer))


def test_files_keep_where_layers_began(tmp_path):
    torch.manual_seed(0)
    flow = pf.NSF(FEATURES, transforms=2)
    x, _ = met(flow)
    flow.save(tmp_path / "flow.safetensors")
    again = pf.load(tmp_path / "flow.safetensors")
    assert again.plan == flow.plan
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in flow.state_dict().items())
    assert torch.equal(again.log_prob(x), flow.log_prob(x))


def test_the_switch_is_true_or_false():
    with pytest.raises(ValueError, match="expected starts to be True or False, got 1"):
        pf.NSF(2).standardize(torch.randn(9, 2), starts=1)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_formats_begin_as_float32_does(half):
    torch.manual_seed(0)
    flow = pf.NSF(2, transforms=2).to(half)
    met_in = torch.randn(200, 2).to(half)
    flow.standardize(met_in)
    assert bool(torch.isfinite(flow.log_prob(met_in)).all())
    bias = next(module for module in flow.modules() if isinstance(module, Perceptron)).layers[-1].bias
    assert torch.equal(bias[:8], evenly_spaced(8, 5.0, ()).to(half))
