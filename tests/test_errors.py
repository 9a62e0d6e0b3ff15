"""Wrong input of every kind to build, sample, score, save and load: what was expected, what came, and nothing silent.

Training and the commands have their own tables, in test_fit.py and test_cli.py; networks and bases in test_nets.py and test_bases.py.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.distributions as td
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import pushforward
import pushforward.bijectors as bij
from pushforward.core.spec import PlanError
from pushforward.distributions import Flow, StandardNormal
from pushforward.flows import NSF, RealNVP
from pushforward.io import checksum

S = StandardNormal()
AFFINE, COUPLING = bij.Affine(), bij.AffineCoupling()

PLANS = {
    "mask, unknown": (lambda: bij.Coupling(AFFINE, "odd"), "expected mask to be 'halves', 'alternating' or a list .*, got 'odd'"),
    "mask, negative": (lambda: bij.Coupling(AFFINE, [-1]), r"expected mask to be .*, got \(-1,\)"),
    "mask, booleans": (lambda: bij.Coupling(AFFINE, [True, False]), r"a list of feature indices, got \(True, False\)"),
    "mask, a number": (lambda: bij.Coupling(AFFINE, 1), "expected mask to be .*, got 1"),
    "mask, too high": (lambda: bij.Coupling(AFFINE, [5]).build(3), r"expected mask indices below 3, the number of features, got \(5,\)"),
    "mask, everything": (
        lambda: bij.Coupling(AFFINE, [0, 1]).build(2),
        r"expected a mask that leaves a feature to transform, got \(0, 1\)",
    ),
    "coupling, class": (
        lambda: bij.Coupling(bij.Affine),
        r"Coupling: expected kernel to be a kernel such as Affine\(\) or Spline\(\), got <class",
    ),
    "coupling of a structure": (lambda: bij.Coupling(COUPLING), r"Coupling: expected kernel to be a kernel .*, got Coupling\(Affine\(\)\)"),
    "coupling of vectors": (lambda: bij.Coupling(bij.Linear()), r"expected a kernel on numbers, got Linear\(\), which acts on vectors"),
    "coupling of a fixed map": (lambda: bij.Coupling(bij.LeakyReLU()).build(2), r"expected a kernel with parameters .*, got LeakyReLU\(\)"),
    "coupling onto an interval": (
        lambda: bij.Coupling(bij.CauchyCDF()),
        r"Coupling: expected a kernel from all real values to all real values, got .* whose values are in \(0, 1\)",
    ),
    "autoregression from an interval": (lambda: bij.Autoregressive(bij.Sin()), r"Autoregressive: .* whose values are in \(-1\.57"),
    "autoregression of vectors": (lambda: bij.Autoregressive(bij.Linear()), r"expected a kernel on numbers, got Linear\(\)"),
    "order, twice": (lambda: bij.Autoregressive(AFFINE, order=[0, 0]), r"expected order to have every index from 0 once, got \(0, 0\)"),
    "order, a number": (lambda: bij.Autoregressive(AFFINE, order=3), "expected order to be a list of whole numbers of at least 0, got 3"),
    "order, words": (lambda: bij.Autoregressive(AFFINE, order=["a", 0]), "InverseAutoregressive|Autoregressive: expected .* got"),
    "order, short": (lambda: bij.Autoregressive(AFFINE, order=[1, 0]).build(3), "expected 2 features, the length of its order, got 3"),
    "order and graph": (lambda: bij.Autoregressive(AFFINE, [0], [[0]]), "expected order or adjacency, got both"),
    "graph, cycle": (
        lambda: bij.Autoregressive(AFFINE, adjacency=[[0, 0, 0], [0, 0, 1], [0, 1, 0]]).build(3),
        r"expected a graph without cycles, got one through features \[1, 2\]",
    ),
    "graph, to itself": (lambda: bij.Autoregressive(AFFINE, adjacency=[[1]]).build(1), r"without cycles, got one through features \[0\]"),
    "graph, narrow": (lambda: bij.Autoregressive(AFFINE, adjacency=[[0], [1]]), r"a table of booleans, .*, got \(\(0,\), \(1,\)\)"),
    "graph, ragged": (lambda: bij.Autoregressive(AFFINE, adjacency=[[0, 0], [1, 0, 1]]), "a table of booleans, a row for each feature"),
    "graph, a word": (lambda: bij.Autoregressive(AFFINE, adjacency="chain"), "a table of booleans, .*, got 'chain'"),
    "graph of a context, none": (
        lambda: bij.Autoregressive(AFFINE, adjacency=[[0, 1]]).build(1),
        "expected 1 numbers of context, for which its adjacency has columns, got no context",
    ),
    "graph of a context, another": (
        lambda: bij.Autoregressive(AFFINE, adjacency=[[0, 1]]).build(1, 3),
        "expected 1 numbers of context, for which its adjacency has columns, got 3 numbers of context",
    ),
    "graph of a context, hidden": (
        lambda: bij.Autoregressive(AFFINE, adjacency=[[0, 1, 0]], net=torch.nn.Linear(3, 2)).build(1, 2),
        "Linear: output 0 depends on (feature 0|number 1 of the context), which it must not see",
    ),
    "graph, small": (
        lambda: bij.Autoregressive(AFFINE, adjacency=[[0]]).build(2),
        "expected 1 features, the length of its adjacency, got 2",
    ),
    "permutation, twice": (lambda: bij.Permute([1, 1]), r"Permute: expected every index from 0 once, got \(1, 1\)"),
    "permutation, a number": (lambda: bij.Permute(3), "Permute: expected order to be a list of whole numbers of at least 0, got 3"),
    "permutation, nested": (
        lambda: bij.Permute([[0, 1]]),
        r"Permute: expected order to be a list of whole numbers of at least 0, got \(\(0, 1\),\)",
    ),
    "permutation, None": (lambda: bij.Permute([None, 0]), "Permute: expected .* got .*None"),
    "permutation, long": (lambda: bij.Permute([1, 0]).build(3), r"Permute\(\(1, 0\)\): expected 2 features, got 3"),
    "shuffle": (lambda: bij.Shuffle(1.5), "Shuffle: expected seed to be a whole number, got 1.5"),
    "bins, negative": (lambda: bij.Spline(-1), "expected bins to be a whole number of at least 2, got -1"),
    "bins, one": (lambda: bij.Spline(1), "expected bins to be a whole number of at least 2, got 1"),
    "bins, broken": (lambda: bij.Spline(2.5), "expected bins to be a whole number of at least 2, got 2.5"),
    "box, none": (lambda: bij.Spline(bound=0.0), "Spline: expected bound > 0, got 0"),
    "box, endless": (lambda: bij.Spline(bound=math.inf), "Spline: expected bound > 0, got inf"),
    "box, a word": (lambda: bij.Spline(bound="5"), "Spline: expected .* got .*'5'"),
    "spline order": (lambda: bij.Spline(order="cubic"), "expected order to be 'quadratic' or 'linear', got 'cubic'"),
    "bound, negative": (lambda: bij.Affine(-1.0), "Affine: expected bound > 0, got -1"),
    "bound, NaN": (lambda: bij.Affine(math.nan), "Affine: expected bound > 0, got nan"),
    "bound, infinite": (lambda: bij.Affine(math.inf), "Affine: expected bound > 0, got inf"),
    "bound, a word": (lambda: bij.Affine("3"), "Affine: expected .* got .*'3'"),
    "bound, None": (lambda: bij.Affine(None), "Affine: expected .* got .*None"),
    "linear bound": (lambda: bij.Linear(bound=math.inf), "Linear: expected bound > 0, got inf"),
    "scale zero": (lambda: bij.AffineFixed(0.0, 0.0), "AffineFixed: expected scales other than zero, got 0.0"),
    "one scale zero": (lambda: bij.AffineFixed(0.0, [1.0, 0.0]), r"AffineFixed: expected scales other than zero, got \(1.0, 0.0\)"),
    "scale None": (lambda: bij.AffineFixed(0.0, None), "AffineFixed: expected .* got .*None"),
    "location NaN": (
        lambda: bij.AffineFixed(math.nan),
        "AffineFixed: expected loc to be a finite number or a list of finite numbers, got nan",
    ),
    "location, a word": (lambda: bij.AffineFixed("a"), "AffineFixed: expected .* got .*'a'"),
    "locations, too few": (
        lambda: bij.AffineFixed([1.0, 2.0]).build(3),
        "expected loc to be a number or 3 numbers, one per element, got 2",
    ),
    "slope zero": (lambda: bij.LeakyReLU(0.0), "LeakyReLU: expected slope > 0, got 0"),
    "slope infinite": (lambda: bij.LeakyReLU(math.inf), "LeakyReLU: expected slope > 0, got inf"),
    "slope, a word": (lambda: bij.LeakyReLU("a"), "LeakyReLU: expected .* got .*'a'"),
    "exponent zero": (lambda: bij.Power(0.0), "Power: expected an exponent other than zero, got 0.0"),
    "exponent, a word": (lambda: bij.Power("a"), "Power: expected .* got .*'a'"),
    "inverse of a class": (lambda: bij.Inverse(bij.Exp), "Inverse: expected bijector to be a bijector, got <class"),
    "compose, a class": (
        lambda: bij.Compose([AFFINE, bij.Exp]),
        "expected bijectors.1. to be a bijector, got <class .*write it with brackets",
    ),
    "compose, one": (lambda: bij.Compose(bij.Exp()), r"Compose: expected bijectors to be a list of bijectors, got Exp\(\)"),
    "axis, too high": (
        lambda: bij.OnAxis(bij.Linear(), 3).build((2, 2)),
        r"expected an axis of the event, got axis 3 for event_shape \(2, 2\)",
    ),
    "axis, broken": (lambda: bij.OnAxis(bij.Linear(), 0.5), "OnAxis: expected axis to be a whole number, got 0.5"),
    "axis of a chain": (
        lambda: bij.OnAxis(bij.Compose([])),
        r"OnAxis: expected a single layer, got Compose\(.*; wrap the layers one by one",
    ),
    "elementwise structure": (lambda: bij.Elementwise(COUPLING), "Elementwise: expected kernel to be a kernel such as"),
    "too few axes": (lambda: bij.Elementwise(bij.Linear()).build(()), r"expected an event of at least 1 axis, got event_shape \(\)"),
    "features": (lambda: NSF(0), "NSF: expected features to be a whole number of at least 1, got 0"),
    "features, broken": (lambda: NSF(2.0), "NSF: expected features to be a whole number of at least 1, got 2.0"),
    "transforms": (lambda: NSF(2, transforms=0), "NSF: expected transforms to be a whole number of at least 1, got 0"),
    "context features": (lambda: RealNVP(2, -1), "RealNVP: expected context to be a whole number of at least 0, got -1"),
    "mix": (lambda: NSF(2, mix="stir"), r"NSF: expected mix to be one of \('linear', 'reverse', 'shuffle', None\), got 'stir'"),
    "structure": (lambda: NSF(2, structure="free"), "NSF: expected structure to be 'coupling' or 'autoregressive', got 'free'"),
    "widths": (lambda: NSF(2, widths=64), "MLP: expected widths to be a list of .*positive whole numbers, got 64"),
}

BUILDS = {
    "class": (lambda: Flow(S, bij.Affine, 3), r"Flow: expected a bijector or a list of bijectors, got <class .*; write Affine\(\)"),
    "class in a list": (lambda: Flow(S, [bij.Affine], 3), "expected bijectors.0. to be a bijector, got <class .*write it with brackets"),
    "no plan in a list": (lambda: Flow(S, [AFFINE, torch.nn.Linear(2, 2)], 3), r"expected bijectors.1. to be a bijector, got Linear\("),
    "torch's transform": (lambda: Flow(S, td.ExpTransform(), 3), r"Flow: expected a bijector or a list of bijectors, got ExpTransform\(\)"),
    "built module": (
        lambda: Flow(S, AFFINE.build(3), 3),
        r"Flow: expected a plan, got the module that Affine\(\) built; give the plan itself",
    ),
    "name": (lambda: Flow(S, "NSF", 3), "Flow: expected a bijector or a list of bijectors, got 'NSF'"),
    "nothing": (lambda: Flow(S, None, 3), "Flow: expected a bijector or a list of bijectors, got None"),
    "base, none": (lambda: Flow(None, AFFINE, 3), "Flow: expected base to be a torch distribution or a plan .*, got None"),
    "base, class": (lambda: Flow(td.Normal, AFFINE, 3), "Flow: expected base to be a torch distribution or a plan .*, got <class"),
    "base, bijector": (lambda: Flow(AFFINE, AFFINE, 3), r"Flow: expected base to be a torch distribution or a plan .*, got Affine\(\)"),
    "event_shape, none": (lambda: Flow(S, AFFINE), r"Flow: expected event_shape, .* since StandardNormal\(\) has none of its own"),
    "event_shape, zero": (lambda: Flow(S, AFFINE, 0), "event_shape: expected positive whole numbers, got 0"),
    "event_shape, negative": (lambda: Flow(S, AFFINE, (2, -1)), r"event_shape: expected positive whole numbers, got \(2, -1\)"),
    "event_shape, broken": (lambda: Flow(S, AFFINE, 2.5), "event_shape: expected positive whole numbers, got 2.5"),
    "event_shape, a word": (lambda: Flow(S, AFFINE, "3"), "event_shape: expected positive whole numbers, got '3'"),
    "event_shape, true": (lambda: Flow(S, AFFINE, True), "event_shape: expected positive whole numbers, got True"),
    "event_shape, no axis": (
        lambda: Flow(S, COUPLING, ()),
        r"expected an event of at least 1 axes, got event_shape \(\); give event_shape",
    ),
    "event_shape of a base": (lambda: Flow(td.Normal(torch.zeros(3), 1.0), AFFINE, 4), r"fits Normal of shape \(3,\), got \(4,\)"),
    "scalar base": (
        lambda: Flow(td.Normal(0.0, 1.0), COUPLING),
        r"expected a base with at least 1 axes for Coupling.*, got Normal of shape \(\)",
    ),
    "context_shape, zero": (lambda: Flow(S, COUPLING, 3, 0), "context_shape: expected positive whole numbers, got 0"),
    "context not used": (
        lambda: Flow(S, AFFINE, 3, 2),
        r"expected a layer or a base that uses the context of shape \(2,\), got none in Affine",
    ),
    "context missing": (
        lambda: Flow(S, bij.Elementwise(AFFINE, bij.MLP()), 3),
        "expected a context for its net, got none; give context_shape",
    ),
    "domain, in a chain": (
        lambda: Flow(S, [AFFINE, bij.Exp(), bij.Sigmoid().inv], 3),
        r"layer 2: Inverse\(Sigmoid\(\)\): expected values in \(0, 1\), got values in \(0, inf\)",
    ),
    "domain, learnable": (
        lambda: Flow(S, [AFFINE, bij.Sigmoid(), AFFINE], 3),
        r"layer 2: Affine\(\): expected all values in \(-inf, inf\), got only those in \(0, 1\).*put learnable layers before",
    ),
    "domain, nested": (
        lambda: Flow(S, [AFFINE, bij.Compose([bij.Exp(), bij.Tanh().inv])], 3),
        r"layer 1: .*layer 1: Inverse\(Tanh\(\)\): expected values in \(-1, 1\), got values in \(0, inf\)",
    ),
    "domain, of the base": (lambda: Flow(S, bij.Power(), 3), r"Power\(\): expected values in \(0, inf\), got values in \(-inf, inf\)"),
    "domain, of a torch base": (
        lambda: Flow(td.Exponential(torch.ones(2)), AFFINE),
        r"Affine\(\): expected all values in \(-inf, inf\), got only",
    ),
    "size, in a chain": (lambda: Flow(S, [AFFINE, bij.Permute([1, 0])], 3), r"layer 1: Permute\(\(1, 0\)\): .*expected 2 features, got 3"),
}


@pytest.mark.parametrize("what", [*PLANS, *BUILDS])
def test_build(what):
    call, words = (PLANS | BUILDS)[what]
    with pytest.raises(PlanError, match=words):
        call()


def test_whole_numbers_of_numpy_are_whole_numbers():
    assert Flow(S, AFFINE, np.int64(3)).event_shape == (3,)
    assert Flow(S, AFFINE, np.array([2, 3])).event_shape == (2, 3)
    assert Flow(S, AFFINE, torch.Size([2, 3])).event_shape == (2, 3)


@pytest.fixture(scope="module")
def flow():
    return NSF(3, transforms=1, widths=(8,))


@pytest.fixture(scope="module")
def conditional():
    return NSF(3, 2, transforms=1, widths=(8,))


X, C = torch.zeros(4, 3), torch.zeros(4, 2)

CALLS = {
    "value, shape": (lambda f, c: f.log_prob(torch.zeros(4, 2)), ValueError, r"expected value of shape \(\*batch, 3\), got \(4, 2\)"),
    "value, a number": (lambda f, c: f.log_prob(torch.tensor(1.0)), ValueError, r"expected value of shape \(\*batch, 3\), got \(\)"),
    "value, transposed": (lambda f, c: f.log_prob(torch.zeros(3, 4)), ValueError, r"expected value of shape \(\*batch, 3\), got \(3, 4\)"),
    "value, precision": (lambda f, c: f.log_prob(X.double()), TypeError, r"expected value of torch.float32, got torch.float64; convert it"),
    "value, half": (lambda f, c: f.log_prob(X.half()), TypeError, "expected value of torch.float32, got torch.float16"),
    "value, whole numbers": (
        lambda f, c: f.log_prob(X.long()),
        TypeError,
        r"expected value of torch.float32, got torch.int64; convert it with .to\(torch.float32\)$",
    ),
    "value, booleans": (lambda f, c: f.log_prob(X.bool()), TypeError, "expected value of torch.float32, got torch.bool"),
    "value, complex": (lambda f, c: f.log_prob(X.cfloat()), TypeError, "expected value of torch.float32, got torch.complex64"),
    "value, list": (
        lambda f, c: f.log_prob([[0.0, 0.0, 0.0]]),
        TypeError,
        "expected value to be a torch.Tensor, got list; use torch.as_tensor",
    ),
    "value, array": (
        lambda f, c: f.log_prob(X.numpy()),
        TypeError,
        "expected value to be a torch.Tensor, got ndarray; use torch.as_tensor",
    ),
    "value, None": (lambda f, c: f.log_prob(None), TypeError, "expected value to be a torch.Tensor, got NoneType"),
    "value, device": (lambda f, c: f.log_prob(X.to("meta")), ValueError, r"expected value on cpu, got meta; move it with .to\(\)"),
    "context, labels": (
        lambda f, c: c.log_prob(X, C.long()),
        TypeError,
        r"expected context of torch.float32, got torch.int64; convert it with .*; labels of classes are best as .*one_hot",
    ),
    "context, a label a row": (
        lambda f, c: c.log_prob(X, C[:, 0].long()),
        ValueError,
        r"expected context of shape \(\*batch, 2\), got \(4,\); labels of classes are best as .*one_hot",
    ),
    "context, booleans": (lambda f, c: c.sample((), C.bool()), TypeError, r"got torch.bool; convert it with .to\(torch.float32\)"),
    "context, complex": (lambda f, c: c.condition(C.cfloat()), TypeError, "got torch.complex64; give its .real and .imag"),
    "context, unexpected": (
        lambda f, c: f.log_prob(X, C),
        ValueError,
        "expected no context, since the flow was built without context_shape",
    ),
    "context, missing": (lambda f, c: c.log_prob(X), ValueError, r"expected a context of shape \(\*batch, 2\), got none"),
    "context, shape": (lambda f, c: c.log_prob(X, X), ValueError, r"expected context of shape \(\*batch, 2\), got \(4, 3\)"),
    "context, batch": (lambda f, c: c.log_prob(X, C[:3]), ValueError, r"the batch of the value: .* broadcasts with \(3,\), got \(4,\)"),
    "context, precision": (lambda f, c: c.log_prob(X, C.double()), TypeError, "expected context of torch.float32, got torch.float64"),
    "context, array": (lambda f, c: c.log_prob(X, C.numpy()), TypeError, "expected context to be a torch.Tensor, got ndarray"),
    "context, device": (lambda f, c: c.log_prob(X, C.to("meta")), ValueError, "expected context on cpu, got meta"),
    "sample, negative": (lambda f, c: f.sample((-1,)), ValueError, r"expected sample_shape without negative numbers, got \(-1,\)"),
    "sample, broken": (lambda f, c: f.sample(2.5), TypeError, "expected sample_shape to be a number or a tuple of numbers, got 2.5"),
    "sample, broken tuple": (lambda f, c: f.sample((2.5,)), TypeError, r"a number or a tuple of numbers, got \(2.5,\)"),
    "sample, a word": (lambda f, c: f.sample("2"), TypeError, "expected sample_shape to be a number or a tuple of numbers, got '2'"),
    "sample, None": (lambda f, c: f.sample(None), TypeError, "expected sample_shape to be a number or a tuple of numbers, got None"),
    "sample, true": (lambda f, c: f.sample(True), TypeError, "expected sample_shape to be a number or a tuple of numbers, got True"),
    "sample, context": (lambda f, c: f.sample((2,), C), ValueError, "expected no context"),
    "sample, no context": (lambda f, c: c.sample((2,)), ValueError, r"expected a context of shape \(\*batch, 2\), got none"),
    "sample, context shape": (lambda f, c: c.rsample((2,), X), ValueError, r"expected context of shape \(\*batch, 2\), got \(4, 3\)"),
    "draw and score": (lambda f, c: c.rsample_and_log_prob((2,)), ValueError, r"expected a context of shape \(\*batch, 2\), got none"),
    "condition, nothing": (lambda f, c: c.condition(), ValueError, r"expected a context of shape \(\*batch, 2\), got none"),
    "condition, shape": (lambda f, c: c(X), ValueError, r"expected context of shape \(\*batch, 2\), got \(4, 3\)"),
    "condition, not conditional": (lambda f, c: f.condition(C), ValueError, "expected no context"),
    "conditioned, value": (lambda f, c: c(C).log_prob(torch.zeros(3, 3)), ValueError, r"broadcasts with \(4,\), got \(3,\)"),
    "expand": (lambda f, c: c(C).expand((3,)), ValueError, r"expand: the batch: expected a shape that broadcasts with \(3,\), got \(4,\)"),
    "expand, smaller": (lambda f, c: c(C).expand((1,)), ValueError, r"expected a batch shape that \(4,\) broadcasts to, got \(1,\)"),
    "expand, no context": (lambda f, c: c.expand((3,)), ValueError, r"expected a context of shape \(\*batch, 2\), got none"),
    "no reparametrised samples": (
        lambda f, c: Flow(td.VonMises(torch.zeros(2), torch.ones(2)), AFFINE).rsample((2,)),
        NotImplementedError,
        "has no reparametrised samples; use sample",
    ),
    "outside the support": (
        lambda f, c: Flow(S, bij.Exp(), 2, validate_args=True).log_prob(torch.tensor([[1.0, 1.0], [-1.0, 1.0]])),
        ValueError,
        r"expected values in \(0, inf\), got others in rows \[1\]",
    ),
    "calibrate, constant": (
        lambda f, c: f.calibrate(torch.ones(5, 3)),
        ValueError,
        "expected finite values that vary at every element, got a const",
    ),
    "calibrate, NaN": (
        lambda f, c: f.calibrate(torch.full((5, 3), math.nan)),
        ValueError,
        "expected finite values .*, got a .*non-finite one",
    ),
    "calibrate, nothing": (lambda f, c: f.calibrate(torch.ones(0, 3)), ValueError, "expected at least one row, got none"),
    "standardize, shape": (
        lambda f, c: f.standardize(torch.ones(5, 2)),
        ValueError,
        r"expected value of shape \(\*batch, 3\), got \(5, 2\)",
    ),
}


@pytest.mark.parametrize("what", CALLS)
def test_sample_and_score(what, flow, conditional):
    call, kind, words = CALLS[what]
    states = [{name: value.clone() for name, value in f.state_dict().items()} for f in (flow, conditional)]
    random_state = torch.get_rng_state()
    with pytest.raises(kind, match=words):
        call(flow, conditional)
    assert torch.equal(random_state, torch.get_rng_state())
    for f, state in zip((flow, conditional), states, strict=True):
        assert all(torch.equal(state[name], value) for name, value in f.state_dict().items())


def test_save_to_a_missing_folder(flow, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"save: expected an existing folder, got '.*nowhere'"):
        flow.save(tmp_path / "nowhere" / "flow.safetensors")
    assert not list(tmp_path.iterdir())


def test_save_to_a_folder(flow, tmp_path):
    with pytest.raises(IsADirectoryError, match="save: expected a file name, got the folder"):
        flow.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_flow_with_a_module_of_ones_own_is_not_saved_and_the_old_file_stays(tmp_path):
    path = tmp_path / "flow.safetensors"
    path.write_bytes(b"what was there")
    own = Flow(S, bij.AffineCoupling(net=torch.nn.Linear(1, 4)), 3)
    with pytest.raises(
        PlanError, match=r"in order to write it as JSON, got a Linear; make it a plan of its own .*, or keep its state_dict"
    ):
        own.save(path)
    assert path.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["flow.safetensors"]


def test_an_interrupted_save_keeps_the_old_file(flow, tmp_path, monkeypatch):
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    before = path.read_bytes()

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        flow.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["flow.safetensors"]


def spoiled(flow, folder, header=None, tensors=None, text=None):
    """Write the flow's file with some of its header or tensors changed; None removes."""
    path = folder / "flow.safetensors"
    flow.save(path)
    with safe_open(path, "pt") as file:
        content = json.loads(file.metadata()["pushforward"])
    for key, value in (header or {}).items():
        content[key] = value
        if value is REMOVE:
            del content[key]
    state = load_file(path)
    for key, value in (tensors or {}).items():
        state[key] = value
        if value is REMOVE:
            del state[key]
    text = json.dumps(content) if text is None else text
    save_file(state, path, {"pushforward": text, "pushforward.sha256": checksum(text, state)})
    return path


