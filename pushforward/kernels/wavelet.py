"""Fixed orthogonal maps of vectors: the discrete cosine and the Haar wavelet transform."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.kernels.kernel import Kernel


@dataclass(frozen=True, repr=False)
class DiscreteCosine(Kernel):
    r"""Discrete cosine transform (type II, orthonormal), :math:`y_k = w_k \sqrt{2/D} \sum_n x_n \cos \frac{\pi (n + 1/2) k}{D}`.

    :math:`y_0` has :math:`\sqrt{1/D}` instead. The weights are :math:`w_k \propto (k + \frac12)^s`, of geometric mean 1, so volumes are
    kept whatever s: with s = 0 white noise stays white, with s = 1 Brownian noise becomes white. No parameters; acts on the last event
    axis; all real vectors to all real vectors.
    Source: Discrete Cosine Transform (Ahmed et al., 1974); by one Fourier transform of the same length: A Fast Cosine Transform in
    One and Two Dimensions (Makhoul, 1980).

    Args:
        smooth: s, the power of the frequency by which each coefficient is weighted.

    >>> DiscreteCosine().build(4)(torch.ones(4))[0].round(decimals=4)
    tensor([2., 0., 0., 0.])
    """

    smooth: float = 0.0

    event_dim = 1
    is_affine = True
    formula = "y_k = w_k c_k sum_n x_n cos(pi (n + 1/2) k / D),  w_k ~ (k + 1/2)^smooth"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not x.numel():  # of which no Fourier transform is defined
            return x, x.new_zeros(())
        turn, scale = self._factors(x)
        spectrum = torch.fft.fft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1))
        return (spectrum.real * turn.real - spectrum.imag * turn.imag) * scale, x.new_zeros(())

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if not y.numel():
            return y, y.new_zeros(())
        turn, scale = self._factors(y)
        real = y / scale
        # The spectrum of real values is symmetric, so coefficient D - k is the imaginary part, turned, of coefficient k.
        imaginary = torch.cat([torch.zeros_like(real[..., :1]), -real[..., 1:].flip(-1)], -1)
        values = torch.fft.ifft(torch.complex(real, imaginary) * turn.conj()).real
        size = y.shape[-1]
        even, odd = values[..., : (size + 1) // 2], values[..., (size + 1) // 2 :].flip(-1)
        return torch.stack([even, F.pad(odd, (0, size % 2))], -1).flatten(-2)[..., :size], y.new_zeros(())

    def _factors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the turn of each coefficient of the Fourier transform, and the weight that makes the map orthonormal, times w."""
        size = x.shape[-1]
        k = torch.arange(size, dtype=x.dtype, device=x.device)
        log_frequency = torch.log(k + 0.5)
        weight = torch.exp(self.smooth * (log_frequency - log_frequency.mean()))
        scale = torch.sqrt((1 + (k > 0).to(x.dtype)) / size)
        return torch.polar(torch.ones_like(k), k * (-math.pi / (2 * size))), weight * scale


@dataclass(frozen=True, repr=False)
class Haar(Kernel):
    r"""Haar wavelet transform: sums and differences of neighbours, :math:`(a \pm b) / \sqrt2`, then of those sums, and so on.

    First comes the coarsest sum, then differences from coarse to fine; where a level has an odd length its last value stays as it is and
    follows the differences. It keeps lengths and volumes. No parameters; acts on the last event axis, of any length; all real vectors to
    all real vectors.
    Source: Zur Theorie der orthogonalen Funktionensysteme (Haar, 1910).

    >>> Haar().build(4)(torch.ones(4))[0]
    tensor([2., 0., 0., 0.])
    """

    event_dim = 1
    is_affine = True
    formula = "y = sums and differences (x_2i +- x_2i+1) / sqrt(2), again on the sums"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        details: list[Tensor] = []
        # Bare sums, each value scaled once: half of the scales are powers of two, which round nothing.
        for level, length in enumerate(lengths := _lengths(x.shape[-1])[:-1]):
            even, odd, rest = x[..., : length - 1 : 2], x[..., 1:length:2], x[..., length - length % 2 :]
            details = [(even - odd) * 2 ** (-(level + 1) / 2), rest * 2 ** (-level / 2), *details]
            x = even + odd
        return torch.cat([x * 2 ** (-len(lengths) / 2), *details], -1), x.new_zeros(())

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        lengths = _lengths(y.shape[-1])[:-1]
        x = y[..., :1] * 2 ** (-len(lengths) / 2)
        for level, length in reversed(list(enumerate(lengths))):
            pairs = length // 2
            difference, rest = y[..., pairs : 2 * pairs] * 2 ** (-(level + 1) / 2), y[..., 2 * pairs : length] * 2 ** (-level / 2)
            x = torch.cat([torch.stack([x + difference, x - difference], -1).flatten(-2), rest], -1)
        return x, y.new_zeros(())


def _lengths(size: int) -> list[int]:
    """Return how many sums there are at each level, from the values themselves to the last one."""
    return [size >> level for level in range(size.bit_length())]
