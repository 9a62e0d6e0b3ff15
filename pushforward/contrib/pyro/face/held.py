"""Distributions and transforms of torch held by a module, so that their tensors move and are saved with it."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.transforms import Transform


class AsModule(nn.Module):
    """A distribution or transform that is no module: its tensors become buffers, its parameters parameters, and it is made of them anew.

    >>> import torch
    >>> held = AsModule.of(torch.distributions.Normal(torch.zeros(2), torch.ones(2))).double()
    >>> released(held).sample().dtype, sorted(held.state_dict())
    (torch.float64, ['loc', 'scale'])
    """

    def __init__(self, thing: Any) -> None:
        super().__init__()
        # A copy, since what it is made of will change with the module and not with the thing.
        self.shell = copy.copy(thing)
        content = vars(self.shell)
        for name, value in list(content.items()):
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            elif isinstance(value, Tensor):
                # Views of a smaller tensor could not be loaded into.
                self.register_buffer(name, value.contiguous())
            elif _holds(value):
                self.add_module(name, self.of(value))
            elif isinstance(value, list) and value and all(map(_holds, value)):
                self.add_module(name, nn.ModuleList(map(self.of, value)))
            else:
                continue
            content[name] = None

    @staticmethod
    def of(thing: Any) -> nn.Module:
        """Return the thing itself if it is a module, else hold it."""
        return thing if isinstance(thing, nn.Module) else AsModule(thing)

    def thing(self) -> Any:
        """Return the distribution or transform with the tensors as they are now."""
        made = copy.copy(self.shell)
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            vars(made)[name] = value
        for name, child in self._modules.items():
            vars(made)[name] = [released(part) for part in child] if isinstance(child, nn.ModuleList) else released(child)
        return made


def released(held: Any) -> Any:
    """Return what a module of `AsModule.of` holds."""
    return held.thing() if isinstance(held, AsModule) else held


def _holds(value: Any) -> bool:
    return isinstance(value, Distribution | Transform | nn.Module)