REMOVE = object()
NAME = "transform.layers.0.parameters_of.net.layers.0.x.weight"
FILES = {
    "newer": ({"header": {"format": 99}}, ValueError, "has format 99, this version reads up to 2; install a newer pushforward"),
    "format, a word": ({"header": {"format": "x"}}, ValueError, "has a header that is not one of ours, expected JSON with a format"),
    "format, none": ({"header": {"format": REMOVE}}, ValueError, "has a header that is not one of ours, expected JSON with a format"),
    "header, cut": ({"text": "{"}, ValueError, "has a header that is not one of ours, expected JSON with a format"),
    "header, list": ({"text": "[]"}, ValueError, "has a header that is not one of ours, expected JSON with a format"),
    "header, null": ({"text": "null"}, ValueError, "has a header that is not one of ours, expected JSON with a format"),
    "base missing": ({"header": {"base": REMOVE}}, ValueError, "the header of .* lacks 'base'"),
    "dtype missing": ({"header": {"dtype": REMOVE}}, ValueError, "the header of .* lacks 'dtype'"),
    "dtype unknown": ({"header": {"dtype": "float99"}}, ValueError, "expected dtype to be one of float16, .*, got 'float99'"),
    "dtype, another name": ({"header": {"dtype": "nn"}}, ValueError, "expected dtype to be one of float16, .*, got 'nn'"),
    "unknown plan": (
        {"header": {"bijector": {"type": "Zzz"}}},
        PlanError,
        "'Zzz' is not a known plan; import the module that defines it first",
    ),
    "unknown inside": (
        {"header": {"bijector": {"type": "Inverse", "bijector": {"type": "os.system"}}}},
        PlanError,
        "'os.system' is not a known plan",
    ),
    "no plan": ({"header": {"bijector": None}}, PlanError, "expected a plan as an object with its type, got None"),
    "unknown field": (
        {"header": {"bijector": {"type": "Spline", "x": 1}}},
        PlanError,
        r"got also \['x'\]; was it written by a newer version",
    ),
    "swapped": ({"header": {"bijector": {"type": "StandardNormal"}}}, ValueError, "expected a base and a bijector in"),
    "another shape": ({"header": {"event_shape": [4]}}, ValueError, r"do not fit its plan: missing \[\], unknown \[\], of another shape"),
    "wrong shape": ({"header": {"event_shape": "x"}}, ValueError, "expected event_shape to be a list of positive whole numbers, got 'x'"),
    "tensor missing": ({"tensors": {NAME: REMOVE}}, ValueError, rf"do not fit its plan: missing \['{NAME}'\]"),
    "tensor extra": ({"tensors": {"zz": torch.ones(1)}}, ValueError, r"do not fit its plan: missing \[\], unknown \['zz'\]"),
    "tensor of another shape": ({"tensors": {NAME: torch.ones(1, 1)}}, ValueError, rf"of another shape or dtype \['{NAME}'\]"),
    "tensor of another dtype": ({"tensors": {NAME: torch.ones(8, 1).double()}}, ValueError, rf"of another shape or dtype \['{NAME}'\]"),
}


