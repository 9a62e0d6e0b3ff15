"""FlowTorch's lists of what there is: names and classes."""

from __future__ import annotations

import inspect
from types import ModuleType

from torch.distributions import Distribution

from pushforward.contrib.flowtorch import bijectors, distributions, parameters


def list_bijectors() -> list[tuple[str, type[bijectors.Bijector]]]:
    """Return each bijector's name and class."""
    return _listed(bijectors, bijectors.Bijector)


def list_parameters() -> list[tuple[str, type[parameters.Parameters]]]:
    """Return each name of `parameters` and its class."""
    return _listed(parameters, parameters.Parameters)


def list_distributions() -> list[tuple[str, type[Distribution]]]:
    """Return each name of `distributions` and its class."""
    return _listed(distributions, Distribution)


def _listed(module: ModuleType, base: type) -> list[tuple[str, type]]:
    found = [(name, getattr(module, name)) for name in module.__all__]
    return [(name, cls) for name, cls in found if inspect.isclass(cls) and issubclass(cls, base)]
