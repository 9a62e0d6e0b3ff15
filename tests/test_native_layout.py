"""The structs of a call, the enums and the sizes of kernels: one table for Python and C; what was built from another is not used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pushforward.native import library
from pushforward.native.activations import ACTIVATIONS, CODES, code_of
from pushforward.native.elementwise import KINDS
from pushforward.native.layout import BLOCK, INT, JOB, LAYOUTS, MATRIX, NET, REAL, Layout
from scripts.generated import header

ROOT = Path(__file__).parents[1]
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def test_structs_enums_and_limits_are_declared_nowhere_else():
    for file in (ROOT / "pushforward" / "native" / "src").iterdir():
        if file.name != "layout.h":
            text = file.read_text()
            for layout in LAYOUTS:
                assert not re.search(rf"^\}} {layout.name};", text, re.MULTILINE), f"{file.name}: {layout.name}"
            assert not re.search(r"#define (MAX_LAYERS|MAX_BINS|MAX_THREADS)\b", text), file.name
            assert not re.search(r"enum \{[^}]*\b(RELU|AFFINE)\b", text), file.name


@each_layout
def test_every_field_is_packed_where_it_is_named(layout):
    numbers = list(layout.numbers())
    assert layout.form.size == 8 * len(numbers)
    place = iter(range(1, len(numbers) + 1))
    values = {
        name: tuple(next(place) for _ in field.numbers()) if isinstance(field, Layout) else next(place)
        for name, field in layout.fields.items()
    }
    assert layout.form.unpack(layout.pack(**values)) == tuple(range(1, len(numbers) + 1))
    # In whatever order they are given.
    assert layout.pack(**dict(reversed(values.items()))) == layout.pack(**values)


def test_a_field_that_is_missing_or_unknown_is_refused():
    given = {name: (0,) * len(field.code) if isinstance(field, Layout) else 0 for name, field in NET.fields.items()}
    NET.pack(**given)
    with pytest.raises(TypeError, match="rows"):
        NET.pack(**{name: value for name, value in given.items() if name != "rows"})
    with pytest.raises(TypeError, match="columns"):
        NET.pack(**given, columns=3)
    arrays = {name for name, field in JOB.fields.items() if field in (MATRIX, BLOCK)}
    packed = JOB.pack(**{name: given.get(name, (0,) * 6 if name == "kind" else 0) for name in JOB.fields if name not in arrays})
    assert packed == bytes(JOB.form.size)  # an array that is left out is none


def test_a_struct_is_declared_as_it_is_packed():
    text = header.declared(Layout("Pair", "Two and an array.", first=INT, second=INT, bound=REAL, x=BLOCK))
    assert "  Int first, second;\n  double bound;\n  Block x;\n} Pair;" in text
    assert "sizeof(Pair) == 40" in text


@pytest.mark.compiled
def test_a_library_that_was_built_from_other_fields_is_not_used(monkeypatch):
    folder = Path(library.__file__).parent
    monkeypatch.delenv(library.SWITCH, raising=False)
    assert library.load(folder).handle is not None
    monkeypatch.setattr(library, "SIGNATURE", library.SIGNATURE + " more")
    found = library.load(folder)
    assert found.handle is None
    assert "built from another version of the sources" in found.state
    monkeypatch.setenv(library.SWITCH, "baseline")
    with pytest.raises(ValueError, match="another version of the sources"):
        library.load(folder)


def test_kinds_and_activations_are_numbered_in_the_order_of_their_tables():
    assert sorted(KINDS) == list(range(len(KINDS)))
    assert list(CODES.values()) == list(range(len(CODES)))
    assert [code_of(name) for name, row in ACTIVATIONS.items() if row.code is not None] == list(CODES.values())
