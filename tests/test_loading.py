"""Loading is hostile ground: a file gives the flow that was saved, or one of the errors that `load` names, and takes little for it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import hostile
import pytest
import torch
from every_plan import EVERY
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import pushforward
from pushforward import bijectors as bij
from pushforward import io
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.spec import DEPTH, PlanError
from pushforward.distributions import Flow, Resampled, StandardNormal, wrap
from pushforward.flow.file import FREE

OLD = Path(__file__).parent / "data" / "flow-0.1.0.safetensors"


@pytest.fixture(scope="module")
def flow():
    made = pushforward.NSF(2, context=1, transforms=1, widths=(4,))
    made.columns, made.context_columns = ("width", "height"), ("age",)
    return made


def same(one, other):
    """Tell whether two flows are the very same."""
    facts = [(repr(f), f.dtype, f.columns, f.context_columns, list(f.state_dict())) for f in (one, other)]
    return facts[0] == facts[1] and all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


GREEDY = """
import resource, sys, pushforward, hostile
from pathlib import Path
from pushforward.core.spec import PlanError
path = Path(sys.argv[1])
pushforward.load(sys.argv[2])
for name, row in hostile.GREEDY.items():
    hostile.write(path, *row)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        pushforward.load(path)
    except PlanError as error:
        print(name, type(error).__name__, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, sep="|")
    else:
        print(name, "loaded", 0, sep="|")
