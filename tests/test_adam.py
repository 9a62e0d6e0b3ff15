"""AdamW of our own: it steps as torch's does, and a fit with it needs no compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from pushforward.train.adam import AdamW


def stepped(kind, decay, dtype=torch.float32):
    """Return parameters after steps at two rates, of which one parameter has a gradient in every second step alone, and one in none."""
    draw = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=draw).to(dtype)) for shape in ((3, 4), (5,), (2,))]
    made = kind(parameters, lr=0.01, weight_decay=decay)
    for step in range(6):
        made.zero_grad()
        parameters[0].grad = torch.randn(3, 4, generator=draw).to(dtype)
        if step % 2:
            parameters[1].grad = torch.randn(5, generator=draw).to(dtype)
        made.param_groups[0]["lr"] = 0.01 / (1 + step // 3)
        made.step()
    return [p.detach() for p in parameters]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_steps_as_the_one_of_torch(decay, dtype):
    ours, theirs = (stepped(kind, decay, dtype) for kind in (AdamW, torch.optim.AdamW))
    assert not torch.equal(ours[0], stepped(AdamW, decay + 0.1, dtype)[0])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=4 * torch.finfo(dtype).eps, atol=0.0)


def test_gradients_are_forgotten_or_become_zeros():
    p = nn.Parameter(torch.ones(2))
    made = AdamW([p, nn.Parameter(torch.ones(1))], lr=0.1)
    p.grad = torch.ones(2)
    made.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    made.zero_grad()
    assert p.grad is None
    made.step()
    assert p.tolist() == [1.0, 1.0]


def test_the_first_fit_of_a_process_does_not_import_the_compiler():
    fit = (
        "import sys, torch, pushforward as pf\n"
        "pf.fit(pf.MAF(2, transforms=1), torch.randn(50, 2), epochs=1, progress=False)\n"
        "pf.fit_target(pf.MAF(2, transforms=1), lambda x: -x.square().sum(-1), steps=2, progress=False)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", fit], check=True, capture_output=True, text=True).stdout == "False\n"
