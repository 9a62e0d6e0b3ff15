"""What stands between a missed bar and its figure, what was tried, and what would get there."""

from __future__ import annotations

from collections.abc import Sequence

from .bars import Bar

# By a part of the bar's name. Figures in them were measured once, by hand; the bar itself is measured by each run.
REASONS = {
    "affine autoregressive": """The masked networks alone, with the gradient of what comes into each, take 1.20 times the bare networks: 0.04
for the masks, 0.07 for the gradient of the inputs, which bare networks on data never compute, the rest for views and calls. The affine map,
forward and back, is another 0.1, flips and the density are what remains. *Tried:* products in blocks without the masked quarter (the smaller
products run that much slower), the whole network in C without the masked half (2.9 ms for 2.1), gradients of the networks written by hand
(the calls cost more than they save), and one polynomial for the arctangent instead of two, which took a third off the affine map.
*What would get there:* `torch.compile`, which is in the table below, or a product of packed triangular matrices in the BLAS.""",
    "FlowTorch's job": """Its networks are of 256 × 256, and a step multiplies 1,000 rows with that matrix three times: 393 million products and
sums, 5 ms at the 80 a nanosecond that this core reaches in float32. An eighth of FlowTorch's time is less than that, so no library that does the
multiplications can have it. *What would get there:* more cores, or a GPU.""",
    "Pyro's spline job": """Half of what is left is the optimizer, `zero_grad`, the mean and torch's own dispatch, which both libraries pay. The
spline takes 0.07 ms forward and 0.09 ms back. *Tried:* sums for shared parameters instead of a gradient for each row (back from 0.19 ms), no views
that change nothing. *What would get there:* `torch.compile`, which takes another quarter off, or one call of C for the whole step.""",
    "Pyro's spline coupling job": """The networks of 20 units are one call each way, and so is each spline; they take 0.9 ms of the step, most of it
arctangents and exponentials of the 63 parameters of each row. The rest is the optimizer for eight tensors, and dispatch. *Tried:* the networks as
compiled code (a quarter off the step), shared splines by sums, fewer views. *What would get there:* network and spline in one call, so that
parameters never leave the cache, and a flat vector of parameters for the optimizer.""",
    "Pyro's conditional job": """As in the coupling job; two flows are scored, each with its own checks, base and sums. *What would get there:* the
same.""",
    "peak memory": """The measure is the peak of the whole process, and moves by a tenth from run to run.""",
}


def missed(bars: Sequence[Bar]) -> list[str]:
    """Return the section of the page, nothing when all bars are met."""
    found = [(bar.what, next((text for part, text in REASONS.items() if part in bar.what), "")) for bar in bars if bar.verdict.startswith("**missed**")]
    return ["## Where a bar is missed\n", *(f"**{what}.** {text}\n" for what, text in found)] if found else []
