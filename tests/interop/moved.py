"""What a converted flow has to be: the same density, and a flow like any other that needs the other library no more."""

from __future__ import annotations

import copy
import subprocess
import sys

import torch

from tests.roundings import SURE, of_flow


def rows(features, context, count=400, seed=0):
    """Return data that no normal fits, and contexts that it depends on."""
    draw = torch.Generator().manual_seed(seed)
    c = torch.randn(count, context, generator=draw) if context else None
    x = torch.randn(count, features, generator=draw)
    for i in range(1, features):
        x[:, i] = 0.3 * x[:, i] + torch.sin(2 * x[:, i - 1])
    return (x if c is None else x + 0.5 * c[:, :1]), c


def train(model, loss, steps=40):
    """Move a model away from where it starts, as its user would."""
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def holds(convert, model, score, x, c):
    """Hold the density of what a model becomes against its own: to 1e-5, and in double precision to 1e-10.

    In single precision it may be off by what the model itself is off, twice, or by what processors do differently. Both directions are
    each other's inverse.
    """
    with torch.no_grad():
        single, ours = score(model, x, c), convert(model).log_prob(x, c)
        fine = copy.deepcopy(model).double()
        x, c = x.double(), None if c is None else c.double()
        double, flow = score(fine, x, c), convert(fine)
        assert torch.isfinite(double).all()
        assert (ours.dtype, flow.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(flow.log_prob(x, c), double, atol=1e-10, rtol=1e-10)
        beyond = (ours - single).abs() > 1e-5 * (1 + double.abs()) + 2 * (single - double).abs()
        if beyond.any():  # by luck the model was not off there; two processors are
            assert ((ours - single).abs() <= SURE * of_flow(convert(model), x.float(), None if c is None else c.float()))[beyond].all()
        again, ladj = flow.from_base(flow.to_base(x, c)[0], c)
        torch.testing.assert_close(again, x, atol=1e-7, rtol=1e-7)
        torch.testing.assert_close(ladj, -flow.to_base(x, c)[1], atol=1e-6, rtol=1e-6)


def is_a_flow(flow, x, c):
    """Hold a converted flow to what every flow does: it draws and scores in one pass, copies, and trains on."""
    with torch.no_grad():
        wanted = flow.log_prob(x, c)
        y, log_prob = flow.double().rsample_and_log_prob((1,) if c is not None else (len(x),), None if c is None else c.double())
        torch.testing.assert_close(flow.log_prob(y, None if c is None else c.double()), log_prob, atol=1e-6, rtol=1e-6)
        assert torch.equal(copy.deepcopy(flow.float()).log_prob(x, c), wanted)
    own = copy.deepcopy(flow)
    train(own, lambda: -own.log_prob(x, c).mean(), 20)
    assert own.log_prob(x, c).mean() > wanted.mean()


def loads_without(package, flows, tmp_path):
    """Save ``(flow, x, c)`` and load them in a process that cannot import a package: the same bit for bit."""
    for i, (flow, x, c) in enumerate(flows):
        flow.save(tmp_path / f"{i}.safetensors")
        torch.save((x, c, flow.log_prob(x, c).detach()), tmp_path / f"{i}.pt")
    code = f"""
import sys
sys.modules[{package!r}] = None
import torch, pushforward, pushforward.contrib.conversion
from tests.other_processor import as_told
as_told()
torch.set_num_threads({torch.get_num_threads()})
for i in range({len(flows)}):
    flow = pushforward.load({str(tmp_path)!r} + f"/{{i}}.safetensors")
    x, c, wanted = torch.load({str(tmp_path)!r} + f"/{{i}}.pt", weights_only=True)
    assert torch.equal(flow.log_prob(x, c), wanted)
    assert "Raw" in str(flow.describe())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
