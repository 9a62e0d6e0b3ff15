"""FlowTorch's names over our plans, which need torch alone, and `convert`, which moves a trained flow of FlowTorch."""

from pushforward.contrib.flowtorch import bijectors, distributions, parameters
from pushforward.contrib.flowtorch.convert import convert
from pushforward.contrib.flowtorch.lazy import Built, Lazy

__all__ = ["Built", "Lazy", "bijectors", "convert", "distributions", "parameters"]
