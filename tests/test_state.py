"""State dicts know of which plan they are, and everything that takes them as tensors by name still does."""

from __future__ import annotations

import copy
import io
from collections import OrderedDict

import pytest
import torch
from every_plan import EVERY, build
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

import pushforward
from pushforward import bijectors as bij
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.distributions import DiagNormal, Flow, Mixture, Product, StandardNormal
from pushforward.testing import randomize

S, SMALL = StandardNormal(), bij.MLP((8,))
# Pairs of plans with the same tensors, which are other maps.
PAIRS = {
    "order": (bij.Permute([2, 0, 1]), bij.Permute([0, 1, 2])),
    "a permutation and another": (bij.Reverse(), bij.Shuffle(1)),
    "seed": (bij.Shuffle(1), bij.Shuffle(2)),
    "mask": (bij.Coupling(bij.Affine(), [0], net=SMALL), bij.Coupling(bij.Affine(), [2], net=SMALL)),
    "order of the features": tuple(bij.Autoregressive(bij.Affine(), order, net=SMALL) for order in ([0, 1, 2], [2, 0, 1])),
    "direction": (bij.Autoregressive(bij.Affine(), net=SMALL), bij.InverseAutoregressive(bij.Affine(), net=SMALL)),
    "bound": (bij.Spline(bound=5.0), bij.Spline(bound=6.0)),
    "activation": (bij.Elementwise(bij.Affine(), bij.MLP((8,))), bij.Elementwise(bij.Affine(), bij.MLP((8,), "tanh"))),
    "turned": (bij.Affine(), bij.Inverse(bij.Affine())),
    "order of layers": (bij.Compose([bij.Exp(), bij.Permute([1, 0, 2])]), bij.Compose([bij.Permute([1, 0, 2]), bij.Exp()])),
    "a layer more": (bij.Compose([bij.Affine()]), bij.Compose([bij.Affine(), bij.Reverse()])),
    "deep inside": tuple(bij.Compose([bij.OnAxis(bij.Inverse(p), 0)]) for p in (bij.Permute([2, 0, 1]), bij.Reverse())),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("whole", [False, True])
def test_the_state_of_another_plan_is_refused_before_anything_is_loaded(name, whole):
    made = [
        Flow(S, plan, 3, 1 if name == "activation" else None) if whole else plan.build(3, 1 if name == "activation" else None)
        for plan in PAIRS[name]
    ]
    for own, other in (made, made[::-1]):
        randomize(own, 1.0, seed=1)
        before = copy.deepcopy(own.state_dict())
        with pytest.raises(RuntimeError, match=r"load_state_dict: expected the state.* of a module with the plan .*, got that of one with"):
            own.load_state_dict(other.state_dict())
        assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())


def test_bases_too():
    one, other = Product([S, DiagNormal()], [2, 1]).build((3,)), Product([DiagNormal(bound=2.0), S], [1, 2]).build((3,))
    with pytest.raises(RuntimeError, match=r"load_state_dict"):
        one.load_state_dict(other.state_dict(), strict=False)
    flows = [Flow(Mixture([DiagNormal(bound=b)]), bij.Affine(), 2) for b in (2.0, 3.0)]
    with pytest.raises(RuntimeError, match=r"load_state_dict"):
        flows[0].load_state_dict(flows[1].state_dict())


@pytest.mark.parametrize("name", [name for name, (plan, _, _) in EVERY.items() if isinstance(plan, Base | Bijector)])
def test_its_own_state_loads_in_every_way(name):
    plan, event_shape, context_shape = EVERY[name]
    module = build(plan, event_shape, context_shape)
    state = module.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    ways = [state, copy.deepcopy(state), OrderedDict(state), dict(state), torch.load(stream, weights_only=True)]
    ways += [{k: v.clone() for k, v in state.items()}, build(plan, event_shape, context_shape).state_dict()]
    for way in ways:
        build(plan, event_shape, context_shape).load_state_dict(way)
        copy.deepcopy(module).load_state_dict(way)


def flow():
    return pushforward.MAF(3, transforms=2, widths=(8,))


def test_the_plan_goes_through_torch_save_and_is_compared():
    stream = io.BytesIO()
    torch.save(bij.Permute([2, 0, 1]).build(3).state_dict(), stream)
    stream.seek(0)
    with pytest.raises(RuntimeError, match="another map"):
        bij.Reverse().build(3).load_state_dict(torch.load(stream, weights_only=True))


def test_the_tensors_are_those_without_a_plan(tmp_path):
    made = flow()
    state = made.state_dict()
    names = {name for name, _ in made.named_parameters()} | {name for name, _ in made.named_buffers()}
    assert set(state) <= names
    save_file(dict(state), tmp_path / "state.safetensors")
    flow().load_state_dict(load_file(tmp_path / "state.safetensors"))


def test_averages_prefixes_wrappers_and_functional_calls():
    made = flow()
    mean = AveragedModel(made)
    mean.update_parameters(made)
    flow().load_state_dict(mean.module.state_dict())
    mean.load_state_dict(copy.deepcopy(mean.state_dict()))
    outer = torch.nn.ModuleDict({"flow": flow(), "other": torch.nn.Linear(2, 2)})
    outer.load_state_dict(torch.nn.ModuleDict({"flow": flow(), "other": torch.nn.Linear(2, 2)}).state_dict())
    with pytest.raises(RuntimeError, match=r"expected the state of 'flow' of a module with the plan"):
        outer.load_state_dict(torch.nn.ModuleDict({"flow": pushforward.NICE(3, widths=(8,)), "other": torch.nn.Linear(2, 2)}).state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(torch.func.functional_call(made.transform, made.transform.state_dict(), (x,))[0], made.transform(x)[0])


def test_what_fits_is_taken_from_a_dict_that_names_no_plan():
    few, more = bij.Compose([bij.Spline()]).build(2), bij.Compose([bij.Spline(), bij.Affine()]).build(2)
    randomize(few, 1.0, seed=3)
    with pytest.raises(RuntimeError, match=r"give dict\(state\), which names no plan, to load what fits"):
        more.load_state_dict(few.state_dict(), strict=False)
    more.load_state_dict(dict(few.state_dict()), strict=False)
    assert torch.equal(more.layers[0].parameters_of.offset, few.layers[0].parameters_of.offset)


def test_a_layer_that_was_added_since_is_part_of_the_plan():
    made, other = Flow(S, bij.Affine(), 3), Flow(S, bij.Affine(), 3)
    made.standardize(torch.randn(20, 3))
    with pytest.raises(RuntimeError, match="another map"):
        other.load_state_dict(made.state_dict())
    other.standardize(torch.randn(20, 3))
    other.load_state_dict(made.state_dict())


def test_modules_in_a_plan_are_told_by_their_class():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 6)

        def forward(self, x):
            return self.layer(x)

    class Other(Net):
        def forward(self, x):
            return self.layer(x).tanh()

    plan, other = (bij.Elementwise(bij.Affine(), net()) for net in (Net, Other))
    plan.build(3, 1).load_state_dict(plan.build(3, 1).state_dict())
    with pytest.raises(RuntimeError, match=r"expected the state of a module with the plan .*Net.*Other"):
        plan.build(3, 1).load_state_dict(other.build(3, 1).state_dict())
