"""fit: maximum likelihood on rows of data, with held-out rows that say when to stop."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from pushforward.bases import clusters
from pushforward.data.checks import check_rows, check_spread
from pushforward.data.frames import read_rows
from pushforward.data.oddities import warn_of_oddities, warn_of_the_flow
from pushforward.data.rows import Rows, Stream, apart
from pushforward.data.schema import Schema
from pushforward.flow.flow import Flow
from pushforward.flow.standardising import measured
from pushforward.tables.table_flow import TableFlow
from pushforward.train import options as check
from pushforward.train.history import History
from pushforward.train.likelihood import Training, data_precision
from pushforward.train.limit import Limit
from pushforward.train.loop import Options, as_it_was, check_trainable, make_optimizer
from pushforward.train.matching import MatchingTraining, check_contexts
from pushforward.train.objective import FlowMatching, Likelihood, check_objective, make_objective
from pushforward.train.precision import Masters
from pushforward.train.randomness import Randomness
from pushforward.train.regularised import RegularisedTraining
from pushforward.train.tabled import has_names
from pushforward.train.tables import fit_table
from pushforward.train.trials import WARMUP, tried

__all__ = ["History", "fit"]

RESIDENT = 2**30
"""Bytes up to which all rows are moved to the flow's device at once; more are moved batch by batch."""


