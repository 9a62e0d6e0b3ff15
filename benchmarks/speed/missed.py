"""What stands between a missed bar and its figure, what was tried, and what would get there."""

from __future__ import annotations

from collections.abc import Sequence

from .bars import Bar

# By a part of the bar's name. The figures in them were measured once, by hand, on the machine of the page; each run measures the bars.
REASONS = {
    "affine autoregressive": """The masked networks alone, with the gradient of what comes into each, take 1.0 to 1.05
times the bare networks. The affine maps add 0.2, half of it arithmetic (2.9 ns an element forward, 3.7 back), half calls: a function
with a gradient of its own and the sums of log-determinants; to reverse the features adds 0.03. With two threads the products take
less and the calls as long. *Tried:* masks that lie in memory as their weights do and layers that are not called as modules (the
networks took 1.2 before), products in blocks without the quarter that is masked (smaller products run that much slower), the
whole network in C without the masked half (2.9 ms for torch's 2.1), gradients of the networks written by hand (their calls cost
more than they save), one polynomial for the arctangent instead of two (a third off the affine map). *What would get there:*
`torch.compile`, as in its table below.""",
    "FlowTorch's job": """Its network has a matrix of 256 × 256, with which a step multiplies 1,000 rows three times: 393 million
operations, 5 ms at the 80 in a nanosecond that a core reaches here in float32. An eighth of FlowTorch's time is less than that:
nothing that does these multiplications on one core can have it. *What would get there:* more cores, or a GPU.""",
    "Pyro's spline job": """An eighth of Pyro's time is 0.44 ms, of which Adam and `zero_grad`, which both pay, take 0.15, the
spline 0.07 forward and 0.09 back, and torch's dispatch of a dozen operators the rest. *Tried:* sums for parameters that all
rows share, instead of a gradient for each row (back from 0.19 ms), and no views that change nothing. *What would get there:*
the step as one call, by a compiler or in C.""",
    "Pyro's spline coupling job": """An eighth of Pyro's time is what the bare networks alone take in torch. *Tried:* small
networks as one call of compiled code each way, sums for shared splines, fewer views; together they took a third off the step.
Of what is left the kernels and the network take about 0.9 ms, most of it arctangents and exponentials of the 63 parameters of
each row, Adam 0.2, dispatch the rest. *What would get there:* network and spline in one call, so that parameters never leave
the cache, and one vector of parameters for the optimizer.""",
    "Pyro's conditional job": """As in the coupling job; two flows are scored, each with its own checks, base and sums. *What
would get there:* the same.""",
    "peak memory": """The measure is the peak of the whole process, and moves by a tenth from run to run.""",
}


def missed(bars: Sequence[Bar]) -> list[str]:
    """Return the section of the page, nothing when all bars are met."""
    found = [bar.what for bar in bars if bar.verdict.startswith("**missed**")]
    reasons = [next((text for part, text in REASONS.items() if part in what), "") for what in found]
    return ["## Where a bar is missed\n", *(f"**{what}.** {text}\n" for what, text in zip(found, reasons, strict=True))] if found else []
