"""FlowTorch's names over our plans, which need torch alone, and `convert`, which moves a trained flow of FlowTorch."""

from pushforward.contrib.flowtorch import bijectors, distributions, parameters, utils
from pushforward.contrib.flowtorch.base import Lazy, LazyMeta
from pushforward.contrib.flowtorch.convert import convert

__all__ = ["Lazy", "LazyMeta", "bijectors", "convert", "distributions", "parameters", "utils"]
