"""Log-densities far out, at ends and at infinity; and losses with rows that have none."""

from __future__ import annotations

import math

import pytest
import torch
from test_flow_laws import FLOWS

import pushforward as pf
from pushforward import bijectors as bij
from pushforward import flows
from pushforward.core import sets
from pushforward.distributions import Flow, StandardNormal, StudentT
from pushforward.testing import randomize

MORE = {
    "NAF": lambda: flows.NAF(2, transforms=1, widths=(8,)),
    "UNAF": lambda: flows.UNAF(2, transforms=1, widths=(8,)),
    "SOSPF": lambda: flows.SOSPF(2, transforms=1, widths=(8,)),
    "BPF": lambda: flows.BPF(2, transforms=1, widths=(8,)),
    "BNAF": lambda: flows.BNAF(2, transforms=1),
    "GF": lambda: flows.GF(2, transforms=1),
    "ResidualFlow": lambda: flows.ResidualFlow(2, transforms=1),
    "PlanarFlow": lambda: flows.PlanarFlow(2, transforms=2),
    "RadialFlow": lambda: flows.RadialFlow(2, transforms=2),
    "SylvesterFlow": lambda: flows.SylvesterFlow(2, transforms=1),
    "HouseholderFlow": lambda: flows.HouseholderFlow(2),
    "NCSF": lambda: flows.NCSF(2, transforms=1),
    "mixture": lambda: flows.mixture([pf.MAF(2, transforms=1), pf.NSF(2, transforms=1)]),
    "heavy tails": lambda: Flow(StudentT(), [bij.Linear(), bij.SinhArcsinh()], 2),
    "simplex": lambda: Flow(StandardNormal(), [bij.Affine(), bij.StickBreaking()], 2),
    "ordered": lambda: Flow(StandardNormal(), [bij.Affine(), bij.Ordered()], 3),
    "normal scores": lambda: Flow(StandardNormal(), [bij.Spline(), bij.NormalScores()], 2),
}
ALL = {**FLOWS, **MORE}


def flow_of(name):
    torch.manual_seed(0)
    flow = randomize(ALL[name](), 0.3)
    if name == "normal scores":
        flow.calibrate(torch.sinh(3 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))))
    return flow


def rows_of(flow, value):
    """Return samples of which each has one number, at each place in turn, that is ``value``."""
    context = None if flow.context_shape is None else torch.zeros(flow.context_shape, dtype=flow.dtype)
    size = math.prod(flow.event_shape)
    torch.manual_seed(1)
    rows = flow.sample((size,), context).clone()
    flat = rows.reshape(size, *flow.batch_shape, -1)
    for place in range(size):
        flat[place, ..., place] = value
    return flat.reshape(rows.shape), context


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ALL)
def test_what_is_infinite_or_huge_has_no_density_and_is_a_number(name, double):
    """At infinity it is zero; at huge values zero to all digits, or, with tails that reach so far, less than where samples are."""
    flow = flow_of(name).double() if double else flow_of(name)
    _, context = rows_of(flow, 0.5)
    least = flow.log_prob(flow.sample((50,), context), context).min().item()
    largest = torch.finfo(flow.dtype).max
    for value in (math.inf, -math.inf, 0.9 * largest, -0.9 * largest, largest**0.75, -(largest**0.75), 1e30, -1e30):
        rows, context = rows_of(flow, value)
        for given in (rows, rows.clone().requires_grad_()):  # as it is compiled, and where gradients are asked for
            result = flow.log_prob(given, context)
            assert not torch.isnan(result).any(), value
            assert (result < least).all(), value
            if math.isinf(value):
                assert (result == -math.inf).all(), value


@pytest.mark.parametrize("name", ALL)
def test_nan_is_for_nan_alone(name):
    flow = flow_of(name)
    rows, context = rows_of(flow, math.nan)
    assert torch.isnan(flow.log_prob(rows, context)).all()
    rows, context = rows_of(flow, math.inf)
    both = torch.where(torch.isinf(rows), rows, math.nan)
    if math.prod(flow.event_shape) > 1:
        assert torch.isnan(flow.log_prob(both, context)).all()