def fit(
    flow: Flow | TableFlow,
    data: Any = None,
    context: Any = None,
    *,
    objective: str | FlowMatching | Likelihood = "likelihood",
    validation: Any = 0.1,
    epochs: int = 200,
    batch_size: int = 512,
    learning_rate: float = 5e-3,
    schedule: str | None = "plateau",
    patience: int | None = 20,
    seconds: float | Limit | None = None,
    clip: float | None = 5.0,
    weight_decay: float = 0.0,
    averaging: float | None = 0.99,
    standardize: bool | None = None,
    whiten: bool | None = False,
    mixture: int | None = None,
    columns: Sequence[str] | None = None,
    context_columns: Sequence[str] | None = None,
    schema: Schema | Mapping[str, str] | None = None,
    weights: Any = None,
    optimizer: Callable[[list[nn.Parameter]], Optimizer] | None = None,
    compile: bool | str = False,  # noqa: A002 (torch's own word for it)
    precision: str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callable[[History], object] | None = None,
) -> History:
    r"""Fit a flow to rows of data by maximum likelihood or flow matching, and leave it with the weights that scored held-out rows best.

    Location and scale of the data become part of the flow, so densities and losses are in the units of the data. The flow is changed
    in place, on its own device and in its own precision; one of a half format is trained in float32 and rounded once, at the end, and its
    held-out losses are those of the rounded weights. All random numbers come from the seed: the global ones are neither taken nor set,
    so the same fit beside other threads is the same, but for what a layer of the user's own draws while ``compile`` is on.
    Source of the optimiser: Decoupled Weight Decay Regularization (Loshchilov, Hutter, 2019).

    Args:
        flow: The flow to fit; fitting it again goes on from where it is (a warm start: fit a ``copy.deepcopy`` of an earlier one). A
            `TableFlow` takes a table with the columns of its schema, and no context, objective, whitening, mixture, compilation or columns.
        data: Rows ``(n, *event)``: a tensor, an array or a list of any real type, a DataFrame, or a torch DataLoader of x or (x, context),
            which is read anew in each epoch. One axis ``(n,)`` will do for a flow of one feature.
        context: Rows ``(n, *context)`` for a conditional flow.
        objective: ``"likelihood"``; or ``"flow_matching"`` for a flow with a `Continuous` layer, whose steps then solve no differential
            equation; or a `FlowMatching` with options of it. Losses are then squared errors of a velocity, those of held-out rows always
            on the same draws, and ``history.nats`` has the held-out densities. Base and other layers stay as they are. A `Likelihood`
            with ``kinetic`` or ``jacobian`` keeps ways of a continuous flow straight; training losses then have these, held-out ones not.
        validation: Share of the rows to hold out at random; or rows, or (rows, context), or a DataLoader; or None: the training loss then
            chooses the weights. A share cannot be held out of a DataLoader, so it is None there.
        epochs: Passes over the rows, at most; where a pass is fewer than 10 steps, as many as make 10 count as one.
        batch_size: Rows in a step, at most. An epoch takes ten steps or more, so fewer rows come in batches of a tenth of them, of 64 at
            least, and several times where that does not do. Flow matching keeps the size, and so do fits without held-out rows.
        learning_rate: Learning rate of AdamW in the first epoch; of a flow that begins as a mixture, or has met data before, it grows to
            that in 100 steps.
        schedule: ``"plateau"`` halves the rate after 8 epochs without improvement, ``"cosine"`` takes it to 0 over all epochs, or over
            ``seconds`` where these end first.
        patience: Epochs without improvement after which to stop (None: never).
        seconds: Time that the fit may take, from the call on, by the clock (None: no limit); a `pushforward.train.Limit` counts by another
            clock. It is looked at after each step: the epoch under way ends there and is scored like any other. How far a fit comes in so
            many seconds, no seed repeats.
        clip: Largest norm of a step's gradient (None: no limit).
        weight_decay: Weight decay of AdamW.
        averaging: Decay of moving averages of the weights from step to step: they are scored beside the weights after each
            epoch, and the best of all is kept (None: none are made). Without held-out rows nothing is averaged.
        standardize: Measure location and scale from the training rows; None: only if the flow has not met data before.
        whiten: When it measures, whether to measure the columns' covariance as well, with which the flow then begins (`Whiten`); None:
            as short fits say, by the held-out rows.
        mixture: When it measures, components of a mixture of normals that takes the place of a standard normal base, fitted to the
            training rows by expectation maximisation, with their covariance as by ``whiten``: the flow begins as that mixture. None: 2, 4,
            8, ... as suit the held-out rows, where that is clearly better than the flow after a short fit, but not given contexts. 0: the
            base stays.
        columns: Columns of a DataFrame that are data; None: those of an earlier fit, else all that are not context.
        context_columns: Columns of the same DataFrame that are context.
        schema: What the columns of a DataFrame are: a `Schema`, or kinds of some of them such as ``{"age": "count"}``; None to find out. It
            stays with the flow, as ``flow.schema``.
        weights: Weight of each row, ``(n,)``, at least 0; only ratios matter.
        optimizer: A function from parameters to an optimiser, instead of AdamW; its own learning rates hold. Short fits that choose how the
            flow begins ask it for others, with the parameters of copies.
        compile: Compile the loss and its gradient with torch.compile: True, or one of its modes; ``"reduce-overhead"`` replays CUDA graphs.
            Worth its minute on a GPU; on a CPU the library's own kernels are as fast without.
        precision: ``"bfloat16"`` (or ``"float16"``) lets networks compute in it, by torch.autocast; kernels and densities stay in float32.
        seed: Seed of the split, the order of rows and what layers draw: the same seed gives the same on one machine.
            Between processors and numbers of threads roundings differ, and training magnifies them.
        progress: Show epochs and losses on stderr.
        callback: Called with the history after each epoch; training ends when it returns True.

    Returns:
        The history. Ctrl-C ends training early, with ``history.interrupted``; the flow has its best weights then, too.

    Raises:
        ValueError: The data cannot be trained on: rows that are not finite or outside the support, constant columns, shapes that do
            not fit, an option out of range. Raised before the first step, with the flow as it was; rows and columns are named.
        TypeError: The flow, the data, the optimiser or the callback is none.
        ImportError: A coupling of flow matching needs a package that is not installed.
        FloatingPointError: No step of an epoch had a finite loss; the flow is left with its best weights.

    >>> from pushforward.flows import MAF
    >>> flow = MAF(2)
    >>> history = fit(flow, torch.randn(200, 2), epochs=3, progress=False)
    >>> len(history.train), history.stopped
    (3, 'epochs')
    """
    if data is None and (has_names(flow) or isinstance(flow, Tensor | np.ndarray | list)):
        raise TypeError(
            f"fit: expected a flow and then its data, got a {type(flow).__name__}; pf.choose(table, seconds=60) chooses a flow for it, "
            "fits it, and returns it with its history"
        )
    limit = Limit.of("fit", seconds)
    options = Options(
        epochs,
        batch_size,
        learning_rate,
        schedule,
        patience,
        clip,
        weight_decay,
        compile,
        precision,
        progress,
        limit=limit,
        averaging=averaging,
    )
    check.choice("fit", "standardize", standardize, (True, False, None))
    check.choice("fit", "whiten", whiten, (True, False, None))
    mixture = check.whole("fit", "mixture", mixture, 0, optional=True)
    check.names("fit", "columns", columns)
    check.names("fit", "context_columns", context_columns)
    check.seed("fit", seed)
    if schema is not None and not isinstance(schema, Schema | Mapping):
        raise TypeError(f"fit: expected schema to be a Schema or kinds by column, got {schema!r}")
    check.function("fit", "optimizer", optimizer)
    check.function("fit", "callback", callback)
    if isinstance(flow, TableFlow):
        _expect_defaults(
            objective=(objective, "likelihood"),
            context=(context, None),
            whiten=(whiten or None, None),
            mixture=(mixture or None, None),
            columns=(columns, None),
            context_columns=(context_columns, None),
            schema=(schema, None),
            compile=(compile, False),
            precision=(precision, None),
        )
        return fit_table(flow, data, validation, options, standardize, weights, optimizer, seed, callback)
    check_trainable("fit", flow)
    plan = make_objective("fit", objective)
    check_objective("fit", flow, plan, compile)
    matching = plan if isinstance(plan, FlowMatching) else None
    random = Randomness(flow, seed)
    train, held = _split(flow, data, context, validation, columns, context_columns, schema, weights, random)
    typical = train.typical(random.rows)
    check_contexts("fit", matching, train)
    # Rows as they are: those that are drawn by weights come again.
    seen = typical if isinstance(train, Stream) else train
    check_spread(seen, data_precision(flow))
    warn_of_oddities(seen, flow.support)
    if isinstance(held, Stream):
        held.typical(random.rows)
    with ExitStack() as stack:
        losses: dict[str, float] = {}
        with as_it_was(flow), ExitStack() as drawing:
            # What knows something already would lose it in steps that are too long.
            options.warmup = WARMUP if measured(flow) else 0
            if standardize or (standardize is None and not measured(flow)):
                some = typical.map(lambda t: t.to(flow.device, data_precision(flow)))
                fresh: Callable[[Flow], Any] = lambda way: make_optimizer("fit", way, optimizer, learning_rate)  # noqa: E731
                if mixture:
                    clusters.check_rows(some.x.reshape(len(some.x), -1), mixture, "fit: mixture")
                losses, how, taught = tried(flow, some, train, held, fresh, options, random, seed, whiten, mixture, matching)
                drawing.enter_context(random.mode)  # a layer that is added, and those that the data goes through, may draw
                flow.standardize(some.x, some.context, **how)
                if taught is not None:
                    flow.load_state_dict(taught)
                options.warmup = WARMUP if how["mixture"] else 0
                warn_of_the_flow(flow, seen, chosen=bool(losses))
            else:
                drawing.enter_context(random.mode)
            if train.columns is not None:
                flow.columns = train.columns
            if train.context_columns is not None or train.columns is not None:
                flow.context_columns = train.context_columns
            _remember(flow, train)
            masters = stack.enter_context(Masters(flow))
            made = make_optimizer("fit", flow, optimizer, learning_rate, weight_decay)
            given = (flow, _resident(train, flow), held and _resident(held, flow), made, random, options, masters)
            training = _training(plan, *given)
            training.history.tried = losses
        history = training.run(callback)
        training.state_exactness()
    return history


