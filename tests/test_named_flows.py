"""Named flows beyond the first five: densities, samples, files, supports, and what a fit makes of them."""

from __future__ import annotations

import math
import re
from functools import partial

import pytest
import torch
from torch.distributions import constraints

import pushforward
from pushforward import flows
from pushforward.core import roots
from pushforward.core.spec import PlanError
from pushforward.kernels import kernel, mixture, monotonic
from pushforward.layers import block_autoregressive
from pushforward.layers.coupling import CouplingModule
from pushforward.native import library
from pushforward.testing import check_flow, randomize
from tests.named_flow_plans import NAMES, called, options, small, value_of

W = (16, 16)
FIRST = {"NICE", "RealNVP", "MAF", "IAF", "NSF"}
OTHERS = {name: partial(small, name, **({"widths": W} if "widths" in options(name) else {})) for name in NAMES if name not in FIRST}
POSTERIORS = {name: make for name, make in OTHERS.items() if "DiagNormal" in repr(make(2))}
POSTERIORS["SylvesterFlow, triangular"] = partial(OTHERS["SylvesterFlow"], variant="triangular")
DENSITIES = {name: make for name, make in OTHERS.items() if name not in POSTERIORS}
DENSITIES["NCSF, autoregressive"] = partial(OTHERS["NCSF"], structure="autoregressive")
ALL = DENSITIES | POSTERIORS
LAWS = ["sample and score in one pass", "file and copies"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.filterwarnings("ignore:.*one feature without a context")
@pytest.mark.parametrize(("features", "context"), [(1, 0), (2, 3), (5, 0)])
@pytest.mark.parametrize("name", ALL)
def test_scores_samples_and_files(name, features, context):
    flow = ALL[name](features, context)
    assert set(check_flow(flow, only=LAWS)) == set(LAWS)
    given = torch.randn(7, context, generator=generator()) if context else None
    drawn = flow.sample((4,), given, generator=generator(1)) if context else flow.sample((4, 7), generator=generator(1))
    assert drawn.shape == (4, 7, features)
    assert torch.isfinite(flow.log_prob(drawn, given)).all()


@pytest.mark.parametrize("name", ALL)
def test_the_density_is_that_of_the_samples(name):
    """The mass of a box by quadrature, and the share of samples in it."""
    flow = randomize(ALL[name](2, 0), 0.3, 5).double()
    side = torch.linspace(-2.0, 1.0, 121, dtype=torch.float64)
    weight = torch.full((121,), 3.0 / 120, dtype=torch.float64)
    weight[[0, -1]] /= 2
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1)
    with torch.no_grad():
        mass = float((flow.log_prob(grid).exp() * weight[:, None] * weight).sum())
    drawn = flow.sample((20000,), generator=generator(2))
    share = float(((drawn > -2) & (drawn < 1)).all(-1).double().mean())
    assert 0.02 < mass < 0.98
    assert abs(share - mass) < 4 * math.sqrt(mass * (1 - mass) / 20000) + 1e-3


# What each feature's map, or each step, costs makes these the slowest to fit.
SLOW = {"CNF", "NAF", "UNAF"}
FITTED = [name for name in DENSITIES if not name.startswith("NCSF")]


@pytest.mark.fits
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.heavy] * (name in SLOW)) for name in FITTED])
def test_a_fit_comes_near_the_entropy(name):
    x = torch.randn(600, 2, generator=generator(3))
    y = torch.stack([x[:, 0], 0.5 * x[:, 1] + 0.7 * x[:, 0] ** 2], -1)
    torch.manual_seed(0)
    flow = flows.ResidualFlow(2) if name == "ResidualFlow" else DENSITIES[name](2, 0)
    history = pushforward.fit(flow, y, epochs=40 if name == "BNAF" else 12, seed=1, mixture=0, progress=False)
    entropy = math.log(2 * math.pi * math.e) + math.log(0.5)
    assert history.best_loss < history.start
    assert history.best_loss < entropy + 0.45


def test_angles_have_no_seam():
    flow = randomize(flows.NCSF(2, transforms=2, widths=W, bins=4), 0.5, 3).double()
    edge = math.pi - 1e-9
    left, right = torch.tensor([[-edge, 0.3], [0.3, -edge]]).double(), torch.tensor([[edge, 0.3], [0.3, edge]]).double()
    assert torch.allclose(flow.log_prob(left), flow.log_prob(right), atol=1e-6)
    assert (flow.log_prob(torch.tensor([[3.2, 0.0]]).double()) == -math.inf).all()
    side = torch.linspace(-math.pi, math.pi, 201, dtype=torch.float64)[:-1] + math.pi / 200
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1)
    with torch.no_grad():
        mass = flow.log_prob(grid).exp().sum() * (2 * math.pi / 200) ** 2
    assert abs(float(mass) - 1) < 1e-3


