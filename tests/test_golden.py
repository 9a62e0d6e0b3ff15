"""Golden files: flows that an earlier version saved, and the densities that it gave. `make generated` adds new ones."""

from __future__ import annotations

import pytest
import torch
from alone import promised
from safetensors.torch import load_file

import pushforward
from pushforward.testing.accuracy import apart
from scripts.generated import golden

EXPECTED = load_file(golden.FOLDER / golden.EXPECTED)
NAMES = sorted(golden.recipes())


def test_every_named_flow_and_every_plan_has_golden_files():
    assert set(golden.NAMED) == set(pushforward.flows.__all__)
    assert golden.stale() == [], "run make generated, which adds what is missing"
    files = {path.name for path in golden.FOLDER.iterdir()}
    assert files == {golden.path_of(name).name for name in NAMES} | {golden.EXPECTED}
    assert sum(path.stat().st_size for path in golden.FOLDER.iterdir()) < 1.5e6


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_the_same_flow(name, tmp_path):
    path = golden.path_of(name)
    flow = pushforward.load(path)
    written, state = load_file(path), flow.state_dict()
    assert set(state) == set(written)
    assert [key for key, value in written.items() if state[key].dtype != value.dtype or not torch.equal(state[key], value)] == []
    assert flow.columns == tuple(f"column {i}" for i in range(flow.event_shape.numel()))

    x, log_prob, context = (EXPECTED.get(f"{name}/{what}") for what in ("x", "log_prob", "context"))
    assert (context is None) == (flow.context_shape is None)
    exact = flow.double()
    exact._validate_args = False
    got = exact.log_prob(x, context).detach()
    inside = torch.isfinite(log_prob)
    assert inside.sum() >= len(x) - 1
    assert torch.equal(got[~inside], log_prob[~inside])
    deviation = apart(exact, lambda flow, move: [flow.log_prob(move(x), context)], torch.float64)[0]
    # Beside them a root is sought until it is off by a few roundings of its own.
    allowed = 6 * deviation + 64 * torch.finfo(torch.float64).eps * (1 + log_prob.abs())
    # The steps of a solver move with roundings, and with them what it is off.
    allowed = allowed + 1e-6 * promised(exact.transform)
    assert ((got - log_prob).abs() <= allowed)[inside].all(), ((got - log_prob).abs() / allowed)[inside].max()
    assert float(allowed[inside].max()) < 1e-6

    pushforward.load(path).save(tmp_path / "again.safetensors")
    again = pushforward.load(tmp_path / "again.safetensors")
    assert again.plan == flow.plan
    assert again.base.plan == flow.base.plan
