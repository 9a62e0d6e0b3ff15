"""FlowTorch's face: its names, its tutorial, its calls, and what is right here."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import pytest
import torch
from torch import nn

import pushforward
import pushforward.contrib.flowtorch.bijectors as bij
import pushforward.contrib.flowtorch.distributions as dist
import pushforward.contrib.flowtorch.parameters as params
from pushforward.bijectors import MLP
from pushforward.contrib.flowtorch import Lazy, utils
from pushforward.testing import randomize

ENTROPY = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.5))


def base(features=3):
    return torch.distributions.Independent(torch.distributions.Normal(torch.zeros(features), torch.ones(features)), 1)


def small(**more):
    return params.DenseAutoregressive(hidden_dims=(16, 16), **more)


def flow_of(plan, features=3, scale=0.3, **more):
    torch.manual_seed(1)
    flow = dist.Flow(base(features), plan, **more).double()
    randomize(flow, scale)
    return flow


def test_your_first_flow():
    torch.manual_seed(0)
    base_dist = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1)
    target_dist = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2) + 5, torch.ones(2) * 0.5), 1)

    # The tutorial's lines with a smaller network and larger steps; tests/test_founding.py takes its own 3001 steps.
    bijectors = bij.AffineAutoregressive(params.DenseAutoregressive(hidden_dims=(32, 32)))
    flow = dist.Flow(base_dist, bijectors)
    opt = torch.optim.Adam(flow.parameters(), lr=5e-2)
    for _ in range(400):
        opt.zero_grad()
        y = target_dist.sample((200,))
        loss = -flow.log_prob(y).mean()
        loss.backward()
        opt.step()

    with torch.no_grad():
        score = -flow.log_prob(target_dist.sample((100_000,))).mean().item()
    # No density scores below the entropy, which 100,000 rows measure to 0.003.
    assert ENTROPY - 0.01 < score < ENTROPY + 0.1
    sample = flow.sample((100_000,))
    assert (sample.mean(0) - 5).abs().max() < 0.2


NUMBERS = ("Affine", "Spline", "Spline, quadratic", "Compose of numbers", "Invert of numbers")
LEARNED = {
    "Affine": lambda: bij.Affine(),
    "Spline": lambda: bij.Spline(),
    "Spline, quadratic": lambda: bij.Spline(order="quadratic", count_bins=5, bound=4.0),
    "AffineAutoregressive": lambda: bij.AffineAutoregressive(small()),
    "SplineAutoregressive": lambda: bij.SplineAutoregressive(small(), order="quadratic"),
    "in an order": lambda: bij.AffineAutoregressive(small(permutation=torch.tensor([2, 0, 1]))),
    "Compose of numbers": lambda: bij.Compose([bij.Affine(), bij.LeakyReLU, bij.Invert(bij.Spline()), bij.AffineFixed(scale=-2.0)]),
    "Invert of numbers": lambda: bij.Invert(bij.Spline()),
    "Invert": lambda: bij.Invert(bij.AffineAutoregressive(small())),
    "Compose": lambda: bij.Compose([bij.AffineAutoregressive(small()), bij.Permute(), bij.Spline(), bij.AffineAutoregressive(small())]),
    "Invert in Compose": lambda: bij.Compose([bij.Affine(), bij.Invert(bij.SplineAutoregressive(small())), bij.AffineFixed(loc=1.0)]),
    "Compose, bounded": lambda: bij.Compose(
        [bij.AffineAutoregressive(small()), bij.LeakyReLU(), bij.AffineAutoregressive(small()), bij.Tanh]
    ),
}


@pytest.mark.parametrize("name", LEARNED)
def test_density_is_that_of_the_change_of_variables(name):
    flow = flow_of(LEARNED[name]())
    torch.manual_seed(2)
    y = flow.sample((5,))
    assert type(y) is torch.Tensor
    x = flow.normalize(y)
    jacobian = torch.stack([torch.autograd.functional.jacobian(flow.rnormalize, row) for row in y])
    expected = flow.base_dist.log_prob(x) + torch.linalg.slogdet(jacobian).logabsdet
    assert (flow.log_prob(y) - expected).abs().max() < 1e-10
    # The bijector's own calls: both ways, and a log-determinant a row.
    assert isinstance(flow.bijector, bij.Bijector)
    assert (flow.bijector.forward(flow.bijector.inverse(y)) - y).abs().max() < 1e-9
    ladj = flow.bijector.log_abs_det_jacobian(x, y)
    alone = name in NUMBERS
    assert flow.bijector.domain.event_dim == flow.bijector.codomain.event_dim == (0 if alone else 1)
    assert ladj.shape == ((5, 3) if alone else (5,))
    assert ((ladj.sum(-1) if alone else ladj) + torch.linalg.slogdet(jacobian).logabsdet).abs().max() < 1e-10
    assert (flow.bijector(x).log_detJ - ladj).abs().max() < 1e-10
    assert (flow.bijector.inverse(y).log_detJ - ladj).abs().max() < 1e-10
    # A row alone is scored as in the batch, which FlowTorch's Invert and Compose do not hold.
    assert (flow.log_prob(y[:1]) - flow.log_prob(y)[:1]).abs().max() < 1e-12


def test_invert_is_the_inverse_with_the_other_sign():
    plan = bij.AffineAutoregressive(small(), shape=torch.Size([3])).double()
    randomize(plan, 0.3)
    turned = bij.Invert(bij.AffineAutoregressive(small()), shape=(3,)).double()
    turned.load_state_dict({f"module.{k}": v for k, v in plan.state_dict().items()})
    x = torch.randn(7, 3, dtype=torch.float64)
    y = plan(x)
    assert (turned(y) - x).abs().max() < 1e-10
    assert (turned.log_abs_det_jacobian(y, x) + plan.log_abs_det_jacobian(x, y)).abs().max() < 1e-10
    assert plan.log_abs_det_jacobian(x, y).abs().min() > 1e-3


@pytest.mark.parametrize("turn", [False, True])
def test_conditioning_works(turn):
    plan = bij.AffineAutoregressive(small(), context_shape=torch.Size([2]))
    assert isinstance(plan, Lazy)
    flow = flow_of(bij.Compose([bij.Affine(), bij.Invert(plan) if turn else plan]))
    assert flow.context_shape == (2,)
    context = torch.randn(7, 2, dtype=torch.float64)
    given = flow.condition(context)
    y = given.sample((4,))
    assert y.shape == (4, 7, 3)
    assert (given.log_prob(y) - flow.log_prob(y, context)).abs().max() == 0
    assert (flow.normalize(y, context) - flow.normalize(y, context + 1)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="expected a context"):
        flow.log_prob(y)  # the flow itself is as it was

    free = flow_of(bij.Affine(MLP((8,)), context_shape=(2,)))
    assert (free.log_prob(y, context) - free.log_prob(y, context + 1)).abs().max() > 1e-3
    told = dist.Flow(base(), bij.Spline(nn.Linear(2, 3 * 31)), context_shape=2)
    assert told.log_prob(torch.zeros(5, 3), torch.zeros(5, 2)).shape == (5,)


def test_an_unconditional_layer_beside_a_context():
    with pytest.raises(pushforward.PlanError, match="uses the context"):
        dist.Flow(base(), bij.Affine(), context_shape=2)


def test_a_name_without_brackets_is_a_plan():
    assert dist.Flow(base(), bij.AffineAutoregressive).plan == bij.AffineAutoregressive()
    assert bij.Compose([bij.Exp, bij.Affine()]) == bij.Compose([bij.Exp(), bij.Affine])
    assert bij.Invert(bij.Exp) == bij.Exp().inv


def test_an_order_that_is_left_open_differs_from_layer_to_layer():
    layers = [bij.AffineAutoregressive(small()) for _ in range(4)]
    flow = flow_of(bij.Compose(layers), features=4)
    last = set()
    for part in flow.transform.layers:
        x = torch.randn(4, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda v, part=part: part(v)[0], x)
        last.add(int((jacobian.abs() > 1e-12).sum(1).argmax()))  # what depends on all
    assert len(last) > 1
    permutes = bij.Compose([bij.Permute(), bij.Permute()]).build(6)
    first, second = (layer(torch.arange(6.0))[0].tolist() for layer in permutes.layers)
    assert first != second
    assert sorted(first) == list(range(6))


def test_permute_acts_on_the_last_axis_and_is_saved(tmp_path):
    x = torch.arange(6.0).reshape(2, 3)
    built = bij.Permute(permutation=torch.tensor([2, 0, 1]), shape=(2, 3))
    assert torch.equal(built(x), x[:, [2, 0, 1]])
    assert torch.equal(built.inverse(built(x)), x)
    flow = dist.Flow(base(5), bij.Compose([bij.Permute(), bij.AffineAutoregressive(small())]))
    flow.save(tmp_path / "flow.safetensors")
    y = torch.randn(9, 5)
    assert torch.equal(pushforward.load(tmp_path / "flow.safetensors").log_prob(y), flow.log_prob(y))
    assert torch.equal(copy.deepcopy(flow).log_prob(y), flow.log_prob(y))


def test_fixed_bijectors_have_flowtorchs_values():
    x = torch.tensor([0.3, 2.0])
    expected = {
        bij.AffineFixed(loc=1.0, scale=-2.0, shape=2): 1 - 2 * x,
        bij.ELU(shape=2): x,
        bij.Exp(shape=2): x.exp(),
        bij.LeakyReLU(shape=2): x,
        bij.Power(shape=2): x**2,
        bij.Power(exponent=-0.5, shape=2): x**-0.5,
        bij.Sigmoid(shape=2): x.sigmoid(),
        bij.Softplus(shape=2): nn.functional.softplus(x),
        bij.Tanh(shape=2): x.tanh(),
    }
    for built, y in expected.items():
        assert torch.allclose(built(x), y)
        truth = torch.autograd.functional.jacobian(built.module.plan.build(2), x)[0].diagonal().abs().log()
        assert torch.allclose(built.log_abs_det_jacobian(x, y), truth, atol=1e-6)
        assert torch.allclose(built(x).log_detJ, truth, atol=1e-6)
        assert torch.allclose(built.inverse(y), x, atol=1e-6)
    assert bij.Power(shape=2).domain == torch.distributions.constraints.positive
    assert torch.allclose(bij.LeakyReLU(shape=2)(-x), -0.01 * x)


def test_defaults_are_flowtorchs():
    spline = bij.SplineAutoregressive().plan
    assert (spline.kernel.bins, spline.kernel.bound, spline.kernel.order) == (8, 3.0, "linear")
    assert spline.net == MLP((256, 256))
    # A masked network of 2 -> 256 -> 256 -> 4, as in the tutorial.
    flow = dist.Flow(base(2), bij.AffineAutoregressive())
    assert sum(p.numel() for p in flow.parameters()) == 67_588
    # All the scales between FlowTorch's clips are there.
    built = bij.Affine(shape=1)
    built.module.parameters_of.offset.data.fill_(1e6)
    assert built.log_abs_det_jacobian(torch.zeros(1), None).item() == pytest.approx(5.0, abs=1e-4)
    # A base that is not Independent: scalar events, one pair of parameters.
    scalar = dist.Flow(torch.distributions.Normal(torch.zeros(3), 1.0), bij.Affine())
    assert scalar.event_shape == ()
    assert scalar.log_prob(torch.zeros(5, 3)).shape == (5, 3)


def test_base_moves_with_the_flow():
    flow = dist.Flow(base(), bij.Affine()).double()
    assert flow.sample((2,)).dtype == torch.float64
    assert flow.base_dist.log_prob(torch.zeros(3, dtype=torch.float64)).dtype == torch.float64
    assert isinstance(flow.base_dist, torch.distributions.Independent)


def test_neals_funnel():
    torch.manual_seed(0)
    funnel = dist.NealsFunnel()
    assert [tuple(funnel.sample(shape).shape) for shape in ((), (3,), (3, 4))] == [(2,), (3, 2), (3, 4, 2)]
    value = torch.tensor([[0.5, -1.0], [2.0, 3.0]])
    normal = torch.distributions.Normal
    expected = normal(0.0, 3.0).log_prob(value[:, 1]) + normal(0.0, torch.exp(value[:, 1] / 2)).log_prob(value[:, 0])
    assert torch.allclose(funnel.log_prob(value), expected)
    y = funnel.rsample((20_000,))[:, 1]
    assert abs(y.std().item() - 3) < 4 * 3 / math.sqrt(2 * 20_000)


WRONG = {
    "skip_connections": lambda: params.DenseAutoregressive(skip_connections=True),
    "nonlinearity": lambda: params.DenseAutoregressive(nonlinearity=nn.Hardtanh),
    "every index": lambda: bij.AffineAutoregressive(small(permutation=[0, 0, 1])),
    "expected 3 features": lambda: dist.Flow(base(4), bij.AffineAutoregressive(small(permutation=[0, 2, 1]))),
    "expected 2 features": lambda: dist.Flow(base(5), bij.Permute(permutation=[1, 0])),
    "log_scale_min_clip": lambda: bij.Affine(log_scale_min_clip=3.0, log_scale_max_clip=-5.0),
    "masked net": lambda: bij.AffineAutoregressive(params.Tensor()),
    "order of the features": lambda: bij.Spline(small(permutation=[0, 1])),
    "params_fn to be": lambda: bij.Affine("Tensor"),
    "no parameters": lambda: bij.Exp(params.Tensor()),
    "order to be": lambda: bij.Spline(order="cubic"),
    "at least one bijector": lambda: bij.Compose([]),
    "a list of at least one": lambda: bij.Compose(bij.Exp),
    "expected params_fn to be Tensor": lambda: bij.Spline(small),
    "the context_shape": lambda: pushforward.Flow(base(), bij.Affine(MLP((8,)), context_shape=2)),
    "log_scale_min_clip to be a number": lambda: bij.Affine(log_scale_min_clip="a"),
    "leave out shape": lambda: bij.Invert(bij.Exp(shape=2)),
    "takes plans, too": lambda: dist.Flow(pushforward.distributions.StandardNormal(), bij.Affine()),
    "expected a bijector, got 3": lambda: dist.Flow(base(), 3),
    "one context_shape": lambda: bij.Compose([bij.Affine(context_shape=2), bij.Affine(context_shape=3)]),
    "at least 1 axes": lambda: dist.Flow(torch.distributions.Normal(0.0, 1.0), bij.AffineAutoregressive()),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said(words):
    with pytest.raises(pushforward.PlanError, match=words):
        WRONG[words]()


@pytest.mark.parametrize(("name", "function"), bij.standard_bijectors)
def test_every_standard_bijector_is_a_plan_and_builds(name, function):
    assert getattr(bij, name) is function
    assert isinstance(function(), Lazy)
    assert isinstance(function(), pushforward.Bijector)
    assert issubclass(function, bij.Bijector)
    built = function(shape=torch.Size([4]))
    assert type(built) is type(function()(shape=4)) is function
    assert built.domain.event_dim == function.domain.event_dim
    assert built.codomain.event_dim == function.codomain.event_dim
    assert built.forward_shape([4]) == built.inverse_shape([4]) == (4,)
    x = torch.linspace(0.1, 0.9, 8).reshape(2, 4)
    assert (built.inverse(built(x)) - x).abs().max() < 1e-5


def test_all_names_are_there():
    assert set(bij.__all__) >= {name for name, _ in itertools.chain(bij.standard_bijectors, bij.meta_bijectors)}
    assert all(hasattr(bij, name) for name in bij.__all__)


def test_a_name_takes_its_arguments_in_any_number_of_calls():
    lazy = bij.AffineAutoregressive(small())
    for built in (lazy(shape=torch.Size([3])), bij.AffineAutoregressive(small(), shape=3), bij.AffineAutoregressive()(small(), shape=(3,))):
        assert isinstance(built, bij.AffineAutoregressive)
        assert built(torch.zeros(5, 3)).shape == (5, 3)
    late = bij.Affine(MLP((8,)))(context_shape=2)
    assert late.context_shape == (2,)
    assert late(shape=3)(torch.zeros(5, 3), torch.zeros(5, 2)).shape == (5, 3)
    for again in (copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy))):
        assert again == lazy
        assert again.plan == lazy.plan == pushforward.core.spec.Spec.from_json(lazy.to_json())
        assert hash(again) == hash(lazy)
    assert lazy != bij.AffineAutoregressive()
    assert repr(late).endswith("context_shape=(2,))")
    assert lazy.replace(order=[2, 0, 1]).order == (2, 0, 1)
    wrong = {
        "expected each argument once, got context_shape again": lambda: late(context_shape=3),
        "got an unexpected keyword argument 'bins'; its arguments are params_fn, shape, context_shape, count_bins": lambda: bij.Spline(
            bins=3
        ),
        "values for a name; give the shape": lambda: bij.Affine()(torch.zeros(5, 3)),
        "too many positional": lambda: lazy(small()),
        "expected a name that has a plan": lambda: bij.Fixed(),
        "Elementwise: expected a name that has a plan": lambda: bij.Elementwise(shape=3),
    }
    for words, call in wrong.items():
        with pytest.raises(TypeError, match=words):
            call()


def test_a_lazy_bijector_stands_for_its_plan_in_all_of_the_library(tmp_path):
    base_dist = base()
    plans = [bij.AffineAutoregressive(small()), pushforward.bijectors.Compose([bij.Affine(), bij.Exp()]), bij.Spline().inv]
    for plan in (*plans, [bij.Affine(), bij.Permute(permutation=[2, 0, 1])]):
        flow = pushforward.Flow(base_dist, plan)
        value = flow.sample((4,))
        flow.save(tmp_path / "flow.safetensors")
        loaded = pushforward.load(tmp_path / "flow.safetensors")
        assert torch.equal(loaded.log_prob(value), flow.log_prob(value))
        assert "Lazy" not in repr(loaded.plan)
    assert "Lazy" not in pushforward.core.spec.registry()
    given = pushforward.Flow(base_dist, bij.Affine(MLP((8,)), context_shape=2), context_shape=2)
    assert given.log_prob(torch.zeros(5, 3), torch.zeros(5, 2)).shape == (5,)
    assert bij.Affine().describe(3)


@pytest.mark.parametrize("name", [name for name, _ in bij.standard_bijectors])
def test_a_log_determinant_has_the_axes_that_the_domain_leaves(name):
    """FlowTorch's users sum over what ``domain.event_dim`` leaves of an event, and over no more."""
    cls = getattr(bij, name)
    for shape in ((4,), (2, 3)):
        built = cls(shape=shape)
        x = torch.rand(5, *shape)
        y = built(x)
        left = len(shape) - built.domain.event_dim
        ladj = built.log_abs_det_jacobian(x, y)
        assert ladj.shape == y.log_detJ.shape == x.shape[: x.dim() - built.domain.event_dim]
        summed = ladj.flatten(ladj.dim() - left).sum(-1) if left else ladj
        torch.testing.assert_close(summed, built.module(x)[1], atol=1e-5, rtol=1e-5)
        assert built.domain.check(x).shape == ladj.shape
        outside = built.log_abs_det_jacobian(-x, y) if name == "Power" else None
        assert outside is None or bool(torch.isneginf(outside).all())