def _training(plan: FlowMatching | Likelihood | None, *given: Any) -> Training:
    """Return the loop of an objective."""
    if isinstance(plan, FlowMatching):
        return MatchingTraining(plan, *given)
    return Training(*given) if plan is None else RegularisedTraining(plan, *given)


def _short(value: Any) -> str:
    """Return a value as Python writes it, where that is one short line; else what it is."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"


def _expect_defaults(**options: tuple[Any, Any]) -> None:
    """Raise ValueError for options that mean nothing for a table's density."""
    for name, (given, default) in options.items():
        if given is not default and not (isinstance(given, str) and given == default):
            raise ValueError(
                f"fit: expected no {name} for a TableFlow, got {_short(given)}; "
                "its columns are those of its schema, any of which may be given later"
            )


def _remember(flow: Flow, train: Rows | Stream) -> None:
    """Let the flow know what its columns are; of an array they are what they were in an earlier fit, if they have the same names."""
    if isinstance(train, Rows) and train.schema is not None:
        flow.schema = train.schema
    elif flow.schema is not None and flow.schema.names != (*(flow.columns or ()), *(flow.context_columns or ())):
        flow.schema = None


def _resident(rows: Rows | Stream, flow: Flow) -> Rows | Stream:
    """Return rows on the flow's device and in its precision, if they are not too large for that."""
    if isinstance(rows, Stream) or rows.x.numel() * data_precision(flow).itemsize > RESIDENT:
        return rows
    return rows.map(lambda t: t.to(flow.device, data_precision(flow)))


