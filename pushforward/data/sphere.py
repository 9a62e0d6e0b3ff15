"""Places on the Earth as unit vectors, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_sphere(latitude: Any, longitude: Any) -> Tensor:
    r"""Return the unit vectors ``(*batch, 3)``, in float64, of latitudes and longitudes in degrees.

    :math:`(\cos b \cos l, \cos b \sin l, \sin b)` of the latitude b and the longitude l: the last number is 1 at the north pole. A density
    of such vectors is one of surface area: in place of the Earth's square kilometres, of a sphere of radius 1, which has
    :math:`4 \pi`. Missing numbers (NaN) give NaN.

    Args:
        latitude: ``(*batch)`` in [-90, 90]: a tensor, an array, a column of a frame, or a list.
        longitude: ``(*batch)``, of which whole turns do not matter.

    Raises:
        TypeError: What is no numbers.
        ValueError: Other shapes, or a latitude beyond the poles.

    >>> to_sphere([90.0, 0.0], [0.0, -90.0]).round().abs()
    tensor([[0., 0., 1.],
            [0., 1., 0.]], dtype=torch.float64)
    """
    north, east = _latitudes("to_sphere", latitude), _numbers("to_sphere", "longitude", longitude)
    if north.shape != east.shape:
        raise ValueError(f"to_sphere: expected as many longitudes as latitudes, got shapes {tuple(north.shape)} and {tuple(east.shape)}")
    b, a = torch.deg2rad(north), torch.deg2rad(torch.remainder(east, 360))
    return torch.stack([torch.cos(b) * torch.cos(a), torch.cos(b) * torch.sin(a), torch.sin(b)], -1)


def from_sphere(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return latitudes in [-90, 90] and longitudes in [-180, 180) in degrees, each ``(*batch)``, of vectors ``(*batch, 3)``.

    The length of a vector does not matter. At the poles every longitude is right, and 0 is taken.

    Raises:
        TypeError: No tensor of floating-point numbers.
        ValueError: Vectors of another length than three numbers.

    >>> latitude, longitude = from_sphere(to_sphere([51.5], [-0.25]))
    >>> latitude, longitude
    (tensor([51.5000], dtype=torch.float64), tensor([-0.2500], dtype=torch.float64))
    """
    if not isinstance(points, Tensor) or not points.is_floating_point():
        raise TypeError(f"from_sphere: expected points to be a tensor of floating-point numbers, got {type(points).__name__}")
    if not points.dim() or points.shape[-1] != 3:
        raise ValueError(f"from_sphere: expected points of shape (*batch, 3), got {tuple(points.shape)}")
    x, y, z = points.unbind(-1)
    latitude, longitude = torch.rad2deg(torch.atan2(z, torch.hypot(x, y))), torch.rad2deg(torch.atan2(y, x))
    return latitude.clamp(-90, 90), torch.where(longitude >= 180, -180.0, longitude)


def per_degree(log_prob: Tensor, latitude: Any) -> Tensor:
    r"""Return log-densities of latitude and longitude in degrees, ``(*batch)``, from those of unit vectors, which are of surface area.

    :math:`\log p(b, l) = \log p(x) + \log \cos b + 2 \log (\pi / 180)`: a square of a degree is the smaller the nearer it is to a pole. It
    integrates to 1 over [-90, 90] and [-180, 180), as a histogram of the two columns does, and is minus infinity at the poles.

    Args:
        log_prob: ``(*batch)``, what `Flow.log_prob` gives for `to_sphere`'s vectors.
        latitude: ``(*batch)`` in [-90, 90]: a tensor, an array, a column of a frame, or a list.

    Raises:
        TypeError: No tensor of floating-point numbers; latitudes that are no numbers.
        ValueError: Other shapes, or a latitude beyond the poles.

    >>> per_degree(torch.zeros(2), [0.0, 60.0]).round(decimals=1)
    tensor([-8.1000, -8.8000])
    """
    if not isinstance(log_prob, Tensor) or not log_prob.is_floating_point():
        raise TypeError(f"per_degree: expected log_prob to be a tensor of floating-point numbers, got {type(log_prob).__name__}")
    north = _latitudes("per_degree", latitude)
    if north.shape != log_prob.shape:
        raise ValueError(f"per_degree: expected one latitude for each log_prob, of shape {tuple(log_prob.shape)}, got {tuple(north.shape)}")
    # By the distance to the nearer pole, of which the sine keeps its digits, and is 0 at the pole itself.
    area = torch.sin(torch.deg2rad(90 - north.abs())).log() + 2 * math.log(math.pi / 180)
    return log_prob + area.to(log_prob)


def _latitudes(owner: str, given: Any) -> Tensor:
    """Return latitudes as a tensor in float64; raise where they are none."""
    north = _numbers(owner, "latitude", given)
    if bool((beyond := north.abs() > 90).any()):
        raise ValueError(f"{owner}: expected latitudes in [-90, 90] degrees, got {north[beyond].flatten()[0].item():g}")
    return north


def _numbers(owner: str, name: str, given: Any) -> Tensor:
    """Return numbers as a tensor in float64; raise TypeError where they are none."""
    if isinstance(given, Tensor):
        if given.is_complex():
            raise TypeError(f"{owner}: expected {name} to be real numbers, got a tensor of {given.dtype}")
        return given.to(torch.float64)
    try:
        return torch.from_numpy(np.array(given, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{owner}: expected {name} to be numbers, got a {type(given).__name__}") from error
