"""What went wrong in other libraries and no other test asks: state between calls, switches of the process, wrong sizes, many seeds.

Which test holds which line of the bar is in the project's table of failures; the laws of `pushforward.testing` hold most of them.
"""

from __future__ import annotations

import io
import math
import subprocess
import sys
import textwrap
from functools import partial

import pytest
import torch
from torch.distributions import Distribution

import pushforward
from pushforward import bijectors as bij
from pushforward import flows
from pushforward.distributions import Flow, StandardNormal
from pushforward.testing import randomize
from tests.named_flow_plans import NAMES, small
from tests.roundings import of_flow, within

NET = bij.MLP((8,))
# What each feature's map costs makes these the slowest.
SLOW = {"CNF", "NAF", "UNAF", "SOSPF", "BPF", "BNAF", "GF", "SylvesterFlow", "ResidualFlow"}
FLOWS = {name: partial(small, name, transforms=1 if name in SLOW else 2) for name in NAMES}


def moved(name, d=2, c=0, seed=0):
    torch.manual_seed(seed)
    return randomize(FLOWS[name](d, c), 0.3, seed)


# State between calls (caches of pyro and flowtorch)


@pytest.mark.parametrize("name", FLOWS)
def test_a_score_is_that_of_the_parameters_and_values_of_now(name):
    """The same tensor is scored, changed in place, scored; the flow takes a step, and scores it again; each time as a new copy would."""
    flow = moved(name)
    x = 0.5 * torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = flow.log_prob(x)  # an evaluation without gradients before training
    loss = -flow.log_prob(x).mean()
    loss.backward()
    assert any(p.grad is not None and bool((p.grad != 0).any()) for p in flow.parameters())
    x.mul_(0.5)
    assert torch.equal(flow.log_prob(x), flow.log_prob(x.clone()))
    assert not torch.equal(flow.log_prob(x), first)
    before = flow.log_prob(x).detach()
    torch.optim.SGD(flow.parameters(), 0.1).step()
    fresh = FLOWS[name](2)
    fresh.load_state_dict(flow.state_dict())
    assert torch.equal(flow.log_prob(x), fresh.log_prob(x))
    assert not torch.equal(flow.log_prob(x), before)
    # A second step must not meet a graph that the first one freed.
    (-flow.log_prob(x).mean()).backward()


@pytest.mark.parametrize("name", FLOWS)
def test_inference_mode_and_no_rows(name):
    """Both directions run where no gradient is kept, and on nothing."""
    flow = moved(name)
    with torch.inference_mode():
        y = flow.sample((3,))
        assert torch.isfinite(flow.log_prob(y)).all()
        assert flow.sample((0,)).shape == (0, 2)
        assert flow.log_prob(torch.zeros(0, 2)).shape == (0,)
    for rows in (torch.zeros(0, 2), torch.zeros(3, 0, 2)):
        scored = flow.log_prob(rows)
        assert scored.shape == rows.shape[:-1]
        scored.sum().backward()


def test_evaluation_is_the_same_in_every_call():
    """A log-determinant that is drawn anew at each call (residual flows elsewhere) is no density."""
    flow = moved("ResidualFlow").eval()
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(2))
    assert all(torch.equal(flow.log_prob(x), flow.log_prob(x)) for _ in range(3))
    assert not x.requires_grad


# Switches of the process


