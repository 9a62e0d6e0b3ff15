"""State: a state dict says of which plan it is the state, and is refused by a module of another."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from pushforward.core.fields import shown
from pushforward.core.spec import Spec

KEY = "plan"
"""Under which name the plan stands in a state dict's metadata, where torch keeps the versions of modules."""


class Planned(nn.Module):
    """A module that a plan has built. Much of a plan does not show in its tensors: permutations, masks, bounds, activations.

    The plan is kept in the metadata of ``state_dict()``, which `torch.save` writes, copies keep, and `load_state_dict` hands on; the
    tensors and their names are what they would be without. A dict without metadata (made by hand, or of safetensors) says nothing of
    its plan, and loads as in any module.
    """

    plan: Any

    def _made_of(self) -> str:
        """Return what the module was made of, as one line."""
        return text_of(self.plan)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None:
            metadata.setdefault(prefix[:-1], {})[KEY] = self._made_of()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, *rest: Any) -> None:
        """Compare the plans before anything is loaded, whatever ``strict`` is: that is about names alone."""
        found = local_metadata.get(KEY)
        if found is not None and found != (own := self._made_of()):
            where = f" of {prefix[:-1]!r}" if prefix else ""
            raise RuntimeError(
                f"load_state_dict: expected the state{where} of a module with the plan {shown(own)}, got that of one with the plan "
                f"{shown(found)}, which is another map; build the module by that plan, or give dict(state), which names no plan, "
                "to load what fits"
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *rest)


def text_of(*plans: Spec) -> str:
    """Return plans as one line; a module in one, which JSON cannot hold, by its class."""
    return json.dumps(_content(plans))


def _content(value: Any) -> Any:
    if isinstance(value, Spec):
        value = value.itself()
        return {"type": type(value).__name__, **{name: _content(getattr(value, name)) for name in type(value)._hints}}
    if isinstance(value, tuple):
        return [_content(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return {"class": type(value).__name__}