def test_angles_keep_their_unit_in_a_fit():
    y = torch.remainder(0.4 * torch.randn(1500, 2, generator=generator(4)) + 2 * math.pi, 2 * math.pi) - math.pi
    torch.manual_seed(0)
    flow = flows.NCSF(2, transforms=2, widths=W)
    history = pushforward.fit(flow, y, epochs=10, seed=1, progress=False)
    assert "Standardize" not in repr(flow)
    entropy = math.log(2 * math.pi * math.e) + 2 * math.log(0.4)
    assert history.best_loss < entropy + 0.4


def test_a_flow_on_mixed_supports_is_exact_in_the_units_of_the_data():
    draw = torch.randn(600, 3, generator=generator(6))
    y = torch.stack([draw[:, 0], draw[:, 1].exp(), 1 + 2 * torch.sigmoid(draw[:, 2])], -1)
    torch.manual_seed(0)
    flow = flows.NSF(3, transforms=2, widths=W, support=["real", "positive", constraints.interval(1.0, 3.0)])
    pushforward.fit(flow, y, epochs=5, seed=1, progress=False)
    drawn = flow.sample((1000,), generator=generator(7))
    assert (drawn[:, 1] > 0).all()
    assert ((drawn[:, 2] > 1) & (drawn[:, 2] < 3)).all()
    outside = torch.tensor([[0.0, -1.0, 2.0], [0.0, 1.0, 3.5]])
    assert (flow.log_prob(outside) == -math.inf).all()
    # The mass of a cell of the data's own space by quadrature, and the share of samples in it.
    side = [torch.linspace(a, b, 41, dtype=torch.float64) for a, b in ((-1.0, 1.0), (0.5, 2.0), (1.5, 2.5))]
    grid = torch.stack(torch.meshgrid(*side, indexing="ij"), -1)
    weight = torch.ones(41, dtype=torch.float64)
    weight[[0, -1]] = 0.5
    with torch.no_grad():
        density = flow.double().log_prob(grid).exp()
    mass = float(torch.einsum("ijk,i,j,k", density, weight, weight, weight)) * (2 / 40) * (1.5 / 40) * (1 / 40)
    drawn = flow.sample((20000,), generator=generator(8))
    low, high = torch.tensor([-1.0, 0.5, 1.5]), torch.tensor([1.0, 2.0, 2.5])
    share = float(((drawn > low) & (drawn < high)).all(-1).double().mean())
    assert abs(share - mass) < 4 * math.sqrt(mass * (1 - mass) / 20000) + 2e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flows.NSF(3, support=["real"]), "NSF: expected support to have one set for each of 3 features"),
        (lambda: flows.MAF(3, support="real"), "MAF: expected support to have one set for each of 3 features"),
        (lambda: flows.MAF(2, support=["real", "circular"]), "MAF: expected no circular features"),
        (lambda: flows.NSF(2, support=["circular", "circular"]), "NSF: .* for angles alone use NCSF"),
        (lambda: flows.NSF(2, structure="autoregressive", support=["real", "circular"]), "NSF: expected structure 'coupling'"),
        (lambda: flows.NCSF(2, mix="linear"), "NCSF: expected mix to be 'shuffle', 'reverse' or None"),
        (lambda: flows.NCSF(2, structure="free"), "NCSF: expected structure to be 'coupling' or 'autoregressive'"),
        (lambda: flows.BNAF(2, transforms=0), "BNAF: expected transforms to be a whole number of at least 1"),
        (lambda: flows.PlanarFlow(0), "PlanarFlow: expected features to be a whole number of at least 1"),
        (lambda: flows.PlanarFlow(2, transforms=0), "PlanarFlow: expected transforms to be a whole number of at least 1, got 0"),
        (lambda: flows.BNAF(2, transforms="2"), "BNAF: expected transforms to be a whole number of at least 1, got '2'"),
        (lambda: flows.GF(2, support=constraints.real), "GF: expected support to have one set for each of 2 features, got Real"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(PlanError, match=message):
        make()


OPTIONS = [(name, option) for name in NAMES for option in ("context", *options(name))]


def size(flow):
    return len(list(flow.transform.leaves()))


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda value: value)
def test_an_option_is_handed_on_to_the_plan(name, option):
    make = getattr(flows, name)
    value, words = value_of(name, option)
    # With a context each of them has a network.
    given = "" if option == "context" else "context=1, "
    usual, other = called(f"{name}(4, {given})"), called(f"{name}(4, {given}{option}={value})")
    assert repr(usual) != repr(other)
    if words:
        assert words not in repr(usual)
        assert words in repr(other)
    if option == "transforms":
        assert len({size(make(2, transforms=count)) for count in (1, 2, 3)}) == 3
    if option == "mix":
        assert size(other) < size(usual)
        for mix, kind in (("linear", "Linear()"), ("reverse", "Reverse()"), ("shuffle", "Shuffle(")):
            if name != "NCSF" or mix != "linear":
                assert kind in repr(make(4, mix=mix))
        assert len(set(re.findall(r"Shuffle\(.*?\)", repr(make(4, mix="shuffle", transforms=3))))) == 3


