"""The course of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pushforward.plots.rows import Array


def learning_curve(history: Any) -> Figure:
    """Draw the loss of each epoch on the training rows and on the held-out rows, the best epoch, and the learning rate below.

    The loss of averaged weights on the held-out rows is drawn as well, where there is one.

    The first epochs may be cut off at the top, so that the end can be read. A missing value (NaN) leaves a gap.

    Args:
        history: What `pushforward.fit` returned, or a dict or any object with a list ``train`` and, optionally, lists ``validation``,
            ``averaged`` and ``learning_rate``, numbers ``best_epoch`` (from 1; 0 is before the first) and ``best_loss``, and ``objective``,
            a word: the loss of ``"flow_matching"`` is not in nats.

    Returns:
        The figure; its axes are the loss and, if it is known, the learning rate.

    Raises:
        ValueError: No training losses, or lists of different lengths.
        ImportError: matplotlib is not installed.

    >>> figure = learning_curve({"train": [3.0, 2.0, 1.9], "validation": [3.1, 2.2, 2.3], "best_epoch": 2, "best_loss": 2.2})
    >>> [line.get_label() for line in figure.axes[0].lines][:2]
    ['train', 'validation']
    """
    train = _series(history, "train")
    if train is None:
        raise ValueError(f"learning_curve: expected a history with at least one loss in 'train', got {_brief(history)}")
    others = {name: _series(history, name) for name in ("validation", "averaged", "learning_rate")}
    for name, values in others.items():
        if values is not None and len(values) != len(train):
            raise ValueError(f"learning_curve: expected {name!r} to have as many values as 'train', {len(train)}, got {len(values)}")
    validation, averaged, rate = others.values()
    figure = style.new_figure(6.4, 4.0 if rate is not None else 3.4)
    places = style.new_grid(figure, [4, 1] if rate is not None else [1], [1], space=0.04)
    axes = style.add_axes(figure, places[0, 0])
    epochs = np.arange(1, len(train) + 1)
    look: dict[str, Any] = {"marker": "o" if len(train) < 3 else "", "markersize": 4}
    handles = axes.plot(epochs, train, color=style.DATA, linewidth=1.2, label="train", **look)
    if validation is not None:
        handles += axes.plot(epochs, validation, color=style.SAMPLES, linewidth=1.6, label="validation", **look)
    if averaged is not None:
        handles += axes.plot(epochs, averaged, color=style.SAMPLES, linewidth=1.0, linestyle="--", label="averaged weights", **look)
    _limit(axes, train, validation)
    axes.set_xlim(0, 1.02 * len(train))
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    handles += _mark_best(axes, history, validation if validation is not None else train)
    style.legend(axes, handles)
    unit = "" if _get(history, "objective") == "flow_matching" else " (nats)"
    style.label(axes, "" if rate is not None else "epoch", f"loss{unit}")
    if rate is not None:
        below = style.add_axes(figure, places[1, 0], ticks=3, sharex=axes)
        below.plot(epochs, rate, color=style.MUTED, linewidth=1.2, drawstyle="steps-mid", label="learning rate", **look)
        below.set_ylim(0, 1.15 * float(np.max(rate[np.isfinite(rate)], initial=0.0)) or 1.0)
        axes.tick_params(labelbottom=False)
        style.label(below, "epoch", "learning\nrate")
        figure.align_ylabels()
    return figure


def _mark_best(axes: Axes, history: Any, losses: Array) -> list[Any]:
    """Mark the best epoch, if the history knows it."""
    epoch, loss = _get(history, "best_epoch"), _get(history, "best_loss")
    if epoch is None or not 0 <= int(epoch) <= len(losses) or (int(epoch) == 0 and loss is None):
        return []
    loss = losses[int(epoch) - 1] if loss is None else float(loss)
    if not np.isfinite(loss):
        return []
    when = f"at epoch {int(epoch)}" if int(epoch) else "before epoch 1"
    look: dict[str, Any] = {"marker": "o", "markersize": 6, "markerfacecolor": "white", "markeredgecolor": style.INK, "linestyle": "none"}
    return axes.plot([int(epoch)], [loss], zorder=3, clip_on=False, label=f"best: {loss:.4g} {when}", **look)


def _limit(axes: Axes, train: Array, validation: Array | None) -> None:
    """Cut off the steep start when it would flatten the rest, and whatever is not finite."""
    both = train if validation is None else np.concatenate([train, validation])
    finite = both[np.isfinite(both)]
    if not len(finite):
        return
    low, high = float(finite.min()), float(finite.max())
    later = np.concatenate([values[len(values) // 20 :] for values in (train, validation) if values is not None])
    later = later[np.isfinite(later)]
    if len(later) and len(train) >= 20 and (high - low) > 2 * (later.max() - low):
        high = float(later.max())
    margin = 0.06 * (high - low) or 0.5 * (abs(low) or 1.0)
    axes.set_ylim(low - margin, high + margin)


def _get(history: Any, name: str) -> Any:
    return history.get(name) if isinstance(history, Mapping) else getattr(history, name, None)


def _series(history: Any, name: str) -> Array | None:
    values = _get(history, name)
    if values is None or isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
        return None
    return np.asarray([float(value) if value is not None else np.nan for value in values], dtype=np.float64)


def _brief(history: Any) -> str:
    return f"the keys {sorted(map(str, history))}" if isinstance(history, Mapping) else f"a {type(history).__name__}"
