"""Text tables as people and programs write them: what is found, what is told, and what is said of it."""

import codecs
import csv
import gzip
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.data import cells
from pushforward.data.dialect import DELIMITERS, Format
from pushforward.data.reading import TableError, open_table

NAN = np.nan


def opened(folder, content, form=None, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_table(path, form)


# Each as it stands in a file: the columns of numbers, their values, and words of the notes.
FOUND = {
    "semicolons": ("a;b\n1;2\n3;4\n", ("a", "b"), [[1, 2], [3, 4]], "semicolons"),
    "decimal commas": ("a;b\n1,5;2\n3,25;4\n", ("a", "b"), [[1.5, 2], [3.25, 4]], "decimal mark ','"),
    "decimal commas and points of thousands": ('a;b\n"1.234,5";2\n-7,5;4\n', ("a", "b"), [[1234.5, 2], [-7.5, 4]], "decimal"),
    "decimal commas of three digits": ("a;b\n1,234;2\n3,250;4\n", ("a", "b"), [[1.234, 2], [3.25, 4]], "decimal"),
    "quoted decimal commas": ('a,b\n"1,5",2\n"3,25",4\n', ("a", "b"), [[1.5, 2], [3.25, 4]], "decimal"),
    "decimal commas beside a text that ends": ('a,b,c\n"0,015625",0,0.\n', ("a", "b"), [[0.015625, 0]], "decimal"),
    "decimal commas beside a text that is a number": ('a,b\n"0,5",.0\n"1,5",x\n', ("a",), [[0.5], [1.5]], "decimal"),
    "tabs": ("a\tb\n1\t2\n3\t4\n", ("a", "b"), [[1, 2], [3, 4]], "tabs"),
    "blanks": ("  a    b\n  1    2\n 30   -4\n", ("a", "b"), [[1, 2], [30, -4]], "blanks"),
    "pipes": ("a|b\n1|2\n3|4\n", ("a", "b"), [[1, 2], [3, 4]], "pipes"),
    "no header": ("1.5,2\n3.5,4\n", ("0", "1"), [[1.5, 2], [3.5, 4]], "no header"),
    "no header, text among numbers": ("39, clerk, 7\n17, cook, 4\n50, clerk, 9\n", ("0", "2"), [[39, 7], [17, 4], [50, 9]], "no header"),
    "years as names": ("land,1990,1991,1992\nA,1.5,2,3\nB,4,5,6\n", ("1990", "1991", "1992"), [[1.5, 2, 3], [4, 5, 6]], None),
    "decimals as names": (',142.24,144.78,147.32\n"a",0,1,2\n"b",3,4,5\n', ("142.24", "144.78", "147.32"), [[0, 1, 2], [3, 4, 5]], None),
    "no header, zeros": ("0   0   0\n1   1   1\n2   4   8\n", ("0", "1", "2"), [[0, 0, 0], [1, 1, 1], [2, 4, 8]], "no header"),
    "names in a comment": ("# a b\n1.5 2\n3.5 4\n", ("a", "b"), [[1.5, 2], [3.5, 4]], "blanks"),
    "comments": ("# written by a program\n# x\na,b\n1,2\n3,4\n", ("a", "b"), [[1, 2], [3, 4]], None),
    "names of rows as R writes them": ('"a" "b"\n"one" 1 2\n"two" 3 4\n', ("a", "b"), [[1, 2], [3, 4]], "blanks"),
    "an index as pandas writes it": (",a,b\n0,1,2\n1,3,4\n", ("a", "b"), [[1, 2], [3, 4]], None),
    "blanks in names": ("a, b ,  c d\n1,2,3\n4,5,6\n", ("a", "b", "c d"), [[1, 2, 3], [4, 5, 6]], None),
    "empty columns of a spreadsheet": ("a,b,,\n1,2,,\n3,4,,\n", ("a", "b"), [[1, 2], [3, 4]], None),
    "a delimiter at each end": ("a,b\n1,2,\n3,4,\n", ("a", "b"), [[1, 2], [3, 4]], None),
    "a column without a name": ("a,,b\n1,5,2\n3,6,4\n", ("a", "column 2", "b"), [[1, 5, 2], [3, 6, 4]], None),
    "marks for missing values": ("a,b\n1,?\n-,2\nNone,.\n#N/A,4\n", ("a", "b"), [[1, NAN], [NAN, 2], [NAN, NAN], [NAN, 4]], None),
    "marks in any spelling": ("a,b\n1,none\nna,2\nNil,Missing\n5,6\n", ("a", "b"), [[1, NAN], [NAN, 2], [NAN, NAN], [5, 6]], None),
    "groups of thousands": ('a,b\n"1,234.5",2\n"12,345,678",4\n', ("a", "b"), [[1234.5, 2], [12345678, 4]], None),
    "groups by blanks and apostrophes": ("a,b\n1 234.5,2\n1'234'567,4\n", ("a", "b"), [[1234.5, 2], [1234567, 4]], None),
    "currencies": ('a,b\n"$1,234.50",1\n-$5,2\n($7),3\n', ("a", "b"), [[1234.5, 1], [-5, 2], [-7, 3]], None),
    "a currency behind": ("a;b\n1.234,50 €;1\n2 €;2\n", ("a", "b"), [[1234.5, 1], [2, 2]], "decimal"),
    "percent signs": ("a,b\n12.5%,1\n3 %,2\n0,3\n", ("a", "b"), [[12.5, 1], [3, 2], [0, 3]], None),
    "Unicode's minus": ("a,b\n−1.5,2\n–3,4\n", ("a", "b"), [[-1.5, 2], [-3, 4]], None),
    "lines that end with returns": ("a,b\r\n1,2\r\n\r\n3,4\r\n", ("a", "b"), [[1, 2], [3, 4]], None),
    "a line end in a cell": ('a,"b\nc"\n1,2\n"3",4\n', ("a", "b\nc"), [[1, 2], [3, 4]], None),
    "a mark of the byte order": ("\ufeffa,b\n1,2\n3,4\n", ("a", "b"), [[1, 2], [3, 4]], None),
    "a blank in each text": ("city,income,note\nBonn,1.5,text 17\nUlm,2.5,text 3\n", ("income",), [[1.5], [2.5]], None),
    "a blank in each text and in its name": ("size,the note\n1.5,x 17\n2.5,y 3\n", ("size",), [[1.5], [2.5]], None),
    "a blank in each row, of many": ("a,the note\n" + 300 * "1.5,x 17\n", ("a",), 300 * [[1.5]], None),
    "a semicolon in each text": ("size,codes\n" + 300 * "5,x;7\n", ("size",), 300 * [[5]], None),
    "a semicolon in each text of digits": ("size,codes\n" + 300 * "5,1;7\n", ("size",), 300 * [[5]], None),
    "a column of one name": ("a\n1\n2\n", ("a",), [[1], [2]], None),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_is_found(tmp_path, case):
    content, names, values, note = FOUND[case]
    table = opened(tmp_path, content)
    assert table.numeric == names
    np.testing.assert_array_equal(table.read(), values)
    assert (note or "") in "; ".join(table.notes)
    assert note or not table.notes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_encodings_are_found(tmp_path, encoding, pack):
    table = opened(tmp_path, pack("größe,b\n1,2\n3,4\n".encode(encoding)), name="t.csv" if pack is bytes else "t.csv.gz")
    assert table.columns == ("größe", "b")
    np.testing.assert_array_equal(table.read(), [[1, 2], [3, 4]])
    assert ("not UTF-8" in "; ".join(table.notes)) is (not encoding.startswith("utf-8"))


def test_what_is_told_goes_before_what_is_found(tmp_path):
    assert opened(tmp_path, "a;b\n1;2\n", Format(delimiter=",")).columns == ("a;b",)
    assert opened(tmp_path, "a;b\n1;2\n", Format(delimiter="semicolon")).columns == ("a", "b")
    assert opened(tmp_path, "1,2\n3,4\n", Format(header=True)).columns == ("1", "2")
    assert opened(tmp_path, "a,b\n3,4\n", Format(header=False)).columns == ("0", "1")
    assert opened(tmp_path, "a;b\n1,234;2\n", Format(decimal=".")).read().tolist() == [[1234, 2]]
    assert opened(tmp_path, "ж,b\n1,2\n".encode("cp1251"), Format(encoding="cp1251")).columns == ("ж", "b")
    marked = Format(missing=("-999", "gone"))
    for name in ("t.csv", "t.npy", "t.parquet"):
        path = tmp_path / name
        frame = pd.DataFrame({"0": [1.0, -999.0], "1": [3.0, 4.0]})
        if name == "t.npy":
            np.save(path, frame)
        else:
            frame.to_csv(path, index=False) if name == "t.csv" else frame.to_parquet(path)
        np.testing.assert_array_equal(open_table(path, marked).read(), [[1, 3], [NAN, 4]])
        (values, _) = open_table(path, marked).typed()
        np.testing.assert_array_equal(values.values, [1, NAN])
    np.testing.assert_array_equal(opened(tmp_path, "a,b\n1,gone\n-999.0,4\n", marked).read(), [[1, NAN], [NAN, 4]])
    with pytest.raises(TableError, match="only a text table has a delimiter"):
        open_table(tmp_path / "t.npy", Format(delimiter=","))


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"delimiter": "ab"}, "one character as the delimiter, or one of comma, semicolon"),
        ({"delimiter": '"'}, "one character"),
        ({"decimal": ";"}, "expected . or , as the decimal mark"),
        ({"encoding": "latin-99"}, "an encoding such as utf-8"),
    ],
)
def test_what_is_told_is_checked(form, words):
    with pytest.raises(ValueError, match=words):
        Format(**form)


