"""What converters share: the kernels and networks that hold what another library has learned."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pushforward
from pushforward import bijectors as bij
from pushforward.contrib.conversion import (
    Converted,
    CopiedMLP,
    CopiedResidual,
    Outputs,
    RawAffine,
    RawLinear,
    RawSpline,
    activation_name,
    assemble,
    autoregressive,
    coupling,
    each,
    elementwise,
    free,
    linear,
    mlp,
    normal,
    stack,
)
from pushforward.core.bijector import Inverse
from pushforward.core.spec import PlanError, Spec
from pushforward.native.activations import ACTIVATIONS
from pushforward.testing import check_bijector

KERNELS = [
    RawAffine(),
    RawAffine(clip=(-5.0, 3.0)),
    RawAffine("softclip", 1e-3),
    RawAffine("softplus", 1e-3),
    RawAffine("sigmoid", 1e-3),
    RawAffine("sigmoid"),
    RawAffine("inverse sigmoid"),
    RawAffine("sigmoid", convex=True),
    RawSpline(bins=5, bound=3.0),
    RawSpline(bins=5, bound=3.0, order="linear"),
    RawSpline(bins=5, bound=3.0, form="softclip"),
    RawLinear(),
]
# Laws that hold at parameters of the size that nets give; at extreme ones these kernels are as the other library made them.
LAWS = [
    "round trip, float64, in units of 1e-11",
    "ladj against autograd, float64",
    "gradients against differences",
    "second derivatives against differences",
    "a NaN or infinite row is alone",
    "shapes, strides, contexts",
    "empty batch",
    "float32 and float64 kept",
    "no hidden state",
    "copies",
    "meta device",
]


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_kernels_keep_the_laws(kernel):
    check_bijector(kernel, 3, only=LAWS)
    if kernel.event_dim == 0:
        check_bijector(
            bij.Coupling(kernel, net=CopiedMLP((8,))), 3, 2, only=["ladj against autograd, float64", "shapes, strides, contexts"]
        )


def test_affine_scales():
    a = torch.linspace(-4.0, 4.0, 9, dtype=torch.float64)
    wanted = {
        RawAffine(): a.exp(),
        RawAffine(clip=(-1.0, 2.0)): a.clamp(-1, 2).exp(),
        RawAffine("softclip", 1e-3): (a / (1 + a.abs() / np.log(1e3))).exp(),
        RawAffine("softplus", 0.01): F.softplus(a) + 0.01,
        RawAffine("sigmoid", 0.01): a.sigmoid() + 0.01,
        RawAffine("inverse sigmoid"): 1 / a.sigmoid(),
    }
    for kernel, scale in wanted.items():
        y, ladj = kernel.forward(torch.full_like(a, 2.0), loc=a, raw_scale=a)
        torch.testing.assert_close(y, a + 2 * scale)
        torch.testing.assert_close(ladj, scale.log())
    y, _ = RawAffine("sigmoid", convex=True).forward(torch.full_like(a, 2.0), loc=a, raw_scale=a)
    torch.testing.assert_close(y, 2 * a.sigmoid() + (1 - a.sigmoid()) * a)


def test_spline_fills_its_box_and_has_slope_one_at_its_ends():
    kernel = RawSpline(bins=4, bound=2.0, least_width=0.1, least_height=0.1)
    draw = torch.Generator().manual_seed(0)
    parameters = {k: 3 * torch.randn(v.shape, generator=draw).double() for k, v in kernel.init((1,)).items()}
    ends = torch.tensor([[-2.0 + 1e-9], [2.0 - 1e-9]], dtype=torch.float64)
    y, ladj = kernel.forward(ends, **parameters)
    torch.testing.assert_close(y, ends)
    torch.testing.assert_close(ladj, torch.zeros(2, 1, dtype=torch.float64), atol=1e-6, rtol=0)
    table = kernel._table(**parameters, middles=None)
    assert table[1].sum() == pytest.approx(4.0)
    assert table[1].min() >= 0.1 * 4.0 - 1e-12


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RawAffine("tanh"), "RawAffine: expected scale to be one of exp, .*got 'tanh'"),
        (lambda: RawAffine("softclip"), "RawAffine: expected least"),
        (lambda: RawAffine("softplus", clip=(0.0, 1.0)), "RawAffine: expected clip"),
        (lambda: RawSpline(form="tanh"), "RawSpline: expected form"),
        (lambda: RawSpline(bins=8, least_width=0.2), "RawSpline: expected bins that fit"),
        (lambda: CopiedMLP((4,), shares=((1, 2),)), "CopiedMLP: expected shares that sum"),
        (lambda: CopiedMLP((), "sin"), "CopiedMLP: expected activation"),
        (lambda: CopiedResidual(4, 1, context="nowhere"), "CopiedResidual: expected context"),
        (lambda: CopiedResidual(4, 1, shares=(1, 2)), "CopiedResidual: expected shares"),
        (lambda: bij.Autoregressive(bij.Affine(), net=CopiedMLP((4,))).build(3), "expected shares for a net whose outputs see only some"),
        (lambda: bij.Autoregressive(bij.Affine(), net=CopiedMLP((4,), shares=((2, 2),))).build(3), "expected 3 counts a layer"),
        (lambda: activation_name(torch.sin), "expected an activation that is one of"),
        (lambda: stack([nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2)]), "expected a network of linear layers"),
        (
            lambda: mlp([nn.Linear(2, 5)], F.relu, 2, 0, Outputs(2, [0, 1])),
            "expected a network with 2 outputs for each of 2 features, got 5",
        ),
        (lambda: autoregressive(RawAffine(), mlp([nn.Linear(2, 4)], F.relu, 2, 0, Outputs(2, [0, 1]))), "expected a masked network"),
    ],
)
def test_what_is_wrong_is_named(make, words):
    with pytest.raises(PlanError, match=words):
        make()


def test_each_names_the_layer():
    def refuse(layer):
        if layer == "two":
            raise PlanError("no")
        return [Converted(RawAffine(), {})]

    assert len(each(["one", "three"], refuse)) == 2
    with pytest.raises(PlanError, match="convert: layer 1, str: no"):
        each(["one", "two"], refuse)


def test_every_activation_has_its_name():
    for name, (function, *_) in ACTIVATIONS.items():
        assert activation_name(lambda x, f=function: f(x.clone())) == name
    assert activation_name(nn.LeakyReLU(0.0)) == "relu"


@pytest.mark.parametrize("by_element", [True, False])
def test_outputs_are_put_into_our_order(by_element):
    # A network without hidden layers that gives of each of two elements a location and a scale, in this order or the other.
    torch.manual_seed(0)
    net, x = nn.Linear(1, 4), torch.randn(5, 3)
    made = coupling(RawAffine(), [1], mlp([net], F.relu, 1, 0, Outputs(2, [1, 0], by_element, [2.0, 3.0], [0.5, 0.0])))
    assert made.plan.net == CopiedMLP(())
    flow = assemble([made], (3,), 0, net)
    y, ladj = flow.transform(x)
    out = net(x[:, 1:2])
    theirs = out.unflatten(-1, (2, 2)) if by_element else out.unflatten(-1, (2, 2)).mT
    loc, log_scale = theirs[..., 1] * 2.0 + 0.5, theirs[..., 0] * 3.0
    torch.testing.assert_close(y[:, [0, 2]], loc + log_scale.exp() * x[:, [0, 2]])
    torch.testing.assert_close(ladj, log_scale.sum(-1))


def test_layers_turn_round():
    torch.manual_seed(0)
    x = torch.randn(4, 3)
    there = [normal(torch.randn(3), torch.randn(3)), linear(torch.randn(3, 3), torch.randn(3)), Converted(bij.Permute([2, 0, 1]), {})]
    back = [layer.inv for layer in reversed(there)]
    like = nn.Linear(1, 1)
    y = assemble(there, (3,), 0, like).transform(x)[0]
    torch.testing.assert_close(assemble(back, (3,), 0, like).transform(y)[0], x, atol=1e-5, rtol=1e-5)
    assert back[0].plan == bij.Permute([1, 2, 0])
    assert isinstance(back[1].plan, Inverse)
    assert back[1].inv.plan == there[1].plan
    assert back[1].inv.tensors.keys() == there[1].tensors.keys()


def test_assembling_refuses_what_does_not_fit():
    like = nn.Linear(1, 1)
    with pytest.raises(PlanError, match=r"expected tensors for \['layers.0.parameters_of.offset'\], got some for \[\]"):
        assemble([Converted(RawAffine(), {})], (3,), 0, like)
    with pytest.raises(PlanError, match=r"expected layers.0.parameters_of.offset of shape \(6,\), got \(4,\)"):
        assemble([free(RawAffine(), torch.zeros(2), torch.zeros(2))], (3,), 0, like)


def test_conversion_costs_no_random_numbers_and_follows_the_model():
    before = torch.get_rng_state()
    flow = assemble([normal(torch.zeros(3), torch.zeros(3))], (3,), 0, nn.Linear(1, 1).double())
    after = nn.Linear(1, 1)  # draws, as the one above did
    torch.set_rng_state(before)
    nn.Linear(1, 1)
    torch.testing.assert_close(nn.Linear(1, 1).weight, after.weight)
    assert flow.dtype == torch.float64


def test_plans_are_json_and_load(tmp_path):
    torch.manual_seed(0)
    net = mlp([nn.Linear(2, 6), nn.Linear(6, 6)], torch.tanh, 0, 2, Outputs(3, [0, 1]))
    flow = assemble([elementwise(RawAffine("softplus", 1e-3), net), linear(torch.randn(3, 3), torch.zeros(3))], (3,), 2, nn.Linear(1, 1))
    assert Spec.from_dict(json.loads(json.dumps(flow.plan.to_dict()))) == flow.plan
    flow.save(tmp_path / "flow.safetensors")
    again = pushforward.load(tmp_path / "flow.safetensors")
    x, c = torch.randn(5, 3), torch.randn(5, 2)
    assert torch.equal(again.log_prob(x, c), flow.log_prob(x, c))
    assert "CopiedMLP" in str(flow.describe())
