"""Random numbers from a generator of one's own: what is drawn inside a block, by whomever, leaves the global state alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Drawing(TorchDispatchMode):
    """A block in which torch's operators draw from generators of a seed, one for each device, instead of the global ones.

    A seed that is set globally and put back later is every other thread's seed meanwhile; this holds for its own thread alone. It costs
    some microseconds an operator, so it stands where a layer or a function that is not known may draw. It does not see what
    torch.compile has compiled, nor the dropout inside the fused attention and the recurrent layers of a GPU.

    Args:
        seed: The seed, as of `torch.Generator.manual_seed`.

    Attributes:
        count: How many operators have drawn in the block.

    >>> with Drawing(3):
    ...     x = torch.rand(2)
    >>> torch.equal(x, torch.rand(2, generator=torch.Generator().manual_seed(3)))
    True
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed, self.count = seed, 0
        self.generators: dict[torch.device, torch.Generator] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Have torch leave the method as it is: to hide it from its compiler, which does not look here, torch would import that first."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or given.get("generator") is not None:
            return func(*args, **given)
        device = _place(args, given)
        if device.type == "meta":
            return func(*args, **given)
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        self.count += 1
        return _drawn(func, args, given, self.generators[device])


def _drawn(func: Any, args: tuple[Any, ...], given: dict[str, Any], generator: torch.Generator) -> Any:
    """Return what an operator that draws gives when it draws from a generator."""
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func(*args, **{**given, "generator": generator})
    packet, form = func.overloadpacket, func._overloadname
    if packet is aten.rand_like:
        return torch.empty_like(args[0], **given).uniform_(generator=generator)
    if packet is aten.randn_like:
        return torch.empty_like(args[0], **given).normal_(generator=generator)
    if packet is aten.randint_like:
        return torch.empty_like(args[0], **given).random_(*((0, args[1]) if form == "default" else args[1:3]), generator=generator)
    if packet is aten.native_dropout:
        return _dropout(args[0], args[1], generator)
    # torch.rand and the other makers of tensors take a generator in a form of their own.
    with_generator = getattr(packet, {"default": "generator", "low": "low_generator"}.get(form, ""), None)
    return func(*args, **given) if with_generator is None else with_generator(*args, **given, generator=generator)


def _place(args: Sequence[Any], given: dict[str, Any]) -> torch.device:
    """Return where the numbers are to be: as asked for, else where the tensor is that they fill or belong to."""
    if given.get("device") is not None:
        return torch.device(given["device"])
    return next((value.device for value in args if isinstance(value, Tensor)), torch.device("cpu"))


def _dropout(x: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    kept = torch.rand(x.shape, device=x.device, generator=generator) >= share
    return torch.where(kept, x / max(1 - share, torch.finfo(x.dtype).tiny), 0), kept
