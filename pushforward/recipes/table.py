"""The table of named flows: a row is all that a named flow is, and where a new one goes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pushforward.core.compose import Compose
from pushforward.kernels.affine import Affine
from pushforward.kernels.householder import Householder
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.monotonic import MonotonicNetwork
from pushforward.kernels.neural import DeepSigmoid
from pushforward.kernels.planar import Planar
from pushforward.kernels.polynomial import Bernstein, SumOfSquares
from pushforward.kernels.radial import Radial
from pushforward.kernels.sylvester import Sylvester
from pushforward.layers.actnorm import ActNorm
from pushforward.layers.coupling import Coupling
from pushforward.layers.rearrange import Reverse
from pushforward.layers.residual import Residual
from pushforward.recipes.layers import (
    autoregressive,
    blocks,
    circles,
    continuous,
    gaussianization,
    inverse_autoregressive,
    net,
    nice,
    posterior,
    splines,
)
from pushforward.recipes.option import (
    ACTIVATION,
    BINS,
    NET,
    PERCEPTRON,
    POSTERIOR_NET,
    SETS,
    STRUCTURE,
    SUPPORT,
    WIDTHS,
    Option,
    mix,
    transforms,
)
from pushforward.recipes.recipe import PASS, ROOT, ROOTS, SOLVER, STEPS, Recipe
from pushforward.recipes.stack import Parts

EITHER = f"{PASS}, or {STEPS} where it is autoregressive"
BOX = 3.0
"""Half the width of the box of a polynomial on standardised data: where most of them are, so that they decide all of it."""
DRAWN = "(3).rsample_and_log_prob((2,))[1].shape\ntorch.Size([2])"


def exact_score(kernel: Callable[[SimpleNamespace], Kernel]) -> dict[str, Any]:
    """Return autoregressive layers that are scored by the kernel's formula, and sampled by its root."""
    return {"parts": lambda o: Parts(lambda i: inverse_autoregressive(o, kernel(o), net(o)).inv), "score": PASS, "sample": ROOTS}