def test_a_value_knows_its_log_determinant_and_is_a_plain_tensor_to_all_else():
    built = bij.AffineAutoregressive(small(), shape=3)
    randomize(built, 0.3)
    x = torch.randn(5, 3, requires_grad=True)
    y = built(x)
    assert isinstance(y, torch.Tensor)
    assert type(y.detach_from_flow()) is type(y * 1) is type(y.detach()) is torch.Tensor
    assert torch.equal(y.detach_from_flow(), y)
    (y.sum() + y.log_detJ.sum()).backward()
    gradient = x.grad.clone()
    x.grad = None
    (built.module(x)[0].sum() + built.module(x)[1].sum()).backward()
    torch.testing.assert_close(gradient, x.grad)
    with torch.no_grad():
        kept = built(x)
    assert torch.equal(copy.deepcopy(kept).log_detJ, kept.log_detJ)
    assert torch.equal(pickle.loads(pickle.dumps(kept)).log_detJ, kept.log_detJ)
    rows = torch.func.vmap(built)(x.detach())  # where tensors are what torch makes them
    torch.testing.assert_close(rows, built(x.detach()).detach_from_flow())
    back = built.inverse(y)
    assert back is not x
    torch.testing.assert_close(back.detach_from_flow(), x)


def test_parameters_say_where_they_come_from():
    built = bij.AffineAutoregressive(small(permutation=[2, 0, 1]), shape=3)
    held = built._params_fn
    assert held.permutation.tolist() == [2, 0, 1]
    assert {id(p) for p in held.parameters()} == {id(p) for p in built.parameters()}
    loc, log_scale = held(torch.zeros(5, 3))
    assert loc.shape == log_scale.shape == (5, 3)
    assert bij.AffineAutoregressive(shape=3)._params_fn.permutation.tolist() == [0, 1, 2]
    free = bij.Spline(shape=3)._params_fn
    assert not hasattr(free, "permutation")
    assert len(free()) == 4
    assert bij.Exp(shape=3)._params_fn is None
    assert bij.Compose([bij.Affine, bij.Exp], shape=3)._params_fn is None
    parts = bij.Compose([bij.Affine, bij.Exp], shape=3).bijectors
    assert [len(list(part.parameters())) for part in parts] == [1, 0]
    assert bij.Invert(bij.Affine, shape=3).bijector.module.plan == bij.Affine()


