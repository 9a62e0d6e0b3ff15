"""Plans as data: JSON both ways, equality, printing, and a file of version 0.1.0 that must load for ever.

The file ``data/flow-0.1.0.safetensors`` and the numbers that it must give were made with version 0.1.0 by ``write_file`` below, as
``python tests/test_spec.py``. Do not make it anew: a later version that reads it otherwise is what the test is there to find.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import pushforward
import pushforward.bijectors as bij
from pushforward import distributions as dist
from pushforward.core.base import Base
from pushforward.core.spec import PlanError, Spec, registry
from pushforward.kernels.kernel import Kernel
from pushforward.nets.net import Net
from pushforward.testing import check_bijector, randomize

FILE = Path(__file__).parent / "data" / "flow-0.1.0.safetensors"
NAMES = {name: getattr(bij, name) for name in bij.__all__} | {name: getattr(dist, name) for name in dist.__all__}

POSITIVE = st.floats(0.01, 100)
NUMBERS = st.floats(-100, 100).filter(lambda v: abs(v) > 1e-3)
NETS = st.one_of(
    st.builds(bij.MLP, st.lists(st.integers(1, 99), min_size=1, max_size=3), st.sampled_from(["relu", "tanh", "gelu"])),
    st.builds(bij.ResidualMLP, st.integers(1, 99), st.integers(1, 4), st.sampled_from(["elu", "silu"])),
)
KERNELS = st.one_of(
    st.builds(bij.Affine, POSITIVE),
    st.just(bij.Additive()),
    st.builds(bij.Spline, st.integers(2, 40), POSITIVE, st.sampled_from(["quadratic", "linear"])),
)
FIXED = st.one_of(
    st.sampled_from([bij.Exp(), bij.Sigmoid(), bij.Tanh(), bij.Softplus(), bij.ELU(), bij.Reverse(), bij.Standardize()]),
    st.builds(bij.LeakyReLU, POSITIVE),
    st.builds(bij.Power, NUMBERS),
    st.builds(bij.AffineFixed, st.lists(NUMBERS, min_size=1, max_size=3), NUMBERS),
    st.builds(bij.Linear, st.booleans(), POSITIVE),
    st.builds(bij.Permute, st.permutations(range(4))),
    st.builds(bij.Shuffle, st.integers(-5, 1000)),
)
STRUCTURES = st.one_of(
    st.builds(bij.Elementwise, KERNELS, st.none() | NETS),
    st.builds(bij.Coupling, KERNELS, st.sampled_from(["halves", "alternating", (0, 2), [1]]), st.booleans(), NETS),
    st.builds(bij.Autoregressive, KERNELS, order=st.none() | st.permutations(range(3)), net=NETS),
    st.builds(bij.InverseAutoregressive, KERNELS, adjacency=st.none() | st.just([[0, 0], [True, False]]), net=NETS),
)
SINGLE = st.one_of(KERNELS, FIXED, STRUCTURES)
PLANS = st.recursive(
    SINGLE | st.builds(bij.OnAxis, SINGLE, st.integers(-2, 1)),
    lambda inner: st.builds(bij.Inverse, inner) | st.builds(bij.Compose, st.lists(inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(plan=PLANS)
def test_a_plan_is_its_json_its_text_and_its_hash(plan):
    text = plan.to_json()
    assert Spec.from_json(text) == plan
    assert Spec.from_json(text).to_json() == text
    assert "\n" not in text
    assert Spec.from_dict(json.loads(text)) == Spec.from_dict(plan.to_dict()) == plan
    assert eval(repr(plan), dict(NAMES)) == plan
    assert repr(eval(repr(plan), dict(NAMES))) == repr(plan)
    for same in (Spec.from_json(text), copy.copy(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan)), plan.replace()):
        assert same == plan
        assert hash(same) == hash(plan)
    assert plan.inv != plan
    # Turned round twice by hand is the one plan that a third turn makes simpler.
    if not (isinstance(plan, bij.Inverse) and isinstance(plan.bijector, bij.Inverse)):
        assert plan.inv.inv == plan


@settings(max_examples=100, deadline=None)
@given(one=PLANS, other=PLANS)
def test_plans_are_equal_where_their_json_is(one, other):
    # 1, 1.0 and True are one number to Python, and one plan.
    assert (one == other) == (eval(repr(one), dict(NAMES)) == other)
    if one.to_json() == other.to_json():
        assert one == other
    if one == other:
        assert hash(one) == hash(other)


@pytest.mark.parametrize(
    "order",
    [[2, 0, 1], (2, 0, 1), np.array([2, 0, 1]), torch.tensor([2, 0, 1]), [np.int64(2), 0, 1]],
    ids=["list", "tuple", "array", "tensor", "mixed"],
)
def test_lists_and_arrays_become_tuples(order):
    plan = bij.Permute(order)
    assert plan.order == (2, 0, 1)
    assert all(type(i) is int for i in plan.order)
    assert plan == bij.Permute((2, 0, 1))
    assert repr(plan) == "Permute((2, 0, 1))"
    assert Spec.from_json(plan.to_json()) == plan


def test_arrays_everywhere():
    graph = np.tril(np.ones((3, 3), dtype=bool), -1)
    plan = bij.Autoregressive(bij.Affine(np.float64(2.0)), adjacency=graph, net=bij.MLP(torch.tensor([8, 8])))
    assert plan == bij.Autoregressive(bij.Affine(2.0), adjacency=graph.tolist(), net=bij.MLP((8, 8)))
    assert (plan.build(3).facts.evaluations, plan.build(3).facts.depth) == ((1, 1), (3, 1))
    assert bij.AffineFixed(torch.tensor([1.0, 2.0]), np.array([3.0, 4.0])) == bij.AffineFixed((1.0, 2.0), (3.0, 4.0))
    assert bij.Compose([bij.Exp()]) == bij.Compose((bij.Exp(),))


def test_numbers_survive_json():
    for value in (0.1, 1e-300, 1 / 3, math.pi, 2**53 + 1.0, 5e300):
        plan = bij.AffineFixed(value, value)
        assert Spec.from_json(plan.to_json()).loc == value


def test_plans_are_frozen():
    plan = bij.Spline()
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.bins = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        del plan.bins
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.extra = 3
    assert plan.replace(bins=3) == bij.Spline(bins=3)
    assert plan == bij.Spline()
    with pytest.raises(PlanError, match="bins to be a whole number of at least 2"):
        plan.replace(bins=1)


def test_text_is_short():
    assert repr(bij.Spline()) == "Spline()"
    assert repr(bij.Spline(bins=16)) == "Spline(bins=16)"
    assert repr(bij.Coupling(bij.Affine(2.0), "alternating", True)) == "Coupling(Affine(bound=2.0), mask='alternating', flip=True)"
    assert repr(bij.Inverse(bij.Exp())) == "Inverse(Exp())"


def test_different_plans_differ():
    plans = [
        bij.Affine(), bij.Additive(), bij.Affine(2.0), bij.Exp(), bij.Exp().inv, bij.Compose([]), bij.Compose([bij.Exp()]), bij.Spline(),
        bij.Coupling(bij.Affine()), bij.Coupling(bij.Affine(), flip=True), bij.Autoregressive(bij.Affine()),
        bij.InverseAutoregressive(bij.Affine()), bij.MLP(), bij.ResidualMLP(),
    ]  # fmt: skip
    assert len(set(plans)) == len(plans)
    assert all((a == b) == (a is b) for a in plans for b in plans)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"type": "Nonsense"}, "'Nonsense' is not a known plan; import the module that defines it first"),
        ({"bins": 3}, "None is not a known plan"),
        ({"type": "Spline", "bins": 3, "colour": 1}, r"expected the fields \['bins', 'bound', 'order'\], got also \['colour'\]"),
        ({"type": "Permute"}, "Permute: .*order"),
        ({"type": "Spline", "bins": 1}, "expected bins to be a whole number of at least 2, got 1"),
        ({"type": "Inverse", "bijector": {"type": "Nonsense"}}, "'Nonsense' is not a known plan"),
        ({"type": "Inverse", "bijector": {"type": "MLP"}}, "Inverse: expected bijector to be a bijector, got MLP"),
        ({"type": "Compose", "bijectors": 3}, "Compose: expected bijectors to be a list of bijectors, got 3"),
        ({"type": ["Spline"]}, "is not a known plan"),
        ({"type": "os.system"}, "is not a known plan"),
    ],
)
def test_wrong_json_is_refused(content, words):
    with pytest.raises(PlanError, match=words):
        Spec.from_dict(content)


@pytest.mark.parametrize("text", ["{", "3", "[]", '"Spline"', "null", ""])
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(ValueError, match=r"expected a plan as an object|Expecting"):
        Spec.from_json(text)


def test_a_module_in_a_plan_is_no_json():
    plan = bij.Coupling(bij.Affine(), net=torch.nn.Linear(1, 2))
    with pytest.raises(PlanError, match="Coupling: expected numbers, strings, tuples or plans in order to write it as JSON, got a Linear"):
        plan.to_json()


@dataclass(frozen=True, repr=False)
class Cubed(Kernel):
    """A kernel of a user's own: y = x + (scale x)³, inverted numerically."""

    scale: float = 0.5

    formula = "y = x + (scale x)^3"

    def forward(self, x):
        return x + (self.scale * x) ** 3, torch.log(1 + 3 * self.scale**3 * x**2)