"""


def test_a_small_file_cannot_ask_for_much(tmp_path):
    command = [sys.executable, "-c", GREEDY, str(tmp_path / "greedy.safetensors"), str(OLD)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, cwd=Path(__file__).parent)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert [name for name, _, _ in rows] == list(hostile.GREEDY)
    assert {kind for _, kind, _ in rows} <= {"PlanError", "TooLargeError"}
    # More than the tensors count, but no more than the budget for all of them and what Python needs to count it.
    assert max(int(megabytes) for _, _, megabytes in rows) <= 2 * FREE / 2**20


def test_a_flow_that_asks_for_much_loads_if_it_is_trusted(tmp_path):
    made = Flow(Resampled(nodes=2**20), bij.Affine(), 9)
    made.save(tmp_path / "large.safetensors")
    with pytest.raises(PlanError, match=r"with so small a file; if you trust it, load it with trusted=True"):
        pushforward.load(tmp_path / "large.safetensors")
    assert same(pushforward.load(tmp_path / "large.safetensors", trusted=True), made)


S = StandardNormal()
LARGE = {
    "MAF": lambda: pushforward.MAF(300, transforms=3),
    "MAF of narrow nets": lambda: pushforward.MAF(500, transforms=1, widths=(2,)),
    "NSF": lambda: pushforward.NSF(200, transforms=2, widths=(256, 256)),
    "BNAF": lambda: pushforward.flows.BNAF(30),
    "matrices": lambda: Flow(S, [bij.Linear()] * 3, 300),
    "points": lambda: Flow(Resampled(nodes=20_000), bij.Affine(), 64),
    "features without a parameter": lambda: Flow(S, [bij.Tanh(), bij.Tanh().inv], 400_000),
    "shuffled features": lambda: Flow(S, [bij.Shuffle(1), bij.Affine()] * 20, 3000),
    "many layers": lambda: Flow(S, [bij.Exp(), bij.Exp().inv] * 500, 3),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_flows_load_without_more_ado(name, tmp_path):
    flow = LARGE[name]()
    flow.save(tmp_path / "flow.safetensors")
    assert same(pushforward.load(tmp_path / "flow.safetensors"), flow)


@pytest.mark.parametrize("name", [name for name, (plan, _, _) in EVERY.items() if isinstance(plan, Base | Bijector)])
def test_every_plan_comes_back(name, tmp_path):
    plan, event_shape, context_shape = EVERY[name]
    base, layers = (plan, bij.Compose([])) if isinstance(plan, Base) else (S, plan)
    try:
        flow = Flow(base, layers, event_shape, context_shape)
    except PlanError as error:
        # A flow on all real values has no place for it, or none that uses the context.
        if any(words in str(error) for words in ("expected values in", "uses the context", "no way back", "expected all values")):
            return
        raise
    flow.double().save(tmp_path / "flow.safetensors")
    assert same(pushforward.load(tmp_path / "flow.safetensors"), flow)


PRECISIONS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
KEPT = {
    "learned": lambda: pushforward.MAF(2, context=1, transforms=1, widths=(4,)),
    "measured alone": lambda: Flow(S, [bij.Standardize(), bij.Exp()], 2),
    "without a tensor": lambda: Flow(S, bij.Exp(), 2),
    "torch's base": lambda: Flow(torch.distributions.Normal(torch.zeros(2), 1.0), bij.Exp(), 2),
    "torch's base, learned": lambda: Flow(wrap(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), learnable=True), [], 2),
}


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("name", KEPT)
def test_the_precision_comes_back(name, dtype, tmp_path):
    flow = KEPT[name]().to(dtype)
    flow.save(tmp_path / "flow.safetensors")
    loaded = pushforward.load(tmp_path / "flow.safetensors")
    assert same(loaded, flow)
    assert loaded.dtype == dtype or not loaded.state_dict()
    given = {} if flow.context_shape is None else {"context": torch.zeros(1, dtype=dtype)}
    for made in (flow, loaded):
        y = made.sample((3,), **given)
        assert y.dtype == dtype
        assert made.log_prob(y, **given).dtype == max(dtype, torch.float32, key=lambda d: d.itemsize)


def test_a_flipped_bit_is_refused_wherever_it_is(flow, tmp_path):
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    content = path.read_bytes()
    # Every bit of the header, and every thirteenth of the tensors; each is refused by an error that `load` names.
    header = 8 * (8 + struct.unpack("<Q", content[:8])[0])
    accepted = []
    for place in [*range(0, header, 7), *range(header, 8 * len(content), 13)]:
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            pushforward.load(path)
        except ValueError:
            continue
        accepted.append(place)
    assert accepted == []


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 9, 100, -1, -4])
def test_a_file_that_is_cut_or_goes_on_is_refused(flow, tmp_path, cut):
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    content = path.read_bytes()
    for changed in (content[:cut], content + b"\0", content * 2):
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="load: "):
            pushforward.load(path)


def test_a_file_without_a_checksum_is_one_of_the_first_format(flow, tmp_path):
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    text, state = json.dumps({**header_of(path), "format": 1}), load_file(path)
    save_file(state, path, {"pushforward": text})
    assert same(pushforward.load(path), flow)
    save_file(state, path, {"pushforward": json.dumps({**json.loads(text), "format": 2})})
    with pytest.raises(ValueError, match="is not as it was written: its checksum is another"):
        pushforward.load(path)
    save_file(state, path, {"pushforward": text, "pushforward.sha256": "0" * 64})
    with pytest.raises(ValueError, match="is not as it was written: its checksum is another"):
        pushforward.load(path)


def test_a_tensor_under_the_name_of_another_is_refused(flow, tmp_path):
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    with safe_open(path, "pt") as file:
        metadata, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    one, other = next(
        (a, b) for a in state for b in state if a < b and state[a].shape == state[b].shape and not torch.equal(state[a], state[b])
    )
    save_file({**state, one: state[other], other: state[one]}, path, metadata)
    with pytest.raises(ValueError, match="its checksum is another"):
        pushforward.load(path)


def test_tensors_of_another_precision_are_refused(flow, tmp_path):
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    header, state = io.read(path)
    name = next(iter(state))
    io.write(path, header, {**state, name: state[name].double()})
    with pytest.raises(ValueError, match=f"of another shape or dtype .*{name}"):
        pushforward.load(path)


def header_of(path):
    with path.open("rb") as raw:
        length = struct.unpack("<Q", raw.read(8))[0]
        return json.loads(json.loads(raw.read(length))["__metadata__"]["pushforward"])


def test_a_file_of_the_first_version_has_none_and_loads():
    assert header_of(OLD)["format"] == 1
    assert same(pushforward.load(OLD), pushforward.load(OLD))


@pytest.mark.parametrize("columns", [("a",), ("a", "b", "c"), ("a", "a"), "ab", ("a", ""), ("a", 1), 2])
def test_columns_that_do_not_fit_are_not_saved(flow, tmp_path, columns):
    made = pushforward.NSF(2, context=2, transforms=1, widths=(4,))
    for name in ("columns", "context_columns"):
        setattr(made, name, columns)
        with pytest.raises(ValueError, match=f"save: expected {name} to be None or 2 different names, got"):
            made.save(tmp_path / "flow.safetensors")
        setattr(made, name, None)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_is_too_long_is_neither_saved_nor_loaded(flow, tmp_path, monkeypatch):
    flow.save(tmp_path / "flow.safetensors")
    monkeypatch.setattr(io, "HEADER", 1000)
    with pytest.raises(ValueError, match=r"save: expected a plan and names of tensors of at most 1000 bytes together, got \d+"):
        flow.save(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"load: expected a header of at most 1000 bytes in .*, got \d+"):
        pushforward.load(tmp_path / "flow.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["flow.safetensors"]


@pytest.mark.parametrize("levels", [DEPTH, 1000, 50_000])
def test_plans_in_a_file_that_are_too_deep_are_refused(tmp_path, levels):
    plan = '{"type": "Inverse", "bijector": ' * levels + '{"type": "Exp"}' + "}" * levels
    text = (
        '{"format": 1, "base": {"type": "StandardNormal"}, "bijector": '
        + plan
        + ', "event_shape": [2], "context_shape": null, "dtype": "float32"}'
    )
    save_file({}, tmp_path / "deep.safetensors", {"pushforward": text})
    with pytest.raises(ValueError, match="deep"):
        pushforward.load(tmp_path / "deep.safetensors")


def test_a_distribution_of_torch_with_wrong_arguments_is_refused(tmp_path):
    for arguments in (
        [],
        [["loc"]],
        [["loc", 0.0], ["loc", 1.0]],
        [["size", 1.0]],
        [["loc", "a"], ["scale", 1.0]],
        [["base_distribution", 3]],
    ):
        for name in ("Normal", "Independent", "MixtureSameFamily", "Distribution", "Uniform"):
            hostile.write(tmp_path / "w.safetensors", {"type": "Wrapped", "name": name, "arguments": arguments}, hostile.AFFINE, [2])
            with pytest.raises(ValueError, match=r"load|base|Wrapped|Independent|event_shape"):
                pushforward.load(tmp_path / "w.safetensors")


def test_loading_takes_no_random_numbers_and_imports_nothing(flow, tmp_path):
    flow.save(tmp_path / "flow.safetensors")
    before, known = torch.get_rng_state(), set(sys.modules)
    pushforward.load(tmp_path / "flow.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    assert set(sys.modules) == known
    assert wrap(torch.distributions.Normal(0.0, 1.0)).name == "Normal"
