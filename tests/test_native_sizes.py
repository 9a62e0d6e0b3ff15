"""The compiled code never trusts a size: what does not fit is refused before anything is read or written, at each way in."""

from __future__ import annotations

import collections
import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_jobs import JOBS, SENTINEL, anything, faults, needed
from torch._subclasses.fake_tensor import FakeTensorMode

import pushforward
import pushforward.bijectors as bij
from pushforward.kernels.kernel import reference
from pushforward.native.elementwise import elementwise
from pushforward.native.linear import linear, linear_gradient
from pushforward.native.perceptron import perceptron, takes
from pushforward.native.perceptron import reference as by_torch
from pushforward.native.program import Program
from pushforward.native.sweep import sweep
from pushforward.nets.signature import Signature
from pushforward.testing import randomize

pytestmark = pytest.mark.compiled

COUNTS: collections.Counter[str] = collections.Counter()
"""What was tried and how it ended; the sanitizers' run prints it."""

each_entry = pytest.mark.parametrize("entry", JOBS)
EXAMPLES = settings.default.max_examples
few = settings(max_examples=EXAMPLES // 5, deadline=None)
many = settings(max_examples=EXAMPLES // 2, deadline=None)


def untouched(job):
    return all((out == SENTINEL).all() for out in job.outputs)


@each_entry
def test_what_fits_is_computed(entry):
    @few
    @given(JOBS[entry])
    def run(job):
        assert job.call() == 0
        COUNTS[f"{entry}: raw, right"] += 1

    run()


@each_entry
def test_what_does_not_fit_is_refused(entry):
    @many
    @given(st.data(), JOBS[entry])
    def run(data, job):
        fault = data.draw(faults(job))
        assert job.call() > 1, fault
        assert untouched(job), fault
        COUNTS[f"{entry}: raw, wrong, refused"] += 1

    run()


@each_entry
def test_an_array_that_is_a_number_short_is_refused(entry):
    @few
    @given(JOBS[entry])
    def run(job):
        for part, name in job.places():
            if name.endswith(".extent") and needed(job, part, name):
                numbers = job.parts[part][1]
                numbers[name] -= 1
                assert job.call() > 1, name
                assert untouched(job), name
                numbers[name] += 1

    run()


@each_entry
def test_a_stride_whose_last_row_lies_beyond_all_numbers_is_refused(entry):
    """The last row begins at the largest number that there is, so its end is beyond all: the sanitizers see whether that sum is made."""

    @few
    @given(JOBS[entry])
    def run(job):
        rows = job.parts[0][1]["rows"]
        for part, name in job.places() if rows > 1 else ():
            one_row = entry == "linear" and name == "theta.stride"
            if name.endswith(".stride") and needed(job, part, name) and not one_row:
                numbers = job.parts[part][1]
                kept, numbers[name] = numbers[name], (2**63 - 1) // (rows - 1)
                assert job.call() > 1, name
                assert untouched(job), name
                numbers[name] = kept

    run()


@each_entry
def test_a_layer_that_takes_or_adds_none_there_is_is_refused_wherever_it_stands(entry):
    @few
    @given(JOBS[entry])
    def run(job):
        for part, name in job.places():
            if name in ("source", "skip") and needed(job, part, name):
                numbers = job.parts[part][1]
                kept = numbers[name]
                for numbers[name] in (-2, -(2**63), 2**63 - 1):
                    assert job.call() > 1, (part, numbers[name])
                    assert untouched(job), (part, numbers[name])
                numbers[name] = kept

    run()


@each_entry
def test_whatever_the_numbers_are_it_stays_within_its_arrays(entry):
    @many
    @given(st.data(), JOBS[entry])
    def run(data, job):
        code = job.call(data.draw(anything(job)))
        assert code == 0 or untouched(job)
        COUNTS[f"{entry}: raw, anything, {'refused' if code else 'computed'}"] += 1

    run()


# The functions, with tensors of all sorts

LAYOUTS = {
    "as they come": lambda t: t,
    "transposed": lambda t: t.mT.contiguous().mT if t.dim() > 1 else t,
    "every other": lambda t: torch.stack([t, t + 1], -1)[..., 0],
    "off the start": lambda t: torch.cat([t.new_zeros(3), t.flatten()])[3:].reshape(t.shape),
    "of the other sign in memory": lambda t: torch.complex(torch.zeros_like(t), -t).conj().imag,
    "part of a wider one": lambda t: torch.cat([t, t, t], -1)[..., t.shape[-1] : 2 * t.shape[-1]],
}
layouts = st.sampled_from(list(LAYOUTS.values()))
batches = st.sampled_from([(), (0,), (1,), (2,), (33,), (2, 3), (0, 3), (70,)])
values = st.sampled_from([1.0, 1.0, 1.0, 30.0, 1e12])


def tensor(draw, shape, scale=1.0, dtype=torch.float64):
    seed = draw(st.integers(0, 999))
    numbers = scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draw(layouts)(numbers.to(dtype)) if numbers.dim() else numbers.to(dtype)


def cotangent(draw, shape, dtype=torch.float64):
    """Return a cotangent as autograd may bring it: expanded from one number, or of any layout."""
    return torch.ones((), dtype=dtype).expand(shape) if draw(st.booleans()) else tensor(draw, shape, dtype=dtype)


def spoilt(draw, tensors, spare=()):
    """Spoil one tensor so that it fits no more: its shape, dtype or device; return what was done to which."""
    name = draw(st.sampled_from([name for name in tensors if tensors[name] is not None and name not in spare]))
    was = tensors[name]
    ways = {
        "wider": lambda: torch.cat([was, was[..., :1], was[..., :1]], -1),
        "narrower": lambda: was[..., :-1],
        "longer": lambda: torch.cat([was, was[:1]], 0),
        "shorter": lambda: was[:-1],
        "another dtype": lambda: was.float() if was.dtype == torch.float64 else was.double(),
        "half": lambda: was.half(),
        "elsewhere": lambda: was.to("meta"),
        "a number": lambda: was.new_zeros(()),
        "deeper": lambda: was.expand(3, *was.shape),  # as no batch is: parameters for each of two rows would fit
        "whole numbers": lambda: was.long(),
    }
    able = {
        "wider": was.dim() and was.shape[-1], "narrower": was.dim() and was.shape[-1], "longer": was.dim() > 1 and len(was),
        "shorter": was.dim() > 1 and len(was), "a number": was.dim() > 0,
    }  # fmt: skip
    way = draw(st.sampled_from([way for way in ways if able.get(way, True)]))
    tensors[name] = ways[way]()
    return f"{name} {way}"


OTHER_ROWS = ("x longer", "x shorter", "x deeper")
"""What does fit where all rows have the same parameters."""


def near(got, right, told):
    for a, b in zip(got, right, strict=True):
        assert a.shape == b.shape, told
        size = float(b.abs().nan_to_num(0, 0, 0).max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7 * (1 + size), equal_nan=True, msg=lambda text: f"{told}: {text}")


def differentiated(function, tensors, cotangents):
    given = [t.detach().requires_grad_() for t in tensors]
    out = function(*given)
    return [*(t.detach() for t in out), *torch.autograd.grad(out, given, cotangents)]


PLANS = [
    bij.Affine(2.0), bij.Spline(3, 4.0), bij.Spline(5, 2.0, "linear"), bij.MonotonicNetwork(3, 2), bij.DeepSigmoid(3),
    bij.SumOfSquares(3, 2), bij.Bernstein(7, tails="gentle"),
]  # fmt: skip


@st.composite
def elementwise_calls(draw):
    plan = draw(st.sampled_from(PLANS))
    batch, elements, shared = draw(batches), draw(st.sampled_from([1, 2, 5, 31, 32, 33])), draw(st.booleans())
    width = plan.code().parameters * elements
    tensors = {
        "x": tensor(draw, (*batch, elements), draw(values)), "theta": tensor(draw, (width,) if shared else (*batch, width)),
        "gy": cotangent(draw, (*batch, elements)), "gladj": cotangent(draw, batch),
    }  # fmt: skip
    return plan, draw(st.booleans()), tensors


@few
@given(elementwise_calls())
def test_elementwise_as_the_reference(case):
    plan, inverse, tensors = case
    x, theta, *cotangents = tensors.values()
    right = differentiated(lambda x, theta: reference(plan)(x, theta, inverse), (x, theta), cotangents)
    for function in (
        lambda x, theta: elementwise(x, theta, plan.code(), inverse),
        lambda x, theta: torch.ops.pushforward.elementwise(x, theta, *plan.code(), inverse),
    ):
        near(differentiated(function, (x, theta), cotangents), right, (plan, inverse))
    COUNTS["elementwise: function, right"] += 1


@many
@given(st.data(), elementwise_calls())
def test_elementwise_refuses_what_does_not_fit(data, case):
    plan, inverse, tensors = case
    told = spoilt(data.draw, tensors)
    x, theta, gy, gladj = tensors.values()
    if told in ("gladj elsewhere", "gy elsewhere") and x.is_meta:
        return
    numbers = (*plan.code(), inverse)
    backward = torch.ops.pushforward.elementwise_backward
    assert_refused(told, lambda: backward(x, theta, gy, gladj, *numbers))
    if told.split()[0] in ("x", "theta") and not (theta.dim() == 1 and told in OTHER_ROWS):
        assert_refused(told, lambda: elementwise(x, theta, plan.code(), inverse))
        assert_refused(told, lambda: torch.ops.pushforward.elementwise(x, theta, *numbers))
    # The same without memory: on the meta device, and where the compiler looks.
    if "elsewhere" not in told:
        assert_refused(told, lambda: backward(*(t.to("meta") for t in (x, theta, gy, gladj)), *numbers))
        with FakeTensorMode() as mode:
            assert_refused(told, lambda: backward(*(mode.from_tensor(t) for t in (x, theta, gy, gladj)), *numbers))
    COUNTS["elementwise: function, wrong, refused"] += 1


def assert_refused(told, call):
    try:
        call()
    except ValueError as error:
        assert "expected" in str(error) or "unpack" in str(error), (told, error)  # noqa: PT017 (it says what was done where none comes)
    else:
        pytest.fail(f"not refused: {told}")


WRONG_CODES = [
    (0, 1, 3.0, 0, 0.0), (0, 0, 3.0, 1, 0.0), (0, 0, 3.0, 0, 0.5), (0, 0, float("nan"), 0, 0.0), (0, 0, float("inf"), 0, 0.0),
    (1, 1, 3.0, 0, 0.0), (1, 1025, 3.0, 0, 0.0), (1, 4, 0.0, 0, 0.0), (1, 4, -1.0, 0, 0.0), (1, 4, 3.0, 1, 0.0), (2, -3, 3.0, 0, 0.0),
    (3, 0, 3.0, 4, 0.0), (3, 65, 3.0, 4, 0.0), (3, 8, 3.0, 0, 0.0), (3, 8, 3.0, 33, 0.0), (4, 0, 1.0, 0, 0.0), (5, 1025, 1.0, 0, 0.0),
    (6, 0, 3.0, 2, 0.5), (6, 17, 3.0, 2, 0.5), (7, 4, 3.0, 0, 0.5), (7, 4, 3.0, 65, 0.5), (6, 4, 3.0, 2, 0.0), (7, 4, 3.0, 2, 1.0),
    (8, 2, 3.0, 0, 0.0), (9, 129, 3.0, 0, 0.0), (10, 5, 3.0, 0, 0.0), (11, 4, 3.0, 0, 0.0), (-1, 0, 3.0, 0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "bins", "bound", "parts", "floor"), WRONG_CODES)
def test_elementwise_refuses_kernels_that_there_are_none_of(kind, bins, bound, parts, floor):
    run, told = torch.ops.pushforward.elementwise, f"got kind {kind}, bins {bins}, bound {bound}, parts {parts}, floor {floor}"
    for device in ("cpu", "meta"):
        with pytest.raises(ValueError, match=told):
            run(torch.zeros(5, 1, device=device), torch.zeros(2, device=device), kind, bins, bound, parts, floor, False)


@st.composite
def linear_calls(draw):
    batch, size, bias = draw(batches), draw(st.integers(1, 12)), draw(st.booleans())
    tensors = {
        "x": tensor(draw, (*batch, size), draw(values)), "theta": tensor(draw, (size * size + bias * size,)),
        "gy": cotangent(draw, (*batch, size)), "gladj": cotangent(draw, batch),
    }  # fmt: skip
    return bij.Linear(bias), size, draw(st.booleans()), tensors


@few
@given(linear_calls())
def test_linear_as_the_reference(case):
    plan, size, inverse, tensors = case
    x, theta, *cotangents = (t.detach() for t in tensors.values())
    names, sizes = zip(*((name, part.numel()) for name, part in plan.init((size,)).items()), strict=True)

    def formula(x, theta):
        y, ladj = (plan.inverse if inverse else plan.forward)(x, **dict(zip(names, theta.split(sizes), strict=True)))
        return y, ladj.expand(y.shape[:-1])

    right = differentiated(formula, (x, theta), cotangents)
    y, ladj = linear(x, theta, plan.bound, plan.bias, inverse)
    found = linear_gradient(y if inverse else x, theta, *cotangents, plan.bound, plan.bias, inverse)
    near([y, ladj, *found], right, (plan, inverse))
    COUNTS["linear: function, right"] += 1


@many
@given(st.data(), linear_calls())
def test_linear_refuses_what_does_not_fit(data, case):
    plan, _, inverse, tensors = case
    told = spoilt(data.draw, tensors)
    x, theta, gy, gladj = tensors.values()
    assert_refused(told, lambda: linear_gradient(x, theta, gy, gladj, plan.bound, plan.bias, inverse))
    if told.split()[0] in ("x", "theta") and told not in OTHER_ROWS:
        assert_refused(told, lambda: linear(x, theta, plan.bound, plan.bias, inverse))
    COUNTS["linear: function, wrong, refused"] += 1


@st.composite
def perceptron_calls(draw):
    rows, inputs, contexts = draw(st.sampled_from([0, 1, 33, 70])), draw(st.integers(0, 6)), draw(st.integers(0, 4))
    contexts += inputs + contexts == 0
    hidden = draw(st.integers(0, 3))
    sources = (
        -1,
        *(draw(st.integers(-1, index - 1)) for index in range(1, hidden)),
        *([draw(st.integers(-1, hidden - 1))] if hidden else []),
    )
    width, outputs = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    skips = (-1, *(draw(st.integers(-1, index - 1)) for index in range(1, hidden)), *([-1] if hidden else []))
    if inputs == 0 or contexts:  # only the first layer has weights of the context, and only there may be no inputs
        sources = (-1, *(max(0, source) for source in sources[1:]))
    masked = tuple(draw(st.booleans()) and (inputs > 0 or index > 0) for index in range(len(sources)))
    gains = tuple(draw(st.sampled_from([1.0, 0.5])) for _ in sources)
    form = Program(draw(st.sampled_from(["relu", "tanh", "silu"])), sources, skips, gains, masked)
    tensors = {"x": tensor(draw, (rows, inputs)) if inputs else None, "c": tensor(draw, (rows, contexts)) if contexts else None}
    for index, source in enumerate(sources):
        made, taken = (outputs if index == hidden else width), (inputs if source < 0 else width)
        own = taken > 0
        tensors |= {
            f"weight {index}": tensor(draw, (made, taken)) if own else None,
            f"mask {index}": (torch.rand(made, taken) > 0.5).double() if masked[index] else None,
            f"more {index}": tensor(draw, (made, contexts)) if index == 0 and contexts else None,
            f"bias {index}": tensor(draw, (made,)) if draw(st.booleans()) else None,
        }
    return form, tensors, cotangent(draw, (rows, outputs))


def free_outputs(form, tensors, told):
    """Tell whether what was changed is how many outputs a layer has, where nothing else says it."""
    kind, index, *_ = told.split()
    beside = [
        tensors[f"{other} {index}"] for other in ("weight", "mask", "more", "bias") if other != kind and f"{other} {index}" in tensors
    ]
    fits = kind in ("weight", "more") and told.endswith(("longer", "shorter")) and all(t is None for t in beside)
    return fits and int(index) not in (*form.sources, *form.skips)


def run_perceptron(form, tensors):
    x, c, *rest = tensors.values()
    return perceptron(form, x, c, rest) if takes(x, c, rest) else None


@few
@given(perceptron_calls())
def test_perceptron_as_torch(case):
    form, tensors, g = case
    found = []
    for compiled in (True, False):
        given_ = {name: None if t is None else t.detach().requires_grad_(not name.startswith("mask")) for name, t in tensors.items()}
        x, c, *rest = given_.values()
        out = run_perceptron(form, given_) if compiled else by_torch(form, x, c, *rest)
        if out is None:  # of the other sign in memory: left to torch
            assert any(t.is_neg() for t in given_.values() if t is not None)
            return
        wanted = [t for t in given_.values() if t is not None and t.requires_grad]
        found.append([out.detach(), *torch.autograd.grad(out, wanted, g, materialize_grads=True)])
    near(*found, form)
    COUNTS["perceptron: function, right"] += 1


@many
@given(st.data(), perceptron_calls())
def test_perceptron_refuses_what_does_not_fit(data, case):
    form, tensors, _ = case
    told = spoilt(data.draw, tensors)
    given_ = {name: None if t is None else t.detach() for name, t in tensors.items()}
    other = told.split()[-1] in ("dtype", "half", "elsewhere", "numbers") and sum(t is not None for t in given_.values()) > 1
    if other or any(t.is_neg() for t in given_.values() if t is not None):
        assert run_perceptron(form, given_) is None, told  # left to torch, which tells what is wrong
    elif told.startswith(("x ", "c ")) and told.split()[1] in ("longer", "shorter") and None in (given_["x"], given_["c"]):
        run_perceptron(form, given_)  # rows alone may be as many as they are
    elif free_outputs(form, given_, told):
        with contextlib.suppress(ValueError):  # none at all
            run_perceptron(form, given_)
    else:
        assert_refused(told, lambda: run_perceptron(form, given_))
    COUNTS["perceptron: function, wrong, refused"] += 1


@st.composite
def sweep_calls(draw):
    features, context = draw(st.integers(1, 5)), draw(st.sampled_from([0, 2]))
    kernel = draw(st.sampled_from(PLANS))
    net = draw(st.sampled_from([bij.MLP((7,), "tanh"), bij.MLP((6, 8), "silu"), bij.ResidualMLP(7, 1, "tanh")]))
    layer = randomize(
        bij.Autoregressive(kernel, order=draw(st.permutations(range(features))), net=net).build(features, context or None), 0.5, 0
    ).double()
    steps, parameters = layer.incremental, layer.parameters_of
    rows = draw(st.sampled_from([0, 1, 33, 70]))
    weights = [t.detach() for t in steps.weights(parameters.net)]
    tensors = {"values": tensor(draw, (rows, features)), "shift": tensor(draw, (rows, len(weights[0]))) if context else None}
    tensors |= {f"weight {index}": weight for index, weight in enumerate(weights)}
    inverse = draw(st.booleans())

    def formula(values, shift, *weights):
        return steps._reference(kernel, parameters, values, shift, list(weights), inverse)

    def compiled(values, shift, *weights):
        return sweep(kernel.code(), inverse, steps.schedule, values, shift, list(weights), formula)

    return compiled, formula, tensors, (cotangent(draw, (rows, features)), cotangent(draw, (rows,)))


@few
@given(sweep_calls())
def test_sweep_as_the_steps(case):
    compiled, formula, tensors, cotangents = case
    values, shift, *weights = tensors.values()
    found = []
    for function in (compiled, formula):
        both = (lambda v, *w, f=function: f(v, None, *w)) if shift is None else function
        given_ = [t.detach().requires_grad_() for t in ([values, *weights] if shift is None else [values, shift, *weights])]
        out = both(*given_)
        found.append([*(t.detach() for t in out), *torch.autograd.grad(out, given_, cotangents, materialize_grads=True)])
    # Weights of what is not seen are zero and stay it: their gradient is the mask's, not compared.
    masks = [t == 0 for t in given_]
    found = [
        [*part[:2], *(torch.where(mask, 0.0, g) if g.dim() == 2 else g for g, mask in zip(part[2:], masks, strict=True))] for part in found
    ]
    near(*found, "sweep")
    COUNTS["sweep: function, right"] += 1


@many
@given(st.data(), sweep_calls())
def test_sweep_refuses_what_does_not_fit(data, case):
    compiled, _, tensors, _ = case
    told = spoilt(data.draw, tensors, spare=("values",) if tensors["shift"] is None else ())
    assert_refused(told, lambda: compiled(*tensors.values()))
    COUNTS["sweep: function, wrong, refused"] += 1


def test_a_program_is_refused_that_does_not_hold_together():
    layer = bij.Autoregressive(bij.Affine(), net=bij.MLP((6,))).build(3)
    schedule, weights = layer.incremental.schedule, [t.detach() for t in layer.incremental.weights(layer.parameters_of.net)]
    run = lambda schedule: sweep(bij.Affine().code(), False, schedule, torch.zeros(4, 3), None, weights, None)  # noqa: E731
    assert run(schedule)[0].shape == (4, 3)
    for wrong in (
        {"order": np.array([0, 0, 1])}, {"order": np.array([0, 1, 3])}, {"ends": np.array([1, 2])}, {"ends": np.array([2, 1, 3])},
        {"ends": np.array([1, 2, 4])}, {"edges": (np.array([0, 3, 7]),)}, {"edges": (np.array([3, 2, 6]),)}, {"edges": (np.array([0]),)},
        {"edges": ()}, {"edges": 2 * schedule.edges},
    ):  # fmt: skip
        with pytest.raises((ValueError, IndexError)):
            run(dataclasses.replace(schedule, **wrong))
    for wrong in (
        {"sources": (-1, -1)}, {"sources": (0, 0)}, {"sources": (-1,)}, {"skips": (0, -1)}, {"skips": (-1, 0)}, {"skips": (-1,)},
        {"gains": (1.0,)}, {"masked": ()}, {"activation": "cosine"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"expected|source"):
            run(dataclasses.replace(schedule, program=dataclasses.replace(schedule.program, **wrong)))


# What users did


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("layer", "x", "c"),
    [
        (lambda: pushforward.NSF(2, context=3).transform, 2, 300),
        (lambda: bij.Coupling(bij.Affine()).build(4, 3), 4, 60),
        (lambda: bij.Coupling(bij.Affine()).build(4, 3), 4, 4),
        (lambda: bij.Autoregressive(bij.Affine()).build(4, 3), 8, 4),
        (lambda: bij.Autoregressive(bij.Affine()).build(4, 3), 4, 4),
        (lambda: bij.InverseAutoregressive(bij.Spline()).build(4), 8, 0),
        (lambda: bij.Elementwise(bij.Spline(), net=bij.MLP()).build(2, 3), 2, 30),
    ],
)
def test_columns_that_are_not_those_of_the_weights_end_in_an_error(layer, x, c, training):
    built = layer()

    def step(way):
        y, ladj = way(torch.randn(5, x, requires_grad=training), torch.randn(5, c) if c else None)
        (y.sum() + ladj.sum()).backward()

    for way in (built.forward, built.inverse):
        with pytest.raises((ValueError, RuntimeError)):  # torch's own, where the compiled code does not run
            step(way)


def test_a_net_refuses_columns_that_it_has_no_weights_for():
    for columns in (1, 4, 30):
        with pytest.raises(ValueError, match=rf"\(.*2\), got \(5, {columns}\)"):
            bij.MLP().build(Signature.of_sizes(2, 6))(torch.randn(5, columns), None)
