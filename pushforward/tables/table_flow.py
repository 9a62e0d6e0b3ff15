"""TableFlow: the exact density of a table's rows over typed columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward import io
from pushforward.core.budget import Budget
from pushforward.core.draws import Drawing
from pushforward.core.spec import PlanError
from pushforward.data.schema.schema import Schema
from pushforward.data.to_frames import decode, library_of, types_of
from pushforward.data.weights import of_rows
from pushforward.flow.file import FACTOR, FREE
from pushforward.native.activations import ACTIVATIONS
from pushforward.tables.asking import given_table, places_asked, places_of, whole, widths_of
from pushforward.tables.chain import Scores, draw_chain
from pushforward.tables.coding import encoded
from pushforward.tables.conditional import TableConditional
from pushforward.tables.description import described
from pushforward.tables.disagreement import Disagreement, disagreement_of
from pushforward.tables.file import Content, read, write
from pushforward.tables.filling import filled
from pushforward.tables.integral import DRAWS
from pushforward.tables.model import Model
from pushforward.tables.noise import deviations_of, score_noisy
from pushforward.tables.restricted import score_given


class TableFlow(nn.Module):
    r"""The distribution of a table's rows: one exact density over columns of all kinds, and of any columns given any others.

    One network takes the cells of a row that are known and gives the conditional of every column: the probabilities of its cases (each
    category; a missing value; of a number each atom, or a value), and in the case of a value a monotone spline of its marginal's
    distribution function. The density of a row is the product of such conditionals in the order of the schema,

    .. math:: \log p(x) = \sum_j \log p(x_j \mid x_1, \dots, x_{j-1}),

    a probability for categories, counts, atoms and missing values, a density in the units of the table for other numbers (for those on a
    grid, the probability of the cell by its width). A new model that has met data joins the columns' marginals by the correlations
    of their numbers, a Gaussian copula, and by latent classes, where these say more.
    Source: A Deep and Tractable Density Estimator (Uria et al., 2014); Autoregressive Diffusion Models (Hoogeboom et al., 2022); Neural
    Spline Flows (Durkan et al., 2019).

    Args:
        schema: What the columns are: a `Schema`, or a table in which it is found.
        widths: Width of each hidden layer.
        bins: Bins of a number's conditional.
        activation: The network's activation.

    Raises:
        ValueError: A column has neither a density nor a probability, or an option is out of range.

    >>> rows = {"city": ["Bonn", "Ulm"] * 50, "height": [170.0 + i % 17 + i / 100 for i in range(100)]}
    >>> model = TableFlow(Schema.find(rows), widths=(16,)).measure(rows)
    >>> model.log_prob(rows).shape
    torch.Size([100])
    """

    noun = "table flow"

    def __init__(self, schema: Schema | Any, widths: Sequence[int] = (256, 256), bins: int = 16, *, activation: str = "silu") -> None:
        super().__init__()
        self.schema = schema if isinstance(schema, Schema) else Schema.find(schema)
        self.widths, self.bins, self.activation = widths_of(widths), whole("bins", bins, 2), activation
        if activation not in ACTIVATIONS:
            raise ValueError(f"TableFlow: expected activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        self.model = Model(self.schema, self.widths, self.bins, activation)
        #: The library of the frame that it was measured on, and how that stored the columns: what samples come back as.
        self.library: str | None = None
        self.types: dict[str, str] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of the schema, which is that of the density's chain."""
        return self.schema.names

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network; densities are computed in float64."""
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.model.network.bias.device

    @property
    def measured(self) -> bool:
        """Whether the columns' marginals have been measured."""
        return bool(self.model.measured)

    def label(self) -> str:
        """Return what errors begin with."""
        return "TableFlow"

    def measure(self, data: Any, weights: Any = None, *, classes: bool = True) -> TableFlow:
        """Measure the marginals of the columns, and what relates them, which is where a fit begins, and return the model.

        That are the correlations of a normal copula, and beside it latent classes, if rows that are held out for that are more probable
        with them: mixtures in each class of which columns are independent, of which these rows choose how many there are.

        Args:
            data: A table with the columns of the schema.
            weights: Weight of each row, ``(n,)``, at least 0; only their ratios matter.
            classes: Whether there may be latent classes; False for the copula alone.

        Raises:
            ValueError: The data is not what the schema says, or has no rows, weights are none, or classes is neither True nor False.
        """
        if not isinstance(classes, bool):
            raise ValueError(f"TableFlow.measure: expected classes to be True or False, got {classes!r}")
        coded, bounds = self.encode_all(data, "raise", fitted=False)
        if not len(coded):
            raise ValueError("TableFlow: expected rows to measure, got none")
        if weights is None:
            self.model.measure(coded, None, bounds, classes=classes)
        else:
            heavy = of_rows("TableFlow.measure", weights, len(coded)).to(self.device)
            some = heavy > 0
            self.model.measure(coded[some], heavy[some], None if bounds is None else bounds[some], classes=classes)
        self.remember(data)
        return self

    def remember(self, data: Any) -> None:
        """Let samples come back as a table of this library, stored in this way."""
        self.library, types = library_of(data), types_of(data)
        self.types = {name: types[name] for name in self.columns if name in types}

    @torch.no_grad()
    def log_prob(
        self, data: Any, columns: Sequence[str] | None = None, *, given: Sequence[str] = (), by: str | None = None, unseen: str = "raise"
    ) -> Any:
        """Return the log of the density of each row, in nats, by the measure of each column.

        Args:
            data: A table. A missing cell is an outcome, with a probability of its own. One that is known between two values alone, a
                `pushforward.data.Between` or an interval of pandas, has the probability of what lies between, given the other cells.
            columns: The columns that are asked about, the others are not known: the density of these alone; None for all not given.
            given: Columns whose cells of the same row are given: the conditional density of those asked about.
            by: ``"column"`` for the parts of the sum, each column given those before it.
            unseen: What becomes of categories never seen and numbers out of range: ``"raise"``, or ``"outside"``: -inf.

        Returns:
            ``(n,)`` of float64; with ``by="column"`` a mapping from names to such.

        Raises:
            ValueError: The model has not met data, a column is both asked about and given, or the data is not what the schema says;
                columns and rows are named.
        """
        if by not in (None, "column"):
            raise ValueError(f"TableFlow.log_prob: expected by to be 'column' or None, got {by!r}")
        asked, scores = self._scores("log_prob", data, columns, given, unseen, DRAWS)
        return {self.columns[index]: scores.logs[:, at] for at, index in enumerate(asked)} if by else scores.logs.sum(1)

    @torch.no_grad()
    def log_prob_and_error(
        self,
        data: Any,
        columns: Sequence[str] | None = None,
        *,
        given: Sequence[str] = (),
        noise: Mapping[str, Any] | None = None,
        draws: int = DRAWS,
        unseen: str = "raise",
    ) -> tuple[Tensor, Tensor]:
        """Return what `log_prob` does, and the standard error of each: 0, but for rows with several cells known between two values alone.

        Args:
            data: As of `log_prob`.
            columns: As of `log_prob`.
            given: As of `log_prob`.
            noise: Of columns that were measured with normal errors their standard deviations, a number or ``(n)``, by name: the density
                is that of what was measured, the model's with the errors, estimated without bias by draws of these.
            draws: How many draws such a row takes; the error falls faster than the inverse of their root.
            unseen: As of `log_prob`.
        """
        count = whole("draws", draws, 1)
        if not noise:
            _, scores = self._scores("log_prob_and_error", data, columns, given, unseen, count)
            return scores.logs.sum(1), scores.errors
        asked, known, coded, bounds = self._asked("log_prob_and_error", data, columns, given, unseen)
        if bounds is not None:
            raise ValueError("TableFlow.log_prob_and_error: expected values where there is noise, got some known between two others alone")
        return score_noisy(self.model, coded, asked, known, deviations_of(self.model, noise, coded, asked), count)

    def _scores(
        self, method: str, data: Any, columns: Sequence[str] | None, given: Sequence[str], unseen: str, draws: int
    ) -> tuple[list[int], Scores]:
        """Return the places of the columns that are asked about, and the scores of each row."""
        asked, known, coded, bounds = self._asked(method, data, columns, given, unseen)
        found = score_given(self.model, coded, asked, known, bounds, draws)
        # What cannot be is given with no density.
        outside = torch.isinf(coded[:, known]).any(1)
        return asked, found._replace(logs=torch.where(outside.unsqueeze(1), -torch.inf, found.logs))

    def _asked(
        self, method: str, data: Any, columns: Sequence[str] | None, given: Sequence[str], unseen: str
    ) -> tuple[list[int], list[int], Tensor, Tensor | None]:
        """Return the places of the columns that are asked about and of those given, and coded rows with the bounds of intervals."""
        self._expect_measured(method)
        asked, known = places_asked(self.columns, method, columns, given)
        coded, bounds = self.encode_all(data, unseen, sorted([*asked, *known]))
        return asked, known, coded, bounds

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None, library: str | None = None) -> Any:
        """Return a table of n rows, drawn column by column.

        Args:
            n: How many.
            generator: Of the random numbers; None for torch's global ones.
            library: ``"pandas"``, ``"polars"``, ``"pyarrow"`` or ``"dict"``; None for that of the table on which it was measured.

        Raises:
            ValueError: The model has not met data, or an option is out of range.
            ImportError: The library is not installed.
        """
        self._expect_measured("sample")
        coded = torch.full((whole("n", n), len(self.schema)), torch.nan, dtype=torch.float64, device=self.device)
        known = torch.zeros(coded.shape, dtype=torch.bool, device=self.device)
        return self.decode(draw_chain(self.model, coded, known, range(len(self.schema)), generator), library)

    @torch.no_grad()
    def condition(self, given: Any) -> TableConditional:
        """Return the distribution of the other columns given values of some.

        Args:
            given: A mapping from names to values, or a table of one row. None or NaN is a missing value, which is known to be missing;
                a column that is not there is not known. A `pushforward.data.Between`, or a pair of a lower and an upper end, of which
                one may be None, is a value that is known to lie between.

        Raises:
            ValueError: The model has not met data, nothing or everything is given, or a value is none that the schema allows.
        """
        self._expect_measured("condition")
        table = given_table(given)
        names = list(table) if isinstance(table, Mapping) else [name for at, name in enumerate(self.columns) if not self.absent(table, at)]
        places = places_of(self.columns, "condition", names)
        coded, bounds = self.encode_all(table, "raise", places)
        if len(places) == len(self.schema) and bounds is None:
            raise ValueError("TableFlow.condition: expected a column that is not given, got values of all; log_prob scores whole rows")
        if len(coded) != 1:
            raise ValueError(f"TableFlow.condition: expected one row, got {len(coded)}; call it for each, or impute(data) for all")
        return TableConditional(self, coded, places, bounds)

    @torch.no_grad()
    def impute(self, data: Any, n: int = 1, *, generator: torch.Generator | None = None, library: str | None = None) -> list[Any]:
        """Return tables in which each missing cell is drawn from what it can be, given the cells of its row that are not missing.

        So is a cell that is known between two values alone, between these and before missing ones: of one in a row exactly, of several by
        choosing among 64 draws by their weights; where few of these count for most of the weight, a warning says so.

        That a cell is missing is not taken for a sign of what it would be, and cells may be missing of columns that were whole in the fit.
        Of several tables, what differs between them is how little is known of the cells: multiple imputation.
        Source: Multiple Imputation for Nonresponse in Surveys (Rubin, 1987).

        Args:
            data: A table with the columns of the schema, which is what is returned.
            n: How many tables.
            generator: Of the random numbers; None for torch's global ones.
            library: As of `sample`; None for that of the data.
        """
        self._expect_measured("impute")
        coded, bounds = self.encode_all(data, missing=True)
        own = library_of(data)
        wanted = library or own
        types = types_of(data) if wanted == own else None
        tables = []
        for _ in range(whole("n", n, 1)):
            rows = filled(self.model, coded, bounds, generator)
            table = decode(self.schema, rows.cpu().numpy(), wanted, types)
            if wanted == own == "pandas":
                table.index = data.index
                table = table.rename(columns={str(name): name for name in data.columns})
            tables.append(table)
        return tables

    @torch.no_grad()
    def disagreement(self, data: Any, orders: int = 8, *, generator: torch.Generator | None = None) -> Disagreement:
        """Tell how far the density depends on the order of its chain: by how many nats random orders differ from the schema's.

        Conditionals in one order are exact and normalised, and so is their product. Those of one network in another order are another
        density, which would be the same if the network had learned all of them; how nearly it has, this measures.

        Args:
            data: A table with the columns of the schema.
            orders: How many orders are drawn.
            generator: Of the random numbers; None for torch's global ones.
        """
        self._expect_measured("disagreement")
        coded = self.encode(data)
        return disagreement_of(self.model, coded, whole("orders", orders, 1), generator)

    def describe(self) -> str:
        """Return what the model is made of: its columns with the measure of each, its parameters, and what a pass costs."""
        return described(self.model, sum(p.numel() for p in self.parameters() if p.requires_grad))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file: the tensors, and in its header the schema. `TableFlow.load` reads it, without pickle.

        Raises:
            FileNotFoundError: There is no such folder.
            ValueError: The network is in a half format.
        """
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"TableFlow.save: expected float32 or float64, got {self.dtype}; use .float()")
        dtype = io.dtype_name(self.dtype)
        state = self.state_dict()
        write(
            path,
            Content(
                self.schema,
                self.widths,
                self.bins,
                self.activation,
                dtype,
                self.library,
                self.types,
                self.model.network.classes.count,
                state,
            ),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, trusted: bool = False) -> TableFlow:
        """Read what `save` wrote: the same schema and numbers. A file may come from anywhere; nothing in it is run.

        Args:
            path: The file.
            trusted: Whether the header may ask for far more memory than the file is long.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is none of a table flow, is not as it was written, or is of a newer version.
        """
        content = read(path)
        budget = Budget(sys.maxsize if trusted else FREE + FACTOR * os.path.getsize(path))  # noqa: PTH202
        try:
            # The initial weights, which the file replaces, cost the user no random numbers.
            with Drawing(0), budget:
                made = cls(content.schema, content.widths, content.bins, activation=content.activation)
                made.model.network.classes.resize(content.classes)
        except PlanError as error:
            raise PlanError(f"TableFlow.load: {os.fspath(path)!r}: {error}, with so small a file; if you trust it: trusted=True") from error
        made.to(getattr(torch, content.dtype))
        io.check_state(path, made.state_dict(), content.tensors)
        made.load_state_dict(content.tensors)
        made.library, made.types = content.library, dict(content.types)
        if wrong := made.model.broken():
            raise ValueError(f"TableFlow.load: expected increasing knots with masses of 1 in {os.fspath(path)!r}, got others of {wrong!r}")
        return made

    def encode(
        self, data: Any, unseen: str = "raise", asked: Sequence[int] | None = None, fitted: bool = True, missing: bool = False
    ) -> Tensor:
        """Return a table as coded rows ``(n, columns)`` of float64; what is not asked about is NaN.

        Args:
            data: The table.
            unseen: As of `log_prob`.
            asked: Places of the columns that are looked at; None for all.
            fitted: Whether values have to lie on the grids on which the model was measured.
            missing: Whether any cell may be missing, whatever the schema says.

        Raises:
            ValueError: The data is not what the schema says, or a cell is known between two values alone.
        """
        coded, bounds = self.encode_all(data, unseen, asked, fitted, missing)
        if bounds is not None:
            row, place = (int(part[0]) for part in (~torch.isnan(bounds[:, :, 0])).nonzero(as_tuple=True))
            raise ValueError(
                f"TableFlow: column {self.columns[place]!r}: expected values here, got in row {row + self.schema.first_row(data)} one that "
                "is known between two alone; fit and log_prob take such cells; here give a value, or a missing one"
            )
        return coded

    def encode_all(
        self, data: Any, unseen: str = "raise", asked: Sequence[int] | None = None, fitted: bool = True, missing: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return what `encode` does, and the bounds ``(n, columns, 2)`` of cells that are known between them alone; None if none is."""
        return encoded(self.model, self.schema, data, unseen, asked, fitted, missing)

    def decode(self, coded: Tensor, library: str | None = None, columns: Sequence[int] | None = None) -> Any:
        """Return coded rows as a table."""
        places = list(range(len(self.schema))) if columns is None else list(columns)
        schema = Schema(tuple(self.schema.columns[at] for at in places))
        wanted = library or self.library or "pandas"
        types = self.types if wanted == self.library else None
        return decode(schema, coded[:, places].cpu().numpy(), wanted, types)

    def absent(self, data: Any, place: int) -> bool:
        """Tell whether a table lacks a column."""
        return bool(Schema((self.schema.columns[place],)).absent(data))

    def _expect_measured(self, method: str) -> None:
        if not self.measured:
            raise ValueError(f"TableFlow.{method}: expected a model that has met data, got a new one; fit it first, or measure(data)")
