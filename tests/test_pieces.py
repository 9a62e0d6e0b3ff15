"""Pieces of text tables: Arrow and Python read the same, bit by bit, of any table, right or wrong; and no more than a piece is held."""

import csv
import io
import itertools
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pushforward.data import delimited, pieces
from pushforward.data.dialect import Format
from pushforward.data.reading import TableError, open_table

NUMBERS = ["1", "-2.5", "3e5", ".5", "7.", "1e400", "-1e-400", "0.1", "123456789012345678", "+4", "007", "-0", "1.7976931348623157e308"]
COMMAS = ["1,5", "-2,25", "1.234,5", "3e5", ",5", "7", "1.234"]
MISSING = ["", "NA", "?", ".", "-", "nan", "NaN", " NA", "none", "-999", "  ", "-9.5", "unknown"]
TEXTS = ["ann", "Bonn, Köln", "true", "no", "2020-01-31", "31.1.2020 12:30", '5" pipe', 'she said "oh"', "two\nlines", " b ", "x'y", "１２"]
ODD = ["$1,234.5", "12 %", "1_000", "(3)", "−2", "1 234", "1e", "0x10", "inf", "--1", "1.5.2", "\xa01.5", "\t7"]
cells = st.one_of(st.sampled_from(NUMBERS), st.floats(allow_nan=False).map(repr), st.integers(-(10**20), 10**20).map(str))
columns = [
    cells,
    st.one_of(cells, st.sampled_from(MISSING)),
    st.sampled_from(COMMAS + MISSING[:3]),
    st.sampled_from(TEXTS[:6] + MISSING),
    st.sampled_from(NUMBERS + MISSING + TEXTS + ODD),
    st.sampled_from(["", "NA"]),
]


@st.composite
def files(draw):
    """Draw a text and how it is written: rows of several columns, quoted as needed, all, or not at all; some rows may be ragged."""
    width, rows = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    kinds = [draw(st.sampled_from(columns)) for _ in range(width)]
    body = [[draw(kind) for kind in kinds] for _ in range(rows)]
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, rows - 1))
        body[place] = draw(st.sampled_from([body[place][:-1], [*body[place], ""], [*body[place], "9"]]))
    delimiter, end = draw(st.sampled_from(",;\t|§ ")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    style = draw(st.sampled_from(["minimal", "all", "none"]))
    head = ["", "", "b", "c", "d"][draw(st.integers(0, 1)) :][:width]
    text = io.StringIO(newline="")
    if style == "none":
        lines = [delimiter.join(row) + end for row in [head, *body]]
    else:
        writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL if style == "all" else csv.QUOTE_MINIMAL)
        writer.writerows([head, *body])
        lines = text.getvalue().splitlines(keepends=True)
    for place in draw(st.lists(st.integers(0, len(lines)), max_size=3)):
        lines.insert(place, draw(st.sampled_from([end, "  " + end, '"' + end] if draw(st.integers(0, 9)) == 0 else [end])))
    if draw(st.booleans()):
        lines[-1] = lines[-1].rstrip("\r\n")
    missing = tuple(draw(st.lists(st.sampled_from(["-999", "unknown", "-9.5", "7"]), unique=True, max_size=2)))
    form = Format(delimiter, draw(st.sampled_from(".,")), "utf-8", draw(st.sampled_from([True, True, False, None])), missing)
    return "".join(lines), form


def told(path, form):
    """Return all that is read from a file, with the bits of numbers, or what is said of it."""
    try:
        table = open_table(path, form)
        values = [
            (v.name, v.storage, v.unit, v.note, v.zone, v.values.tobytes() if v.values.dtype != object else tuple(v.values))
            for v in table.typed()
        ]
        numbers = [chunk.tobytes() for chunk in table.chunks(rows=3)] if table.numeric else []
        return table.columns, table.numeric, table.left_out, table.notes, values, numbers
    except (TableError, OverflowError) as error:
        return str(error)


