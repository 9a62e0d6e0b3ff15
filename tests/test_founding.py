"""The founding documents: FlowTorch's first tutorial runs as it stands, and `describe` answers the question of Pyro's forum."""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import pushforward.bijectors as bij
import pushforward.distributions as dist
from pushforward.flows import IAF, MAF, NSF, RealNVP
from pushforward.nets.conditioner import Parameters
from pushforward.nets.dense import Dense
from pushforward.nets.net import ModuleNet

ENTROPY = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.5))


@pytest.mark.fits
def test_your_first_flow(capsys):
    torch.manual_seed(0)
    losses = []

    base_dist = torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(2), torch.ones(2)),
        1
    )  # fmt: skip
    target_dist = torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(2)+5, torch.ones(2)*0.5),
        1
    )  # fmt: skip

    # Lazily instantiated flow
    bijectors = bij.AffineAutoregressive()

    # Instantiate transformed distribution and parameters
    flow = dist.Flow(base_dist, bijectors)

    # Training loop
    opt = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for idx in range(3001):
        opt.zero_grad()

        # Minimize KL(p || q)
        y = target_dist.sample((1000,))
        loss = -flow.log_prob(y).mean()

        if idx % 500 == 0:
            print("epoch", idx, "loss", loss)  # noqa: T201 (the tutorial's own line)

        loss.backward()
        opt.step()
        losses.append(loss.item())

    printed = re.findall(r"^epoch (\d+) loss tensor\((\d+\.\d+), grad_fn=", capsys.readouterr().out, re.MULTILINE)
    assert [int(idx) for idx, _ in printed] == list(range(0, 3001, 500))
    assert pytest.approx(ENTROPY, abs=1e-4) == 1.4516
    # One batch of 1000 tells its loss with a standard deviation of 1 / sqrt(1000) = 0.032; the other two figures have next to none.
    assert losses[-1] == pytest.approx(ENTROPY, abs=0.16)
    assert sum(losses[-200:]) / 200 == pytest.approx(ENTROPY, abs=0.03)
    with torch.no_grad():
        # Over 20 starts it is 0.008 off, with a deviation of 0.008: what the last steps of Adam at a constant rate leave.
        assert -flow.log_prob(target_dist.sample((100_000,))).mean().item() == pytest.approx(ENTROPY, abs=0.06)
        sample = flow.sample((100_000,))
    assert torch.allclose(sample.mean(0), torch.tensor(5.0), atol=0.1)
    assert torch.allclose(sample.std(0), torch.tensor(0.5), atol=0.05)


class Lower(torch.nn.Linear):
    """Masked by hand: what is made of a feature depends on those before it."""

    def forward(self, visible):
        return torch.nn.functional.linear(visible, self.weight * torch.ones_like(self.weight[:3]).tril(-1).repeat(2, 1), self.bias)


FORK = [[0, 0, 0], [1, 0, 0], [1, 0, 0]]
"""Both of two features depend on the first: two steps."""
SMALL = bij.MLP((16, 24), "tanh")
FLOWS = {
    "Spline, quadratic": lambda: dist.Flow(dist.StandardNormal(), bij.Spline(), event_shape=3),
    "Spline, linear": lambda: dist.Flow(dist.StandardNormal(), bij.Spline(bins=5, order="linear"), event_shape=1),
    "the tutorial's": lambda: dist.Flow(dist.StandardNormal(), bij.AffineAutoregressive(), event_shape=2),
    "spline coupling": lambda: dist.Flow(dist.StandardNormal(), bij.SplineCoupling(net=SMALL), event_shape=5),
    "spline given a context": lambda: dist.Flow(dist.StandardNormal(), bij.Elementwise(bij.Spline(), SMALL), 2, 3),
    "NSF": lambda: NSF(4, transforms=2, widths=(16, 24)),
    "NSF, autoregressive": lambda: NSF(4, 2, structure="autoregressive", transforms=2, widths=(16, 24)),
    "MAF": lambda: MAF(3, transforms=2, widths=(16, 24)),
    "IAF": lambda: IAF(3, transforms=2, widths=(16, 24)),
    "RealNVP given a context": lambda: RealNVP(5, 2, transforms=2, net=bij.ResidualMLP(16)),
    "a net of one's own": lambda: dist.Flow(dist.StandardNormal(), bij.AffineCoupling(net=torch.nn.Linear(2, 6)), event_shape=5),
    "a net of one's own, autoregressive": lambda: dist.Flow(dist.StandardNormal(), bij.Autoregressive(bij.Affine(), net=Lower(3, 6)), 3),
    "a graph": lambda: dist.Flow(dist.StandardNormal(), bij.Autoregressive(bij.Affine(), adjacency=FORK, net=bij.ResidualMLP(16)), 3),
    "learned base": lambda: dist.Flow(dist.DiagNormal(), [bij.Inverse(bij.AffineCoupling(net=SMALL)), bij.Exp()], event_shape=3),
    "matrices": lambda: dist.Flow(dist.StandardNormal(), bij.OnAxis(bij.AffineCoupling(net=SMALL), 1), event_shape=(2, 3)),
}


