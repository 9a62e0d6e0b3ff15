"""Trained models of normflows moved to ours: the same density."""

from __future__ import annotations

import subprocess
import sys

import normflows as nf
import pytest
import torch
from normflows import flows as F
from normflows.nets import MLP

import pushforward
from pushforward.contrib.normflows import convert

pytestmark = pytest.mark.filterwarnings("ignore:torch.lu is deprecated:UserWarning")
D = 4


def half(**more):
    return MLP([2, 9, 8, 4], **more)


def trained(flows, base=None, conditional=False, scale=0.15):
    """Return a model whose parameters are away from where they start."""
    base = nf.distributions.DiagGaussian(D) if base is None else base
    model = (nf.ConditionalNormalizingFlow if conditional else nf.NormalizingFlow)(base, flows)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return model.eval()


MASK = torch.tensor([1.0, 0.0, 1.0, 0.0])
FLOWS = {
    "MaskedAffineFlow": lambda: [F.MaskedAffineFlow(MASK, MLP([D, 9, 8, D]), MLP([D, 7, 6, D], leaky=0.0))],
    "MaskedAffineFlow, shift": lambda: [F.MaskedAffineFlow(1 - MASK, t=MLP([D, 9, D]))],
    "MaskedAffineFlow, scale": lambda: [F.MaskedAffineFlow(MASK, s=MLP([D, D]))],
    "AffineCouplingBlock": lambda: [F.AffineCouplingBlock(half())],
    "sigmoid": lambda: [F.AffineCouplingBlock(half(leaky=0.01), scale_map="sigmoid", split_mode="channel_inv")],
    "sigmoid_inv": lambda: [F.AffineCouplingBlock(half(), scale_map="sigmoid_inv", split_mode="checkerboard")],
    "additive": lambda: [F.AffineCouplingBlock(MLP([2, 9, 2]), scale=False, split_mode="checkerboard_inv")],
    "MaskedAffineAutoregressive": lambda: [F.MaskedAffineAutoregressive(D, 12)],
    "MaskedAffineAutoregressive, feedforward": lambda: [F.MaskedAffineAutoregressive(D, 12, use_residual_blocks=False)],
    "CoupledRationalQuadraticSpline": lambda: [F.CoupledRationalQuadraticSpline(D, 2, 12)],
    "CoupledRationalQuadraticSpline, reversed": lambda: [F.CoupledRationalQuadraticSpline(D, 1, 12, num_bins=5, reverse_mask=True)],
    "AutoregressiveRationalQuadraticSpline": lambda: [F.AutoregressiveRationalQuadraticSpline(D, 2, 12)],
    "AutoregressiveRationalQuadraticSpline, permuted": lambda: [
        F.AutoregressiveRationalQuadraticSpline(D, 1, 12, permute_mask=True, tail_bound=4)
    ],
    "LULinearPermute": lambda: [F.LULinearPermute(D)],
    "InvertibleAffine": lambda: [F.InvertibleAffine(D)],
    "InvertibleAffine, whole": lambda: [F.InvertibleAffine(D, use_lu=False)],
    "Permute": lambda: [F.Permute(D), F.Permute(D, "swap")],
    "AffineConstFlow": lambda: [F.AffineConstFlow(D), F.AffineConstFlow((D,), shift=False)],
    "Reverse and Composite": lambda: [F.Reverse(F.AffineCouplingBlock(half())), F.Composite([F.LULinearPermute(D), F.Permute(D)])],
    "the README's": lambda: [
        flow for i in range(3) for flow in (F.AutoregressiveRationalQuadraticSpline(D, 1, 12), F.LULinearPermute(D))
    ],
    "RealNVP": lambda: [flow for i in range(3) for flow in (F.AffineCouplingBlock(half()), F.Permute(D, "swap"))],
}  # fmt: skip


