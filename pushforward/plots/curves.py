"""The curve of a map of single numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.bijector import Bijector, InverseModule
from pushforward.core.compose import ComposeModule
from pushforward.core.layer import Layer
from pushforward.flow.flow import Flow
from pushforward.kernels.kernel import KernelModule
from pushforward.kernels.spline import Spline
from pushforward.nets.conditioner import flat_context
from pushforward.plots import spaces, style
from pushforward.plots.rows import limits, positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CURVES = 8


def curve(
    bijector: Bijector | Layer | Flow,
    layer: int | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    context: Any = None,
    extent: tuple[float, float] | None = None,
    points: int = 601,
) -> Figure:
    r"""Draw the map :math:`y(x)` of single numbers, and below it its log-slope :math:`\log |dy/dx|`; the knots of a spline are marked.

    A plan is built for one number; of a built module or of a layer of a flow there is one curve for each element of the event, at most 8.

    Args:
        bijector: A plan, a built module or a flow, elementwise: what is done to one element depends on no other.
        layer: Of a flow or a module of several layers, the one to draw, from the base on (None: all of them together).
        parameters: Values for a kernel's parameters by name, each ``(K,)`` or ``()``, as its ``init`` names them.
        seed: Draw all parameters anew from the standard normal with this seed.
        context: One context ``(*context)``, for a conditional map, in the units of the flow's data.
        extent: Ends of x (None: about as far as the map bends, within its domain).
        points: Number of points of each curve.

    Returns:
        The figure; its axes are the map and the log-slope.

    Raises:
        ValueError: A map that is not elementwise, a layer that there is not, parameters that do not fit, an extent outside the domain.
        ImportError: matplotlib is not installed.

    >>> from pushforward.bijectors import Spline
    >>> len(curve(Spline(bins=4), seed=1).axes)
    2
    """
    module, inner, names = _module(bijector, layer, context)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for weight in module.parameters():
            weight.data.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    if parameters is not None:
        _set_parameters(module, parameters)
    knots = _knots(module, inner)
    x = _inputs(module, extent, points, None if knots is None else knots[0])
    y, log_slope = _evaluate(module, x.expand(-1, len(names)), inner)
    figure = style.new_figure(5.6, 5.2)
    places = style.new_grid(figure, [2.6, 1], [1], space=0.04)
    above = style.add_axes(figure, places[0, 0])
    below = style.add_axes(figure, places[1, 0], ticks=4, sharex=above)
    colors = style.steps(len(names))
    ends, bottoms = (float(x[0]), float(x[-1])), _limits(y)
    start, stop = max(ends[0], bottoms[0]), min(ends[1], bottoms[1])
    if start < stop and not (_bounded(module.domain) or _bounded(module.codomain)):
        above.plot([start, stop], [start, stop], color=style.RULE, linewidth=1.0, dashes=(4, 3), label="y = x")
    below.axhline(0.0, color=style.RULE, linewidth=1.0, dashes=(4, 3))
    slopes_at = None if knots is None else _evaluate(module, knots[0], inner)[1]
    handles = []
    for element, name in enumerate(names):
        look: dict[str, Any] = {"color": colors[element], "linewidth": 1.8 if len(names) == 1 else 1.4, "label": name}
        handles += above.plot(x[:, 0].numpy(), y[:, element].numpy(), **look)
        below.plot(x[:, 0].numpy(), log_slope[:, element].numpy(), **look)
        if knots is not None and slopes_at is not None:
            look = {"linestyle": "none", "marker": "o", "markersize": 4.5, "markerfacecolor": "white", "markeredgecolor": colors[element]}
            above.plot(knots[0][:, element].numpy(), knots[1][:, element].numpy(), label="knots", **look)
            below.plot(knots[0][:, element].numpy(), slopes_at[:, element].numpy(), label="knots", **look)
    above.set(xlim=ends, ylim=bottoms)
    low, high = _limits(log_slope)
    # A constant slope is a flat line, not the picture of its rounding.
    spare = max(0.5 - 0.5 * (high - low), 0.0)
    below.set_ylim(low - spare, high + spare)
    above.tick_params(labelbottom=False)
    title = repr(module.plan)
    style.label(above, "", "y", title if len(title) <= 70 else title[:68] + " …")
    style.label(below, "x", "log |dy/dx|")
    if len(names) > 1:
        style.legend(above, handles, loc="upper left", ncols=1)
    figure.align_ylabels()
    return figure


def _module(bijector: Any, layer: int | None, context: Any) -> tuple[Layer, Tensor | None, list[str]]:
    """Return a copy of what is to be drawn in float64, its context, and the names of its elements."""
    columns = None
    if isinstance(bijector, Bijector):
        shape = None if context is None else tuple(torch.as_tensor(context).shape)
        module, given = bijector.build((1,), shape), context
    elif isinstance(bijector, Flow):
        module, columns = bijector.transform, bijector.columns
        given = spaces.one_context(context, bijector.context_shape if context is not None else None, torch.float64, "cpu", "curve")
        given = spaces.inner_context(copy.deepcopy(bijector).double().cpu(), given)
    elif isinstance(bijector, Layer):
        module, given = bijector, context
    else:
        raise ValueError(f"curve: expected a plan such as Spline(), a built module or a flow, got {bijector!r}")
    if layer is not None:
        layers: list[Any] = list(module.layers) if isinstance(module, ComposeModule) else [module]
        if not isinstance(layer, int) or not -len(layers) <= layer < len(layers):
            raise ValueError(f"curve: expected layer to be one of the {len(layers)} layers, 0 to {len(layers) - 1}, got {layer!r}")
        module = layers[layer]
    module = copy.deepcopy(module).cpu().double()
    elements = math.prod(module.event_shape)
    if elements > MOST_CURVES:
        raise ValueError(
            f"curve: expected at most {MOST_CURVES} elements, got {elements} in one of shape {module.event_shape}; draw the plan itself"
        )
    needed = module.context_shape if module.facts.uses_context else None
    inner = None if needed is None else spaces.one_context(given, needed, torch.float64, "cpu", "curve")
    names = columns if columns is not None and len(columns) == elements and layer is None else [f"element {i}" for i in range(elements)]
    return module, inner, [style.short(name) for name in names]


def _inputs(module: Layer, extent: Any, points: int, knots: Tensor | None) -> Tensor:
    """Return the points at which to draw, ``(points, 1)``, inside the domain."""
    positive("points", points, 2)
    domain = module.domain
    low, high = sets.bounds(domain) or (-math.inf, math.inf)
    if extent is not None:
        ((start, stop),) = spaces.ranges(extent, 1, "curve")
        if start < low or stop > high:
            raise ValueError(f"curve: expected an extent within {sets.name(domain)}, the domain of {module.plan!r}, got {extent!r}")
    elif math.isinf(low) and math.isinf(high):
        boxes = [part.kernel.bound for part in module.modules() if isinstance(part, KernelModule) and isinstance(part.kernel, Spline)]
        stop = 1.2 * max(boxes) if boxes else 5.0 if _bounded(module.codomain) else 3.0
        start = -stop
    else:
        start, stop = (low if math.isfinite(low) else high - 4.0), (high if math.isfinite(high) else low + 4.0)
    inner = torch.linspace(start, stop, points, dtype=torch.float64)
    if start == low or stop == high:
        # Half a step from an open end, where the map may be infinite.
        step = 0.5 * (stop - start) / points
        inner = torch.linspace(start + step * (start == low), stop - step * (stop == high), points, dtype=torch.float64)
    if knots is not None:
        # Bins may be narrower than the points are apart.
        between = torch.linspace(0, 1, 17, dtype=torch.float64)[:, None, None]
        inner = torch.cat([inner, (knots[:-1] + between * (knots[1:] - knots[:-1])).flatten()])
        inner = torch.unique(inner[(inner >= start) & (inner <= stop)])
    return inner[:, None]


def _limits(values: Tensor) -> tuple[float, float]:
    finite = values[torch.isfinite(values)]
    if not len(finite):
        raise ValueError("curve: expected finite values, got none; give another extent=")
    return limits(finite.numpy())


def _bounded(side: Constraint) -> bool:
    return sets.bounds(side) not in (None, (-math.inf, math.inf))


def _evaluate(module: Layer, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the values and the log-slopes at ``x``, all ``(points, elements)``; raise ValueError when an element depends on others."""
    if x.shape[1] > 1 and not set(module.facts.depends_on.split("; ")) <= {"nothing", "the context"}:
        raise ValueError(
            f"curve: expected an elementwise map, got {module.plan!r}, whose parameters see {module.facts.depends_on}; choose with layer="
        )
    x = x.clone().requires_grad_()
    y, ladj = _call(module, x, context)
    if x.shape[1] == 1:
        return y.detach(), ladj.detach()[:, None]
    # Other values at the other elements: what one element becomes must not change.
    order = [torch.roll(torch.arange(len(x)), 1 + 2 * element) for element in range(x.shape[1])]
    moved = _call(module, torch.stack([x[order[element], element] for element in range(x.shape[1])], 1), context)[0]
    apart = torch.stack([y[order[element], element] for element in range(x.shape[1])], 1)
    if not torch.allclose(moved, apart, rtol=1e-9, atol=1e-9, equal_nan=True):
        raise ValueError(
            f"curve: expected an elementwise map, got {module.plan!r}, in which one element depends on others; choose with layer="
        )
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), torch.log(torch.abs(slope))


