"""Scoring by a continuous flow beside others' solvers on the same network: evaluations, milliseconds and true errors.

    python benchmarks/continuous.py [--rows 1000] [--rounds 5] [--features 2 16] [--widths 64 64]

It takes zuko, and torchdiffeq, torchode and torchdyn where they are installed. A flow is trained by flow matching, and its field, in
float32, is given to each of the solvers at several tolerances; what is true are log-densities in float64 at a tolerance of 1e-12. Of each
row of a table: the tolerance, how often a row's field is evaluated (the mean; the others evaluate all rows as often), milliseconds of the
processor for a call (the median of the rounds), and how far log-densities are off, in the middle and for 95 % of the rows. The second table
has the milliseconds at equal errors of 95 %, read off between the tolerances on logarithmic scales. One thread; all take turns.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from zuko.transforms import FreeFormJacobianTransform

import pushforward as pf
from pushforward.layers import continuous
from pushforward.solvers.path import BY_TORCH, Path

try:
    from torchdiffeq import odeint
except ImportError:
    odeint = None
try:
    import torchode
except ImportError:
    torchode = None
try:
    import torchdyn.numerics as torchdyn
except ImportError:
    torchdyn = None

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
Score = Callable[[Tensor], Tensor]


class Field(nn.Module):
    """The field of a flow as a user would write it: the same weights, of time, place and nothing else; it counts its calls."""

    def __init__(self, flow: pf.Flow) -> None:
        super().__init__()
        field = flow.transform.layers[0].field
        first, *rest = field.parameters_of.net.layers
        linears = [nn.Linear(first.x.in_features + first.c.in_features, first.x.out_features)]
        linears[0].weight.data = torch.cat([first.x.weight, first.c.weight], 1).detach()
        linears[0].bias.data = first.x.bias.detach()
        for layer in rest:
            linears.append(nn.Linear(layer.in_features, layer.out_features))
            linears[-1].weight.data, linears[-1].bias.data = layer.weight.detach() * layer.gain, layer.bias.detach()
        # What bounds the slope counts as the field has it.
        share = field._share(field.parameters_of.net.program, field._perceptron()[1]).detach()
        linears[-1].weight.data, linears[-1].bias.data = linears[-1].weight.data * share, linears[-1].bias.data * share
        parts: list[nn.Module] = []
        for linear in linears:
            parts += [linear, nn.SiLU()]
        self.net, self.calls = nn.Sequential(*parts[:-1]).requires_grad_(False), 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        angles = torch.as_tensor(t, dtype=x.dtype) * (math.pi * torch.arange(1, 4, dtype=x.dtype))
        seen = torch.cat([torch.cos(angles), torch.sin(angles)], -1).expand(*x.shape[:-1], -1)
        return self.net(torch.cat([x, seen], -1))


def trained(features: int, widths: Sequence[int], seed: int = 0) -> tuple[pf.Flow, Tensor]:
    """Return a flow and rows of its data: a bent and two-peaked cloud whose columns depend on one another."""
    torch.manual_seed(seed)
    x = torch.randn(4000, features)
    x[:, 1::2] = 0.5 * x[:, 1::2] + x[:, ::2] ** 2 - 1
    x[:, 0] = 0.4 * x[:, 0] + torch.sign(x[:, 0])
    flow = pf.CNF(features, widths=tuple(widths))
    pf.fit(flow, x, objective="flow_matching", epochs=30, schedule="cosine", progress=False, standardize=False, seed=seed)
    return flow, x


def normal(x: Tensor) -> Tensor:
    return -0.5 * (x.square().sum(-1) + x.shape[-1] * math.log(2 * math.pi))


def ours(flow: pf.Flow, tolerance: float, compiled: bool) -> tuple[Score, Callable[[Tensor], float]]:
    layer = flow.transform.layers[0]

    def score(x: Tensor) -> Tensor:
        layer.tolerance = tolerance
        table, continuous.WAYS = continuous.WAYS, continuous.WAYS if compiled else BY_TORCH
        try:
            return flow.log_prob(x)
        finally:
            continuous.WAYS = table

    def evaluations(x: Tensor) -> float:
        of, used = layer.field.rates()
        z, _, _ = layer._rows(x, None)
        path = Path(layer.tableau, of, 1.0, 0.0, 0.1 * tolerance, None, continuous.WAYS if compiled else BY_TORCH)
        return float(path.solution(z, None, used, False).evaluations.double().mean())

    return score, evaluations


def counted(field: Field, score: Score) -> Callable[[Tensor], float]:
    def evaluations(x: Tensor) -> float:
        field.calls = 0
        score(x)
        return float(field.calls)

    return evaluations


def of_zuko(field: Field, tolerance: float) -> tuple[Score, Callable[[Tensor], float]]:
    def score(x: Tensor) -> Tensor:
        made, ladj = FreeFormJacobianTransform(field, 1.0, 0.0, atol=0.1 * tolerance, rtol=tolerance).call_and_ladj(x)
        return normal(made) + ladj

    return score, counted(field, score)


def rates(field: Field, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return velocities and the traces of their Jacobians by autograd."""
    with torch.enable_grad():
        place = x.detach().requires_grad_()
        v = field(t, place)
        trace = sum(torch.autograd.grad(v[:, d].sum(), place, retain_graph=True)[0][:, d] for d in range(x.shape[-1]))
    return v.detach(), trace