def same(model, flow, *, context=None, tolerance=1e-5):
    """Assert that both give the same values and the same densities, from the base's side."""
    z = torch.randn(100, *flow.event_shape, dtype=flow.dtype)
    with torch.no_grad():
        given = () if context is None else (context,)
        base_log_prob = model.q0.log_prob(z) if context is None else model.q0.log_prob(z, context)
        x, log_det = z, 0
        for layer in model.flows:
            x, added = layer(x, *given) if context is not None else layer(x)
            log_det = log_det + added
        expected = base_log_prob - log_det
        # The base of theirs is the first layer here.
        start, ladj = flow.transform.layers[0].inverse(z, context)
        assert torch.allclose(torch.distributions.Normal(0.0, 1.0).log_prob(start).flatten(1).sum(1) + ladj, base_log_prob, atol=tolerance)
        ours, total = flow.transform(start, context)
        assert torch.allclose(ours, x, rtol=tolerance, atol=tolerance)
        assert torch.allclose(total + ladj, log_det.to(z).expand(len(z)), rtol=tolerance, atol=tolerance)
        score = flow.log_prob(x, context)
        assert torch.allclose(score, expected, rtol=10 * tolerance, atol=10 * tolerance)  # through both ways
        assert torch.allclose(score, model.log_prob(x, *given), rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("name", FLOWS)
def test_same_density(name):
    torch.manual_seed(2)
    model = trained(FLOWS[name]())
    flow = convert(model)
    assert flow.event_shape == (D,)
    same(model, flow)
    model = model.double()
    same(model, convert(model), tolerance=1e-9)


CONDITIONAL = {
    "CoupledRationalQuadraticSpline": lambda: [F.CoupledRationalQuadraticSpline(D, 2, 12, num_context_channels=3), F.LULinearPermute(D)],
    "AutoregressiveRationalQuadraticSpline": lambda: [F.AutoregressiveRationalQuadraticSpline(D, 2, 12, num_context_channels=3)],
    "MaskedAffineAutoregressive": lambda: [F.MaskedAffineAutoregressive(D, 12, context_features=3, num_blocks=1)],
    "base alone": lambda: [F.Permute(D)],
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_conditional(name):
    torch.manual_seed(3)
    base = nf.distributions.base.ConditionalDiagGaussian(D, MLP([3, 8, 2 * D])) if name != "MaskedAffineAutoregressive" else None
    model = trained(CONDITIONAL[name](), base, conditional=True)
    flow = convert(model)
    assert flow.context_shape == (3,)
    context = torch.randn(100, 3)
    same(model, flow, context=context, tolerance=2e-5)
    y = torch.randn(100, D)
    assert (flow.log_prob(y, context) - flow.log_prob(y, context + 1)).abs().max() > 1e-2
    same(model.double(), convert(model), context=context.double(), tolerance=1e-9)


def test_images():
    torch.manual_seed(4)
    flows = [F.Invertible1x1Conv(3, use_lu=True), F.AffineConstFlow((3, 1, 1)), F.Invertible1x1Conv(3), F.Permute(3)]
    model = trained(flows, nf.distributions.DiagGaussian((3, 2, 2)))
    same(model, convert(model), tolerance=2e-5)


def test_act_norm_that_has_met_data():
    torch.manual_seed(5)
    model = trained([F.AffineCouplingBlock(half()), F.ActNorm(D)])
    with pytest.raises(pushforward.PlanError, match=r"layer 1, ActNorm: expected one that has met data"):
        convert(model)
    model.log_prob(3 + torch.randn(50, D))
    same(model, convert(model), tolerance=2e-5)


def test_a_trained_model_in_its_own_words(tmp_path):
    torch.manual_seed(6)
    flows = [flow for _ in range(2) for flow in (F.CoupledRationalQuadraticSpline(2, 1, 16), F.LULinearPermute(2))]
    model = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), flows)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = torch.randn(400, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]) + 1
    for _ in range(30):
        optimizer.zero_grad()
        loss = model.forward_kld(x)
        loss.backward()
        optimizer.step()
    flow = convert(model)
    with torch.no_grad():
        assert torch.allclose(flow.log_prob(x), model.log_prob(x), rtol=1e-5, atol=2e-5)
    torch.manual_seed(7)
    assert torch.allclose(flow.sample((20_000,)).mean(0), model.sample(20_000)[0].mean(0), atol=4 * 2 * 1.5 / 20_000**0.5)
    flow.log_prob(x).mean().backward()  # it trains on
    assert all(parameter.grad is not None for parameter in flow.parameters())
    flow.save(tmp_path / "flow.safetensors")
    torch.save((x, flow.log_prob(x).detach()), tmp_path / "expected.pt")
    code = (
        "import sys, torch, pushforward, pushforward.contrib.conversion\n"
        "from tests.other_processor import as_told; as_told()\n"
        "x, expected = torch.load(sys.argv[2], weights_only=True)\n"
        "assert torch.equal(pushforward.load(sys.argv[1]).log_prob(x), expected)\n"
        "assert 'normflows' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "flow.safetensors", tmp_path / "expected.pt"], check=True)


REFUSED = {
    "layer 1, Planar: expected one of": lambda: trained([F.Permute(D), F.Planar((D,))]),
    "layer 0, Residual": lambda: trained([F.Residual(nf.nets.LipschitzMLP([D, 8, D]))]),
    "layer 0, CircularCoupled": lambda: trained([F.CircularCoupledRationalQuadraticSpline(D, 1, 8, [0])]),
    "layer 0, MaskedAffineAutoregressive: expected a network without batch": lambda: trained(
        [F.MaskedAffineAutoregressive(D, 12, use_batch_norm=True)]
    ),
    "without output_fn": lambda: trained([F.AffineCouplingBlock(half(output_fn="tanh"))]),
    "same depth": lambda: trained([F.MaskedAffineFlow(MASK, MLP([D, 9, D]), MLP([D, D]))]),
    "linear tails": lambda: trained([F.CoupledRationalQuadraticSpline(D, 1, 8, tails="circular")]),
    "GlowBlock": lambda: trained([F.GlowBlock(4, 8)], nf.distributions.DiagGaussian((4, 2, 2))),
    "as base, got GaussianMixture": lambda: trained([F.Permute(D)], nf.distributions.GaussianMixture(2, D)),
    "expected a NormalizingFlow or": lambda: F.Permute(D),
    "one context": lambda: trained([F.CoupledRationalQuadraticSpline(D, 1, 8, num_context_channels=n) for n in (2, 3)], conditional=True),
}


@pytest.mark.parametrize("words", REFUSED)
def test_anything_else_is_named(words):
    with pytest.raises(pushforward.PlanError, match=words):
        convert(REFUSED[words]())