def cost_of(layer, inverse, monkeypatch):
    """Return how often a layer does the work of its network, and how many steps it takes, in a direction, as printed.

    Measured, whatever the layer says of itself: the arithmetic of its matrix products over that of one run of all its dense layers,
    and how often its kernel is evaluated. On the meta device, where all of it is done by operators that can be counted.
    """
    layer, rows, steps = copy.deepcopy(layer).to("meta"), 8, []
    kernel = next(type(part.kernel) for part in layer.modules() if hasattr(part, "kernel"))
    for name in ("forward", "inverse"):
        run = getattr(kernel, name)
        monkeypatch.setattr(kernel, name, lambda *args, run=run, **parameters: steps.append(1) or run(*args, **parameters))
    context = None if layer.context_shape is None else torch.empty(rows, *layer.context_shape, device="meta")
    values = torch.empty(rows, *layer.event_shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        (layer.inverse if inverse else layer)(values, context)
    monkeypatch.undo()
    dense = [part for part in layer.modules() if isinstance(part, torch.nn.Linear)]
    passes = math.ceil(counter.get_total_flops() / sum(2 * rows * part.in_features * part.out_features for part in dense))
    return f"{passes}" if passes == len(steps) else f"{passes} of depth {len(steps)}"


def leaves(module):
    return [leaf for layer in module.layers for leaf in leaves(layer)] if hasattr(module, "layers") else [module]


def blocks_of(text):
    """Return the printed lines of each layer, as a dict of what stands under each heading."""
    blocks = re.split(r"^ *\d+  (?=\S)", text.split("\ntotal:")[0], flags=re.MULTILINE)[1:]
    return [dict(re.findall(r"^ {6}(\w+(?: on)?) +(.*)$", block, re.MULTILINE)) | {"name": block.splitlines()[0]} for block in blocks]


@pytest.mark.parametrize("name", FLOWS)
def test_describe_answers_the_forum(name, monkeypatch):
    flow = FLOWS[name]()
    description = flow.describe(batch=500)
    text = str(description)
    blocks, layers = blocks_of(text), leaves(flow.transform)
    assert len(blocks) == len(layers) == len(description.layers)

    # "How many parameters there are for each of them": what the optimiser gets.
    total = sum(p.numel() for p in flow.parameters())
    assert f"total: {total:,} parameters" in text
    of_base = sum(p.numel() for p in flow.base.parameters())
    assert sum(int(block["parameters"].replace(",", "")) for block in blocks) + of_base == total

    for block, layer in zip(blocks, layers, strict=True):
        assert block["name"] == repr(layer.plan)
        # "The transformations are structured": the formula.
        assert "=" in block["formula"]
        assert block["parameters"].replace(",", "") == str(sum(p.numel() for p in layer.parameters()))
        # "The input size and output size must therefore be the same".
        assert block["shape"] == f"{tuple(layer.event_shape)} → {tuple(layer.out_shape)}"
        assert block["depends on"] == layer.facts.depends_on
        # "What is the NN that is used inside of the spline call?"
        nets = [part.net for part in layer.modules() if isinstance(part, Parameters) and part.net is not None]
        if nets:
            dense = [part for part in nets[0].modules() if isinstance(part, torch.nn.Linear)]
            outputs = dense[-1].out_features
            assert block["network"].split(",")[0].endswith(f"→ {outputs}")
            if not isinstance(nets[0], ModuleNet):
                assert {str(part.out_features) for part in dense if isinstance(part, Dense)} <= set(re.findall(r"\d+", block["network"]))
        else:
            assert block["network"] == "none"
        # "An entire NN shoved into each call": how often, and what memory it takes.
        if nets:
            to_sample, to_score = (cost_of(layer, inverse, monkeypatch) for inverse in (False, True))
            assert block["evaluations"] == f"{to_sample} to sample, {to_score} to score"
        assert re.fullmatch(r"[\d.e+]+ [kMG]?B in training at batch 500", block["memory"])
    # "How the back propagation is being done", "how the cost function is being calculated".
    assert "loss = -mean log p(x), log p(x) = log p_base(z) + sum of log|det dz/dx|" in text
    assert "gradients are those of automatic differentiation" in text
    assert "same size" in text
    assert "peak of a training step at batch 500" in text
    assert repr(flow.base.plan) in text.splitlines()[0]


def test_describe_of_a_spline_says_what_the_forum_asks():
    blocks = blocks_of(str(FLOWS["spline coupling"]().describe()))
    assert blocks[0] == {
        "name": "Coupling(Spline(), net=MLP(widths=(16, 24), activation='tanh'))",
        "formula": "y = monotone rational spline on [-bound, bound], y = x outside",
        "shape": "(5,) → (5,)",
        "depends on": "features 0-1",
        "network": "MLP 2 → 16 → 24 → 69, tanh",
        "parameters": f"{(2 * 16 + 16) + (16 * 24 + 24) + (24 * 69 + 69):,}",
        "evaluations": "1 to sample, 1 to score",
        "accuracy": "exact to rounding",
        "memory": blocks[0]["memory"],
    }