def of_torchdiffeq(field: Field, tolerance: float) -> tuple[Score, Callable[[Tensor], float]]:
    """The trace as its own example of a continuous flow has it: one backward pass for each dimension."""

    def score(x: Tensor) -> Tensor:
        start = (x, torch.zeros(len(x)))
        made, ladj = odeint(
            lambda t, state: rates(field, t, state[0]), start, torch.tensor([1.0, 0.0]), atol=tolerance, rtol=tolerance, method="dopri5"
        )
        return normal(made[-1]) + ladj[-1]

    return score, counted(field, score)


def of_torchode(field: Field, tolerance: float) -> tuple[Score, Callable[[Tensor], float]]:
    """Each row with steps of its own by Tsitouras' method; the trace as with torchdiffeq."""

    def score(x: Tensor) -> Tensor:
        term = torchode.ODETerm(lambda t, state: torch.column_stack(rates(field, t[:, None], state[:, :-1])))
        controller = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
        ends = {"t_start": torch.ones(len(x)), "t_end": torch.zeros(len(x))}
        problem = torchode.InitialValueProblem(y0=torch.cat([x, torch.zeros(len(x), 1)], 1), **ends)
        made = torchode.AutoDiffAdjoint(torchode.Tsit5(term=term), controller).solve(problem).ys[:, -1]
        return normal(made[:, :-1]) + made[:, -1]

    return score, counted(field, score)


def of_torchdyn(field: Field, tolerance: float) -> tuple[Score, Callable[[Tensor], float]]:
    """Places and log-determinants in one state, by one step size for all rows."""

    def score(x: Tensor) -> Tensor:
        start, span = torch.cat([x, torch.zeros(len(x), 1)], 1), torch.tensor([1.0, 0.0])
        options = {"solver": "tsit5", "atol": tolerance, "rtol": tolerance}
        made = torchdyn.odeint(lambda t, state: torch.column_stack(rates(field, t, state[:, :-1])), start, span, **options)[1][-1]
        return normal(made[:, :-1]) + made[:, -1]

    return score, counted(field, score)


def at(level: float, rows: list[tuple[float, float]]) -> float:
    """Return the milliseconds at an error, between the tolerances whose errors are around it, or NaN beyond them."""
    rows = sorted(rows)
    for (low, first), (high, second) in zip(rows, rows[1:], strict=False):
        if low <= level <= high:
            share = (math.log(level) - math.log(low)) / (math.log(high) - math.log(low))
            return math.exp(math.log(first) + share * (math.log(second) - math.log(first)))
    return math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--features", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 64])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for features in options.features:
        flow, data = trained(features, options.widths)
        field, x = Field(flow), data[: options.rows]
        exact = flow.double()
        exact.transform.layers[0].tolerance = 1e-12
        true = exact.log_prob(x.double()).detach()
        flow = flow.float()
        solvers: dict[str, Callable[[float], tuple[Score, Callable[[Tensor], float]]]] = {
            "pushforward": lambda tolerance, flow=flow: ours(flow, tolerance, True),
            "the same by torch": lambda tolerance, flow=flow: ours(flow, tolerance, False),
            "Zuko": lambda tolerance, field=field: of_zuko(field, tolerance),
        }
        if odeint is not None:
            solvers["torchdiffeq, dopri5"] = lambda tolerance, field=field: of_torchdiffeq(field, tolerance)
        if torchode is not None:
            solvers["torchode, tsit5"] = lambda tolerance, field=field: of_torchode(field, tolerance)
        if torchdyn is not None:
            solvers["torchdyn, tsit5"] = lambda tolerance, field=field: of_torchdyn(field, tolerance)
        print(f"\n{features} features, {options.rows} rows, widths {options.widths}\n")
        print("| solver | tolerance | evaluations | ms | off by, median | off by, 95 % |\n|---|---|---|---|---|---|")
        curves: dict[str, list[tuple[float, float]]] = {name: [] for name in solvers}
        used: dict[str, list[tuple[float, float]]] = {name: [] for name in solvers}
        with torch.no_grad():
            for tolerance in TOLERANCES:
                jobs = {name: make(tolerance) for name, make in solvers.items()}
                times: dict[str, list[float]] = {name: [] for name in jobs}
                for _ in range(options.rounds):
                    for name, (score, _) in jobs.items():
                        start = time.thread_time()
                        score(x)
                        times[name].append(1e3 * (time.thread_time() - start))
                for name, (score, evaluations) in jobs.items():
                    off, middle = (score(x).double() - true).abs(), statistics.median(times[name])
                    most, count = float(off.quantile(0.95)), evaluations(x)
                    curves[name].append((most, middle))
                    used[name].append((most, count))
                    print(f"| {name} | {tolerance:.0e} | {count:.0f} | {middle:.1f} | {float(off.median()):.1e} | {most:.1e} |", flush=True)
        print("\n| off by, 95 % | " + " | ".join(f"{name}, ms (evaluations)" for name in solvers) + " |\n|---|" + "---|" * len(solvers))
        for level in LEVELS:
            cells = [f"{at(level, curves[name]):.1f} ({at(level, used[name]):.0f})" for name in solvers]
            print(f"| {level:.0e} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
