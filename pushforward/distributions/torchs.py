"""torch's own distributions by name, each with what Pyro adds to it."""

from __future__ import annotations

from torch import distributions

from pushforward.contrib.pyro.face.events import Events

# Not torch's own here: what others derive from, what has a class of its own, and the plans of bases that have these names.
_OTHERS = ("Distribution", "ExponentialFamily", "Independent", "TransformedDistribution", "StudentT", "VonMises")


def _named(cls: type) -> type:
    return type(
        cls.__name__,
        (Events, cls),
        {"__module__": __name__, "__doc__": f"``torch.distributions.{cls.__name__}``, with what `Events` adds."},
    )


_NAMED = {
    name: _named(cls)
    for name in distributions.__all__
    if name not in _OTHERS and isinstance(cls := getattr(distributions, name), type) and issubclass(cls, distributions.Distribution)
}
globals().update(_NAMED)  # of whatever torch is installed; copies and pickles look their classes up here
__all__ = list(_NAMED)
