"""The table of peers: for each family the layers of other libraries that compute the same thing, each at the same sizes as ours.

Networks have two hidden layers of 16, splines a box of [-5, 5] and as many bins as the row of ours beside which they stand.
"""

from __future__ import annotations

import dataclasses
import warnings

import flowtorch.bijectors as fb
import flowtorch.parameters as fp
import nflows.nn.nets
import nflows.transforms as nt
import normflows as nf
import pyro.distributions.transforms as pt
import torch
import torch.distributions.transforms as tt
import zuko
from peers import PeerLayer, as_bijector, as_double_transform, as_lazy, as_module, as_transform
from pyro.nn import AutoRegressiveNN, DenseNN
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.flows.gaussianization import ElementWiseTransform
from zuko.lazy import UnconditionalTransform
from zuko.transforms import LULinearTransform, MonotonicAffineTransform, MonotonicRQSTransform, PermutationTransform

WIDTHS = (16, 16)
BOX = 5.0


def flowtorch(name: str, **arguments: object) -> PeerLayer:
    def make(n: int) -> object:
        return getattr(fb, name)(shape=torch.Size([n]), **arguments)

    return PeerLayer(make, as_bijector, random_start=True)


def flowtorch_ar(name: str, **arguments: object) -> PeerLayer:
    def make(n: int) -> object:
        net = fp.DenseAutoregressive(hidden_dims=WIDTHS)
        return getattr(fb, name)(net, shape=torch.Size([n]), **arguments)

    return PeerLayer(make, as_bijector, turned=True, passes=(3, 1))


def torch_map(*layers: object) -> PeerLayer:
    return PeerLayer(lambda n: layers[0], as_transform)


def nflows_module(make: object, turned: bool = False, passes: tuple[int, int] = (1, 1)) -> PeerLayer:
    return PeerLayer(make, as_module, turned=turned, passes=passes, rows_only=True)  # type: ignore[arg-type]


normflows_module = nflows_module


def spline_shapes(bins: int) -> list[tuple[int, ...]]:
    return [(bins,), (bins,), (bins - 1,)]


def zuko_spline(*phi: torch.Tensor) -> MonotonicRQSTransform:
    return MonotonicRQSTransform(*phi, bound=BOX)


def pyro_spline(order: str) -> PeerLayer:
    return PeerLayer(lambda n: pt.Spline(n, count_bins=8, bound=BOX, order=order), as_transform, random_start=True)


def dense(order: str, elements: int, bins: int) -> list[int]:
    return [elements * k for k in ((bins, bins, bins - 1, bins) if order == "linear" else (bins, bins, bins - 1))]