def test_switches_change_nothing_and_lists_tell_what_there_is():
    switches = bij.utils
    with switches.set_record_flow_graph(True), switches.set_requires_log_detJ(False):
        assert not switches.is_record_flow_graph_enabled()
        assert switches.requires_log_detJ()
    assert switches.set_record_flow_graph(False)(lambda x: x + 1)(1) == 2
    for found, module in ((utils.list_bijectors(), bij), (utils.list_parameters(), params), (utils.list_distributions(), dist)):
        assert {name for name, _ in found} == {name for name in module.__all__ if isinstance(getattr(module, name), type)}
        assert all(getattr(module, name) is cls for name, cls in found)
    assert len(utils.list_bijectors()) == 20


@pytest.mark.parametrize("name", ["Affine", "AffineAutoregressive", "Compose", "Exp"])
def test_doors_of_a_built_bijector(name):
    arguments = ([bij.Affine, bij.Exp],) if name == "Compose" else ()
    built = getattr(bij, name)(*arguments, shape=3)
    assert built(torch.zeros(0, 3)).log_detJ.shape == ((0,) if name == "AffineAutoregressive" else (0, 3))
    for call in (built, built.inverse, lambda x: built.log_abs_det_jacobian(x, x)):
        with pytest.raises(ValueError, match=r"shape \(\*batch, 3\), got \(5, 1\)"):
            call(torch.zeros(5, 1))
        with pytest.raises(TypeError, match=r"got torch\.int64"):
            call(torch.zeros(5, 3, dtype=torch.int64))
        with pytest.raises(TypeError, match=r"to be a torch\.Tensor"):
            call([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="expected no context"):
        built(torch.zeros(5, 3), torch.zeros(5, 2))
    assert isinstance(built, copy.deepcopy(built).__class__)
    torch.testing.assert_close(pickle.loads(pickle.dumps(built))(torch.ones(3)) * 1, built(torch.ones(3)) * 1)
    assert getattr(bij, name) is type(dist.Flow(base(), getattr(bij, name)(*arguments)).bijector)
