"""Named flows on one column without a context: no network sees nothing, and those that cannot bend say so."""

import warnings

import pytest
import torch

import pushforward as pf
from pushforward.bases import StandardNormal
from pushforward.bijectors import MLP, Autoregressive, Spline
from pushforward.nets.conditioner import Parameters
from pushforward.recipes.choice import NAMED
from pushforward.testing import randomize

STRAIGHT = {"MAF", "IAF", "RealNVP", "NICE", "HouseholderFlow"}
"""Those that keep a normal distribution normal."""
FIELDS = {"CNF", "Continuous"}
"""Those whose network makes no parameters: it sees the column itself, and the time."""


def made(name, *shape, **options):
    """Return a flow, and the warnings that came."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flow = NAMED[name](*shape, **options)
    return flow, caught


def curvature(flow):
    """Return how far the middle of three points of the base is from the middle of where the others are mapped, at most."""
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    y = randomize(flow, 0.5, 0).double().transform.forward(x[:, None])[0].detach().squeeze(-1)
    return (y[2:] - 2 * y[1:-1] + y[:-2]).abs().max().item()


@pytest.mark.parametrize("name", NAMED)
def test_a_flow_of_one_column_bends_it_or_says_that_it_cannot(name):
    flow, caught = made(name, 1)
    assert [str(each.message).split(":")[0] for each in caught] == [name] * (name in STRAIGHT)
    assert all(each.filename == __file__ and "Take splines instead, such as NSF(1)" in str(each.message) for each in caught)
    bent = curvature(flow)
    assert bent < 1e-12 if name in STRAIGHT else bent > 1e-8
    # Of several columns, or given a context, it is what it is taken for.
    assert made(name, 2)[1] == made(name, 1, 2)[1] == []


@pytest.mark.parametrize("name", NAMED)
def test_no_network_is_built_that_sees_nothing(name):
    flow, _ = made(name, 1)
    assert all(module.net is None for module in flow.modules() if isinstance(module, Parameters)) == (name not in FIELDS)
    # With a context there is something to see.
    given, _ = made(name, 1, 2)
    nets = [module.net for module in given.modules() if isinstance(module, Parameters)]
    assert name in ("BNAF", "ResidualFlow") or any(net is not None for net in nets)


def test_either_structure_of_splines_is_as_small_on_one_column():
    sizes = [sum(p.numel() for p in pf.NSF(1, structure=structure).parameters()) for structure in ("coupling", "autoregressive")]
    assert sizes == [125, 125]


@pytest.mark.parametrize("name", sorted(STRAIGHT - {"HouseholderFlow"}))
def test_a_set_of_values_does_not_make_it_bend(name):
    assert len(made(name, 1, support=["positive"])[1]) == 1


def test_a_file_of_an_earlier_version_keeps_its_network(tmp_path):
    torch.manual_seed(0)
    plan = [Autoregressive(Spline(), net=MLP((8,))), pf.bijectors.Linear(), pf.bijectors.Standardize()]
    earlier = randomize(pf.Flow(StandardNormal(), plan, 1), 0.5, 0)
    earlier.save(tmp_path / "earlier.safetensors")
    again = pf.load(tmp_path / "earlier.safetensors")
    assert again.plan == earlier.plan
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in earlier.state_dict().items())