def pyro_spline_coupling(order: str) -> PeerLayer:
    def make(n: int) -> object:
        net = DenseNN(n // 2, list(WIDTHS), param_dims=dense(order, n - n // 2, 4))
        return pt.SplineCoupling(n, n // 2, net, count_bins=4, bound=BOX, order=order)

    return PeerLayer(make, as_transform, random_start=True)


def pyro_spline_ar(order: str) -> PeerLayer:
    def make(n: int) -> object:
        net = AutoRegressiveNN(n, list(WIDTHS), param_dims=dense(order, 1, 4))
        return pt.SplineAutoregressive(n, net, count_bins=4, bound=BOX, order=order)

    return PeerLayer(make, as_transform, turned=True, passes=(3, 1))


def nflows_net(inputs: int, outputs: int) -> torch.nn.Module:
    return nflows.nn.nets.ResidualNet(inputs, outputs, hidden_features=16, num_blocks=1)


def alternating(n: int) -> list[int]:
    return [i % 2 for i in range(n)]


def inverse_of(layer: PeerLayer) -> PeerLayer:
    """Return an autoregressive layer the other way round: one pass to sample."""
    return dataclasses.replace(layer, turned=not layer.turned, passes=layer.passes[::-1])


AFFINE_AR = {
    "zuko": PeerLayer(lambda n: MaskedAutoregressiveTransform(n, hidden_features=WIDTHS), as_lazy, turned=True, passes=(3, 1)),
    "nflows": nflows_module(lambda n: nt.MaskedAffineAutoregressiveTransform(n, 16, num_blocks=1, use_residual_blocks=False), True, (3, 1)),
    "normflows": normflows_module(
        lambda n: nf.flows.MaskedAffineAutoregressive(n, 16, num_blocks=1, use_residual_blocks=False), True, (3, 1)
    ),
    "pyro": PeerLayer(lambda n: pt.affine_autoregressive(n, hidden_dims=list(WIDTHS)), as_double_transform, turned=True, passes=(3, 1)),
    "pyro, stable": PeerLayer(
        lambda n: pt.affine_autoregressive(n, hidden_dims=list(WIDTHS), stable=True), as_double_transform, turned=True, passes=(3, 1)
    ),
    "flowtorch": flowtorch_ar("AffineAutoregressive"),
}
SPLINE_AR_LINEAR = {
    "pyro": pyro_spline_ar("linear"),
    "flowtorch": flowtorch_ar("SplineAutoregressive", count_bins=4, bound=BOX, order="linear"),
}

# Name of a row of ours -> library -> its layer.
LAYERS: dict[str, dict[str, PeerLayer]] = {
    "Exp": {"torch": torch_map(tt.ExpTransform()), "flowtorch": flowtorch("Exp")},
    "Sigmoid": {
        "torch": torch_map(tt.SigmoidTransform()),
        "nflows": nflows_module(lambda n: nt.Sigmoid()),
        "flowtorch": flowtorch("Sigmoid"),
    },
    "Tanh": {"torch": torch_map(tt.TanhTransform()), "nflows": nflows_module(lambda n: nt.Tanh()), "flowtorch": flowtorch("Tanh")},
    "Softplus": {"torch": torch_map(tt.SoftplusTransform()), "flowtorch": flowtorch("Softplus")},
    "ELU": {"pyro": torch_map(pt.ELUTransform()), "flowtorch": flowtorch("ELU")},
    "LeakyReLU": {
        "pyro": torch_map(pt.LeakyReLUTransform()),
        "nflows": nflows_module(lambda n: nt.LeakyReLU(0.2)),
        "flowtorch": flowtorch("LeakyReLU"),
    },
    "Power": {"torch": torch_map(tt.PowerTransform(torch.tensor(3.0, dtype=torch.float64))), "flowtorch": flowtorch("Power", exponent=3.0)},
    "AffineFixed": {
        "torch": torch_map(tt.AffineTransform(1.0, 0.5)),
        "nflows": nflows_module(lambda n: nt.PointwiseAffineTransform(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))),
        "flowtorch": flowtorch("AffineFixed", loc=1.0, scale=0.5),
    },
    "Affine": {
        "zuko": PeerLayer(lambda n: ElementWiseTransform(n, univariate=MonotonicAffineTransform), as_lazy, random_start=True),
        "normflows": normflows_module(lambda n: nf.flows.AffineConstFlow((n,))),
        "flowtorch": flowtorch("Affine"),
    },
    "Spline": {
        "zuko": PeerLayer(lambda n: ElementWiseTransform(n, univariate=zuko_spline, shapes=spline_shapes(8)), as_lazy, random_start=True),
        "nflows": nflows_module(
            lambda n: nt.PiecewiseRationalQuadraticCDF((n,), num_bins=8, tails="linear", tail_bound=BOX, identity_init=True)
        ),
        "normflows": normflows_module(
            lambda n: nf.flows.neural_spline.coupling.PiecewiseRationalQuadraticCDF((n,), num_bins=8, tails="linear", tail_bound=BOX)
        ),
        "pyro": pyro_spline("quadratic"),
        "flowtorch": flowtorch("Spline", count_bins=8, bound=BOX, order="quadratic"),
    },
    "Spline, linear": {
        "pyro": pyro_spline("linear"),
        "flowtorch": flowtorch("Spline", count_bins=8, bound=BOX, order="linear"),
    },
    "Linear": {
        "zuko": PeerLayer(lambda n: UnconditionalTransform(LULinearTransform, torch.eye(n)), as_lazy),
        "nflows": nflows_module(lambda n: nt.LULinear(n, identity_init=True)),
        "normflows": normflows_module(lambda n: nf.flows.LULinearPermute(n)),
    },
    "Permute": {
        "zuko": PeerLayer(lambda n: UnconditionalTransform(PermutationTransform, torch.tensor([2, 0, 1]), buffer=True), as_lazy),
        "nflows": nflows_module(lambda n: nt.Permutation(torch.tensor([2, 0, 1]))),
        "normflows": normflows_module(lambda n: nf.flows.Permute(n)),
        "pyro": PeerLayer(lambda n: pt.Permute(torch.tensor([2, 0, 1])), as_transform),
        "flowtorch": PeerLayer(lambda n: fb.Permute(shape=torch.Size([n]), permutation=torch.tensor([2, 0, 1])), as_bijector),
    },
    "Coupling affine": {
        "zuko": PeerLayer(lambda n: GeneralCouplingTransform(n, hidden_features=WIDTHS), as_lazy),
        "nflows": nflows_module(lambda n: nt.AffineCouplingTransform(alternating(n), nflows_net)),
        "normflows": normflows_module(lambda n: nf.flows.AffineCouplingBlock(nf.nets.MLP([n - n // 2, *WIDTHS, 2 * (n // 2)]))),
        "pyro": PeerLayer(lambda n: pt.affine_coupling(n, hidden_dims=list(WIDTHS)), as_transform),
    },
    "Coupling spline": {
        "zuko": PeerLayer(
            lambda n: GeneralCouplingTransform(n, univariate=zuko_spline, shapes=spline_shapes(4), hidden_features=WIDTHS), as_lazy
        ),
        "nflows": nflows_module(
            lambda n: nt.PiecewiseRationalQuadraticCouplingTransform(alternating(n), nflows_net, num_bins=4, tails="linear", tail_bound=BOX)
        ),
        "normflows": normflows_module(lambda n: nf.flows.CoupledRationalQuadraticSpline(n, 1, 16, num_bins=4, tail_bound=BOX)),
        "pyro": pyro_spline_coupling("quadratic"),
    },
    "Coupling spline, linear": {"pyro": pyro_spline_coupling("linear")},
    "Autoregressive affine": AFFINE_AR,
    "Autoregressive spline": {
        "zuko": PeerLayer(
            lambda n: MaskedAutoregressiveTransform(n, univariate=zuko_spline, shapes=spline_shapes(4), hidden_features=WIDTHS),
            as_lazy,
            turned=True,
            passes=(3, 1),
        ),
        "nflows": nflows_module(
            lambda n: nt.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                n, 16, num_bins=4, tails="linear", tail_bound=BOX, num_blocks=1, use_residual_blocks=False
            ),
            True,
            (3, 1),
        ),
        "normflows": normflows_module(
            lambda n: nf.flows.AutoregressiveRationalQuadraticSpline(n, 1, 16, num_bins=4, tail_bound=BOX), False, (3, 1)
        ),
        "pyro": pyro_spline_ar("quadratic"),
        "flowtorch": flowtorch_ar("SplineAutoregressive", count_bins=4, bound=BOX, order="quadratic"),
    },
    "InverseAutoregressive affine": {name: inverse_of(layer) for name, layer in AFFINE_AR.items()},
    "InverseAutoregressive spline": {name: inverse_of(layer) for name, layer in SPLINE_AR_LINEAR.items()},
}

# Imported for what they are; a warning of theirs at import or at a call is no figure.
warnings.simplefilter("ignore")
VERSIONS = {"zuko": zuko.__version__}
