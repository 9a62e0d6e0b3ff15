"""The description of a flow: its memory figure against the allocator's own record, and how its parts add up."""

from __future__ import annotations

import pytest
import torch
from memory import peak

import pushforward.bijectors as bij
from pushforward.bases.mixture import Mixture, Pushforward
from pushforward.bases.product import Product
from pushforward.core.spec import PlanError
from pushforward.distributions import DiagNormal, Flow, StandardNormal
from pushforward.flows import IAF, MAF, NSF, RealNVP
from pushforward.native.library import LIBRARY


def measured_peak(flow, batch):
    """Return the most bytes that the CPU allocator has handed out at once in one training step, beside what is held before it."""
    context = None if flow.context_shape is None else torch.randn(batch, *flow.context_shape)
    y = flow.sample(() if context is not None else (batch,), context)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad()
        loss = -flow.log_prob(y, context).mean()
        loss.backward()
        optimizer.step()

    step()  # Adam makes its moments at its first step
    optimizer.zero_grad()
    state = [value for entry in optimizer.state.values() for value in entry.values() if torch.is_tensor(value)]
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in [*flow.parameters(), *flow.buffers(), *state, y]}
    if context is not None:
        held[context.untyped_storage().data_ptr()] = context.untyped_storage().nbytes()
    return peak(step, sum(held.values()))


MEMORY = {
    "NSF": lambda features: NSF(features, transforms=2),
    "NSF, autoregressive": lambda features: NSF(features, structure="autoregressive", transforms=2),
    "NSF, linear order": lambda features: NSF(features, order="linear", transforms=1),
    "MAF": lambda features: MAF(features),
    "IAF": lambda features: IAF(features, transforms=1),
    "RealNVP given a context": lambda features: RealNVP(features, 3),
}
FURTHER = {
    "many parameters, few rows": (lambda: MAF(8, transforms=2, widths=(512, 512)), 16),
    "unmasked, few rows": (lambda: NSF(8, transforms=1, widths=(512, 512)), 16),
    "free spline": (lambda: Flow(StandardNormal(), bij.Spline(bins=32), 3), 1024),
    "free spline, linear order": (lambda: Flow(StandardNormal(), bij.Spline(order="linear"), 1), 1024),
    "learned base": (lambda: Flow(DiagNormal(), bij.AffineCoupling(), 6), 512),
    "torch base": (lambda: Flow(torch.distributions.MultivariateNormal(torch.zeros(4), torch.eye(4)), bij.AffineCoupling()), 512),
    "bounded": (lambda: Flow(StandardNormal(), [bij.SplineCoupling(), bij.Sigmoid()], 3), 512),
    "matrices": (lambda: Flow(StandardNormal(), bij.Linear(), (3, 32)), 64),
    "a net of one's own": (lambda: Flow(StandardNormal(), bij.AffineCoupling(net=torch.nn.Linear(2, 6)), 5), 512),
}


@pytest.mark.parametrize("batch", [256, 2048])
@pytest.mark.parametrize("features", [2, 16])
@pytest.mark.parametrize("name", MEMORY)
def test_memory_is_within_a_quarter_of_what_is_measured(name, features, batch):
    flow = MEMORY[name](features)
    assert flow.describe(batch=batch).training_bytes == pytest.approx(measured_peak(flow, batch), rel=0.25)


@pytest.mark.parametrize("name", FURTHER)
def test_memory_where_other_things_dominate(name):
    make, batch = FURTHER[name]
    flow = make()
    assert flow.describe(batch=batch).training_bytes == pytest.approx(measured_peak(flow, batch), rel=0.25)


@pytest.mark.parametrize("name", MEMORY)
def test_layers_add_up(name):
    flow = MEMORY[name](4)
    plans = flow.plan.bijectors
    twice = Flow(StandardNormal(), [*plans, *plans], 4, flow.context_shape).describe(batch=512)
    once = flow.describe(batch=512)
    held = [sum(layer.training_bytes for layer in description.layers) for description in (once, twice)]
    # The rest belongs to no layer: data, the loss, and what the backward pass needs for a moment. It is there once, however deep the flow.
    assert twice.training_bytes - once.training_bytes == pytest.approx(held[1] - held[0], rel=0.15)
    for description, of_layers in zip((once, twice), held, strict=True):
        total = description.training_bytes
        assert of_layers <= 1.1 * total
        assert all(0 <= layer.training_bytes <= total for layer in description.layers)
        assert sum(layer.parameters for layer in description.layers) == description.parameters


def test_compiled_steps_hold_no_activations():
    # Networks large enough to be operators of torch where they are called as a whole.
    flows = {"MAF": MAF(4, transforms=1, widths=(128, 128)), "IAF": IAF(4, transforms=1, widths=(128, 128))}
    held = {name: flow.describe(batch=4096).layers[0].training_bytes for name, flow in flows.items()}
    of_a_layer = 4096 * 128 * 4  # the network has two hidden ones
    assert held["MAF"] > 2 * of_a_layer
    # Where nothing was compiled the steps are operators, each of which keeps its own.
    assert (held["IAF"] < of_a_layer) == (LIBRARY.handle is not None)


def test_memory_grows_with_the_batch_and_the_precision():
    flow = NSF(3, transforms=1)
    small, large = (flow.describe(batch=batch).training_bytes for batch in (1000, 10_000))
    assert 5 < large / small < 10
    assert 1.8 < MAF(3).double().describe().training_bytes / MAF(3).describe().training_bytes <= 2.0