def _split(
    flow: Flow,
    data: Any,
    context: Any,
    validation: Any,
    columns: Sequence[str] | None,
    context_columns: Sequence[str] | None,
    schema: Any,
    weights: Any,
    random: Randomness,
) -> tuple[Rows | Stream, Rows | Stream | None]:
    """Return checked rows to train on and rows held out."""
    share: Any = validation if isinstance(validation, numbers.Real) else None
    if (share is not None and not (0 < share < 1 and not isinstance(share, bool))) or isinstance(validation, str):
        raise ValueError(f"fit: expected validation to be a share between 0 and 1, rows, (rows, context) or None, got {validation!r}")
    held: Rows | Stream | None = None
    if share is None and validation is not None:
        parts = validation if isinstance(validation, tuple) else (validation, None)
        if len(parts) != 2:
            raise ValueError(f"fit: expected validation to be (rows, context), got a tuple of {len(parts)}")
        held = _read(flow, *parts, columns, context_columns, None, None, random, "validation ")
    rows = _read(flow, data, context, columns, context_columns, schema, weights, random)
    if isinstance(rows, Stream) or share is None:
        return rows, held
    return apart("fit", rows, float(share), random.rows)


def _read(
    flow: Flow, data: Any, context: Any, columns: Any, context_columns: Any, schema: Any, weights: Any, random: Randomness, part: str = ""
) -> Rows | Stream:
    if isinstance(data, DataLoader):
        if context is not None or weights is not None or columns or context_columns or schema is not None:
            raise ValueError(
                "fit: expected a DataLoader without context, weights, columns or schema: one that gives x or (x, context), got them"
            )

        def read(seen: int, x: Any, c: Any = None) -> Rows:
            return _checked(flow, read_rows(flow, x, c, part=part), seen, part)

        return Stream(data, read, random.given, f"fit: {part}data" if part else "fit")
    rows = _checked(flow, read_rows(flow, data, context, columns, context_columns, weights, part, schema), 0, part)
    return rows if rows.weights is None else rows.take((rows.weights > 0).nonzero().squeeze(-1))


def _checked(flow: Flow, rows: Rows, first: int, part: str) -> Rows:
    check_rows(flow, rows, data_precision(flow), first, part)
    return rows
