"""Base distributions: every torch distribution that can be wrapped scores as torch does, moves, is saved, learns."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributions as td

import pushforward
import pushforward.bijectors as bij
from pushforward.core.spec import PlanError, Spec
from pushforward.distributions import DiagNormal, Flow, StandardNormal, Wrapped, wrap

L = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
COVARIANCE = L @ L.T
TWO, ONES = torch.tensor([0.5, -1.0]), torch.tensor([1.0, 2.0])

BASES = {
    "Normal": lambda: td.Normal(0.3, 2.0),
    "Normal, batch": lambda: td.Normal(TWO, ONES),
    "Normal, matrix": lambda: td.Normal(torch.zeros(3, 2), ONES),
    "Laplace": lambda: td.Laplace(TWO, ONES),
    "Cauchy": lambda: td.Cauchy(TWO, ONES),
    "StudentT": lambda: td.StudentT(torch.tensor([3.0, 5.0]), TWO, ONES),
    "Logistic by hand": lambda: td.Uniform(torch.tensor([-1.0, 0.0]), torch.tensor([2.0, 3.0])),
    "Uniform": lambda: td.Uniform(0.0, 1.0),
    "Exponential": lambda: td.Exponential(ONES),
    "Gamma": lambda: td.Gamma(ONES, torch.tensor([0.5, 3.0])),
    "Beta": lambda: td.Beta(torch.tensor([2.0, 1.5]), torch.tensor([3.0, 1.0])),
    "HalfNormal": lambda: td.HalfNormal(ONES),
    "HalfCauchy": lambda: td.HalfCauchy(ONES),
    "LogNormal": lambda: td.LogNormal(TWO, ONES),
    "Gumbel": lambda: td.Gumbel(TWO, ONES),
    "Weibull": lambda: td.Weibull(ONES, torch.tensor([1.5, 2.0])),
    "Pareto": lambda: td.Pareto(ONES, torch.tensor([3.0, 2.0])),
    "Chi2": lambda: td.Chi2(torch.tensor([3.0, 2.0])),
    "FisherSnedecor": lambda: td.FisherSnedecor(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 7.0])),
    "InverseGamma": lambda: td.InverseGamma(torch.tensor([3.0, 2.0]), ONES),
    "Kumaraswamy": lambda: td.Kumaraswamy(torch.tensor([3.0, 2.0]), ONES),
    "VonMises": lambda: td.VonMises(TWO, ONES),
    "Dirichlet": lambda: td.Dirichlet(torch.tensor([2.0, 3.0, 1.5])),
    "MultivariateNormal, scale_tril": lambda: td.MultivariateNormal(TWO, scale_tril=L),
    "MultivariateNormal, covariance": lambda: td.MultivariateNormal(TWO, COVARIANCE),
    "MultivariateNormal, precision": lambda: td.MultivariateNormal(TWO, precision_matrix=COVARIANCE),
    "MultivariateNormal, batch": lambda: td.MultivariateNormal(torch.zeros(3, 2), scale_tril=L),
    "LowRankMultivariateNormal": lambda: td.LowRankMultivariateNormal(TWO, torch.ones(2, 1), ONES),
    "mixture": lambda: td.MixtureSameFamily(td.Categorical(torch.tensor([0.2, 0.8])), td.Normal(TWO, ONES)),
    "mixture by logits": lambda: td.MixtureSameFamily(td.Categorical(logits=torch.tensor([0.2, 1.8])), td.Laplace(TWO, ONES)),
    "mixture of vectors": lambda: td.MixtureSameFamily(
        td.Categorical(torch.ones(3)), td.Independent(td.Normal(torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), ONES), 1)
    ),
    "Independent": lambda: td.Independent(td.Laplace(TWO, ONES), 1),
    "Independent twice": lambda: td.Independent(td.Independent(td.Normal(torch.zeros(3, 2), ONES), 1), 1),
    "Independent, two axes": lambda: td.Independent(td.Normal(torch.zeros(3, 2), ONES), 2),
    "Independent, batch": lambda: td.Independent(td.Normal(torch.zeros(3, 2), ONES), 1),
    "Independent of MultivariateNormal": lambda: td.Independent(td.MultivariateNormal(torch.zeros(3, 2), scale_tril=L), 1),
    "expanded": lambda: td.Normal(0.0, 1.0).expand((3,)),
}


def draw(base, shape=(50,)):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return base.sample(shape)


@pytest.mark.parametrize("name", BASES)
def test_scores_as_torch_does(name):
    base = BASES[name]()
    plan = wrap(base)
    module = plan.build()
    assert module.event_shape == tuple(base.event_shape)
    assert module.batch_shape == base.batch_shape
    assert module.has_rsample == base.has_rsample
    x = draw(base)
    assert torch.allclose(module.log_prob(x), base.log_prob(x), rtol=1e-6, atol=1e-6)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = module.rsample(torch.Size((50, *base.batch_shape)))
        torch.manual_seed(3)
        if "mixture" not in name:  # a mixture draws its choices and its values in another order when it is expanded
            assert torch.allclose(made, base.sample((50,)), rtol=1e-5, atol=1e-6)
    assert base.support.check(made).all()


@pytest.mark.parametrize("name", BASES)
def test_is_a_plan(name):
    plan = wrap(BASES[name]())
    assert Spec.from_json(plan.to_json()) == plan == wrap(BASES[name]())
    assert hash(Spec.from_json(plan.to_json())) == hash(plan)
    assert eval(repr(plan), {"Wrapped": Wrapped}) == plan
    module = plan.build()
    # float32 numbers come back to the last bit.
    other = Spec.from_json(plan.to_json()).build()
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True))
    assert module.state_dict()
    assert not list(module.parameters())


@pytest.mark.parametrize("name", BASES)
def test_moves_and_changes_precision(name):
    base = BASES[name]()
    x = draw(base)
    module = wrap(base).build()
    expected = module.log_prob(x)
    module.double()
    assert {t.dtype for t in module.state_dict().values() if t.is_floating_point()} == {torch.float64}
    result = module.log_prob(x.double())
    assert result.dtype == torch.float64
    assert torch.allclose(result, expected.double(), rtol=1e-4, atol=1e-4)
    assert module.rsample(torch.Size((2, *base.batch_shape))).dtype == torch.float64
    assert {t.device.type for t in module.to("meta").state_dict().values()} == {"meta"}
    assert {t.dtype for t in wrap(base).build().bfloat16().state_dict().values() if t.is_floating_point()} == {torch.bfloat16}


@pytest.mark.parametrize("name", BASES)
def test_is_saved_with_the_flow(name, tmp_path):
    base = BASES[name]()
    flow = Flow(base, [])
    x = draw(base)
    flow.save(tmp_path / "flow.safetensors")
    loaded = pushforward.load(tmp_path / "flow.safetensors")
    assert loaded.base.plan == flow.base.plan
    assert torch.equal(loaded.log_prob(x), flow.log_prob(x))
    assert loaded.batch_shape == flow.batch_shape


LEARNABLE = [name for name in BASES if name not in ("Logistic by hand", "Uniform")]


@pytest.mark.parametrize("name", LEARNABLE)
def test_learnable_ones_move_and_stay_inside(name):
    base = BASES[name]()
    module = wrap(base, learnable=True).build()
    x = draw(base, (200,))
    before = module.log_prob(x)
    assert torch.allclose(before, base.log_prob(x), rtol=1e-4, atol=1e-4)
    parameters = dict(module.named_parameters())
    assert parameters
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02)
    start = {key: value.detach().clone() for key, value in parameters.items()}
    for _ in range(3):
        optimizer.zero_grad()
        # Towards nothing in particular: the constraint holds all the same.
        (-module.log_prob(x).mean() + sum(p.sum() for p in parameters.values())).backward()
        optimizer.step()
    moved = [key for key, value in parameters.items() if not torch.equal(start[key], value)]
    assert moved == list(parameters)
    made = module.holder.distribution()
    for owner in {type(made): made}.values():
        for key, constraint in owner.arg_constraints.items():
            if key in vars(owner) and not td.constraints.is_dependent(constraint):
                assert constraint.check(getattr(owner, key)).all(), key
    assert Spec.from_json(module.plan.to_json()) == module.plan
    assert module.plan.learnable


def test_a_learnable_base_is_trained_with_its_flow(tmp_path):
    torch.manual_seed(0)
    flow = Flow(wrap(td.StudentT(4.0, 0.0, 1.0).expand((2,)), learnable=True), bij.Affine(), event_shape=2)
    assert {name.split(".")[-1] for name, _ in flow.base.named_parameters()} == {"df", "loc", "scale"}
    data = 3 + td.StudentT(3.0).sample((512, 2))
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = -flow.log_prob(data).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    flow.save(tmp_path / "flow.safetensors")
    assert torch.equal(pushforward.load(tmp_path / "flow.safetensors").log_prob(data), flow.log_prob(data))


def test_batches_become_events_where_the_flow_needs_them():
    base = td.Normal(torch.zeros(4, 3), torch.ones(4, 3))
    assert Flow(base, bij.Affine()).event_shape == ()
    assert Flow(base, bij.Affine()).batch_shape == (4, 3)
    coupled = Flow(base, bij.AffineCoupling())
    assert (coupled.event_shape, coupled.batch_shape) == ((3,), (4,))
    asked = Flow(base, bij.Affine(), event_shape=(4, 3))
    assert (asked.event_shape, asked.batch_shape) == ((4, 3), ())
    assert asked.log_prob(torch.zeros(4, 3)).item() == pytest.approx(-6 * math.log(2 * math.pi))
    assert Flow(td.Normal(0.0, 1.0), bij.Affine()).sample((3,)).shape == (3,)


def test_the_base_follows_the_flow():
    flow = Flow(td.Normal(TWO, ONES), bij.Affine()).double()
    assert {t.dtype for t in flow.base.state_dict().values()} == {torch.float64}
    assert flow.sample((3,)).dtype == torch.float64
    assert {name for name in flow.state_dict() if name.startswith("base.")} == {"base.holder.loc", "base.holder.scale"}
    double = Flow(td.Normal(TWO.double(), ONES.double()), bij.Affine())
    assert double.dtype == torch.float64
    x = torch.tensor([0.1, 0.2], dtype=torch.float64)
    assert torch.allclose(double.log_prob(x), td.Normal(TWO.double(), ONES.double()).log_prob(x))


def test_a_base_in_float64_keeps_its_digits(tmp_path):
    base = td.Normal(torch.tensor([1 / 3, 0.1], dtype=torch.float64), torch.tensor([0.7, 1.1], dtype=torch.float64))
    flow = Flow(base, bij.Affine())
    x = torch.tensor([0.25, 0.5], dtype=torch.float64)
    assert torch.allclose(flow.log_prob(x), base.log_prob(x), rtol=1e-14)
    flow.save(tmp_path / "flow.safetensors")
    assert torch.equal(pushforward.load(tmp_path / "flow.safetensors").log_prob(x), flow.log_prob(x))


def test_the_wrapped_distribution_is_not_touched():
    loc = torch.zeros(2, requires_grad=True)
    base = td.Normal(loc, 1.0)
    flow = Flow(base, bij.Affine())
    flow.double()
    assert base.loc.dtype == torch.float32
    assert base.loc is not flow.base.state_dict()["holder.loc"]
    flow.log_prob(torch.zeros(2, dtype=torch.float64)).sum().backward()
    assert loc.grad is None


def test_outside_its_support_the_density_is_zero():
    for base in (td.Exponential(1.0), td.Uniform(0.0, 1.0), td.Beta(2.0, 2.0), td.HalfNormal(1.0), td.Gamma(2.0, 1.0)):
        module = wrap(base).build()
        x = torch.tensor([-1.0, 0.5, math.nan])
        result = module.log_prob(x)
        assert result[0] == -math.inf
        assert torch.isfinite(result[1])
        assert torch.isnan(result[2])


def test_standard_normal():
    base = StandardNormal().build((2, 3))
    x = torch.randn(5, 2, 3)
    assert torch.allclose(base.log_prob(x), td.Normal(0.0, 1.0).log_prob(x).sum((-1, -2)), atol=1e-5)
    assert base.rsample(torch.Size((4,))).shape == (4, 2, 3)
    assert StandardNormal().build(()).log_prob(torch.tensor(0.0)) == pytest.approx(-0.9189385)


def test_diag_normal():
    base = DiagNormal().build((3,))
    x = torch.randn(5, 3)
    assert torch.allclose(base.log_prob(x), td.Normal(0.0, 1.0).log_prob(x).sum(-1), atol=1e-5)
    conditional = DiagNormal(net=bij.MLP((8,))).build((3,), (2,))
    assert conditional.facts.uses_context
    assert conditional.rsample(torch.Size((4, 6)), torch.randn(6, 2)).shape == (4, 6, 3)
    with pytest.raises(PlanError, match="expected a context for its net, got none; give context_shape, or leave out net"):
        DiagNormal(net=bij.MLP((8,))).build((3,))
    with pytest.raises(PlanError, match="expected bound > 0"):
        DiagNormal(bound=-1.0)
    with pytest.raises(PlanError, match=r"expected net to be a plan such as MLP\(\) or an nn.Module, got 3"):
        DiagNormal(net=3)


class Own(td.Normal):
    """A subclass of a user's own with behaviour that its arguments do not tell."""

    def log_prob(self, value):
        return super().log_prob(value) - 1


