"""Trained flows of Zuko moved to ours: the same density, and flows like any other."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import zuko
from moved import holds, is_a_flow, loads_without, rows, train
from torch import nn
from zuko import flows as zf
from zuko import transforms as zt
from zuko.lazy import Flow, LazyInverse, UnconditionalDistribution, UnconditionalTransform

from pushforward import bijectors as bij
from pushforward.contrib.conversion import RawAffine, RawLinear, RawSpline
from pushforward.contrib.zuko import convert
from pushforward.core.spec import PlanError

SMALL = {"hidden_features": (16, 16)}
ADDITIVE = {"univariate": zt.AdditiveTransform, "shapes": [()]}
GRAPH = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)


def normal(features, loc=0.0, scale=1.0, buffer=True):
    return UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.full((features,), loc), torch.full((features,), scale), buffer=buffer
    )


def mixed():
    """Return a flow of what Zuko's named flows do not have."""
    torch.manual_seed(1)
    scores = UnconditionalTransform(torch.distributions.AffineTransform, torch.randn(4), torch.rand(4) + 0.5, buffer=True)
    return Flow(
        [
            scores,
            zf.MaskedAutoregressiveTransform(4, 2, order=torch.tensor([2, 0, 3, 1]), **SMALL),
            UnconditionalTransform(zt.PermutationTransform, torch.tensor([2, 0, 3, 1]), buffer=True),
            UnconditionalTransform(zt.RotationTransform, torch.randn(4, 4)),
            zf.MaskedAutoregressiveTransform(4, 2, adjacency=GRAPH, **SMALL),
            UnconditionalTransform(zt.LULinearTransform, torch.eye(4) + 0.2 * torch.randn(4, 4)),
            LazyInverse(zf.GeneralCouplingTransform(4, 2, **SMALL)),
            zf.GeneralCouplingTransform(4, 2, **ADDITIVE, **SMALL),
            zf.ElementWiseTransform(4, 2, univariate=partial(zt.MonotonicRQSTransform, bound=4.0), shapes=[(5,), (5,), (4,)]),
            UnconditionalTransform(zt.MonotonicAffineTransform, torch.zeros(4), torch.zeros(4)),
        ],
        normal(4, 0.3, 1.2, buffer=False),
    )


# name -> (what makes the flow, features, context)
FLOWS = {
    "MAF": (lambda: zf.MAF(4, 3, **SMALL), 4, 3),
    "MAF, no context": (lambda: zf.MAF(4, activation=nn.Tanh, **SMALL), 4, 0),
    "MAF, random orders": (lambda: zf.MAF(5, 2, randperm=True, transforms=2, hidden_features=(16,)), 5, 2),
    "MAF, two passes": (lambda: zf.MAF(5, 2, passes=2, **SMALL), 5, 2),
    "MAF, residual": (lambda: zf.MAF(4, 3, residual=True, **SMALL), 4, 3),
    "graph of a context": (
        lambda: Flow([zf.MaskedAutoregressiveTransform(4, 2, adjacency=torch.cat([GRAPH, GRAPH[:, :2]], 1), **SMALL)], normal(4)),
        4,
        2,
    ),
    "MAF, one feature": (lambda: zf.MAF(1, 0), 1, 0),
    "NSF": (lambda: zf.NSF(4, 3, bins=6, **SMALL), 4, 3),
    "NSF, coupling": (lambda: zf.NSF(4, 0, passes=2, activation=nn.ELU, **SMALL), 4, 0),
    "NSF, other slope": (lambda: zf.NSF(3, 2, bins=4, slope=1e-2, **SMALL), 3, 2),
    "NSF, one feature": (lambda: zf.NSF(1, 3, **SMALL), 1, 3),
    "NSF, one feature, no context": (lambda: zf.NSF(1, 0), 1, 0),
    "NICE": (lambda: zf.NICE(5, 3, **SMALL), 5, 3),
    "RealNVP, random masks": (lambda: zf.RealNVP(5, randmask=True, activation=nn.GELU, **SMALL), 5, 0),
    "mixed": (mixed, 4, 2),
}


def trained(name):
    make, features, context = FLOWS[name]
    torch.manual_seed(0)
    model, (x, c) = make(), rows(features, context)
    train(model, lambda: -model(c).log_prob(x).mean())
    return model, x, c