def test_a_kernel_of_ones_own_is_found_by_its_name(tmp_path):
    assert registry()["Cubed"] is Cubed
    assert Spec.from_json('{"type": "Cubed", "scale": 0.25}') == Cubed(0.25)
    assert repr(Cubed(0.25)) == "Cubed(scale=0.25)"
    check_bijector(Cubed(), 2, only=["ladj against autograd, float64", "copies"])
    flow = dist.Flow(dist.StandardNormal(), [bij.AffineCoupling(net=bij.MLP((8,))), Cubed()], event_shape=2)
    flow.save(tmp_path / "own.safetensors")
    loaded = pushforward.load(tmp_path / "own.safetensors")
    x = torch.randn(5, 2)
    assert loaded.plan == flow.plan
    assert torch.equal(loaded.log_prob(x), flow.log_prob(x))


def test_a_name_that_two_modules_define_is_refused():
    def define(module):
        return dataclass(frozen=True, repr=False)(type("Twice", (Kernel,), {"__module__": module, "__qualname__": "Twice"}))

    one, other = define("first"), define("second")
    with pytest.raises(PlanError, match=r"'Twice' is defined in several modules: \['first', 'second'\]; rename all but one"):
        Spec.from_dict({"type": "Twice"})
    assert one is not other


def test_a_name_that_is_defined_again_is_the_newest():
    # As when a cell of a notebook is run twice.
    def define(value):
        return dataclass(frozen=True, repr=False)(
            type("Again", (Kernel,), {"__module__": "notebook", "__qualname__": "Again", "value": value})
        )

    kept = [define(1), define(2)]
    assert Spec.from_dict({"type": "Again"}).value == 2
    assert len(kept) == 2