@settings(max_examples=100, deadline=None)
@example(file=("a,b\n-9.5,1\n3,\n", Format(",", ".", "utf-8", True, ("-9.5",))), rows=100)
@given(file=files(), rows=st.sampled_from([1, 3, 100]))
def test_arrow_and_python_read_the_same(tmp_path_factory, file, rows):
    text, form = file
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_bytes(text.encode())
    found = []
    for small in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces, "SMALL", small)
            patch.setattr(delimited, "ROWS", rows)
            patch.setattr(delimited, "LEAST", 1)
            found.append(told(path, form))
    assert found[0] == found[1]


PLAIN = {
    "numbers": ("a,b\n", "1.5,-2\n"),
    "missing values": ("a,b\n", "NA,\n1,2\n"),
    "texts": ("a,b\n", "ann,2\n"),
    "quoted texts": ("a,b\n", '"Bonn, Köln",2\n'),
    "quoted numbers": ('"a","b"\n', '"1","2"\n'),
    "blanks after commas": ("a, b\n", "1, 2\n"),
    "columns of blanks": ("a b\n", "  1    2\n"),
    "tabs and decimal commas": ("a\tb\n", "1,5\t2\n"),
    "returns": ("a,b\r\n", "1,2\r\n"),
    "returns alone": ("a,b\r", "1,2\r"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_most_tables_are_arrow_reads(tmp_path, monkeypatch, name):
    """Else the test above would compare Python with itself."""
    head, row = PLAIN[name]
    (tmp_path / "t.csv").write_text(head + row * 40, newline="")
    monkeypatch.setattr(pieces, "SMALL", 0)
    monkeypatch.setattr(pieces, "_by_rows", lambda *_: pytest.fail("read row by row"))
    table = open_table(tmp_path / "t.csv", Format(delimiter=" " if "columns of" in name else None))
    assert len(list(table.typed())) == 2
    monkeypatch.setattr(pieces.cells, "plain", lambda *_: pytest.fail("read cell by cell"))
    assert table.read().shape[1] == len(table.numeric)


def test_a_long_table_is_held_in_pieces(tmp_path):
    rows, width = 200_000, 4
    line = ",".join(["1.25"] * width) + "\n"
    with (tmp_path / "t.csv").open("w") as file:
        file.write("a,b,c,d\n")
        file.writelines(itertools.repeat(line, rows))
    table = open_table(tmp_path / "t.csv")
    tracemalloc.start()
    try:
        total = sum(float(np.sum(chunk)) for chunk in table.chunks())
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == rows * width * 1.25
    # Of the numbers alone it would be 6.4 MB, of the text as Python's cells 40 MB.
    assert held < 4e6


def test_a_wide_table_is_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "CELLS", 1000)
    monkeypatch.setattr(delimited, "LEAST", 2)
    width = 100
    with (tmp_path / "t.csv").open("w") as file:
        file.write(",".join(f"c{i}" for i in range(width)) + "\n")
        file.writelines(itertools.repeat(",".join(map(str, range(width))) + "\n", 50))
    sizes = []
    first = pieces.pieces

    def watched(*args):
        for piece in first(*args):
            sizes.append(piece.rows)
            yield piece

    monkeypatch.setattr(delimited, "pieces", watched)
    assert open_table(tmp_path / "t.csv").read().shape == (50, width)
    assert max(sizes) == 10


def test_reading_imports_no_pandas(tmp_path):
    """It takes longer to import than a table of a million cells to read."""
    (tmp_path / "t.csv").write_text("a,b\n" + "1.5,ann\nNA,NA\n" * 20_000)
    code = f"""
        import sys
        from pushforward.data.reading import open_table
        table = open_table({str(tmp_path / "t.csv")!r})
        list(table.typed()), table.read()
        print("pyarrow.csv" in sys.modules, "pandas" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