def _call(module: Layer, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    y, ladj = module.push(x.reshape(-1, *module.event_shape), context)
    return y.reshape(x.shape), ladj


def _kernel_module(module: Any) -> tuple[KernelModule, bool] | None:
    """Return the one kernel that a module applies and whether it is inverted, or None."""
    if isinstance(module, KernelModule):
        return module, False
    if isinstance(module, InverseModule) and (found := _kernel_module(module.module)):
        return found[0], not found[1]
    if isinstance(module, ComposeModule) and len(module.layers) == 1:
        return _kernel_module(module.layers[0])
    return None


def _set_parameters(module: Layer, parameters: Mapping[str, Any]) -> None:
    found = _kernel_module(module)
    if found is None or (found[0].parameters_of.size and found[0].parameters_of.offset is None):
        raise ValueError(f"curve: expected a kernel with free parameters in order to set them, got {module.plan!r}")
    held = found[0].parameters_of
    layout = {name: (start, stop, shape) for name, start, stop, shape in held.layout}
    if unknown := sorted(set(parameters) - set(layout)):
        raise ValueError(f"curve: expected parameters among {sorted(layout)}, got {unknown}")
    for name, value in parameters.items():
        start, stop, shape = layout[name]
        given = torch.as_tensor(value, dtype=torch.float64).detach()
        given = given[..., None] if given.shape == shape[:-1] else given
        if given.dim() != len(shape) or given.shape[:-1] != shape[:-1] or given.shape[-1] not in (1, shape[-1]):
            raise ValueError(f"curve: expected {name!r} of shape {tuple(shape[:-1])} or {tuple(shape)}, got {tuple(given.shape)}")
        assert held.offset is not None
        held.offset.data[start:stop] = given.expand(shape).flatten()


def _knots(module: Layer, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Return where the knots of a spline are, and what they become, ``(knots, elements)`` each; None for other maps."""
    inside, inverted = _kernel_module(module) or (None, False)
    kernel = None if inside is None else inside.kernel
    if inside is None or not isinstance(kernel, Spline):
        return None
    parameters = inside.parameters_of(None, flat_context(context, inside.context_shape) if inside.facts.uses_context else None)
    with torch.no_grad():
        table = kernel._table(**{"middles": None, **parameters})
    end = torch.full_like(table[0, :1], kernel.bound)
    knots = torch.cat([table[0], end]), torch.cat([table[2], end])
    return (knots[1], knots[0]) if inverted else knots