@pytest.mark.compiler
def test_optimised_python_and_a_compiler_change_no_answer():
    """`python -O` drops assertions, and torch.compile switches torch's validation off for everybody: neither may move a support."""
    code = """
        import math, torch
        from pushforward import bijectors as bij
        from pushforward.distributions import Flow, StandardNormal
        assert False, "this is not python -O"
        torch.compile(lambda v: v + 1, backend="eager")(torch.zeros(2))
        torch.manual_seed(0)
        flow = Flow(StandardNormal(), [bij.Affine(), bij.Sigmoid()], 2)
        found = flow.log_prob(torch.tensor([[0.5, 0.5], [0.5, 1.5], [math.nan, 0.5], [0.0, 0.5]]))
        print([str(v) for v in found.tolist()][1:])
        for wrong in (torch.zeros(3, 5), torch.zeros(3, 2).long(), [0.5, 0.5]):
            try:
                print(flow.log_prob(wrong))
            except (TypeError, ValueError) as error:
                print("expected" in str(error))
    """
    out = subprocess.run([sys.executable, "-O", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:4] == ["['-inf', 'nan', '-inf']", "True", "True", "True"]


def test_validation_is_left_as_it_was():
    before = Distribution._validate_args
    flow = moved("NSF")
    flow.log_prob(flow.sample((2,)))
    assert Distribution._validate_args == before


# Values without a place


@pytest.mark.parametrize("plan", [bij.Autoregressive(bij.Affine(), net=NET), bij.Autoregressive(bij.Spline(4), net=NET)], ids=repr)
@pytest.mark.parametrize("features", [1, 3, 5])
def test_steps_of_another_number_of_features_are_refused(plan, features):
    """The compiled steps go by the number of elements that they know: values of another number would be read beyond their end."""
    layers = plan.build(4), plan.replace(solve="jacobi").build(4)
    turned = bij.InverseAutoregressive(bij.Affine(), net=NET).build(4)
    for call in (*(layer.forward for layer in layers), turned.inverse):
        with pytest.raises(ValueError, match=rf"expected [xy] of shape \(\*batch, 4\), got \(3, {features}\)"):
            call(torch.zeros(3, features))


@pytest.mark.parametrize("name", sorted(set(FLOWS) - {"NCSF"}))
def test_far_values_are_scored_or_have_no_density(name):
    """Up to 1e30: never NaN, never a saturated number that looks like a density (an inverse that stops at the end of its bracket)."""
    flow = moved(name)
    far = torch.tensor([1e2, 1e4, 1e8, 1e15, 1e30]).reshape(-1, 1).expand(-1, 2)
    scored = flow.log_prob(torch.cat([far, -far, far * torch.tensor([1.0, -1.0])]))
    assert not torch.isnan(scored).any()
    assert (scored < -100).all()
    mixed = flow.log_prob(torch.tensor([[0.1, 0.2], [math.nan, 0.2], [math.inf, 0.2], [0.3, -0.4]]))
    beside = torch.tensor([[0.1, 0.2], [0.3, -0.4]])
    assert within(mixed[[0, 3]], flow.log_prob(beside), of_flow(flow, beside))
    assert torch.isnan(mixed[1])
    assert not torch.isfinite(mixed[2])


# A density is one: many seeds


def test_samples_against_the_density_over_a_hundred_seeds():
    """Means of a bounded function of samples, against the density by quadrature: 100 draws, none more than 4 standard errors off."""
    flow = randomize(flows.NSF(1, transforms=2, widths=(8,)), 0.5, 3).double()
    nodes = torch.linspace(-40.0, 40.0, 40001, dtype=torch.float64)
    with torch.no_grad():
        density = flow.log_prob(nodes[:, None]).exp()
    mass = torch.trapezoid(density, nodes)
    assert abs(float(mass) - 1) < 1e-4
    mean = torch.trapezoid(density * torch.tanh(nodes), nodes)
    spread = (torch.trapezoid(density * torch.tanh(nodes) ** 2, nodes) - mean**2).sqrt()
    scores = []
    for seed in range(100):
        drawn = torch.tanh(flow.sample((512,), generator=torch.Generator().manual_seed(seed)))
        scores.append(float((drawn.mean() - mean) / spread * math.sqrt(512)))
    assert max(map(abs, scores)) < 4
    # 100 of them are standard normal themselves: their spread is 1 within 4 of its own standard errors.
    assert abs(torch.tensor(scores).std() - 1) < 4 / math.sqrt(200)


# Bad data, in the flows that test_fit.py does not train


@pytest.mark.parametrize("name", ["NAF", "UNAF", "SOSPF", "BPF", "BNAF", "GF", "HouseholderFlow", "ResidualFlow"])
@pytest.mark.parametrize("data", ["scale 1e6", "offset 1e5", "outlier", "cauchy"])
def test_bad_data_never_gives_nan(name, data):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(96, 2, generator=draw, dtype=torch.float64)
    if data == "scale 1e6":
        x = 1e6 * x
    elif data == "offset 1e5":
        x = x + 1e5
    elif data == "outlier":
        x[17, 1] = 1e9
    else:
        x = torch.tan(math.pi * (torch.rand(96, 2, generator=draw, dtype=torch.float64) - 0.5))
    torch.manual_seed(0)
    flow = FLOWS[name](2)
    history = pushforward.fit(flow, x, epochs=2, batch_size=64, progress=False)
    assert all(bool(torch.isfinite(value).all()) for value in flow.state_dict().values())
    assert math.isfinite(history.best_loss)
    assert torch.isfinite(flow.log_prob(x.float())).all()


@pytest.mark.parametrize("name", FLOWS)
def test_a_row_that_is_no_number_is_named_before_the_first_step(name):
    x = 0.5 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    x[[7, 20], 1] = math.nan
    flow = FLOWS[name](2)
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    with pytest.raises(ValueError, match="2 rows: 7, 20"):
        pushforward.fit(flow, x, epochs=1, progress=False)
    assert all(torch.equal(before[key], value) for key, value in flow.state_dict().items())


def test_nothing_of_a_file_is_code():
    """A pickle is no file of ours, whatever it is called."""
    stream = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, stream)
    stream.seek(0)
    with pytest.raises((TypeError, ValueError)):
        pushforward.load(stream)  # type: ignore[arg-type]


def test_a_base_and_a_chain_onto_an_interval_have_no_mass_at_its_ends():
    flow = Flow(StandardNormal(), [bij.Affine(), bij.Tanh()], 2)
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert (flow.log_prob(ends) == -math.inf).all()
    near = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)).expand(1, 2)
    assert torch.isfinite(flow.log_prob(near)).all()
    assert flow.support.check(flow.transform(torch.full((1, 2), 100.0))[0]).all()
