"""importance: draws of a flow, weighted to be those of an unnormalised density, and its integral."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.flow.flow import Flow
from pushforward.inference.density import LogDensity, make_density
from pushforward.inference.weights import effective_size, log_mean_exp, pareto_k
from pushforward.train import options as check

ENOUGH = 100
"""Effective draws from which the reported errors can be trusted."""
LARGEST_K = 0.5
"""The shape of the tail from which the weights have no finite variance, and the reported errors are too small."""


@dataclass(eq=False, repr=False)
class ImportanceSample:
    r"""Draws of a flow q with weights :math:`w = p / q`: averages over them are averages over the density p.

    Args:
        samples: ``(n, *event)``, drawn from the flow.
        log_weights: ``(n,)`` in float64, log p - log q; -inf where p is 0.

    >>> sample = ImportanceSample(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 0.0]))
    >>> sample.mean(), sample.effective_size
    (tensor([0.5000]), 2.0)
    """

    samples: Tensor
    log_weights: Tensor

    @property
    def weights(self) -> Tensor:
        """The weights ``(n,)``, whose sum is 1."""
        return torch.softmax(self.log_weights, 0)

    @property
    def effective_size(self) -> float:
        r""":math:`(\sum w)^2 / \sum w^2`: how many draws of the density itself would be as good."""
        return effective_size(self.log_weights).item()

    @property
    def log_evidence(self) -> float:
        r"""The log of the density's integral, :math:`\log \frac{1}{n} \sum w`."""
        return log_mean_exp(self.log_weights).item()

    @property
    def log_evidence_error(self) -> float:
        """Its standard error: that of the mean weight, divided by the mean weight."""
        n = len(self.log_weights)
        return math.sqrt(max(n / self.effective_size - 1, 0.0) / (n - 1)) if n > 1 else math.inf

    @property
    def pareto_k(self) -> float:
        r"""The shape k of the weights' tail.

        Below 0.5 the weights have a finite variance, and the errors hold. Above, the errors are too small, and from about 0.7 on estimate
        and error are those of the few largest weights. More draws hardly help then: a flow with heavier tails does.
        Source: Pareto Smoothed Importance Sampling (Vehtari et al., 2024).
        """
        return pareto_k(self.log_weights)

    @property
    def outside(self) -> int:
        """Number of draws where the density is 0."""
        return int(torch.isneginf(self.log_weights).sum())

    @property
    def reliable(self) -> bool:
        """Whether there are at least 100 effective draws, and k is below 0.5."""
        return self.effective_size >= ENOUGH and self.pareto_k < LARGEST_K

    def mean(self, function: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the mean under the density of ``function``, ``(n, *event)`` to ``(n, *shape)`` (None: of the values themselves)."""
        return self._moments(function)[0]

    def error(self, function: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the standard error of `mean`, of the same shape."""
        return self._moments(function)[1]

    def resample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(n, *event)`` from the density: rows of ``samples``, each as often as its weight says; many are alike if weights vary.

        The draw is systematic, on equidistant points, which adds least noise, and in random order.
        Source: Genetic algorithm-like resampling in Monte Carlo Filter and Smoother for Non-Gaussian State Space Models (Kitagawa, 1996).
        """
        n = check.whole("resample", "n", n, 0)
        place = self.log_weights.device if generator is None else generator.device
        ladder = self.weights.double().cumsum(0)
        points = (torch.arange(n, device=place) + torch.rand(1, generator=generator, dtype=torch.float64, device=place)) / max(n, 1)
        chosen = torch.searchsorted(ladder, points.to(ladder.device) * ladder[-1], right=True).clamp(max=len(ladder) - 1)
        order = torch.randperm(n, generator=generator, device=place)
        return self.samples[chosen[order.to(chosen.device)]]

    def _moments(self, function: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, Tensor]:
        values = self.samples if function is None else function(self.samples)
        n = len(self.log_weights)
        if not isinstance(values, Tensor) or values.dim() == 0 or len(values) != n:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"mean: expected the function to return a tensor of shape ({n}, ...), one value for each row, got {got}")
        precise = values.to(values.dtype if values.is_floating_point() else torch.get_default_dtype())
        weights = self.weights.reshape(-1, *[1] * (values.dim() - 1))
        # Where the density is 0, what the function gives does not matter, be it NaN.
        flat = torch.where(weights > 0, precise.double(), 0)
        mean = (weights * flat).sum(0)
        error = torch.sqrt((weights**2 * (flat - mean) ** 2).sum(0))
        return mean.to(precise.dtype), error.to(precise.dtype)

    def __repr__(self) -> str:
        trust = "" if self.reliable else ", not reliable"
        return (
            f"ImportanceSample(draws={len(self.log_weights)}, effective size {self.effective_size:.0f}, "
            f"log evidence {self.log_evidence:.4f} ± {self.log_evidence_error:.4f}, Pareto k {self.pareto_k:.2f}{trust})"
        )


def importance(
    flow: Flow,
    log_density: LogDensity,
    draws: int = 10_000,
    context: Tensor | None = None,
    *,
    batch_size: int = 16_384,
    seed: int = 0,
) -> ImportanceSample:
    r"""Draw from a flow and weigh the draws by an unnormalised density: averages under it, and its integral, with their errors.

    What the flow gets wrong the weights put right, as long as it covers the density: where it never draws, nobody looks, and neither
    the effective size nor k can tell. Source: Monte Carlo Theory, Methods and Examples (Owen, 2013), chapter 9.

    Args:
        flow: The flow to draw from, at best one that `fit_target` fitted.
        log_density: Takes ``(n, *event)``, and ``(n, *context)`` too if there is a context; returns ``(n,)``, -inf where the density is 0.
        draws: Number of draws.
        context: The one context ``(*context)`` of a conditional flow.
        batch_size: Draws at a time.
        seed: Seed of the draws; the user's random numbers are not touched.

    Returns:
        The draws and their weights. If they are not `ImportanceSample.reliable`, a warning says why.

    Raises:
        ValueError: The log-density is NaN or inf somewhere, or -inf everywhere, or is not one number for each row.

    >>> from pushforward.flows import MAF
    >>> importance(MAF(2), lambda x: -0.5 * (x * x).sum(-1), 1000)
    ImportanceSample(draws=1000, effective size 1000, log evidence 1.8379 ± 0.0000, Pareto k ...)
    """
    draws, batch_size = check.whole("importance", "draws", draws, 1), check.whole("importance", "batch_size", batch_size, 1)
    check.seed("importance", seed)
    density = make_density("importance", flow, log_density, context)
    if density.context is not None and len(density.context) > 1:
        raise ValueError(
            f"importance: expected one context, since each has an evidence of its own, got {len(density.context)}; call it for each"
        )
    sample = ImportanceSample(*density.weigh(draws, batch_size, seed))
    density.check(sample.samples, sample.log_weights)
    if sample.outside == draws:
        raise ValueError(
            f"importance: expected draws where the density is positive, got log_density -inf for all {draws} draws of the flow"
        )
    if not sample.reliable:
        warnings.warn(
            f"importance: expected at least {ENOUGH} effective draws of {draws} and a Pareto k below {LARGEST_K}, "
            f"got {sample.effective_size:.0f} and {sample.pareto_k:.2f}; the log-evidence and its error cannot be trusted. "
            "Fit the flow better: a base with heavy tails and fit_target with divergence='alpha', alpha=0.5 help most",
            stacklevel=2,
        )
    return sample