class Elsewhere(td.Normal):
    """A subclass that says something else than its parent, which no call of log_prob shows."""

    @property
    def mean(self):
        return self.loc + 1

    @property
    def support(self):
        return td.constraints.positive


class Shifted:
    """Behaviour to mix in."""

    def rsample(self, sample_shape=()):
        return super().rsample(sample_shape) + 1


class Mixed(Shifted, td.Normal):
    """A subclass whose behaviour comes from beside its parent."""


class Foreign(td.Distribution):
    """A distribution that torch does not know."""

    arg_constraints: dict = {}  # noqa: RUF012 (torch's interface)

    def __init__(self):
        super().__init__(validate_args=False)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (lambda: Foreign(), "base: expected a distribution of torch.distributions, or a Base plan, got Foreign"),
        (
            lambda: Own(0.0, 1.0),
            "got Own, whose own log_prob would be lost, since a plan keeps the name 'Normal'; write a Base plan for it",
        ),
        (lambda: Elsewhere(0.0, 1.0), "got Elsewhere, whose own mean, support would be lost"),
        (lambda: Mixed(0.0, 1.0), "got Mixed, whose own rsample would be lost"),
        (lambda: td.Independent(Own(TWO, ONES), 1), "got Own"),
        (
            lambda: td.TransformedDistribution(td.Normal(0.0, 1.0), [td.ExpTransform()]),
            "expected TransformedDistribution's transforms to be",
        ),
    ],
)
def test_what_cannot_be_wrapped_says_so(base, words):
    with pytest.raises(PlanError, match=words):
        wrap(base())


