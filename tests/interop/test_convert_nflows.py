"""Trained flows of nflows, sbi's among them, moved to ours: the same density, and flows like any other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from moved import holds, is_a_flow, loads_without, rows, train
from nflows import distributions as nd
from nflows import flows as nf
from nflows import transforms as nt
from nflows.nn.nets import MLP, ResidualNet
from sbi.neural_nets.net_builders import build_maf, build_maf_rqs, build_nsf
from torch import nn

from pushforward import bijectors as bij
from pushforward.contrib.conversion import CopiedMLP, RawAffine, RawLinear, RawSpline
from pushforward.contrib.nflows import convert
from pushforward.core.spec import PlanError

pytestmark = pytest.mark.filterwarnings("ignore:torch.qr is deprecated:UserWarning")
BOX = {"num_bins": 5, "tails": "linear", "tail_bound": 3.0}


def residual(context=None, **more):
    return lambda inputs, outputs: ResidualNet(inputs, outputs, 16, context_features=context, **more)


def flow(layers, features, base=None):
    return nf.Flow(nt.CompositeTransform(layers), base or nd.StandardNormal([features]))


def autoregressive():
    return flow(
        [
            nt.PointwiseAffineTransform(torch.randn(4), torch.rand(4) + 0.5),
            nt.MaskedAffineAutoregressiveTransform(4, 16, 3, use_residual_blocks=False, activation=torch.tanh),
            nt.ReversePermutation(4),
            nt.MaskedAffineAutoregressiveTransform(4, 16, 3),
            nt.RandomPermutation(4),
            nt.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(4, 16, 3, use_residual_blocks=False, **BOX),
        ],
        4,
    )


def couplings():
    return flow(
        [
            nt.PiecewiseRationalQuadraticCouplingTransform([1, 0, 1, 0, 1], residual(3, activation=F.elu), min_bin_width=0.01, **BOX),
            nt.LULinear(5, identity_init=False),
            nt.AffineCouplingTransform([0, 1, 0, 1, 0], residual(3)),
            nt.AdditiveCouplingTransform([1, 1, 0, 0, 0], residual(3)),
        ],
        5,
        nd.ConditionalDiagonalNormal([5], nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 10))),
    )


def linear():
    inner = nt.CompositeTransform([nt.BatchNorm(4), nt.IdentityTransform(), nt.HouseholderSequence(4, 2), nt.NaiveLinear(4)])
    layers = [nt.QRLinear(4, 2), nt.SVDLinear(4, 2), nt.ActNorm(4), inner, nt.Permutation(torch.tensor([2, 0, 3, 1]))]
    return flow([*layers, nt.InverseTransform(nt.AffineCouplingTransform([0, 1, 0, 1], residual()))], 4, nd.DiagonalNormal([4]))


def random_masks():
    return flow([nt.MaskedAffineAutoregressiveTransform(4, 16, use_residual_blocks=False, random_mask=True)], 4)


# name -> (what makes the flow, features, context)
FLOWS = {
    "autoregressive": (autoregressive, 4, 3),
    "couplings": (couplings, 5, 3),
    "linear": (linear, 4, 0),
    "random masks": (random_masks, 4, 0),
    "MaskedAutoregressiveFlow": (lambda: nf.MaskedAutoregressiveFlow(4, 16, 2, 2, batch_norm_between_layers=True), 4, 0),
    "SimpleRealNVP": (lambda: nf.SimpleRealNVP(4, 16, 2, 2, use_volume_preserving=True), 4, 0),
    "one feature": (lambda: flow([nt.MaskedAffineAutoregressiveTransform(1, 16, 3)], 1), 1, 3),
    "the context is the base": (
        lambda: flow([nt.MaskedAffineAutoregressiveTransform(2, 8, 4)], 2, nd.ConditionalDiagonalNormal([2])),
        2,
        4,
    ),
}


def trained(name):
    make, features, context = FLOWS[name]
    torch.manual_seed(0)
    model, (x, c) = make(), rows(features, context)
    train(model, lambda: -model.log_prob(x, context=c).mean())
    return model.eval(), x, c


@pytest.mark.parametrize("name", FLOWS)
def test_same_density(name):
    model, x, c = trained(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    holds(convert, model, lambda model, x, c: model.log_prob(x, context=c), x, c)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not model.training


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_like_any_other(name):
    model, x, c = trained(name)
    is_a_flow(convert(model), x, c)


def test_files_need_no_nflows(tmp_path):
    models = [trained(name) for name in ("autoregressive", "couplings", "linear")]
    loads_without("nflows", [(convert(model), x, c) for model, x, c in models], tmp_path)


def test_plans():
    torch.manual_seed(0)
    layers = convert(autoregressive()).plan.bijectors
    assert [type(getattr(layer, "bijector", layer)) for layer in layers] == [
        bij.InverseAutoregressive,
        bij.Permute,
        bij.InverseAutoregressive,
        bij.Permute,
        bij.InverseAutoregressive,
        bij.AffineFixed,
    ]
    assert layers[0].bijector.kernel == RawSpline(5, 3.0)
    assert layers[4].bijector.kernel == RawAffine("softplus", 1e-3)
    assert layers[4].bijector.net == CopiedMLP((16, 16, 16), "tanh", ((0, 6, 5, 5),) * 3, shifted=True)
    # Feedforward networks are sampled in the work of one pass, residual ones in a pass for each feature, as nflows samples all.
    assert convert(autoregressive()).transform.facts.evaluations == (1 + 4 + 1 + 3, 6)
    assert [type(getattr(layer, "bijector", layer)) for layer in convert(couplings()).plan.bijectors] == [
        bij.Elementwise,
        bij.Coupling,
        bij.Coupling,
        RawLinear,
        bij.Coupling,
    ]


@pytest.mark.parametrize("context", [0, 3])
def test_masks_stay_in_training(context):
    make = nt.MaskedAffineAutoregressiveTransform
    ours = convert(flow([make(4, 16, context or None), make(4, 16, context or None, use_residual_blocks=False)], 4))
    x, c = rows(4, context)
    train(ours, lambda: -ours.log_prob(x, c).mean(), 20)
    for i in range(10):
        jacobian = torch.autograd.functional.jacobian(lambda v, i=i: ours.transform.inverse(v, None if c is None else c[i])[0], x[i])
        assert (jacobian.triu(1) == 0).all()
        assert (jacobian.tril(-1) != 0).any()


@pytest.mark.parametrize("build", [build_maf, build_maf_rqs, build_nsf])
@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.filterwarnings("ignore:In one-dimensional output space:UserWarning")
def test_density_estimators_of_sbi(build, features):
    # sbi standardises parameters by a layer and data by its embedding net.
    torch.manual_seed(0)
    theta, x = 2 * torch.randn(300, features) + 1, 3 * torch.randn(300, 4) - 2
    estimator = build(theta, x, hidden_features=16)
    train(estimator, lambda: estimator.loss(theta, x).mean(), 15)
    estimator.eval()
    with torch.no_grad():
        theirs = estimator.log_prob(theta[None], x)[0]
    ours = convert(estimator.net)
    torch.testing.assert_close(ours.context_units.loc, x.mean(0))
    torch.testing.assert_close(ours.log_prob(theta, x), theirs, atol=5e-5, rtol=1e-5)
    assert ours.condition(x[0]).sample((7,)).shape == (7, features)


def embedded():
    model = flow([nt.MaskedAffineAutoregressiveTransform(3, 8, 2)], 3)
    return nf.Flow(model._transform, model._distribution, nn.Linear(5, 2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: flow([nt.ActNorm(3), nt.Sigmoid()], 3), "layer 1, Sigmoid: expected an autoregressive, coupling, linear"),
        (lambda: flow([nt.MaskedPiecewiseQuadraticAutoregressiveTransform(3, 8, **BOX)], 3), "layer 0, MaskedPiecewiseQuadratic"),
        (lambda: flow([nt.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(3, 8)], 3), "layer 0, .*tails='linear', got tails=None"),
        (lambda: flow([nt.MaskedAffineAutoregressiveTransform(3, 8, use_batch_norm=True)], 3), "layer 0, .*without batch normalisation"),
        (lambda: flow([nt.AffineCouplingTransform([0, 1], residual(use_batch_norm=True))], 2), "layer 0, .*without batch normalisation"),
        (
            lambda: flow([nt.AffineCouplingTransform([0, 1], lambda i, o: MLP([i], [o], [8]))], 2),
            "layer 0, .*ResidualNet as network, got MLP",
        ),
        (
            lambda: flow(
                [nt.PiecewiseRationalQuadraticCouplingTransform([0, 1], residual(), apply_unconditional_transform=True, **BOX)], 2
            ),
            "layer 0, .*unconditional transform",
        ),
        (lambda: flow([nt.ActNorm(3)], 3, nd.MADEMoG(3, 8, 2)), "base 0, MADEMoG: expected a standard"),
        (
            lambda: flow([nt.ActNorm(3)], 3, nd.ConditionalDiagonalNormal([3], lambda c: 2 * c)),
            "base 0, ConditionalDiagonalNormal: expected a network of linear layers",
        ),
        (embedded, "embedding net Linear: expected one that standardises at most; convert nflows.flows.Flow"),
        (lambda: nf.Flow(nt.OneByOneConvolution(3), nd.StandardNormal([3, 2, 2])), "expected a flow of vectors"),
        (lambda: flow([nt.SqueezeTransform()], 3), "layer 0, SqueezeTransform"),
    ],
)
def test_what_is_not_taken_is_named(make, words):
    with pytest.raises(PlanError, match=f"convert: {words}"):
        convert(make())


def test_an_embedding_net_is_applied_before():
    torch.manual_seed(0)
    model, c, x = embedded(), torch.randn(20, 5), torch.randn(20, 3)
    ours = convert(nf.Flow(model._transform, model._distribution))
    torch.testing.assert_close(ours.log_prob(x, model._embedding_net(c)), model.log_prob(x, c), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("wrong", [nd.StandardNormal([2]), None])
def test_only_flows_are_converted(wrong):
    with pytest.raises(TypeError, match=r"nflows.convert: expected an nflows.flows.Flow, got (StandardNormal|NoneType)"):
        convert(wrong)
