"""Built: what plans build, modules whose shapes are fixed and whose public methods check what comes in."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from pushforward.core import checks
from pushforward.core.spec import Spec
from pushforward.core.state import Planned

LABEL = 100
"""Characters of a plan, at most, that an error begins with."""


class BuiltModule(Planned):
    """A module that a plan has built: a bijection or a base.

    Its public methods check what they are given, once, and hand it to the method that does the work (``push`` for
    ``forward``, ``score`` for ``log_prob``, ...). What holds other built modules calls those methods, past the checks.
    """

    noun = "module"

    def __init__(self, plan: Spec, event_shape: tuple[int, ...], context_shape: tuple[int, ...] | None) -> None:
        super().__init__()
        self.plan = plan
        self.event_shape, self.context_shape = event_shape, context_shape
        self._units: tuple[Any, ...] = ()

    def label(self) -> str:
        """Return the plan, cut where it is long: what errors begin with."""
        words = repr(self.plan)
        return words if len(words) <= LABEL else f"{words[:LABEL]}..."

    def take_contexts_in(self, units: nn.Module | None) -> None:
        """Let the public methods take contexts in the units of the flow that owns this module: ``units`` is its standardisation.

        It is a part of that flow, and no part of this module's state.
        """
        self._units = () if units is None else (units,)

    def admit(self, what: str, value: Any, shape: tuple[int, ...], context: Any) -> Tensor | None:
        """Check a value, and the context that comes with it, and return the context as layers take it.

        Args:
            what: The argument's name.
            value: Expected as a tensor ``(*batch, *shape)`` of the parameters' precision, where they are.
            shape: The shape of one event.
            context: Expected as ``(*batch, *context)``, with a batch that broadcasts, or None where none is taken.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.
        """
        dtype, device = checks.place(self)
        checks.check_tensor(self, what, value, shape, dtype, device)
        inner = self._context(context, dtype, device)
        if context is not None and self.context_shape is not None:
            batch = context.shape[: context.dim() - len(self.context_shape)]
            checks.check_batch(self, what, value.shape[: value.dim() - len(shape)], batch)
        return inner

    def admit_context(self, context: Any) -> Tensor | None:
        """Check a context alone; see `admit`."""
        return self._context(context, *checks.place(self))

    def _context(self, context: Any, dtype: Any, device: Any) -> Tensor | None:
        checks.check_context(self, context, self.context_shape, dtype, device)
        if context is None or not self._units:
            return context  # type: ignore[no-any-return]
        (units,) = self._units
        if units.loc.device != context.device:  # this module has been moved without its flow
            units = copy.deepcopy(units).to(context.device)
        inner: Tensor = units.pull(context)[0]
        return inner

    def extra_repr(self) -> str:
        return f"{self.plan!r}, event_shape={self.event_shape}"