def test_a_subclass_that_changes_nothing_is_its_parent():
    class Same(td.Normal):
        has_rsample = True

        def __init__(self, scale):
            super().__init__(0.0, scale)

        def expand(self, batch_shape, _instance=None):
            return super().expand(batch_shape, self._get_checked_instance(Same, _instance))

        def of_its_own(self):
            return self.scale

    assert wrap(Same(2.0)) == wrap(td.Normal(0.0, 2.0))


@pytest.mark.parametrize("base", [td.Bernoulli(torch.tensor([0.5, 0.5])), td.Poisson(torch.ones(2)), td.Categorical(torch.ones(2))])
def test_discrete_ones_have_no_density(base):
    with pytest.raises(PlanError, match=r"expected values in \(-inf, inf\), got values in (Boolean|Integer)"):
        Flow(base, bij.Affine())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Wrapped("Nonsense"), "expected the name of a class of torch.distributions, got 'Nonsense'"),
        (lambda: Wrapped("kl_divergence"), "expected the name of a class of torch.distributions, got 'kl_divergence'"),
        (lambda: Wrapped("constraints"), "expected the name of a class of torch.distributions, got 'constraints'"),
        (lambda: Wrapped(3), "Wrapped: expected name to be a word, got 3"),
        (lambda: wrap(td.Normal(0.0, 1.0)).build((2,)), r"expected an event_shape that fits Normal of shape \(\), got \(2,\)"),
        (lambda: wrap(td.Normal(TWO, ONES)).build((3,)), r"expected an event_shape that fits Normal of shape \(2,\), got \(3,\)"),
        (lambda: wrap(td.MultivariateNormal(TWO, L @ L.T)).build((3,)), r"expected an event_shape that fits MultivariateNormal"),
    ],
)
def test_wrong_bases_are_refused(make, words):
    with pytest.raises(PlanError, match=words):
        make()


def test_a_generator_cannot_be_given_to_a_torch_base():
    flow = Flow(td.Normal(TWO, ONES), bij.Affine())
    with pytest.raises(ValueError, match=r"expected no generator, since torch.distributions draws from torch's global one only, got one"):
        flow.sample((2,), generator=torch.Generator())
