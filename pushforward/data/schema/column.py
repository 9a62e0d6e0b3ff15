"""Column: what one column of a table is, as a value that can be written as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pushforward.data.values import NUMBERS, STORAGES

KINDS = {
    "real": "any number",
    "positive": "a number from 0 on",
    "interval": "a number between two bounds",
    "circular": "a number on a circle, such as an angle or an hour",
    "count": "a whole number from 0 on",
    "ordered": "one of some values that have an order",
    "categorical": "one of some values without an order",
    "binary": "one of two values, such as yes or no",
    "datetime": "a date, or a date and a time",
    "text": "free text",
    "empty": "no value at all",
}
"""What there is, and what it means."""
NUMERIC = ("real", "positive", "interval", "circular", "count")
DISCRETE = ("ordered", "categorical", "binary")
BETWEEN = ("real", "positive", "interval", "count", "datetime")
"""Kinds whose cells may be known between two values alone."""
REFUSED = ("text", "empty")
"""Kinds that have no density or probability here."""
_FEW = 4


@dataclass(frozen=True)
class Column:
    """What one column is.

    Attributes:
        name: Its name in the table.
        kind: One of real, positive, interval, circular, count, ordered, categorical, binary, datetime, text, empty.
        storage: How its values are stored: float, integer, boolean, string, date, datetime or other.
        low: The least value there can be; None for no bound.
        high: The largest one; of a circle, where it begins again.
        step: The distance of neighbours on a grid, of dates in seconds; 0 for none.
        origin: A value of the grid of a number, where all values are whole steps from it; None where they are not.
        between: Whether of some cells two values alone may be known between which they lie; texts such as ``">5"`` are read as such then.
        categories: The values that there are, in their order; none of a number's.
        atoms: Values of a number that have a probability of their own, each with its share of the rows.
        missing: Share of the rows in which it is missing; above 0 it may be missing in others.
        zone: The time zone of moments, ``""`` for none.
        why: Why it is thought to be this.

    Raises:
        ValueError: A field is none of its kind.

    >>> Column("wind", "circular", low=0, high=360).period
    360.0
    """

    name: str
    kind: str
    storage: str = "float"
    low: float | None = None
    high: float | None = None
    step: float = 0.0
    categories: tuple[str | int | float | bool, ...] = ()
    atoms: tuple[tuple[float, float], ...] = ()
    missing: float = 0.0
    zone: str = ""
    why: str = ""
    origin: float | None = None
    between: bool = False

    def __post_init__(self) -> None:
        for name in ("name", "kind", "storage", "zone", "why"):
            self._expect(isinstance(getattr(self, name), str), f"a text as its {name}, got {getattr(self, name)!r}")
        self._expect(self.kind in KINDS, f"a kind among {', '.join(KINDS)}, got {self.kind!r}")
        self._expect(self.storage in STORAGES, f"a storage among {', '.join(STORAGES)}, got {self.storage!r}")
        for name in ("low", "high", "step", "missing", "origin"):
            value = getattr(self, name)
            if value is None and name in ("low", "high", "origin"):
                continue
            self._expect(_is_real(value), f"a finite number as its {name}, got {value!r}")
            object.__setattr__(self, name, float(value))
        self._expect(self.step >= 0, f"a step of at least 0, got {self.step}")
        self._expect(0 <= self.missing <= 1, f"a share of missing values between 0 and 1, got {self.missing}")
        low, high = self.low, self.high
        self._expect(low is None or high is None or low < high, f"a lower bound under the upper one, got {low} and {high}")
        both = low is not None and high is not None
        if self.kind in ("interval", "circular"):
            self._expect(both, f"two bounds, since it is {self.kind}, got {low} and {high}; such as interval:0:100 or circular:360")
        elif self.kind in ("positive", "count"):
            self._expect(low == 0 and high is None, f"the bound 0 and no other, since it is {self.kind}, got {low} and {high}")
        else:
            self._expect(low is None and high is None, f"no bounds, since it is {self.kind}, got {low} and {high}")
        self._expect(self.kind != "count" or self.step == 1, f"a step of 1, since it is a count, got {self.step}")
        self._expect(self.origin is None or self.step > 0, f"no origin of a grid, since it has no step, got {self.origin}")
        self._expect(isinstance(self.between, bool), f"between to be True or False, got {self.between!r}")
        known = self.kind in BETWEEN or not self.between
        self._expect(
            known, f"no cells that are known between two values alone, since it is {self.kind}; {', '.join(BETWEEN)} may have such"
        )
        self._check_categories()
        self._check_atoms()
        self._expect(self.kind == "datetime" or not self.zone, f"no time zone, since it is {self.kind}, got {self.zone!r}")

    def _check_categories(self) -> None:
        categories = tuple(self.categories)
        object.__setattr__(self, "categories", categories)
        self._expect(all(isinstance(one, str | bool) or _is_real(one) for one in categories), f"texts or numbers, got {categories!r}")
        self._expect(len(set(categories)) == len(categories), f"each category once, got {categories!r}")
        if self.kind in DISCRETE:
            self._expect(bool(categories), f"categories, since it is {self.kind}, got none")
            self._expect(self.kind != "binary" or len(categories) == 2, f"two categories, since it is binary, got {len(categories)}")
        else:
            self._expect(not categories, f"no categories, since it is {self.kind}, got {len(categories)}")

    def _check_atoms(self) -> None:
        self._expect(all(len(atom) == 2 and all(map(_is_real, atom)) for atom in self.atoms), f"atoms (value, share), got {self.atoms!r}")
        atoms = tuple((float(value), float(share)) for value, share in self.atoms)
        object.__setattr__(self, "atoms", atoms)
        self._expect(not atoms or self.kind in NUMERIC, f"no atoms, since it is {self.kind}, got {len(atoms)}")
        self._expect(len({value for value, _ in atoms}) == len(atoms), f"each atom once, got {atoms!r}")
        shares = [share for _, share in atoms]
        self._expect(all(0 < share <= 1 for share in shares) and sum(shares) <= 1 + 1e-9, f"shares of atoms up to 1, got {shares}")

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"column {self.name!r}: expected {what}")

    @property
    def period(self) -> float | None:
        """The length of a circle, None for what is none."""
        return None if self.kind != "circular" or self.low is None or self.high is None else self.high - self.low

    @property
    def whole(self) -> bool:
        """Whether it is a number of which all values are whole."""
        return self.kind == "count" or (self.kind in NUMERIC and self.storage == "integer")

    @property
    def numeric(self) -> bool:
        """Whether its values are stored as numbers, which is what a density of numbers takes."""
        return self.storage in NUMBERS and self.kind != "empty"

    def told(self) -> str:
        """Return the kind in words, with bounds, categories, atoms and step.

        >>> Column("rain", "positive", low=0, step=0.1, atoms=((0, 0.8),)).told()
        'positive, step 0.1, atom 0 (80 %)'
        """
        parts = [self.kind]
        if self.kind in ("interval", "circular"):
            parts[0] += f" {self.low:g} to {self.high:g}"
        if self.categories:
            between = " < " if self.kind == "ordered" else ", "
            few = between.join(map(repr, self.categories[:_FEW]))
            parts[0] += f": {few}" if len(self.categories) <= _FEW else f", {len(self.categories)} values: {few}, ..."
        if self.step and self.kind not in ("count", "datetime"):
            parts.append(f"step {self.step:g}")
        if self.kind == "datetime":
            parts[0] = "datetime, days" if self.storage == "date" else "datetime"
        if self.zone:
            parts.append(f"zone {self.zone}")
        if self.between:
            parts.append("or between two values")
        if self.atoms:
            told = ", ".join(f"{value:g} ({percent(share)})" for value, share in self.atoms[:_FEW])
            parts.append(f"atom{'s' * (len(self.atoms) > 1)} {told}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are not as ever, as texts, numbers and lists."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                found[field.name] = [list(one) if isinstance(one, tuple) else one for one in value] if isinstance(value, tuple) else value
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Column:
        """Make a column of what `to_dict` returned."""
        known = [field.name for field in fields(cls)]
        if not isinstance(data, Mapping) or not {"name", "kind"} <= set(data) or not set(data) <= set(known):
            raise ValueError(f"expected a column as a mapping with name and kind, and others of {', '.join(known)}, got {data!r}")
        for name in ("categories", "atoms"):
            if not isinstance(data.get(name, []), list | tuple):
                raise ValueError(f"column {data['name']!r}: expected a list as its {name}, got {data[name]!r}")
        atoms = tuple(tuple(one) if isinstance(one, list) else one for one in data.get("atoms", ()))
        return cls(**{**data, "categories": tuple(data.get("categories", ())), "atoms": atoms})


def percent(share: float) -> str:
    """Return a share in percent, of a small one two digits.

    >>> percent(1.0), percent(0.096), percent(0.0004)
    ('100 %', '9.6 %', '0.04 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
