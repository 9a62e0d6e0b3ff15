"""Columns in which a few values are far out: what is measured of them, when, and what a fit makes of them."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

import pushforward as pf
from pushforward.bijectors import Compose, Exp, NormalScores, Standardize
from pushforward.distributions import Flow, StandardNormal
from pushforward.kernels.pareto import fit_pareto
from pushforward.layers.normal_scores import far_out


def normal(count, generator):
    return torch.randn(count, generator=generator, dtype=torch.float64)


def uniform(count, generator):
    return torch.rand(count, generator=generator, dtype=torch.float64)


def planted(value):
    def column(count, generator):
        x = normal(count, generator)
        x[count // 2] = value
        return x

    return column


LIGHT = {
    "normal": normal,
    "uniform": uniform,
    "exponential": lambda n, g: -torch.log(uniform(n, g)),
    "two humps": lambda n, g: 0.3 * normal(n, g) + 4 * (uniform(n, g) < 0.5),
    "unequal humps": lambda n, g: 0.3 * normal(n, g) + 4 * (uniform(n, g) < 0.2),
    "arcsine": lambda n, g: torch.sin(math.pi * (uniform(n, g) - 0.5)),
}
HEAVY = {
    "Cauchy": lambda n, g: torch.tan(math.pi * (uniform(n, g) - 0.5)),
    "lognormal": lambda n, g: torch.exp(3 * normal(n, g)),
    "Pareto": lambda n, g: 1 / uniform(n, g),
    "one row": planted(1e6),
    "a row in a hundred": lambda n, g: normal(n, g) * torch.where(torch.arange(n) % 100 == 0, 50.0, 1.0),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", LIGHT)
def test_light_columns_are_left_as_they_are(name):
    found = [bool(far_out(LIGHT[name](count, seeded(seed))[:, None])) for count in (200, 2000) for seed in range(100)]
    assert sum(found) <= 3  # a sample of a light column may have a far value
    layer, rows = NormalScores().build(1).double(), LIGHT[name](2000, seeded(0))[:, None]
    layer.calibrate(rows)
    x, ladj = layer.inverse(rows)
    assert torch.equal(x, rows)
    assert torch.equal(ladj, torch.zeros(2000, dtype=torch.float64))


@pytest.mark.parametrize("count", [100, 2000, 20_000])
@pytest.mark.parametrize("name", HEAVY)
def test_heavy_columns_become_nearly_normal(name, count):
    """The distance to the normal distribution function is below what two bins' worth of rows may differ by chance, and no value is far."""
    layer, rows = NormalScores().build(1).double(), HEAVY[name](count, seeded(1))[:, None]
    layer.calibrate(rows)
    x = layer.inverse(rows)[0].squeeze(-1)
    assert bool(layer.bent)
    assert scipy.stats.kstest(x, "norm").statistic < 0.02 + 1 / math.sqrt(count)
    assert x.abs().max() < 12


def test_only_the_columns_that_need_it_are_bent():
    columns = torch.stack([LIGHT["normal"](500, seeded(0)), HEAVY["Cauchy"](500, seeded(1)), LIGHT["uniform"](500, seeded(2))], 1)
    layer = NormalScores().build(3).double()
    layer.calibrate(columns)
    assert layer.bent.tolist() == [False, True, False]
    x, ladj = layer.inverse(columns)
    assert torch.equal(x[:, [0, 2]], columns[:, [0, 2]])
    alone = NormalScores().build(1).double()
    alone.calibrate(columns[:, 1:2])
    # Torch may round a column alone otherwise than beside others: some twenty operations, each by 1.1e-16 of numbers of at most 10.
    assert torch.allclose(alone.inverse(columns[:, 1:2])[0], x[:, 1:2], rtol=0.0, atol=20 * 1.2e-15)
    assert torch.allclose(alone.inverse(columns[:, 1:2])[1], ladj, rtol=0.0, atol=20 * 1.2e-15)


def test_what_is_measured_anew_forgets_what_was():
    layer, heavy, light = (
        NormalScores().build(1).double(),
        HEAVY["Cauchy"](500, seeded(0))[:, None],
        LIGHT["normal"](500, seeded(0))[:, None],
    )
    layer.calibrate(heavy)
    layer.calibrate(light)
    assert torch.equal(layer.inverse(heavy)[0], heavy)


@pytest.mark.parametrize(
    ("column", "bent"),
    [
        pytest.param(lambda n, g: torch.where(uniform(n, g) < 0.7, 0.0, HEAVY["lognormal"](n, g)), True, id="seven in ten are zero"),
        pytest.param(lambda n, g: torch.where(uniform(n, g) < 0.96, 0.0, HEAVY["lognormal"](n, g)), False, id="nearly all are zero"),
        pytest.param(lambda n, g: torch.floor(HEAVY["lognormal"](n, g)), True, id="counts"),
        pytest.param(lambda n, g: 1e6 + 1e-2 * HEAVY["Cauchy"](n, g).clamp(-9, 9), None, id="an offset that leaves float32 few digits"),
    ],
)
def test_values_that_many_rows_share(column, bent):
    """Quantiles that are equal make no bin without a height: values and log-determinants stay finite, both ways."""
    rows = column(1000, seeded(3))[:, None].float()
    layer = NormalScores().build(1)
    layer.calibrate(rows)
    assert bent is None or bool(layer.bent) == bent
    x, ladj = layer.inverse(rows)
    assert torch.isfinite(x).all()
    assert torch.isfinite(ladj).all()
    back, forward = layer(x)
    assert torch.allclose(back, rows, rtol=1e-4, atol=1e-4 * (rows.quantile(0.95) - rows.quantile(0.05)).item())
    assert torch.isfinite(forward).all()


