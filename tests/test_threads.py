"""Fits in several threads at once: each is what it is alone, and torch's global random state is nobody's."""

import threading

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import pushforward as pf
from pushforward.bases import StandardNormal
from pushforward.bijectors import Affine, Coupling
from pushforward.contrib.sklearn import FlowDensity
from pushforward.core.draws import Drawing
from pushforward.train.randomness import Randomness

X = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) * 2 + 1
QUICK = {"epochs": 3, "batch_size": 50, "progress": False}


def dropping():
    """A flow with a layer of the user's own that draws from torch's global state."""
    with Drawing(0):
        net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        return pf.Flow(StandardNormal(), [Coupling(Affine(), mask=[0], net=net)], 2)


def maf():
    with Drawing(0):
        return pf.MAF(2, transforms=1, widths=(8,))


def bare():
    """A flow without a layer for location and scale, which the fit adds."""
    with Drawing(0):
        return pf.Flow(StandardNormal(), [Coupling(Affine(), net=pf.bijectors.MLP((8,)))], 2)


def noisy(x):
    """A log-density that draws, from the global state for all that it knows."""
    return -0.5 * ((x - 1) ** 2).sum(-1) + 0.1 * torch.randn(len(x))


FITS = {
    "rows": lambda: pf.fit(maf(), X, seed=1, **QUICK).train,
    "a layer that is added": lambda: pf.fit(bare(), X, seed=1, **QUICK).train,
    "layers that draw": lambda: pf.fit(dropping(), X, seed=1, **QUICK).train,
    "a loader that shuffles": lambda: pf.fit(maf(), DataLoader(X, batch_size=50, shuffle=True), seed=1, **QUICK).train,
    "a density": lambda: pf.fit_target(maf(), lambda x: -0.5 * ((x - 1) ** 2).sum(-1), seed=1, steps=100, progress=False).train,
    "a density that draws": lambda: pf.fit_target(maf(), noisy, seed=1, steps=50, progress=False).train,
    "a base of torch's": lambda: pf.fit_target(torch_based(), lambda x: -((x - 1) ** 2).sum(-1), seed=1, steps=50, progress=False).train,
    "weights": lambda: [pf.importance(maf(), lambda x: -0.5 * (x * x).sum(-1), 500, seed=1).log_evidence],
    "an estimator": lambda: FlowDensity("maf", epochs=2, random_state=0).fit(X.numpy()).history_.train,
}


def torch_based():
    with Drawing(0):
        return pf.Flow(torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1), [Affine()])


@pytest.mark.parametrize("name", FITS)
def test_a_fit_draws_from_its_seed_alone(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the global random state is set")

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = FITS[name]()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    monkeypatch.setattr(torch.random, "fork_rng", refuse)
    monkeypatch.setattr(torch, "set_rng_state", refuse)
    monkeypatch.setattr(torch, "manual_seed", refuse)
    assert FITS[name]() == pytest.approx(first, rel=1e-6)


@pytest.mark.fits
def test_fits_side_by_side_are_those_alone():
    alone = {name: fit() for name, fit in FITS.items()}
    state, found, seen, running = torch.get_rng_state(), {}, [], [True]

    def look():
        while running:
            seen.append(torch.equal(state, torch.get_rng_state()))

    threads = [threading.Thread(target=lambda name=name: found.update({name: FITS[name]()})) for name in FITS]
    watcher = threading.Thread(target=look)
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.clear()
    watcher.join()
    assert len(seen) > 10
    assert all(seen)
    assert torch.equal(state, torch.get_rng_state())
    assert found.keys() == alone.keys()
    for name, losses in alone.items():
        assert found[name] == pytest.approx(losses, rel=1e-4), name


def test_another_seed_is_another_fit():
    for make in (maf, dropping):
        one, two = (pf.fit(make(), X, seed=seed, **QUICK).train for seed in (1, 2))
        assert one != pytest.approx(two, rel=1e-6)
    one, two = (pf.fit_target(maf(), noisy, seed=seed, steps=50, progress=False).train for seed in (1, 2))
    assert one != pytest.approx(two, rel=1e-6)


def test_only_what_may_draw_is_watched():
    """The block costs some microseconds an operator, so flows of this library and of torch's plain layers go without."""
    plain = pf.Flow(StandardNormal(), [Coupling(Affine(), mask=[0], net=nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2)))], 2)
    assert not Randomness(plain, 0).foreign
    assert all(not Randomness(make(2), 0).foreign for make in (pf.NSF, pf.MAF, pf.RealNVP, pf.IAF, pf.NICE))
    assert all(Randomness(make(), 0).foreign for make in (dropping, torch_based))

    class Own(nn.Linear):
        pass

    own = pf.Flow(StandardNormal(), [Coupling(Affine(), mask=[0], net=Own(1, 2))], 2)
    assert Randomness(own, 0).foreign


MAKERS = {
    "rand": lambda: torch.rand(20),
    "randn": lambda: torch.randn(20, dtype=torch.float64),
    "randperm": lambda: torch.randperm(20),
    "randint": lambda: torch.randint(9, (20,)),
    "randint, from": lambda: torch.randint(3, 9, (20,)),
    "rand_like": lambda: torch.rand_like(X),
    "randn_like": lambda: torch.randn_like(X),
    "randint_like": lambda: torch.randint_like(X, 7),
    "randint_like, from": lambda: torch.randint_like(X, 3, 7),
    "normal": lambda: torch.normal(0.0, 1.0, (5,)),
    "bernoulli": lambda: torch.bernoulli(torch.full((20,), 0.3)),
    "multinomial": lambda: torch.multinomial(torch.ones(9), 3),
    "in place": lambda: torch.empty(20).exponential_().cauchy_().uniform_(),
    "dropout": lambda: nn.Dropout(0.3)(X),
    "alpha dropout": lambda: nn.AlphaDropout(0.3)(X),
    "random leaks": lambda: nn.RReLU()(X),
    "layers": lambda: torch.cat([p.flatten() for p in nn.Linear(3, 4).parameters()]),
    "a flow": lambda: torch.cat([p.flatten() for p in pf.NSF(2).parameters()]).detach(),
    "gamma": lambda: torch.distributions.Gamma(2.0, 1.0).sample((9,)),
    "a loader": lambda: torch.cat(list(DataLoader(X, batch_size=7, shuffle=True))),
}


@pytest.mark.parametrize("name", MAKERS)
def test_whatever_draws_takes_the_numbers_of_the_seed(name):
    before = torch.get_rng_state()
    with Drawing(5):
        drawn = MAKERS[name]()
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert torch.equal(MAKERS[name](), drawn)


def test_dropout_by_the_seed_drops_its_share_and_makes_up_for_it():
    ones = torch.ones(100_000)
    with Drawing(5):
        made = [nn.functional.dropout(ones, 0.1), torch.native_dropout(ones, 0.1, True)[0]]
    for kept in made:
        assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
        assert kept.mean().item() == pytest.approx(1.0, abs=0.01)


def test_a_generator_that_is_given_is_used():
    given = torch.Generator().manual_seed(9)
    with Drawing(5):
        drawn = torch.rand(4, generator=given)
    assert torch.equal(drawn, torch.rand(4, generator=torch.Generator().manual_seed(9)))
