"""Fit a spline flow to a year of hourly weather, compare it with three classics, sample from it and draw it: ``make demo``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

import pushforward as pf
from pushforward import plots
from pushforward.data.frames import dequantize
from pushforward.data.reading import open_table
from pushforward.data.writing import write_table

HERE = Path(__file__).parent
Array = np.ndarray
Scores = Callable[[Array], Array]


def main(
    out: Path = HERE.parent / "out",
    rows: int | None = None,
    epochs: int = 60,
    components: Sequence[int] = (8, 16, 32, 64, 128),
    bandwidths: Sequence[float] = (0.1, 0.13, 0.16, 0.2, 0.25),
) -> dict[str, Array]:
    """Run the demo and return the log-densities of the held-out rows under each model."""
    table = open_table(HERE / "data" / "weather.csv.gz")

    # Readings lie on grids, such as whole degrees: noise as wide as a step turns their probabilities into a density.
    data, steps = dequantize(table.read()[:rows], torch.Generator().manual_seed(0))
    print(f"{len(data):,} hours of weather:", ", ".join(f"{name} (step {step:g})" for name, step in zip(table.columns, steps, strict=True)))

    # Split at random: hours next to each other are alike, so all models do better here than they would on another year.
    data = np.random.default_rng(0).permutation(data)
    tenth = len(data) // 10
    test, valid, train = data[:tenth], data[tenth : 2 * tenth], data[2 * tenth :]

    torch.manual_seed(0)
    flow = pf.NSF(len(table.columns), transforms=2, structure="autoregressive")
    flow.columns = table.columns
    history = pf.fit(flow, train, validation=valid, epochs=epochs, batch_size=256, learning_rate=5e-3, schedule="cosine")
    print(f"\n{flow.describe(batch=256)}\n")

    def log_prob(values: Array) -> Array:
        with torch.no_grad():
            return flow.log_prob(torch.as_tensor(values, dtype=flow.dtype)).numpy()

    print("fitting the others:")
    scores = {"spline flow": log_prob(test), **classics(train, valid, test, components, bandwidths)}
    report(scores)

    out.mkdir(exist_ok=True)
    flow.save(out / "weather.safetensors")
    samples = flow.sample((10_000,), generator=torch.Generator().manual_seed(0)).numpy()
    with write_table(out / "samples.csv", table.columns, samples.dtype) as append:
        append(samples)
    pictures = {"pairs": plots.pairs(data, samples, columns=table.columns), "learning_curve": plots.learning_curve(history)}
    for index, name in enumerate(table.columns):
        pictures[name] = plots.compare(data[:, index], samples[:, index], columns=[name])
    for name, figure in pictures.items():
        figure.savefig(out / f"{name}.png")
    print(f"\nwritten to {out}: weather.safetensors, samples.csv and the pictures {', '.join(pictures)}")
    return scores


def classics(train: Array, valid: Array, test: Array, components: Sequence[int], bandwidths: Sequence[float]) -> dict[str, Array]:
    """Return the log-densities of the test rows under three classic estimates, whose settings the validation rows choose."""
    mean, scale = train.mean(0), train.std(0)

    def fit(model: GaussianMixture | KernelDensity) -> Scores:
        began = time.perf_counter()
        model.fit((train - mean) / scale)
        print(f"  {model}: {time.perf_counter() - began:.1f} s", flush=True)
        return lambda values: model.score_samples((values - mean) / scale) - np.log(scale).sum()

    def best(models: dict[str, Scores]) -> tuple[str, Scores]:
        return max(models.items(), key=lambda item: item[1](valid).mean())

    mixtures = {f"mixture of {k} Gaussians": fit(GaussianMixture(k, reg_covar=1e-5, random_state=0)) for k in components}
    kernels = {f"kernel density, bandwidth {h}": fit(KernelDensity(bandwidth=h, rtol=1e-3)) for h in bandwidths}
    chosen = {"Gaussian": fit(GaussianMixture(1)), **dict([best(mixtures), best(kernels)])}
    return {name: log_prob(test) for name, log_prob in chosen.items()}


def report(scores: dict[str, Array]) -> None:
    """Print the held-out nats a row of every model, and by how much the first one is better, with standard errors."""
    flow, *_ = scores.values()
    print(f"\n{'held-out nats a row':36} {'mean':>8}   {'s.e.':>5}   flow better by")
    for name, values in scores.items():
        ahead = flow - values
        error, ahead_error = (float(a.std() / np.sqrt(len(a))) for a in (values, ahead))
        print(f"{name:36} {values.mean():8.3f} ± {error:5.3f}" + (f"   {ahead.mean():.3f} ± {ahead_error:.3f}" if ahead.any() else ""))


if __name__ == "__main__":
    main()