@pytest.mark.parametrize("shape", [0.0, 0.3, 1.0])
def test_the_tail_is_the_most_likely_one(shape):
    rows = torch.from_numpy(scipy.stats.genpareto.rvs(shape, scale=2.0, size=500, random_state=0))
    found, scale = fit_pareto(rows)
    ours = scipy.stats.genpareto.logpdf(rows, found, scale=scale).sum()
    theirs, _, wide = scipy.stats.genpareto.fit(rows, floc=0)
    # Theirs may also be below 0, where values have a largest one; ours is the best that is not.
    best = (
        scipy.stats.genpareto.logpdf(rows, theirs, scale=wide).sum()
        if theirs > 0
        else scipy.stats.expon.logpdf(rows, scale=rows.mean()).sum()
    )
    assert ours >= best - 0.01
    assert abs(found - shape) < 0.15  # two and a half standard deviations, 1.5 / sqrt(500) at the most


def test_the_layer_cannot_be_measured_turned_round():
    with pytest.raises(ValueError, match=r"expected values of the data side to measure, got the layer inverted"):
        NormalScores().inv.build(2).calibrate(torch.randn(50, 2))


@pytest.mark.parametrize("rows", [torch.zeros(0, 2), torch.full((9, 2), math.nan)], ids=["none", "NaN"])
def test_rows_that_cannot_be_measured(rows):
    with pytest.raises(ValueError, match="NormalScores: expected finite rows to measure"):
        NormalScores().build(2).calibrate(rows)


# In a flow


def fitted(rows, context=None, **options):
    torch.manual_seed(0)
    flow = pf.NSF(1, transforms=1, context=0 if context is None else context.shape[1])
    return flow, pf.fit(flow, rows, context, progress=False, **{"epochs": 30, **options})


@pytest.mark.fits
@pytest.mark.parametrize("value", [1e2, 1e4, 1e6, 1e9, -1e9])
def test_one_row_far_out_costs_the_others_nothing(value):
    """The rest is normal, so that a flow which is not squeezed by the one row scores 1.419; squeezed it scored 1.5 to 11.7."""
    rows = planted(value)(2000, seeded(0))[:, None]
    flow, _ = fitted(rows)
    assert NormalScores() in flow.plan.bijectors
    clean = LIGHT["normal"](20_000, seeded(1))[:, None].float()
    assert -flow.log_prob(clean).mean().item() < 1.48
    assert 0.9 < flow.sample((5000,), generator=seeded(2)).quantile(0.84).item() < 1.1


def test_the_layer_comes_before_the_maps_that_bound_values():
    """Logs of lognormal values are not far out; of what is positive, the layer is put where values are all real numbers."""
    flow = Flow(StandardNormal(), [pf.bijectors.Affine(), Exp()], 1)
    flow.standardize(HEAVY["lognormal"](500, seeded(0))[:, None].float())
    assert flow.plan == Compose([pf.bijectors.Affine(), Standardize(), Exp()])
    flow = Flow(StandardNormal(), [pf.bijectors.Affine(), Exp()], 1)
    flow.standardize(torch.exp(HEAVY["Cauchy"](500, seeded(0)).clamp(-80, 80))[:, None].float())
    assert flow.plan == Compose([pf.bijectors.Affine(), Standardize(), NormalScores(), Exp()])


def test_parameters_of_other_layers_stay_the_same_tensors():
    flow = pf.NSF(2)
    before = {id(p) for p in flow.parameters()}
    flow.standardize(torch.stack([HEAVY["Cauchy"](500, seeded(0)), LIGHT["normal"](500, seeded(0))], 1).float())
    assert NormalScores() in flow.plan.bijectors
    assert {id(p) for p in flow.parameters()} == before


@pytest.mark.fits
def test_a_context_far_out_hides_the_others_no_more():
    """y is the context plus noise of 0.1, so 1.419 + log(0.1) is what a flow can reach that sees the context."""
    given = planted(1e6)(2000, seeded(0))[:, None]
    rows = torch.sin(given) + 0.1 * LIGHT["normal"](2000, seeded(1))[:, None]
    flow, _ = fitted(rows, given, epochs=60)
    clean = LIGHT["normal"](5000, seeded(2))[:, None]
    y = torch.sin(clean) + 0.1 * LIGHT["normal"](5000, seeded(3))[:, None]
    assert -flow.log_prob(y.float(), clean.float()).mean().item() < -0.6  # 0.9 by the context's mean and deviation


def test_files_keep_both(tmp_path):
    given = HEAVY["Cauchy"](500, seeded(0))[:, None]
    flow, _ = fitted(HEAVY["Pareto"](500, seeded(1))[:, None], given, epochs=1)
    flow.save(tmp_path / "flow.safetensors")
    again = pf.load(tmp_path / "flow.safetensors")
    rows, context = torch.linspace(-9, 99, 50)[:, None], torch.linspace(-50, 50, 50)[:, None]
    assert again.plan == flow.plan
    assert again.context_units.plan == Compose([Standardize(), NormalScores()])
    assert torch.equal(again.log_prob(rows, context), flow.log_prob(rows, context))


def test_a_fit_that_fails_takes_its_layers_back():
    flow = pf.NSF(1, context=1)
    plan = flow.plan

    with pytest.raises(TypeError, match="expected optimizer to return"):
        pf.fit(flow, HEAVY["Cauchy"](500, seeded(0)), HEAVY["Cauchy"](500, seeded(1))[:, None], progress=False, optimizer=lambda _: None)
    assert flow.plan == plan
    assert flow.context_units.plan == Standardize()
    assert torch.isfinite(flow.log_prob(torch.zeros(3, 1), torch.zeros(3, 1))).all()
