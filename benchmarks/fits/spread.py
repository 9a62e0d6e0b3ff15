"""How widely a field's units are to be spread where parameters are learnt from simulations, on problems that no table shows.

    python benchmarks/fits/spread.py [--seconds 9] [--problems ...] [--spreads 3 2  1.5 1]

It takes sbi. 10,000 simulations train a `CNF` by flow matching in sbi's own loop, at its own rate, for so many seconds of the processor;
a line has the mean log-density of 1,500 pairs that were not trained on, higher is better. Spreads are pairs: of what units are given by
place and context, and by the layer before (`pushforward.layers.field`), the same for all numbers of inputs. One thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from sbi.inference import NPE
from sbi.utils import BoxUniform
from torch import Tensor
from torch.distributions import MultivariateNormal

from pushforward.contrib.sbi import density_estimator
from pushforward.layers import field

ROWS, UNSEEN = 10_000, 1_500


def mixture(theta: Tensor) -> Tensor:
    return theta + torch.where(torch.rand(len(theta), 1) < 0.5, 1.0, 0.1) * torch.randn_like(theta)


def ring(theta: Tensor) -> Tensor:
    return theta.norm(dim=1, keepdim=True) + 0.1 * torch.randn(len(theta), 1)


def slcp(theta: Tensor) -> Tensor:
    """Four draws of a normal of two numbers, whose mean, deviations and correlation are the parameters."""
    a, b, correlation = theta[:, 2] ** 2, theta[:, 3] ** 2, torch.tanh(theta[:, 4])
    z, w = torch.randn(2, len(theta), 4)
    second = correlation[:, None] * z + (1 - correlation**2).sqrt()[:, None] * w
    return torch.cat([theta[:, :1] + a[:, None] * z, theta[:, 1:2] + b[:, None] * second], 1)


def bent(theta: Tensor) -> Tensor:
    turn = torch.randn(8, 8, generator=torch.Generator().manual_seed(3)) / math.sqrt(8) * 1.5
    return torch.tanh(theta @ turn.T) + 0.3 * torch.randn(len(theta), 8)


def normal(size: int) -> Any:
    return MultivariateNormal(torch.zeros(size), torch.eye(size))


def box(size: int, width: float) -> Any:
    return BoxUniform(-width * torch.ones(size), width * torch.ones(size))


PROBLEMS: dict[str, tuple[Any, Callable[[Tensor], Tensor]]] = {
    "mixture": (box(2, 10.0), mixture),
    "ring": (normal(2), ring),
    "slcp": (box(5, 3.0), slcp),
    "bent": (normal(8), bent),
}


def nats(prior: Any, simulate: Callable[[Tensor], Tensor], seconds: float) -> tuple[float, int]:
    """Return the mean log-density of unseen pairs, and the epochs."""
    torch.manual_seed(0)
    theta, unseen = prior.sample((ROWS,)), prior.sample((UNSEEN,))
    x, seen = simulate(theta), simulate(unseen)

    def trained(**settings: Any) -> tuple[Any, int]:
        torch.manual_seed(1)
        trainer = NPE(prior, density_estimator=density_estimator("CNF", objective="flow_matching"), show_progress_bars=False)
        with contextlib.redirect_stdout(io.StringIO()):
            net = trainer.append_simulations(theta, x).train(**settings)
        return net, trainer.summary["epochs_trained"][-1]

    trained(max_num_epochs=1)  # what is imported or built first
    start = time.process_time()
    trained(max_num_epochs=4)
    epochs = max(2, round(5 * seconds / (time.process_time() - start)))
    net, epochs = trained(max_num_epochs=epochs - 1)
    with torch.no_grad():
        return net.log_prob(unseen[None], seen).mean().item(), epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=9.0)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=[*PROBLEMS])
    parser.add_argument("--spreads", nargs="+", type=float, default=[3.0, 2.0, 1.5, 1.0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    field.FEW = 10**6  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # sbi writes its logs where it runs
        for name in given.problems:
            for place, hidden in zip(given.spreads[::2], given.spreads[1::2], strict=True):
                field.PLACE, field.HIDDEN = place, hidden  # type: ignore[misc]
                value, epochs = nats(*PROBLEMS[name], given.seconds)
                print(f"{name}: spread by {place:g} and {hidden:g}: {value:.3f} nats after {epochs} epochs", flush=True)


if __name__ == "__main__":
    main()