@pytest.mark.parametrize("features", [2, 3, 5])
@pytest.mark.parametrize("name", ["NICE", "RealNVP", "NSF", "NCSF"])
def test_two_couplings_move_every_feature_given_the_others(name, features):
    """Of two layers with nothing between them one moves what the other lets through."""
    flow = randomize(getattr(flows, name)(features, transforms=2, widths=W, mix=None), 1.0, 1).double()
    layers = [layer for layer in flow.transform.leaves() if isinstance(layer, CouplingModule)]
    assert len(layers) == 2
    moved = []
    for layer in layers:
        x = torch.linspace(-1, 1, features, dtype=torch.float64)
        moved.append((layer(x)[0] != x).tolist())
    assert [a + b for a, b in zip(*moved, strict=True)] == [1] * features


@pytest.mark.parametrize("start", [0, 2])
def test_two_layers_of_a_mixed_flow_move_every_feature_of_a_kind_once(start):
    flow = flows.NSF(7, support=["circular", "real", "circular", "positive", "real", "circular", "real"], transforms=4, widths=W)
    couplings = [layer for layer in flow.transform.leaves() if isinstance(layer, CouplingModule)]
    assert len(couplings) == 8  # each layer has one for the angles and one for the rest
    moved = [i for layer in couplings[2 * start : 2 * start + 4] for i in range(7) if i not in layer.plan.passing(7)]
    assert sorted(moved) == list(range(7))


def test_the_layer_of_bnaf_whose_values_nothing_bounds_is_beside_the_base():
    first, *rest = [layer.plan.bijector for layer in list(flows.BNAF(3, transforms=3, mix=None).transform.leaves())[:3]]
    assert (first.activation, first.residual) == ("leaky_tanh", None)
    assert {(layer.activation, layer.residual) for layer in rest} == {("tanh", "gated")}


@pytest.mark.parametrize("variant", ["triangular", "orthogonal", "householder"])
def test_features_are_reversed_between_the_triangles_of_a_sylvester_flow(variant):
    kinds = [type(layer.plan).__name__ for layer in flows.SylvesterFlow(3, transforms=3, variant=variant).transform.leaves()]
    assert [kind for kind in kinds if kind in ("Sylvester", "Reverse")] == kinds
    assert kinds[::2] == ["Sylvester"] * 3 if variant == "triangular" else kinds == ["Sylvester"] * 3
    assert kinds.count("Reverse") == (2 if variant == "triangular" else 0)


@pytest.mark.parametrize("trace", ["hutchinson", "hutch++"])
def test_each_layer_of_a_continuous_flow_has_probes_of_its_own(trace):
    layers = [layer for layer in flows.CNF(20, transforms=3, trace=trace, probes=5).transform.leaves() if layer.probes]
    assert [layer.probes for layer in layers] == [5, 5, 5]
    assert len({tuple(layer.field.probes.flatten().tolist()) for layer in layers}) == 3
    others = [layer for layer in flows.CNF(20, transforms=3, trace=trace, probes=5, seed=1).transform.leaves() if layer.probes]
    assert len({tuple(layer.field.probes.flatten().tolist()) for layer in (*layers, *others)}) == 6
    exact = [layer for layer in flows.CNF(20, transforms=3, probes=5).transform.leaves() if hasattr(layer, "field")]
    assert [layer.probes for layer in exact] == [0, 0, 0]


def test_the_log_density_of_a_continuous_flow_by_probes_states_how_far_off_it_is():
    make = partial(flows.CNF, 20, transforms=2, widths=(8,), tolerance=1e-4)
    exact, probed = make(), make(trace="hutchinson", probes=16)
    randomize(exact, 0.5, 0)
    probed.load_state_dict(dict(exact.state_dict()))
    x = torch.randn(50, 20, generator=generator())
    with torch.no_grad():
        value, error = probed.log_prob_and_error(x)
        off = (exact.log_prob(x) - value).abs()
    assert off.max() > 1e-2
    # Two standard errors, of rows that share their probes and so are off in like directions.
    assert float((off <= 2 * error).double().mean()) > 0.9


# How often a root is sought to sample and to score, for each layer of three features: the table in README.md.
ROOTS = {"NAF": (3, 0), "UNAF": (3, 0), "SOSPF": (3, 0), "BPF": (3, 0), "BNAF": (3, 0), "GF": (1, 0)}


@pytest.mark.parametrize("name", ROOTS)
def test_roots_are_sought_in_one_direction_alone(name, monkeypatch):
    monkeypatch.setattr(library, "LIBRARY", library.Library(None, "off", "torch's"))  # it seeks the same roots, where nobody can count
    searches = []

    def counted(function, y, *steps):
        searches.append(y.shape)
        return roots.root(function, y, *steps)

    for module in (kernel, block_autoregressive, monotonic, mixture):
        monkeypatch.setattr(module, "root", counted)
    flow = DENSITIES[name](3, 0)
    layers = sum("Autoregressive" in layer.name or "Gaussianization" in layer.name for layer in flow.describe().layers)
    searches.clear()
    y = flow.sample((5,))
    sampled = len(searches)
    flow.log_prob(y)
    assert (sampled, len(searches) - sampled) == tuple(count * layers for count in ROOTS[name])
