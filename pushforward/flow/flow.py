"""Flow: a base distribution pushed through a bijection; a module and a distribution."""

from __future__ import annotations

import copy
import math
import numbers
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from pushforward import io
from pushforward.bases.clusters import check_rows
from pushforward.core import mode, numerics, sets
from pushforward.core.base import Base, propagate
from pushforward.core.bijector import Bijector
from pushforward.core.blocks import in_blocks
from pushforward.core.checks import as_size, broadcast, check_context, check_tensor, first_parameter, first_tensor
from pushforward.core.describe import Description, describe
from pushforward.core.estimates import Estimate, EstimatedModule, NoClosedFormError
from pushforward.core.finite import settled
from pushforward.core.layer import Layer, Shape, as_shape, expect_bijections
from pushforward.core.spec import PlanError
from pushforward.core.state import Planned, text_of
from pushforward.flow.conditioned import ConditionedFlow, Sizes
from pushforward.flow.error import MARGIN, ROUNDINGS, of_error, of_probes
from pushforward.flow.mixture_start import mixture_of, suited, suits_mixture, takes_mixture
from pushforward.flow.parts import as_plan, build_base, tensors_of
from pushforward.flow.standardising import CONTEXT_UNITS, any_far_out, arranged, begin


class Flow(EstimatedModule, Planned):
    r"""The distribution of :math:`y = g(x)`, x from the base: :math:`\log p(y) = \log p_{base}(x) - \log|\det dg/dx|`.

    It is an `nn.Module` (parameters, ``.to()``, ``state_dict``) and a `torch.distributions.Distribution`. A conditional flow
    takes a ``context`` in every call, or ``flow.condition(c)`` (also written ``flow(c)``) gives the distribution for it.

    Args:
        base: A torch distribution, or a plan such as ``StandardNormal()``.
        bijector: The plan from base to data, or a list of plans.
        event_shape: Shape of one event; needed for a plan as base, taken from a distribution.
        context_shape: Shape of one context (None: the flow is not conditional).
        validate_args: True raises ValueError for values outside the support; otherwise their log-density is -inf.

    Raises:
        PlanError: Plan, base and shapes do not fit; the message names the layer.

    >>> from pushforward.bijectors import Affine, SplineCoupling
    >>> flow = Flow(torch.distributions.Normal(torch.zeros(3), 1.0), [SplineCoupling(), Affine()])
    >>> flow.log_prob(flow.sample((5,))).shape, flow.event_shape
    (torch.Size([5]), torch.Size([3]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's interface)
    noun = "flow"
    plan: Bijector

    def __init__(
        self,
        base: Base | Distribution,
        bijector: Bijector | Sequence[Bijector],
        event_shape: int | Sequence[int] | None = None,
        context_shape: int | Sequence[int] | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.plan = as_plan(bijector)
        self.context_shape = None if context_shape is None else as_shape(context_shape, "context_shape")
        self._validate_args = bool(validate_args)
        self.base = build_base(base, self.plan, event_shape, self.context_shape)
        self.transform = self.plan.build(self.base.event_shape, self.context_shape)
        # Contexts in the user's units: measured by `calibrate`, the identity until then.
        self.context_units: Layer | None = None
        if self.context_shape is not None:
            self.context_units = CONTEXT_UNITS[False].build(self.context_shape)
        self._check()
        #: Names of the features and of the context, when the flow was fitted to a table.
        self.columns: tuple[str, ...] | None = None
        self.context_columns: tuple[str, ...] | None = None
        #: What these columns are, a `Schema`, when the flow was fitted to a table; None where it is not known.
        self.schema: Any = None
        if isinstance(base, Distribution):
            dtypes = [t.dtype for t in tensors_of(base) if t.is_floating_point()]
            if dtypes and dtypes[0] != torch.get_default_dtype():
                self.to(dtypes[0])

    def _made_of(self) -> str:
        return text_of(self.base.plan, self.plan)

    def _check(self) -> None:
        """Check what only base and bijection together can tell, the domains and that a context is used; and let both take raw contexts."""
        expect_bijections("Flow", self.transform)
        try:
            image = self.transform.image(self.base.support)
        except PlanError as error:
            raise PlanError(f"Flow of {self.base.plan!r} through {self.plan!r}: {error}") from error
        self._batch_shape = self.base.batch_shape
        self._support, self._ends = sets.independent(image, len(self.transform.out_shape)), sets.limits(image)
        if self.context_shape is not None and not (self.transform.facts.uses_context or self.base.facts.uses_context):
            raise PlanError(
                f"Flow: expected a layer or a base that uses the context of shape {self.context_shape}, got none in {self.plan!r}; "
                "give a layer a net, or leave out context_shape"
            )
        for part in (self.transform, self.base):
            part.take_contexts_in(self.context_units)

    # What torch.distributions asks for

    @property
    def event_shape(self) -> torch.Size:
        """Shape of one event."""
        return torch.Size(self.transform.out_shape)

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the base's batch."""
        return self._batch_shape

    @property
    def support(self) -> constraints.Constraint:
        """The set of values that the flow can give."""
        return self._support

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples carry gradients: whether the base's do."""
        return self.base.has_rsample

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        first = first_tensor(self, floating=True)
        return torch.get_default_dtype() if first is None else first.dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        first = first_tensor(self)
        return torch.device("cpu") if first is None else first.device

    def _place(self) -> tuple[torch.dtype, torch.device]:
        """Return precision and device, both from one look at the first parameter: each call of the flow asks."""
        first = first_parameter(self)
        return (self.dtype, self.device) if first is None or not first.is_floating_point() else (first.dtype, first.device)

    def log_prob(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``value``.

        Args:
            value: ``(*batch, *event)``, of the flow's dtype.
            context: ``(*batch, *context)``, whose batch broadcasts against that of ``value``.

        Returns:
            ``(*batch)``, in nats, at least float32; -inf outside the support and where a value is infinite or so large that the density
            is zero to all digits, NaN for a row that has a NaN. The gradient of a loss with such rows raises ValueError, which names them.
        """
        context = self._admit(value, self.event_shape, context)
        if self._validate_args and not mode.compiling():
            self._require_support(value)
        return settled(self._in_blocks(self._scored, value, self.event_shape, context)[0], value, self._support)

    def log_prob_and_error(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the log-density of ``value``, and for each row an estimate of how far it may be off, by solvers and by rounding.

        It is scored once more, in float64 and by solvers whose steps are finer than they promise: what these differ is what the log-density
        is off. Where log-determinants are estimated by random probes, two standard errors of their mean come to it, and everywhere the
        roundings of float64, which nothing finer tells of, and what a base declares of its own density.

        Args:
            value: ``(*batch, *event)``, of the flow's dtype.
            context: ``(*batch, *context)``, whose batch broadcasts against that of ``value``.

        Returns:
            Both ``(*batch)``, in nats. The error has no gradient; it is 0 where the log-density is -inf, and NaN where that is NaN.

        >>> from pushforward.flows import CNF
        >>> value, error = CNF(2, tolerance=1e-4).log_prob_and_error(torch.zeros(3, 2))
        >>> bool((error < 1e-4).all())
        True
        """
        found = self.log_prob(value, context)
        finer, given = of_error(self), None if context is None else numerics.finer(context)
        with torch.no_grad():
            exact = finer.log_prob(numerics.finer(value), given)
            own = numerics.finer(found.detach())
            error = torch.where(own == exact, 0.0, torch.abs(own - exact)) * MARGIN
            finite = torch.nan_to_num(own, 0.0, 0.0, 0.0)
            error = error + of_probes(self, value, context)
            error = error + ROUNDINGS * torch.finfo(own.dtype).eps * (1 + torch.abs(finite)) + self.base.facts.accuracy.of(finite)
            error = torch.where(torch.isinf(own) & (own == exact), 0.0, error)
        return found, error.to(found.dtype)

    def to_base(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Map data to the base: :math:`x = g^{-1}(y)` and :math:`\log|\det dx/dy|`.

        Args:
            value: y, ``(*batch, *event)``, of the flow's dtype.
            context: ``(*batch, *context)`` in the user's units, whose batch broadcasts.

        Returns:
            ``(*batch, *base event)``, and ``(*batch)``: -inf outside the support, where the value is some point of the base.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.

        >>> from pushforward.flows import MAF
        >>> flow, y, c = MAF(2, context=1), torch.zeros(3, 2), torch.ones(3, 1)
        >>> x, ladj = flow.to_base(y, c)
        >>> torch.allclose(flow.log_prob(y, c), flow.base.log_prob(x, c) + ladj)
        True
        """
        return self._moved(self.transform.pull, value, self.event_shape, self._admit(value, self.event_shape, context))

    def from_base(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Map the base to data: :math:`y = g(x)` and :math:`\log|\det dy/dx|`; the way back is `to_base`.

        Args:
            value: x, ``(*batch, *base event)``, of the flow's dtype.
            context: ``(*batch, *context)`` in the user's units, whose batch broadcasts.

        Returns:
            ``(*batch, *event)`` and ``(*batch)``.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.

        >>> from pushforward.flows import MAF
        >>> flow, x, c = MAF(2, context=1), torch.zeros(3, 2), torch.ones(3, 1)
        >>> torch.allclose(flow.to_base(*[flow.from_base(x, c)[0], c])[0], x, atol=1e-6)
        True
        """
        return self._moved(self.transform.push, value, self.base.event_shape, self._admit(value, self.base.event_shape, context))

    def closed(self, quantity: str) -> Tensor:
        if self.context_shape is not None:
            raise NoClosedFormError(
                f"Flow: its {quantity} depends on the context; flow.condition(context) is the distribution that has one"
            )
        return self.condition().closed(quantity)

    def cdf(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        r"""Return :math:`P(Y \le y)` of a flow of one number whose base knows its own distribution function.

        Args:
            value: y, ``(*batch, *event)``, of the flow's dtype.
            context: ``(*batch, *context)``, whose batch broadcasts.

        Returns:
            ``(*batch)``, at least float32; 0 and 1 outside the support, NaN for NaN.

        Raises:
            NotImplementedError: Events of several numbers, a base without a distribution function, a map that wraps angles.

        >>> from pushforward.flows import NSF
        >>> flow = NSF(1)
        >>> flow.cdf(flow.icdf(torch.tensor([0.1, 0.5]))).detach()
        tensor([0.1000, 0.5000])
        """
        return self.condition(context).cdf(value)

    def icdf(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the values ``(*batch, *event)`` below which probabilities ``(*batch)`` lie: the way back of `cdf`, where that is known.

        Raises:
            ValueError: A probability below 0 or above 1.
            NotImplementedError: As `cdf` does.
        """
        return self.condition(context).icdf(value)

    def estimate(
        self,
        quantity: str | Callable[[Tensor], Tensor],
        samples: int = 10_000,
        context: Tensor | None = None,
        *,
        other: Distribution | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        """Return a Monte Carlo value with its standard error, given a context; see `Estimated.estimate`."""
        return self.condition(context).estimate(quantity, samples, other=other, generator=generator)

    def rsample(self, sample_shape: Sizes = (), context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)`` with gradients to the parameters."""
        return self._draw(sample_shape, context, generator, None)[0]

    def sample(self, sample_shape: Sizes = (), context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)`` without gradients."""
        with torch.no_grad():
            return self._draw(sample_shape, context, generator, None, reparametrised=False)[0]

    def rsample_and_log_prob(
        self, sample_shape: Sizes = (), context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw and score in one pass: ``(*sample_shape, *batch, *event)`` and ``(*sample_shape, *batch)``."""
        y, x, ladj, context = self._draw(sample_shape, context, generator, None)
        return y, self.base.score(x, context) - ladj

    def forward(self, context: Tensor | None = None) -> ConditionedFlow:
        """Return the distribution for a context: ``flow(c)`` is ``flow.condition(c)``."""
        return self.condition(context)

    def condition(self, context: Tensor | None = None) -> ConditionedFlow:
        """Return the distribution for a context, as a view: the flow itself is not changed.

        >>> from pushforward.flows import NSF
        >>> NSF(2, context=3).condition(torch.zeros(7, 3)).sample((5,)).shape
        torch.Size([5, 7, 2])
        """
        return ConditionedFlow(self, context)

    def expand(self, batch_shape: Sizes, _instance: Any = None) -> ConditionedFlow:
        """Return the same distribution with a larger batch shape, as a view."""
        return ConditionedFlow(self, None, torch.Size(batch_shape))

    def __repr__(self) -> str:
        context = "" if self.context_shape is None else f", context_shape={self.context_shape}"
        return f"Flow({self.base.plan!r}, {self.plan!r}, event_shape={tuple(self.event_shape)}{context})"

    # Beyond a distribution: data, files, description

    def calibrate(self, value: Tensor, context: Tensor | None = None) -> None:
        """Measure what layers, and those inside the base, take from data (`Standardize`) from rows of data and context."""
        self._check_value(value)
        with torch.no_grad():
            if self.context_units is not None and context is not None:
                self._check_context(context)
                self.context_units.measure(context)
            propagate("measure", value, self._inner(context), self.transform, self.base)

    def update(self, value: Tensor, context: Tensor | None = None) -> None:
        """Move what layers follow from step to step (`BatchNorm`) by the rows of a training step; `fit` calls it before each."""
        if self.transform.facts.has_statistics or self.base.facts.has_statistics:
            with torch.no_grad():
                propagate("follow", value, self._inner(context), self.transform, self.base)

    def standardize(
        self,
        value: Tensor,
        context: Tensor | None = None,
        scores: bool = True,
        whiten: bool = False,
        starts: bool = True,
        mixture: int | None = 0,
    ) -> None:
        """Put layers that measure as near to the data as values are not bounded; then `calibrate`.

        `Standardize`, if there is none; and where a few values are so far out that it would squeeze all others into a sliver, in a column
        or in the context, `NormalScores`. Densities stay in the units of the data, since the layers are part of the flow and of its plan.
        Left in their units are angles, of which whole turns do not matter (`Unwrap`), and values that are bounded all along, such as those
        of splines on a box.

        Args:
            value: Rows of data, ``(n, *event)``.
            context: Their contexts, ``(n, *context)``.
            scores: Whether columns that need it get `NormalScores`: right for a few values far out, and worse where columns are linear in
                one another, heavy tails and all, as pixels are. `fit` tries both.
            whiten: Whether `Whiten` follows `Standardize` on the way to the base, so that the flow begins as the normal distribution with
                the rows' covariance: for vectors, where `Standardize` stands in the list of layers.
            starts: Whether layers that have learnt nothing yet, being the identity still, begin where they learn fastest from standardised
                rows, as the same identity: knots of splines lie closer together near zero. What has learnt something, or is frozen, stays.
            mixture: Components of a mixture of normals that takes the place of a standard normal base, fitted to the rows, as the layers
                have them, by expectation maximisation; so the flow begins as that mixture. 0: the base stays. None: as many as
                suit every tenth row best, held out to see, and with normal scores only where these rows are likelier with them; none,
                where one normal suits them as well, or the base is another.

        Raises:
            ValueError: Scores, whiten or starts that are neither True nor False; a mixture that is no number of components, or in place of
                another base; fewer different rows than components; values or contexts of another shape.
        """
        self._check_value(value)
        for name, given in (("scores", scores), ("whiten", whiten), ("starts", starts)):
            if not isinstance(given, bool):
                raise ValueError(f"Flow.standardize: expected {name} to be True or False, got {given!r}")
        if mixture is not None and (isinstance(mixture, bool) or not isinstance(mixture, numbers.Integral) or mixture < 0):
            raise ValueError(f"Flow.standardize: expected mixture to be a number of components, 0 or None, got {mixture!r}")
        if mixture is None:
            scores, mixture = self._suited(value, context, scores, whiten)
        if mixture and not takes_mixture(self.base):
            raise ValueError(
                f"Flow.standardize: expected a standard normal base, whose place a mixture takes, got {self.base.plan!r}; leave out mixture"
            )
        if mixture:  # the layers between change none of it
            check_rows(value.reshape(-1, math.prod(self.event_shape)), mixture)
        transform = self.arranged(value, context, scores, whiten)
        if mixture:
            base = mixture_of(int(mixture)).build(self.base.in_shape, self.context_shape)
            self.base = base.to(self.device, self.dtype)
            self._check()
        if transform is not self.transform:
            self.transform, self.plan = transform, transform.plan
            self._check()
        units = self.context_units
        if units is not None and context is not None and units.plan == CONTEXT_UNITS[False]:
            self._check_context(context)
            self.measure_contexts_by(any_far_out(context, units.event_shape))
        self.calibrate(value, context)
        if starts:
            begin(self.transform)

    def _suited(self, value: Tensor, context: Tensor | None, scores: bool, whiten: bool) -> tuple[bool, int]:
        """Return whether normal scores help a mixture at the base, if they are wanted, and its components; 0 where none helps."""
        if not suits_mixture(self.base):
            return scores, 0
        found: dict[bool, tuple[float, int]] = {}
        plans: list[Bijector] = []
        for scored in (True, False) if scores else (False,):
            way = copy.deepcopy(self)
            way.standardize(value, context, scored, whiten)
            if way.plan in plans:  # no column needs scores
                break
            plans.append(way.plan)
            with torch.no_grad():
                z, ladj = way.to_base(value, context)
            found[scored] = suited(z.reshape(-1, *self.base.event_shape), ladj.flatten())
        better = min(found, key=lambda scored: found[scored][0])
        return (better, found[better][1]) if found[better][1] > 1 else (scores, 0)

    def arranged(self, value: Tensor, context: Tensor | None = None, scores: bool = True, whiten: bool = False) -> Layer:
        """Return the transform with the layers that `standardize` puts in, not measured yet; without any, the transform itself."""
        like = torch.empty((), device=self.device, dtype=self.dtype)
        with torch.no_grad():
            return arranged(self.transform, self.base, value, self._inner(context), scores, whiten, like, self.context_shape)

    def measure_contexts_by(self, scored: bool) -> None:
        """Choose how contexts are measured, by location and scale alone, or with quantiles and tails before them."""
        assert self.context_units is not None
        assert self.context_shape is not None
        if self.context_units.plan != CONTEXT_UNITS[scored]:
            self.context_units = CONTEXT_UNITS[scored].build(self.context_shape).to(self.device, self.dtype)
            self._check()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file: the tensors, and in its header the plan. `pushforward.load` reads it, without pickle."""
        of_context = 0 if self.context_shape is None else math.prod(self.context_shape)
        header: dict[str, Any] = {
            "base": self.base.plan.to_dict(),
            "bijector": self.plan.to_dict(),
            "event_shape": list(self.base.in_shape),
            "context_shape": None if self.context_shape is None else list(self.context_shape),
            "dtype": io.dtype_name(self.dtype),
            "columns": io.check_names("save", "columns", self.columns, math.prod(self.event_shape)),
            "context_columns": io.check_names("save", "context_columns", self.context_columns, of_context),
            "normal_scores_of_context": self.context_units is not None and self.context_units.plan == CONTEXT_UNITS[True],
            "validate_args": self._validate_args,
        }
        if self.schema is not None:
            named = (*(self.columns or ()), *(self.context_columns or ()))
            if self.schema.names != named:
                raise ValueError(
                    f"save: expected a schema of the columns {named}, got one of {self.schema.names}; or set flow.schema = None"
                )
            header["schema"] = self.schema.to_dict()
        io.write(path, header, self.state_dict())

    def describe(self, batch: int = 1000) -> Description:
        """Tell what the flow is made of, layer by layer, with the memory that training takes at ``batch`` rows."""
        base = self.base.plan
        title = f"Flow of {tuple(self.event_shape)} from {base}" + (f" given {self.context_shape}" if self.context_shape else "")
        return describe(self.transform, self.base, title, batch)

    # For what looks inside: the conditioned view, and adapters to other libraries

    def batch_of(self, context: Tensor | None) -> torch.Size:
        """Return the batch shape for a context: that of the context broadcast with that of the base."""
        if context is None or self.context_shape is None:
            return self._batch_shape
        return broadcast(context.shape[: context.dim() - len(self.context_shape)], self._batch_shape, "the batch of the context")

    def label(self) -> str:
        """Return what errors begin with."""
        return "Flow"

    def _admit(self, value: Tensor, shape: Shape, context: Tensor | None) -> Tensor | None:
        """Check a value and a context in the user's units, and return the context as layers and base take it."""
        check_tensor(self, "value", value, shape, *self._place())
        context = self._inner(context)
        broadcast(value.shape[: value.dim() - len(shape)], self.batch_of(context), "Flow: the batch of the value")
        return context

    def _inner(self, context: Tensor | None) -> Tensor | None:
        """Check a context in the user's units, and return it as layers and base take it."""
        self._check_context(context)
        return context if context is None or self.context_units is None else self.context_units.pull(context)[0]

    def _check_context(self, context: Tensor | None) -> None:
        check_context(self, context, self.context_shape, *(self._place() if context is not None else (None, None)))

    def _check_value(self, value: Tensor) -> None:
        check_tensor(self, "value", value, self.event_shape, *self._place())

    def _require_support(self, value: Tensor) -> None:
        inside = sets.inside(self.support, value) | sets.any_element(torch.isnan(value), len(self.event_shape))
        if not bool(inside.all()):
            rows = (~inside).nonzero()[:5].squeeze(-1).tolist()
            raise ValueError(f"Flow: expected values in {sets.name(self.support)}, got others in rows {rows}")

    def _draw(
        self,
        sample_shape: Sizes,
        context: Tensor | None,
        generator: torch.Generator | None,
        batch_shape: torch.Size | None,
        reparametrised: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return the sample, the base sample before it, the ladj between them, and the context in the flow's units."""
        if reparametrised and not self.has_rsample:
            raise NotImplementedError(f"rsample: the base {self.base.plan!r} has no reparametrised samples; use sample")
        shape = as_size(sample_shape)
        context = self._inner(context)
        batch = self.batch_of(context) if batch_shape is None else batch_shape
        x = self.base.draw(torch.Size(shape + batch), context, generator)

        def made(x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
            y, ladj = self.transform.push(x, context)
            return sets.leave(y.to(self.dtype), self._ends), ladj

        y, ladj = self._in_blocks(made, x, self.base.event_shape, context)
        return y, x, ladj, context

    def _scored(self, value: Tensor, context: Tensor | None) -> tuple[Tensor]:
        # Whatever the parameters' precision, the values between layers are at least float32.
        given, outside = numerics.working(value), None
        if given.dtype != value.dtype and isinstance(self._ends, sets.Structured):
            # Which numbers that depend on one another are in the set is judged in the precision in which they came.
            given, outside = sets.enter_events(given, self._ends, len(self.event_shape), value.dtype)
            given = sets.leave(given, self._ends)
        x, ladj = self.transform.pull(given, context)
        score = self.base.score(x, context) + ladj
        return (score if outside is None else torch.where(outside, -math.inf, score),)

    def _moved(
        self, function: Callable[..., tuple[Tensor, Tensor]], value: Tensor, shape: Shape, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        # Where the base alone sees the context, values keep a batch of their own.
        own = value.shape[: value.dim() - len(shape)] == self._batch(value, shape, context)
        moved, ladj = self._in_blocks(function, value, shape, context) if own else function(value, context)
        return moved, ladj

    def _in_blocks(
        self, function: Callable[..., tuple[Tensor, ...]], value: Tensor, shape: Shape, context: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return ``function(value, context)``, of many rows a block at a time where nobody asks for gradients: see `blocks`."""
        if torch.is_grad_enabled() or mode.compiling():
            return function(value, context)
        given = (value, len(shape)), (context, len(self.context_shape or ()))
        return in_blocks(function, self, self._batch(value, shape, context), len(self._batch_shape), *given)

    def _batch(self, value: Tensor, shape: Shape, context: Tensor | None) -> torch.Size:
        """Return the batch of a value, a context and the base together."""
        return broadcast(value.shape[: value.dim() - len(shape)], self.batch_of(context), "Flow: the batch of the value")