@pytest.mark.parametrize("name", FLOWS)
def test_same_density(name):
    model, x, c = trained(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    holds(convert, model, lambda model, x, c: model(c).log_prob(x), x, c)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["MAF", "MAF, two passes", "MAF, residual", "NSF, one feature", "RealNVP, random masks", "mixed"])
def test_a_flow_like_any_other(name):
    model, x, c = trained(name)
    is_a_flow(convert(model), x, c)


def test_files_need_no_zuko(tmp_path):
    models = [trained(name) for name in ("MAF, residual", "NSF", "mixed")]
    loads_without("zuko", [(convert(model), x, c) for model, x, c in models], tmp_path)


def test_plans():
    maf, nsf = (convert(FLOWS[name][0]()).plan.bijectors for name in ("MAF", "NSF"))
    assert [layer.bijector.order for layer in maf] == [None, (3, 2, 1, 0), None]
    assert all(layer.bijector.kernel == RawAffine("softclip", 1e-3) for layer in maf)
    assert all(layer.bijector.kernel == RawSpline(6, form="softclip") for layer in nsf)
    kinds = [type(getattr(layer, "bijector", layer)) for layer in convert(mixed()).plan.bijectors]
    assert kinds == [
        RawAffine,  # the base
        RawAffine,
        bij.Elementwise,
        bij.Coupling,
        bij.Coupling,
        RawLinear,
        bij.InverseAutoregressive,
        RawLinear,
        bij.Permute,
        bij.InverseAutoregressive,
        bij.AffineFixed,
    ]


def test_sampling_takes_the_work_of_one_pass_a_layer():
    assert convert(zf.NSF(4, passes=2, **SMALL)).transform.facts.evaluations == (3, 3)
    assert convert(zf.NSF(16, **SMALL)).transform.facts.evaluations == (3, 3)  # Zuko: 48 passes to sample
    assert convert(zf.NSF(16, **SMALL)).transform.facts.depth == (48, 3)
    assert convert(zf.NSF(4, residual=True, **SMALL)).transform.facts.evaluations == (12, 3)


def test_graphs_stay_graphs_in_training():
    # What a feature's parameters may not see they do not see after training either.
    flow = convert(Flow([zf.MaskedAutoregressiveTransform(4, 0, adjacency=GRAPH, **SMALL)], normal(4)))
    x, _ = rows(4, 0)
    train(flow, lambda: -flow.log_prob(x).mean(), 20)
    for row in x[:20]:
        jacobian = torch.autograd.functional.jacobian(lambda v: flow.transform.inverse(v)[0], row)
        assert (jacobian[~GRAPH] == 0).all()
        assert (jacobian[GRAPH] != 0).any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: zf.NAF(3), "layer 0, MaskedAutoregressiveTransform: expected MonotonicAffineTransform, .* as univariate, got"),
        (lambda: zf.GF(3), "layer 0, ElementWiseTransform: expected MonotonicAffineTransform"),
        (lambda: zf.CNF(3), "layer 0, FFJTransform: expected an autoregressive, coupling, elementwise or unconditional layer"),
        (lambda: zf.NCSF(3), "base BoxUniform: expected a DiagNormal"),
        (lambda: zf.RealNVP(4, normalize=True), "layer 0, GeneralCouplingTransform: expected a network of linear layers"),
        (lambda: zf.MAF(4, activation=nn.Softshrink), "layer 0, MaskedAutoregressiveTransform: expected an activation that is one of relu"),
        (lambda: Flow([zf.MAF(4).transform, UnconditionalTransform(zt.SoftclipTransform)], normal(4)), "layer 3, .*SoftclipTransform"),
        (lambda: Flow([zf.MAF(4).transform], zf.MAF(4)), "base MAF: expected a DiagNormal"),
    ],
)
def test_what_is_not_taken_is_named(make, words):
    with pytest.raises(PlanError, match=f"convert: {words}"):
        convert(make())


@pytest.mark.parametrize("wrong", [zf.GMM(2), nn.Linear(2, 2), None])
def test_only_flows_are_converted(wrong):
    with pytest.raises(TypeError, match=r"zuko.convert: expected a zuko.flows.Flow of transforms and a base, got (GMM|Linear|NoneType)"):
        convert(wrong)
