"""Tables: what is written is read again, chunk by chunk, and bad files are named."""

import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pushforward.data.reading import TableError, open_table
from pushforward.data.writing import check_target, write_table

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npy")
NAMES = ["a", "b c", 'd,"\t']


def files(folder):
    return [path.name for path in folder.iterdir()]


def written(path, values, names=None, rows=3):
    with write_table(path, names or NAMES[: values.shape[1]], values.dtype) as append:
        for start in range(0, len(values), rows):
            append(values[start : start + rows])
    return open_table(path)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read_again(tmp_path, ending, kind):
    values = np.random.default_rng(0).normal(size=(10, 3)).astype(kind) * np.array([1e-30, 1, 1e30], kind)
    table = written(tmp_path / f"t{ending}", values)
    expected = ("0", "1", "2") if ending == ".npy" else tuple(NAMES)
    assert table.columns == table.numeric == expected
    np.testing.assert_array_equal(table.read().astype(kind), values)
    assert files(tmp_path) == [f"t{ending}"]


@settings(max_examples=25, deadline=None)
@given(
    values=hnp.arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 3)), elements=st.floats(allow_nan=False)),
    rows=st.integers(1, 9),
    ending=st.sampled_from(ENDINGS),
)
def test_any_number_survives_in_chunks_of_any_size(tmp_path_factory, values, rows, ending):
    table = written(tmp_path_factory.mktemp("t") / f"t{ending}", values, rows=rows)
    chunks = list(table.chunks(rows=rows))
    assert all(len(chunk) == rows for chunk in chunks[:-1])
    np.testing.assert_array_equal(np.concatenate(chunks), values)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_in_chunks_is_read_as_a_whole(tmp_path, ending):
    values = np.arange(21.0).reshape(7, 3)  # three chunks, the last of which is shorter
    np.testing.assert_array_equal(written(tmp_path / f"t{ending}", values, rows=3).read(), values)


@pytest.mark.parametrize("ending", ENDINGS)
def test_columns_come_in_the_order_asked_for(tmp_path, ending):
    values = np.arange(12.0).reshape(4, 3)
    table = written(tmp_path / f"t{ending}", values)
    chosen = [table.columns[2], table.columns[0]]
    np.testing.assert_array_equal(table.read(chosen), values[:, [2, 0]])


def test_a_csv_longer_than_one_block_is_read_in_pieces(tmp_path, monkeypatch):
    from pushforward.data import delimited

    monkeypatch.setattr(delimited, "ROWS", 16)
    monkeypatch.setattr(delimited, "HEAD", 64)
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i / 2}\n" for i in range(100)) + "1,word\n")
    table = open_table(path)
    assert [len(chunk) for chunk in table.chunks(["a"], 16)] == [16] * 6 + [5]
    np.testing.assert_array_equal(table.read(["a"])[:100, 0], np.arange(100))
    with pytest.raises(TableError, match=r"'b'.*'word' in row 101 \(line 102 of the file\); .*--missing"):
        list(table.chunks(["b"], 16))