def test_a_plan_describes_itself():
    plan = bij.Compose([bij.AffineCoupling(net=bij.MLP((8,))), bij.Reverse(), bij.Elementwise(bij.Spline(), net=bij.MLP((8,)))])
    description = plan.describe(event_shape=(4,), context_shape=(2,), batch=100)
    assert description.batch == 100
    assert [layer.name for layer in description.layers] == [repr(part) for part in plan.bijectors]
    assert [layer.depends_on for layer in description.layers] == ["features 0-1 and the context", "nothing", "the context"]
    networks = ["MLP (2 + 2 context) → 8 → 4, relu", "none", "MLP 2 context → 8 → 92, relu"]
    assert [layer.network for layer in description.layers] == networks
    assert description.layers[1].parameters == 0
    assert description.parameters == sum(p.numel() for p in plan.build(4, 2).parameters())
    assert bij.Affine().describe(3).layers[0].shape_in == (3,)
    with pytest.raises(PlanError, match="expected a context for its net"):
        plan.describe(4)
    with pytest.raises(PlanError, match="expected an event of at least 1 axes"):
        plan.describe((), 2)


@pytest.mark.parametrize("batch", [0, -5, 2.5, "many", None, True])
def test_batch_must_be_a_whole_number(batch):
    with pytest.raises(ValueError, match="expected batch to be a whole number of at least 1, got"):
        NSF(2, transforms=1).describe(batch=batch)


def test_describing_changes_nothing():
    flow = RealNVP(3, 2, transforms=1)
    state = {name: value.clone() for name, value in flow.state_dict().items()}
    random_state = torch.get_rng_state()
    description = flow.describe()
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(state[name], value) for name, value in flow.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in flow.parameters())
    with torch.no_grad():
        assert flow.describe() == description
    assert flow.describe() == description
    assert flow.eval().describe() == description


def test_frozen_parameters_take_no_moments():
    flow = MAF(4, widths=(64, 64))
    free = flow.describe(batch=8).training_bytes
    for parameter in flow.transform.layers[0].parameters():
        parameter.requires_grad_(False)
    assert flow.describe(batch=8).training_bytes < free
    flow.requires_grad_(False)
    assert flow.describe(batch=8).training_bytes < free / 2


def test_a_step_holds_gradients_and_both_moments_of_adam():
    flow = RealNVP(4, transforms=1, widths=(64,) * 6)
    weights = 4 * sum(p.numel() for p in flow.parameters())
    assert flow.describe(batch=1).training_bytes - flow.requires_grad_(False).describe(batch=1).training_bytes >= 3 * weights


@pytest.mark.parametrize("plan", [bij.Residual((8,)), bij.BlockAutoregressive((3,)), bij.Autoregressive(bij.Affine(), net=bij.MLP((8,)))])
def test_the_costs_of_an_inverse_are_those_of_the_layer_the_other_way_round(plan):
    layer, turned = plan.build(3), plan.inv.build(3)
    layer, turned = layer.facts, turned.facts
    assert (turned.evaluations, turned.depth) == (layer.evaluations[::-1], layer.depth[::-1]) != (layer.evaluations, layer.depth)


def test_a_flow_without_parameters():
    description = Flow(StandardNormal(), [bij.Reverse(), bij.Exp()], 2).describe(batch=10)
    assert description.parameters == 0
    assert description.training_bytes > 0


def test_a_mixture_lists_its_components():
    whole = Pushforward(StandardNormal(), [bij.Affine(), bij.SplineCoupling(net=bij.MLP((8,)))])
    nested = Pushforward(Mixture([whole, DiagNormal()]), bij.Reverse())
    flow = Flow(Mixture([nested, DiagNormal()], net=bij.MLP((4,))), bij.Affine(), 2, 1)
    description = flow.describe(batch=64)
    first, second = description.components
    assert [layer.name for layer in description.layers] == ["Affine()"]
    assert [layer.name for layer in first.layers] == ["Reverse()"]
    assert [layer.name for layer in first.components[0].layers] == [repr(plan) for plan in whole.bijector]
    assert (second.layers, second.components, second.parameters) == ((), (), 4)
    assert second.title == "component 1 of 2, from DiagNormal()"
    # The weights' own are of no component.
    weights = sum(p.numel() for p in flow.base.parameters_of.parameters())
    assert description.parameters == sum(p.numel() for p in flow.parameters())
    assert description.parameters == first.parameters + second.parameters + description.layers[0].parameters + weights
    assert 0 < second.training_bytes < first.training_bytes < description.training_bytes
    text = str(description)
    assert all(text.count(f"  {plan!r}") == 1 for plan in (whole.bijector[1], bij.Reverse()))
    assert "component 0 of 2, from Mixture" in text
    # All components are drawn, and all are scored: Affine twice, the coupling and Reverse.
    assert "4 evaluations to sample, 4 to score" in text


def test_a_flow_whose_base_is_a_flow_lists_the_layers_of_both():
    flow = Flow(Pushforward(Pushforward(StandardNormal(), bij.Affine()), bij.Reverse()), bij.Exp(), 2)
    assert [layer.name for layer in flow.describe().layers] == ["Affine()", "Reverse()", "Exp()"]
    blocks = Flow(Product([Pushforward(StandardNormal(), bij.Affine()), DiagNormal()], [1, 1]), bij.Reverse(), 2).describe()
    assert [len(part.layers) for part in blocks.components] == [1, 0]
    assert blocks.parameters == sum(part.parameters for part in blocks.components) == 4