FILES |= {
    f"{name}, {what}": ({"header": {name: value}}, ValueError, f"{words}|of at most 20 digits")
    for name, words in {
        "format": "format",
        "event_shape": "expected event_shape to be a list of positive whole numbers, got",
        "context_shape": "expected context_shape to be a list of positive whole numbers, got",
        "dtype": "expected dtype to be one of float16, bfloat16, float32, float64, got",
        "columns": "expected columns to be None or 3 different names, got",
        "context_columns": "expected context_columns to be None or 0 different names, got",
        "base": "expected|known plan",
        "bijector": "expected|known plan",
    }.items()
    for what, value in {
        "a number": 1.5, "negative": -1, "true": True, "a word": "ab", "twice": ["a", "a"], "empty words": ["", "b"], "numbers": [1, "2"],
        "too many": ["a", "b", "c", "d"], "nothing twice": [None, None], "an object": {"a": 1}, "huge": 2**70, "huge in a list": [2**70],
        "zero in a list": [0], "deep": [[[]]], "truths": [True], "complex": "complex64", "whole": "int64", "a method": "float32.is_complex",
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_load_of_a_file_that_was_changed(what, flow, tmp_path):
    changes, kind, words = FILES[what]
    with pytest.raises(kind, match=words):
        pushforward.load(spoiled(flow, tmp_path, **changes))


def test_load_of_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load: no file '.*nothing'"):
        pushforward.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="load: no file"):
        pushforward.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"hello, world", bytes(range(256)) * 10, b"{}", b"PK\x03\x04"], ids=["empty", "text", "bytes", "JSON", "zip"]
)
def test_load_of_another_file(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"load: '.*file' is not a whole safetensors file"):
        pushforward.load(path)


def test_load_of_a_file_that_is_cut_off(flow, tmp_path):
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    content = path.read_bytes()
    for length in (1, 7, 8, 50, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is not a whole safetensors file"):
            pushforward.load(path)
    path.write_bytes(content + b"more")
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        pushforward.load(path)


def test_load_of_tensors_without_a_plan(tmp_path):
    path = tmp_path / "tensors.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"a": torch.ones(2)}, path, metadata)
        with pytest.raises(ValueError, match="is a safetensors file without a pushforward plan; it was not written by Flow"):
            pushforward.load(path)


class Dangerous:
    ran = False

    def __reduce__(self):
        return (setattr, (Dangerous, "ran", True))


def test_nothing_is_unpickled(flow, tmp_path):
    path = tmp_path / "flow.pt"
    torch.save({"flow": Dangerous()}, path)
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        pushforward.load(path)
    assert not Dangerous.ran
