"""Candidates: the table of flows among which `choose` chooses. A row is all that a candidate is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pushforward.core.draws import Drawing
from pushforward.data.schema import Schema
from pushforward.flow.flow import Flow
from pushforward.flow.mixture_start import COMPONENTS, ROWS, mixture_of
from pushforward.flow.standardising import begin, chain
from pushforward.layers.standardize import Standardize
from pushforward.recipes.choice import make_flow
from pushforward.tables.table_flow import TableFlow
from pushforward.train import options as check


@dataclass(frozen=True)
class Candidate:
    """A flow to try on a table.

    Args:
        name: What it is called in a history.
        flow: A named flow; None for no layers but those that measure, which is a classical density: the fit of its base is all.
        options: Options of the named flow.
        components: Components of a base that is a mixture of normals, fitted by expectation maximisation; 0 for the flow's own base; None
            for the classical density that scored best, with its measures and as it is: the flow begins as that density.
        whiten: Whether the rows' covariance is measured, as in `fit`.
        features: Features that it needs at least.

    Raises:
        ValueError: Components that are no whole number of at least 0; None of them without a flow, which is to begin as another density.

    >>> Candidate("small", "NSF", {"transforms": 2}).make(3, seed=0).event_shape
    torch.Size([3])
    """

    name: str
    flow: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    components: int | None = 0
    whiten: bool | None = False
    features: int = 1

    def __post_init__(self) -> None:
        if self.components is not None:
            check.whole("Candidate", "components", self.components, 0)
        elif self.flow is None:
            raise ValueError(
                f"Candidate: expected a flow that begins as the best density, got none of {self.name!r}; name a flow, or components"
            )

    @property
    def closed(self) -> bool:
        """Whether it is fitted when it is measured, so that steps of an optimiser are not needed."""
        return self.flow is None

    def suits(self, features: int, context: int, rows: int) -> bool:
        """Tell whether it can be fitted to such a table."""
        return features >= self.features and rows >= ROWS * (self.components or 0) and not (context and self.components != 0)

    def make(self, features: int, context: int = 0, seed: int = 0) -> Flow:
        """Return a new flow, its first weights drawn from the seed."""
        named = None if self.flow is None else make_flow("choose", self.flow, features, context, self.options, seed)
        if not self.components and named is not None:
            return named
        base = mixture_of(max(1, self.components or 0))
        with Drawing(seed):
            return Flow(base, [Standardize()] if named is None else named.plan, features)

    def over(self, start: Flow, seed: int = 0) -> Flow:
        """Return a new flow whose layers stand between the base of a fitted flow and the layers of that: it begins as the fitted one is.

        >>> start = Candidate("mixture", components=2).make(2)
        >>> Candidate("over it", "NSF", components=None).over(start).base.plan == start.base.plan
        True
        """
        assert self.flow is not None
        features = start.event_shape[0]
        named = make_flow("choose", self.flow, features, 0, self.options, seed)
        flow = Flow(start.base.plan, [named.plan, start.plan], features).to(start.device, start.dtype)
        between, after = chain(flow.transform)
        between.load_state_dict(named.transform.state_dict())
        after.load_state_dict(start.transform.state_dict())
        flow.base.load_state_dict(start.base.state_dict())
        begin(flow.transform)
        flow.columns, flow.schema = start.columns, start.schema
        return flow


CANDIDATES = (
    Candidate("normal", components=1, whiten=True),
    *(Candidate(f"mixture of {count}", components=count, whiten=True) for count in COMPONENTS),
    Candidate("NSF", "NSF"),
    Candidate("NSF, autoregressive", "NSF-AR", features=2),
    Candidate("MAF", "MAF", features=2),
    Candidate("NSF over the best density", "NSF", {"transforms": 3}, components=None),
)
"""Classical densities first: they take next to no time, and everything else has to be better."""


@dataclass(frozen=True)
class TableCandidate:
    """A `TableFlow` to try on a table.

    Args:
        name: What it is called in a history.
        options: Options of the `TableFlow`.
        closed: Whether it is measured and not trained: a classical density.
        correlated: Whether one that is closed has the correlations of the columns.
        classes: Whether one that is closed may have latent classes; with neither it is that of independent columns.

    >>> TableCandidate("small", {"widths": (16,)}).make(Schema.find({"a": [1.5, 2.5, 2.0]}), seed=0).columns
    ('a',)
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    closed: bool = False
    correlated: bool = True
    classes: bool = True

    def make(self, schema: Schema, seed: int = 0) -> TableFlow:
        """Return a new model, its first weights drawn from the seed."""
        with Drawing(seed):
            return TableFlow(schema, **self.options)


TABLES = (
    TableCandidate("independent columns", {"widths": (8,)}, closed=True, correlated=False, classes=False),
    TableCandidate("normal copula", {"widths": (8,)}, closed=True, classes=False),
    TableCandidate("latent classes", {"widths": (8,)}, closed=True),
    TableCandidate("TableFlow, small", {"widths": (64, 64), "bins": 8}),
    TableCandidate("TableFlow"),
)
"""The same for tables with columns of any kind; the last of the closed ones is what a `TableFlow` starts from."""