RECIPES = (
    Recipe(
        "NSF",
        "Neural spline flow: rational splines, in coupling or autoregressive layers.",
        "Neural Spline Flows (Durkan et al., 2019)",
        (
            transforms(5),
            BINS,
            Option("bound", 5.0, "Half the width of each spline's box; the data is standardised by `fit`."),
            Option("order", "quadratic", '``"quadratic"`` or ``"linear"``, as in `Spline`.'),
            STRUCTURE,
            *PERCEPTRON,
            mix("linear"),
            Option(
                "support",
                None,
                rf'{SETS} Features may be ``"circular"``, angles in :math:`(-\pi, \pi)`, beside others; layers then move halves of both, '
                "and ``mix`` does nothing.",
                SUPPORT.type,
            ),
        ),
        splines,
        sample=EITHER,
        example='(5, structure="autoregressive").log_prob(torch.zeros(3, 5)).shape\ntorch.Size([3])',
        variants={"NSF-AR": {"structure": "autoregressive"}},
    ),
    Recipe(
        "MAF",
        "Masked autoregressive flow: affine, each feature given all earlier ones.",
        "Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017)",
        (transforms(5), *PERCEPTRON, mix("reverse"), SUPPORT),
        lambda o: Parts(lambda i: autoregressive(o, Affine(), net(o))),
        sample=STEPS,
    ),
    Recipe(
        "IAF",
        "Inverse autoregressive flow: affine, each feature given all earlier ones of the base.",
        "Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016)",
        (transforms(5), *PERCEPTRON, mix("reverse"), SUPPORT),
        lambda o: Parts(lambda i: inverse_autoregressive(o, Affine(), net(o))),
        score=STEPS,
        example=DRAWN,
    ),
    Recipe(
        "RealNVP",
        "RealNVP: affine coupling layers.",
        "Density Estimation using Real NVP (Dinh et al., 2017)",
        (transforms(6), *PERCEPTRON, mix("shuffle"), SUPPORT),
        lambda o: Parts(lambda i: Coupling(Affine(), flip=i % 2 == 1, net=net(o))),
        example="(5, context=2).sample((3,), torch.zeros(2)).shape\ntorch.Size([3, 5])",
    ),
    Recipe(
        "NICE",
        "NICE: additive coupling layers, which keep volumes, and one scale per feature at the end.",
        "NICE: Non-linear Independent Components Estimation (Dinh et al., 2014)",
        (transforms(4), *PERCEPTRON, mix("shuffle"), SUPPORT),
        nice,
    ),
    Recipe(
        "NCSF",
        r"Neural circular spline flow: angles in :math:`(-\pi, \pi)`, with a density that has no seam where the ends of the circle meet.",
        "Normalizing Flows on Tori and Spheres (Rezende et al., 2020)",
        (
            transforms(5),
            BINS,
            STRUCTURE,
            *PERCEPTRON,
            Option(
                "mix",
                "shuffle",
                'What mixes the features after each layer: ``"reverse"``, ``"shuffle"`` or None.',
                "str | None",
                ("shuffle", "reverse", None),
                "'shuffle', 'reverse' or None, since angles cannot be added up",
            ),
        ),
        circles,
        sample=EITHER,
        note="Networks see cosines and sines (`Periodic`), kernels are circular splines, the base is uniform.",
        example="(2).sample((3,)).abs().max() < 3.15\ntensor(True)",
    ),
    Recipe(
        "NAF",
        "Neural autoregressive flow: each feature by a deep sigmoidal network whose weights the masked network gives.",
        "Neural Autoregressive Flows (Huang et al., 2018)",
        (
            transforms(5),
            Option("units", 16, "Sigmoids of each feature, as in `DeepSigmoid`."),
            Option("layers", 1, "Sigmoidal layers of each feature."),
            *PERCEPTRON,
            mix("reverse"),
            SUPPORT,
        ),
        **exact_score(lambda o: DeepSigmoid(o.units, o.layers)),
        note="The experiments of the source take 16 sigmoids and 5 to 10 layers.",
    ),
    Recipe(
        "UNAF",
        "Unconstrained neural autoregressive flow: each feature by the integral of a positive network.",
        "Unconstrained Monotonic Neural Networks (Wehenkel, Louppe, 2019)",
        (transforms(5), Option("units", 8, "Of each feature, as in `MonotonicNetwork`."), *PERCEPTRON, mix("reverse"), SUPPORT),
        **exact_score(lambda o: MonotonicNetwork(o.units)),
    ),
    Recipe(
        "SOSPF",
        "Sum-of-squares polynomial flow: each feature by the integral of a sum of squared polynomials.",
        "Sum-of-Squares Polynomial Flow (Jaini et al., 2019)",
        (
            transforms(3),
            Option("degree", 4, "Degree of the polynomials, as in `SumOfSquares`."),
            Option("terms", 3, "Number of squares, as in `SumOfSquares`."),
            *PERCEPTRON,
            mix("reverse"),
            SUPPORT,
        ),
        **exact_score(lambda o: SumOfSquares(o.degree, o.terms, BOX, tails="gentle")),
    ),
    Recipe(
        "BPF",
        "Bernstein polynomial flow: each feature by an increasing Bernstein polynomial.",
        "Deep Transformation Models (Sick et al., 2020); "
        "Robust Normalizing Flows using Bernstein-type Polynomials (Ramasinghe et al., 2021)",
        (transforms(3), Option("degree", 16, "Degree of the polynomial, as in `Bernstein`."), *PERCEPTRON, mix("reverse"), SUPPORT),
        **exact_score(lambda o: Bernstein(o.degree, BOX, tails="gentle")),
    ),
    Recipe(
        "BNAF",
        "Block neural autoregressive flow: one network a layer, whose diagonal blocks make each output increase in its own input.",
        "Block Neural Autoregressive Flow (De Cao et al., 2019)",
        (
            transforms(5),
            Option("factors", (8,), "Units for each feature, for each hidden layer.", WIDTHS.type),
            Option("activation", "tanh", "Activation of all layers but the last, as in `BlockAutoregressive`."),
            mix("reverse"),
            SUPPORT,
        ),
        blocks,
        sample=ROOTS,
        note="All layers are gated but the last on the way to the base, which has no residual connection and an activation that is onto.",
    ),
    Recipe(
        "GF",
        "Gaussianization flow: rotations, and for each feature the quantiles of a mixture's cumulative distribution function.",
        "Gaussianization Flows (Meng et al., 2020)",
        (
            transforms(5),
            Option("components", 8, "Components of each mixture."),
            Option("widths", WIDTHS.default, "Hidden widths of each network; used with a context only.", WIDTHS.type),
            ACTIVATION,
            NET,
            SUPPORT,
        ),
        gaussianization,
        sample=ROOT,
    ),
    Recipe(
        "ResidualFlow",
        "Residual flow: contractive residual layers, which mix all features at once, with `ActNorm` before each.",
        "Invertible Residual Networks (Behrmann et al., 2019); Residual Flows for Invertible Generative Modeling (Chen et al., 2019)",
        (
            transforms(8),
            WIDTHS,
            Option("coefficient", 0.9, "Lipschitz bound of each network, in (0, 1)."),
            Option("activation", "lipswish", "As in `Residual`."),
            SUPPORT,
        ),
        lambda o: Parts(lambda i: Compose([Residual(o.widths, o.coefficient, o.activation).inv, ActNorm()])),
        score=f"{PASS}, with the determinant of the whole Jacobian",
        sample="by a fixed number of steps towards the fixed point of each layer",
    ),
    Recipe(
        "CNF",
        "Continuous normalizing flow: one velocity field, a network of place, time and context, which carries all features at once.",
        "FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2019)",
        (
            transforms(1),
            WIDTHS,
            Option("activation", "silu", "Activation of each network, as in `MLP`; a smooth one takes the fewest steps."),
            NET,
            Option("tolerance", 1e-5, "What values and log-determinants are within, as in `Continuous`."),
            Option("method", "tsit5", 'The solver: ``"tsit5"``, ``"dopri5"``, ``"rk4"`` or ``"heun"``, as in `Continuous`.'),
            Option("trace", "exact", 'How its trace is found: ``"exact"``, or by random probes, ``"hutchinson"`` or ``"hutch++"``.'),
            Option("probes", 16, "How many random probes, which an exact trace does not need; of each layer others."),
            Option("seed", 0, "Sets the probes, as in `Continuous`; of other seeds no layer has the same."),
            Option(
                "support",
                None,
                rf'{SETS} Features may be ``"circular"``, angles in :math:`(-\pi, \pi)`, and three in a row ``"sphere"``, a unit vector, '
                "whose density is with respect to the area of the surface; the base is uniform there, and the field has no seam.",
                SUPPORT.type,
            ),
        ),
        continuous,
        score=SOLVER,
        sample=SOLVER,
        note="`Flow.log_prob_and_error` states how far a log-density may be off.",
        variants={"Continuous": {}},
    ),
    Recipe(
        "PlanarFlow",
        "Planar flow over a learned normal: a posterior for variational inference.",
        "Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015)",
        (transforms(8), Option("activation", "tanh", '``"tanh"`` or ``"leaky_relu"``, as in `Planar`.'), *POSTERIOR_NET),
        lambda o: posterior(o, Planar(o.activation)),
        score=ROOT,
        example=DRAWN,
    ),
    Recipe(
        "RadialFlow",
        "Radial flow over a learned normal: a posterior for variational inference.",
        "Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015)",
        (transforms(8), *POSTERIOR_NET),
        lambda o: posterior(o, Radial()),
        example=DRAWN,
    ),
    Recipe(
        "SylvesterFlow",
        "Sylvester flow over a learned normal: a posterior for variational inference.",
        "Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018)",
        (
            transforms(4),
            Option("variant", "householder", 'As in `Sylvester`; with ``"triangular"`` features are reversed between layers.'),
            *POSTERIOR_NET,
        ),
        lambda o: posterior(o, Sylvester(o.variant), [Reverse()] if o.variant == "triangular" else []),
        score="by roots, one a row of the triangular matrices",
        example=DRAWN,
    ),
    Recipe(
        "HouseholderFlow",
        "Householder flow: a learned diagonal normal turned by reflections, which gives it a full covariance.",
        "Improving Variational Auto-Encoders using Householder Flow (Tomczak, Welling, 2016)",
        (transforms(1), Option("reflections", 2, "Reflections of each layer, as in `Householder`."), *POSTERIOR_NET),
        lambda o: posterior(o, Householder(o.reflections)),
        example=DRAWN,
    ),
)

FLOWS = {recipe.name: recipe.function("pushforward.flows") for recipe in RECIPES}
"""The named flows, as users call them."""