@pytest.mark.parametrize("name", ALL)
def test_at_the_ends_of_a_support_there_is_a_density_or_none(name):
    flow = flow_of(name)
    ends = sets.bounds(flow.support)
    if ends is None:
        return
    for end in ends:
        for value in (end, *(torch.nextafter(torch.tensor(end), torch.tensor(other)).item() for other in (-math.inf, math.inf))):
            rows, context = rows_of(flow, value)
            result = flow.log_prob(rows, context)
            assert not torch.isnan(result).any()
            assert (result < math.inf).all()


def test_parameters_that_are_no_numbers_are_seen():
    flow = pf.MAF(2)
    with torch.no_grad():
        next(flow.parameters()).fill_(math.nan)
    assert torch.isnan(flow.log_prob(torch.zeros(3, 2))).all()


def test_where_it_is_compiled_or_mapped_it_is_the_same():
    flow = flow_of("MAF").requires_grad_(False)
    rows, _ = rows_of(flow, math.inf)
    expected = torch.full((3,), -math.inf)
    assert torch.equal(torch.func.vmap(flow.log_prob)(rows), expected)
    assert torch.equal(torch.compile(flow.log_prob, backend="eager")(rows), expected)


# A loop of the user's


def stepped(rows, loss=lambda log_prob: -log_prob.mean(), flow=None, context=None):
    flow = flow or pf.MAF(2, transforms=1)
    loss(flow.log_prob(rows, context)).backward()
    return flow


def spoiled(value):
    rows = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    rows[7, 1] = value
    return rows


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_names_the_row_and_the_column_that_spoil_it(value):
    with pytest.raises(ValueError, match=f"Flow: expected a loss of rows that have a density, got {value} in column 1 of row 7: "):
        stepped(spoiled(value))


def test_a_loss_names_a_row_outside_the_support():
    flow = Flow(StandardNormal(), [bij.Affine(), bij.Exp()], 2)
    rows = torch.rand(50, 2) + 0.1
    rows[[3, 9], 0] = -1.0
    with pytest.raises(ValueError, match=r"got a value outside \(0, inf\) of row 3, and 1 more such rows"):
        stepped(rows, flow=flow)


def test_rows_with_axes_of_their_own_are_named_by_their_place():
    with pytest.raises(ValueError, match=r"nan in column 1 of row \(0, 7\)"):
        stepped(spoiled(math.nan)[None])


def test_parameters_are_not_changed():
    flow = pf.MAF(2, transforms=1)
    optimizer = torch.optim.SGD(flow.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        try:
            stepped(spoiled(math.nan), flow=flow)
        except ValueError:
            break
        optimizer.step()
    assert all(torch.isfinite(p).all() for p in flow.parameters())


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda log_prob: -log_prob[torch.isfinite(log_prob)].mean(), id="rows that are left out"),
        pytest.param(lambda log_prob: -(log_prob * torch.isfinite(log_prob)).nan_to_num().mean(), id="rows without weight"),
    ],
)
def test_rows_that_a_loss_does_not_count_are_left_alone(loss):
    stepped(spoiled(math.nan), loss)


def test_gradients_of_rows_are_their_own_affair():
    """A chain that has left the numbers does not end those beside it."""
    flow, rows = pf.MAF(2, transforms=1), spoiled(math.nan).requires_grad_()
    (slope,) = torch.autograd.grad(flow.log_prob(rows).sum(), rows)
    assert torch.isnan(slope[7]).all()
    assert torch.isfinite(slope[[*range(7), *range(8, 50)]]).all()


def test_a_fit_of_whole_rows_says_nothing_of_parameters_that_fail():
    """There, a step whose loss is no number is skipped and counted."""
    flow = pf.MAF(2, transforms=1)
    with torch.no_grad():
        next(flow.parameters()).fill_(math.nan)
    stepped(torch.zeros(3, 2), flow=flow)