LEFT_OUT = [
    ("x\nann\nbob\nann\n", "text: 'ann' in row 1"),
    ("x\ntrue\nfalse\n", "true or false: 'true' in row 1"),
    ("x\n2020-01-31\n2020-02-01T10:00Z\n", "times of which some have a zone and others none: '2020-01-31' in row 1"),
    ("x\n1\n2\nabout 3\n4\n", "'about 3' in row 3 is no number, as 3 other values are; if it means a missing one, say so (--missing)"),
    ("x\n$1\n€2\n", "numbers of more than one unit: '€2' in row 2"),
    ("x\n10 %\n0.2\n", "numbers of more than one unit: '0.2' in row 2"),
    ("x,y\n,1\nNA,2\n", "no value in 2 rows"),
    (",y\n1,1\n2,2\n", "it has no name"),
    ("x,y\n1_000,1\n2,2\n", "'1_000' in row 1"),
]


@pytest.mark.parametrize(("content", "words"), LEFT_OUT)
def test_a_column_that_is_left_out_has_a_reason_and_the_value_that_decided_it(tmp_path, content, words):
    table = opened(tmp_path, content)
    (reason,) = table.left_out.values()
    assert words in reason


def test_rows_and_columns_of_errors_are_those_of_the_file(tmp_path):
    lines = ["# one", "a;b", "", *(f"{i},5;{i}" for i in range(70_000)), "oh;1"]
    table = opened(tmp_path, "\n".join(lines))
    with pytest.raises(TableError, match=r"column 'a': expected numbers, got 'oh' in row 70001 \(line 70004 of the file\)"):
        table.read()


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(-999, 999), TEXT), min_size=4, max_size=12),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    decimal=st.sampled_from([".", ","]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_pandas_writes_is_read_as_pandas_reads_it(tmp_path_factory, rows, delimiter, decimal, encoding, end, quoting):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    frame = pd.DataFrame(rows, columns=["x", "n", "text"])
    frame["x"] += 0.015625  # a number with more than three digits after its mark, or fewer
    told = {"sep": delimiter, "decimal": decimal, "encoding": encoding}
    frame.to_csv(path, index=False, quoting=quoting, lineterminator=end, **told)
    again = pd.read_csv(path, **told)[["x", "n"]].to_numpy(float)
    # Text may hold what looks like delimiters, so it is told how the file is written.
    for form in (Format(delimiter, decimal, encoding), Format(delimiter)):
        table = open_table(path, form)
        assert table.columns == ("x", "n", "text")
        np.testing.assert_array_equal(table.read(["x", "n"]), frame[["x", "n"]].to_numpy(float))
        np.testing.assert_allclose(table.read(["x", "n"]), again, rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e9, 1e9).map(lambda x: round(x, 2)), min_size=3, max_size=9),
    decimal=st.sampled_from([".", ","]),
    group=st.sampled_from(["", "’", "'", " ", "\u00a0", "\u202f", "other"]),
    minus=st.sampled_from("-−–"),
    unit=st.sampled_from(["", "$", "€", "%"]),
)
def test_numbers_of_any_writing_are_read(values, decimal, group, minus, unit):
    between = {".": ",", ",": "."}[decimal] if group == "other" else group

    def write(value):
        text = f"{abs(value):,.2f}".replace(",", "g").replace(".", decimal).replace("g", between)
        text = f"{unit}{text}" if unit == "$" else f"{text} {unit}"
        return (minus if value < 0 else "") + text

    found = cells.numbers([write(value) for value in values], decimal)
    assert found.wrong is None
    assert found.unit == unit
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize(
    "text", ["1,23", "1,2345", "12,34,567", "1.2.3", "--1", "+-1", "1_000", "0x10", "1e", "(-1)", "$", "%", "1 2", "$1€", "١"]
)
def test_what_is_no_number(text):
    assert cells.number(text) is None


def test_dates_whose_day_and_month_cannot_be_told_apart_are_none():
    assert cells.dates(["01/02/2020"]) is None
    assert cells.dates(["01/02/2020", "31/01/2020"])[1] == "day, month, year"
    assert cells.dates(["01/02/2020", "01/31/2020"])[1] == "month, day, year"
    assert cells.dates(["2020-13-01"]) is None
    (moment,), _ = cells.dates(["2020-01-31 12:30:15.25+02:00"])
    assert moment.isoformat() == "2020-01-31T12:30:15.250000+02:00"


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le")):
        assert opened(tmp_path, mark + "a,b\n1,2\n".encode(encoding)).columns == ("a", "b")


def test_every_delimiter_has_a_name_and_is_found(tmp_path):
    for name, mark in DELIMITERS.items():
        text = io.StringIO()
        csv.writer(text, delimiter=mark, lineterminator="\n").writerows([["a", "b", "c"], [1, 2, 3], [4, 5, 6]])
        for form in (Format(), Format(delimiter=name), Format(delimiter=mark)):
            np.testing.assert_array_equal(opened(tmp_path, text.getvalue(), form).read(), [[1, 2, 3], [4, 5, 6]])