def test_the_registry_has_every_plan():
    known = registry()
    plans = {name: value for name, value in NAMES.items() if isinstance(value, type) and issubclass(value, Spec)}
    abstract = {"Bijector", "Kernel"}
    assert {name for name in plans if known.get(name) is not plans[name]} <= abstract
    assert all(issubclass(cls, Base | Net | bij.Bijector) for cls in known.values())


SHUFFLED = {0: [3, 5, 2, 4, 1, 0], 1: [0, 3, 5, 4, 2, 1], 12345: [1, 5, 3, 4, 0, 2]}


def shuffled(seed):
    return bij.Shuffle(seed).build(6)(torch.arange(6.0))[0].int().tolist()


@pytest.mark.parametrize("seed", SHUFFLED)
def test_a_shuffled_order_is_the_same_for_ever(seed):
    assert shuffled(seed) == SHUFFLED[seed]


def test_a_shuffled_order_is_the_same_in_another_process():
    code = "import torch, pushforward.bijectors as b; print(b.Shuffle(7).build(20)(torch.arange(20.0))[0].int().tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "99"})
    assert json.loads(done.stdout) == bij.Shuffle(7).build(20)(torch.arange(20.0))[0].int().tolist()


def make_flow():
    """Return the flow of the file, with random parameters."""
    torch.manual_seed(20)
    flow = pushforward.NSF(2, context=1, transforms=2, widths=(8, 8))
    randomize(flow, scale=0.7, seed=20)
    flow.standardize(torch.tensor([[1.0, -20.0], [3.0, 40.0], [2.5, 5.0]]), torch.tensor([[0.0], [4.0], [3.0]]))
    flow.columns, flow.context_columns = ("width", "height"), ("age",)
    return flow


POINTS = torch.tensor([[1.5, 0.0], [2.0, 30.0], [-4.0, 10.0], [2.25, 1e3]])
CONTEXTS = torch.tensor([[0.0], [1.5], [-2.0], [4.0]])
# In float64, where every machine agrees to the last digits that are compared here.
LOG_PROBS = [-7.066052995079618, -7.7175135108329105, -57.42109230064365, -15813.316426204088]


def write_file():
    """Write the file and print what it must give."""
    FILE.parent.mkdir(exist_ok=True)
    make_flow().save(FILE)
    flow = pushforward.load(FILE).double()
    print(flow.log_prob(POINTS.double(), CONTEXTS.double()).tolist())  # noqa: T201


def test_a_file_of_version_0_1_0_still_loads():
    flow = pushforward.load(FILE)
    coupling = "Coupling(Spline(), net=MLP(widths=(8, 8)))"
    flipped = "Coupling(Spline(), flip=True, net=MLP(widths=(8, 8)))"
    plan = f"Compose(({coupling}, Linear(), {flipped}, Linear(), Standardize()))"
    assert repr(flow) == f"Flow(StandardNormal(), {plan}, event_shape=(2,), context_shape=(1,))"
    assert (flow.columns, flow.context_columns, flow.dtype) == (("width", "height"), ("age",), torch.float32)
    result = flow.double().log_prob(POINTS.double(), CONTEXTS.double())
    assert torch.allclose(result, torch.tensor(LOG_PROBS, dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_numbers_of_a_file_come_back_to_the_last_bit():
    state, numbers = pushforward.load(FILE).state_dict(), load_file(FILE)
    assert set(state) == set(numbers)
    assert all(state[name].dtype == value.dtype and torch.equal(state[name], value) for name, value in numbers.items())


if __name__ == "__main__":
    write_file()