def test_missing_values_are_nan(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,\nNA,2\n 3 ,"4"\nnan,-inf\n')
    np.testing.assert_array_equal(open_table(path).read(), [[1, np.nan], [np.nan, 2], [3, 4], [np.nan, -np.inf]])
    pq.write_table(pa.table({"a": pa.array([1, None, 3])}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(open_table(tmp_path / "t.parquet").read(), [[1], [np.nan], [3]])


def test_only_columns_of_numbers_are_numeric(tmp_path):
    (tmp_path / "t.csv").write_text(",name,day,x,empty,flag\n0,ann,2020-01-01,1.5,,true\n1,bob,2020-01-02,2,,false\n")
    table = open_table(tmp_path / "t.csv")
    assert table.columns == ("", "name", "day", "x", "empty", "flag")
    assert table.numeric == ("x",)
    pq.write_table(pa.table({"name": ["ann"], "n": [1], "x": [1.5], "flag": [True]}), tmp_path / "t.parquet")
    assert open_table(tmp_path / "t.parquet").numeric == ("n", "x")


def test_an_array_of_one_axis_is_one_column(tmp_path):
    np.save(tmp_path / "t.npy", np.arange(5, dtype=">i2"))
    np.testing.assert_array_equal(open_table(tmp_path / "t.npy").read(), np.arange(5.0)[:, None])
    written(tmp_path / "u.npy", np.arange(5.0)[:, None])
    assert np.load(tmp_path / "u.npy").shape == (5,)


def npy(array, cut=None):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()[:cut]


def parquet(**columns):
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def spoilt(content):
    """Return a Parquet file with a sound description of pages that are not."""
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    return content[:4] + b"\xff" * (end - 4) + content[end:]


WRONG = [
    ("t.txt", b"a\n1\n", None, "ends in .csv"),
    ("t.csv", b"", None, "not a table"),
    ("t.csv", b"a,b\n", None, "expected rows, got none"),
    ("t.csv", b"a,b\n1,2\n3\n4,5\n", None, "row 2: expected 2 values, got 1: '3'"),
    ("t.csv", b"a,b\n1,2\n3,4,5\n", None, "row 2: expected 2 values, got 3"),
    ("t.csv", b"a,b\n1,2\n", ["a", "x"], "no column 'x'; there are 'a', 'b'"),
    ("t.csv", b"a,b\n1,2\n3,four\n5,six\n", ["b"], "column 'b': expected numbers, got 'four' in row 2"),
    ("t.csv", b"a,b\nx,y\n", None, "expected a column of numbers, got 'a', 'b'"),
    ("t.csv", b"a,a\n1,2\n", None, "'a' more than once"),
    ("t.csv", b'a,b\n1,2\n\n3,"4\n', None, "quotation mark left open"),
    ("t.csv", b"a,b\n1,\x00\n", None, "control character"),
    ("t.csv", b"a,\x81\n1,2\n", None, "not a table in UTF-8, UTF-16 or Windows-1252"),
    ("t.csv.gz", b"a\n1\n", None, "not a table"),
    ("t.csv.gz", gzip.compress(b"a\n" + b"1\n" * 99, mtime=0)[:-12], None, "not a table"),
    ("t.parquet", b"PAR1", None, "not a Parquet file"),
    ("t.parquet", parquet(a=[1.0], b=["x"]), ["b"], "column 'b': expected numbers, got string: 'x' in row 1"),
    ("t.parquet", spoilt(parquet(a=[1.0], b=["x"])), ["a"], "cannot be read"),
    ("t.parquet", spoilt(parquet(a=[1.0], b=["x"])), ["b"], "cannot be read: "),
    ("t.parquet", parquet(a=[1.0]), ["b"], "no column 'b'; there are 'a'"),
    ("t.parquet", parquet(a=pa.array([], pa.float64())), None, "expected rows, got none"),
    ("t.npy", b"", None, "not an array"),
    ("t.npy", npy(np.zeros((50, 2)), 300), None, "not an array"),
    ("t.npy", npy(np.zeros((2, 2, 2))), None, "(2, 2, 2)"),
    ("t.npy", npy(np.array(["x"])), None, "expected an array of real numbers"),
    ("t.npy", npy(np.zeros(2, complex)), None, "expected an array of real numbers"),
    ("t.npy", npy(np.array([{}])), None, "not an array"),
    ("t.npy", npy(np.zeros((0, 2))), None, "expected rows, got none"),
    ("t.npy", npy(np.zeros((2, 2))), ["2"], "no column '2'; there are '0', '1'"),
]


@pytest.mark.parametrize(("name", "content", "columns", "words"), WRONG, ids=[f"{name}: {words}" for name, *_, words in WRONG])
def test_a_bad_table_is_named_with_what_is_wrong(tmp_path, name, content, columns, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError) as caught:
        open_table(tmp_path / name).read(columns)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        open_table(tmp_path / "t.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileNotFoundError, match="is a folder"):
        open_table(tmp_path / "folder.csv")
    for target, error in (("no/t.csv", FileNotFoundError), ("folder.csv", IsADirectoryError), ("t.xls", TableError)):
        with pytest.raises(error), write_table(tmp_path / target, ["a"]):
            raise AssertionError("not reached")
    assert check_target(Path(tmp_path) / "any", ending=False).name == "any"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_that_is_not_finished_leaves_the_old_one(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    old = written(path, np.ones((4, 2))).read()
    with pytest.raises(IndexError), write_table(path, ["a", "b"]) as append:
        append(np.zeros((2, 2))[[0, 5]])
    np.testing.assert_array_equal(open_table(path).read(), old)
    assert files(tmp_path) == [path.name]


def test_chunks_have_at_least_one_row(tmp_path):
    with pytest.raises(ValueError, match="at least 1 row"):
        next(written(tmp_path / "t.csv", np.ones((4, 2))).chunks(rows=0))


@pytest.mark.parametrize("ending", ENDINGS)
def test_of_two_writers_at_once_the_last_to_end_has_the_file_whole(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    first, second = np.full((6, 2), 1.5), np.full((4, 2), 2.5)
    with write_table(path, ["a", "b"]) as one:
        one(first[:3])
        with write_table(path, ["a", "b"]) as two:
            two(second[:1])
            one(first[3:])
            two(second[1:])
        np.testing.assert_array_equal(open_table(path).read(), second)
    np.testing.assert_array_equal(open_table(path).read(), first)
    assert files(tmp_path) == [path.name]


def test_text_is_read_without_arrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(TableError, match=r"row 2: expected 2 values, got 1: '3' \(line 3 of the file\)"):
        open_table(tmp_path / "t.csv").read()
    (tmp_path / "u.csv").write_text("a,b\n1,2\n")
    np.testing.assert_array_equal(open_table(tmp_path / "u.csv").read(), [[1, 2]])


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("seed", range(8))
def test_bytes_that_are_no_table_are_one_line_that_names_the_file(tmp_path, capfd, ending, seed):
    content = np.random.default_rng(seed).integers(0, 256, 10 ** (1 + seed % 4), np.uint8).tobytes()
    path = tmp_path / f"t{ending}"
    path.write_bytes(content if seed % 2 else b"a,b\n1,2\n" + content)
    with pytest.raises(TableError) as caught:
        open_table(path).read()
    text = str(caught.value)
    assert path.name in text
    assert text.isprintable()
    assert len(text) < 500 + len(str(path))
    assert capfd.readouterr().err == ""


def test_a_ragged_row_is_found_in_every_kind_of_text(tmp_path):
    for ending, delimiter, pack in ((".csv", ",", bytes), (".tsv", "\t", bytes), (".csv.gz", ",", gzip.compress)):
        rows = ["a,b", '1,"2,5"', "", "3,4", '5,"6",7']
        (tmp_path / f"t{ending}").write_bytes(pack("\r\n".join(row.replace(",", delimiter) for row in rows).encode()))
        with pytest.raises(TableError, match="row 3: expected 2 values, got 3"):
            open_table(tmp_path / f"t{ending}").read()


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f2"])
def test_a_nan_whose_bits_ask_for_a_signal_is_a_nan(tmp_path, kind):
    bits = {"4": 0x7FA00000, "2": 0x7D00}[kind[-1]]
    array = np.array([bits, 0], dtype=f"{kind[0]}u{kind[-1]}").view(kind)
    np.save(tmp_path / "t.npy", array)
    (rows,) = open_table(tmp_path / "t.npy").chunks(["0"])
    assert np.isnan(rows[0, 0])
    assert rows[1, 0] == 0.0
