"""Text files as people write them."""

import gzip

import numpy as np
import pandas as pd
import pytest

from pyro_flows.cli.choice import Choice
from pyro_flows.cli.errors import InputError
from pyro_flows.cli.table import Table
from pyro_flows.cli.text import Known

G = np.random.default_rng(0)
REALS = G.normal(size=(50, 3))
COUNTS = G.poisson(30, size=(50, 3))
SMALL = G.poisson(2, size=(50, 3))
FLAGS = G.integers(0, 2, size=(50, 2))
LETTERS = G.choice(list("abc"), size=(50, 4))
IRIS = pd.DataFrame(G.normal(5, 1, size=(60, 4)).round(1)).assign(kind=["Iris-setosa", "Iris-virginica"] * 30)


def read(path, text, **known):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Table(str(path), known=Known(**known)).read()


def table(values, names=None, **options):
    frame = pd.DataFrame(values) if names is None else pd.DataFrame(values).set_axis(names, axis=1)
    return frame.to_csv(**{"index": False, **options})


HEADERS = {
    # what the first line is: (the file, whether it is a header, whether that is told)
    "names": (table(REALS, ["a", "b", "c"]), True, False),
    "names over texts": (table(LETTERS, ["odor", "shape", "size", "veil"]), True, False),
    "names, one of them a category": (table(LETTERS[:, :2], ["a", "odor"]), True, True),
    "names, one over numbers": (table(IRIS.iloc[:, 3:], ["size", "Iris-setosa"]), True, True),
    "pandas' numbers": (table(REALS), True, True),
    "pandas' numbers over counts": (table(SMALL), True, True),
    "pandas' numbers over two columns of counts": (table(SMALL[:, :2]), True, True),
    "pandas' number of one column": (table(REALS[:, :1]), True, True),
    "pandas' numbers with an index": (table(REALS, index=True), True, True),
    "years with an index": (table(COUNTS, [1999, 2003, 2008], index=True), True, True),
    "years over reals": (table(REALS, [1999, 2003, 2008]), True, True),
    "years over counts": (table(COUNTS, [2001, 2002, 2003]), True, True),
    "a name and years": (table(IRIS.iloc[:, [4, 0, 1]], ["kind", 2001, 2002]), True, True),
    "dates over reals": (table(REALS, ["2024-01-01", "2024-02-01", "2024-03-01"]), True, True),
    "wavelengths": (table(np.tile(REALS, 3), np.arange(9) * 2.5 + 900), True, True),
    "numbers in quotes": ('"7","9"\n1,2\n3,4\n', True, False),
    "R's names": ('"V1","V2"\n1,"a"\n3,"b"\n', True, False),
    "reals": (table(REALS, header=False), False, False),
    "counts": (table(COUNTS, header=False), False, True),
    "flags, 0 and 1 first": ("0,1\n" + table(FLAGS, header=False), False, True),
    "one flag": ("0\n1\n1\n0\n", False, True),
    "a series and its lags": (table(np.arange(20)[:, None] + np.arange(3), header=False), False, True),
    "columns in order of size": (table(np.tile(REALS, 2) + 10.0 * np.arange(6), header=False), False, False),
    "UCI's iris": (table(IRIS, header=False), False, True),
    "UCI's mushrooms": (table(LETTERS, header=False), False, True),
    "dates and reals": ("2024-01-05,1.5\n2024-01-06,2.5\n", False, False),
    "a gap first": (",3,17\n2,5,8\n,4,4\n5,5,5\n", False, True),
    "one row": ("1,2,3\n", False, True),
}


@pytest.mark.parametrize(("text", "is_header", "told"), HEADERS.values(), ids=HEADERS)
def test_the_first_line(tmp_path, capsys, text, is_header, told):
    path = tmp_path / "table.csv"
    frame = read(path, text)
    said = capsys.readouterr().err
    assert len(frame) == text.count("\n") - is_header
    taken, other = ("the header", "--no-header") if is_header else ("a row", "--header")
    assert (f"is taken for {taken}: {other} says otherwise\n" in said) == told
    assert bool(said) == told
    other = read(path, text, header=not is_header) if text.count("\n") > 1 else None
    assert other is None or len(other) == len(frame) + (1 if is_header else -1)
    assert capsys.readouterr().err == ""


LAYOUTS = {
    # how it is laid out: (the file, its columns, its rows)
    "tabs": ("a\tb, c\n1\t2\n3\t4\n", ["a", "b, c"], [[1, 2], [3, 4]]),
    "bars": ("a|b\n1|2\n3|4\n", ["a", "b"], [[1, 2], [3, 4]]),
    "semicolons in a quoted header": (
        '"weight; kg","height; cm; in shoes"\n70,180\n80,190\n',
        ["weight; kg", "height; cm; in shoes"],
        [[70, 180], [80, 190]],
    ),
    "commas in one column of texts": (
        "street\nNew York\nhello, world\n",
        ["street"],
        [["New York"], ["hello, world"]],
    ),
    "Excel's separator": ("sep=;\na;b\n1,5;2\n3,5;4\n", ["a", "b"], [[1.5, 2], [3.5, 4]]),
    "blank lines first": ("\n\na,b\n1,2\n", ["a", "b"], [[1, 2]]),
    "byte order mark": ("\ufeffa,b\n1,2\n", ["a", "b"], [[1, 2]]),
    "Windows' line ends": ("a,b\r\n1,2\r\n", ["a", "b"], [[1, 2]]),
    "lines within cells": ('a,"b\nc"\n"x\ny",2\n', ["a", "b\nc"], [["x\ny", 2]]),
    "numpy's header": ("# a,b\n1,2\n3,4\n", ["# a", "b"], [[1, 2], [3, 4]]),
    "one name twice, and none": ("a,a,\n1,2,3\n", ["a", "a.1", "Unnamed: 2"], [[1, 2, 3]]),
}


@pytest.mark.parametrize(("text", "names", "rows"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path, capsys, text, names, rows):
    frame = read(tmp_path / "table.csv", text)
    assert list(frame) == names
    assert frame.to_numpy().tolist() == rows
    assert capsys.readouterr().err == ""


NUMBERS = {
    # how they are written: (the file, its first column, what is told)
    "a tab between": ("a\tb\n1,5\t2.25\n2,25\t3.5\n7\t4.5\n", [1.5, 2.25, 7], ""),
    "powers": ("a;b\n1,5e+00;2\n-2,5E-1;3\n,5;4\n", [1.5, -0.25, 0.5], ""),
    "points in another column": ("a;b\n1,5;03.03\n2,5;04.04\n", [1.5, 2.5], ""),
    "gaps": ("a;b\n1,5;1\n;2\nNA;3\n", [1.5, np.nan, np.nan], ""),
    "late": ("a;b\n" + "1;1\n" * 1500 + "1,5;1\n", [1.0] * 1500 + [1.5], ""),
    "three digits": ("a;b\n1,234;3\n2,250;4\n", [1.234, 2.25], "column a: '1,234' is taken for 1.234: "),
    "three digits, and others elsewhere": (
        "b\ta\n1,234\t1,5\n2,250\t4\n",
        [1.234, 2.25],
        "column b: '1,234' is",
    ),
    "quotes": ('a,b\n"1,5",3\n"2,25",4\n', [1.5, 2.25], "column a: '1,5' is taken for 1.5: "),
    "texts": ("a;b\n1,5 kg;1\n2,25 kg;2\n", ["1,5 kg", "2,25 kg"], ""),
    "zeros first": (
        "a,b\n01234,1\n10001,2\n",
        ["01234", "10001"],
        "column a: '01234' begins with 0: taken for t",
    ),
    "zeros first, with points": ("a,b\n01.5,1\n10.25,2\n", [1.5, 10.25], ""),
    "many digits and gaps": (
        "a,b\n1700000248070123457,1\n,2\n-5,3\n",
        [1700000248070123457, pd.NA, -5],
        "",
    ),
    "all digits of doubles": ("a,b\n0.1,1\n0.30000000000000004,2\n", [0.1, 0.1 + 0.2], ""),
}


@pytest.mark.parametrize(("text", "cells", "told"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_as_they_are_written(tmp_path, capsys, text, cells, told):
    column = read(tmp_path / "table.tsv", text).iloc[:, 0]
    assert len(column) == len(cells)
    assert all(pd.isna(b) if pd.isna(a) else a == b for a, b in zip(column, cells, strict=True))
    said = capsys.readouterr().err
    assert told in said
    assert bool(said) == bool(told)


def test_what_is_known_settles_how_numbers_are_read(tmp_path, capsys):
    path = tmp_path / "table.tsv"
    known = {"commas": frozenset("a"), "numbers": frozenset("b"), "texts": frozenset("c")}
    frame = read(path, "a\tb\tc\n1,234\t007\t1,5\n2,500\t010\t2,5\n", **known)
    assert frame.to_numpy().tolist() == [[1.234, 7, "1,5"], [2.5, 10, "2,5"]]
    assert read(path, "1234\t1.5\n0501\t2.5\n", texts=frozenset("0"))["0"].tolist() == ["1234", "0501"]
    assert capsys.readouterr().err == ""


REFUSED = {
    # what is wrong: (the file, the message)
    "thousands or decimals": ("a\tb\n1,234\t3\n2,250\t4\n", "column a: '1,234' can be 1234 or 1.234: write"),
    "thousands in quotes": ('a,b\n"1,234",3\n999,4\n', "column a: '1,234' can be 1234 or 1.234: write"),
    "thousands": ('a,b\n"1,234,567",3\n999,4\n', "nothing between thousands; got '1,234,567'"),
    "thousands and points": ('a,b\n"1,234",3\n999.5,4\n', "one decimal sign, .*; got '1,234' and '999.5'"),
    "German thousands": (
        "a;b\n1,5;1.234\n2,5;999\n",
        "column b: '1.234' can be 1234, as column a has decimal",
    ),
    "German thousands and decimals": ("a;b\n1.234,5;1\n2,5;2\n", "nothing between thousands; got '1.234,5'"),
    "no number among decimals": (
        "a;b\n1,5;1\n2,5;2\n#DIV/0!;3\n",
        "column a: 2 of 3 cells are numbers, '#DIV/0!' is not: leave such cells empty, or",
    ),
    "comments first": (
        "# by X\n# on Y, Z\na,b\n1,2\n",
        "line 1 begins with #: remove comments before the table",
    ),
    "a comment that could be a header": (
        "# by X, today\na,b\n1,2\n",
        "line 1 begins with #: remove comments before the table",
    ),
    "spaces": (
        "a b c\n1 2 3\n4 5 6\n",
        "cells are separated by spaces: expected tabs, semicolons, commas or |",
    ),
    "spaces, no header": ("1.5  2 x\n2.5  3 y\n", "cells are separated by spaces: expected"),
    "Latin-1": ("name,x\nJosé,1\n".encode("latin-1"), "not in UTF-8: save it as such"),
    "UTF-16": ("name,x\nJosé,1\n".encode("utf-16"), "not in UTF-8: save it as such"),
    "short row": ("a,b,c\n1,2,3\n1,2\n", "row 2 has 2 cells, and the first line 3"),
    "long row": ("a,b\n1,2\n\n1,2,3\n", "row 2 has 3 cells, and the first line 2"),
    "only blank lines": ("\n\n", "the file is empty"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_could_be_misread_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"table\.tsv: .*{message}") as error:
        read(tmp_path / "table.tsv", text)
    assert "\n" not in str(error.value)


def test_blank_lines(tmp_path, capsys):
    assert read(tmp_path / "one.csv", "a\n1.5\n\n3.5\n\n")["a"].isna().tolist() == [False, True, False, True]
    assert capsys.readouterr().err == ""
    assert len(read(tmp_path / "two.csv", "a,b\n1,2\n\n3,4\n \n5,6\n\n")) == 3
    assert capsys.readouterr().err.endswith("two.csv: 2 blank lines are left out\n")


def test_parts_agree_with_the_whole(tmp_path):
    text = "a;b;c\n" + "".join(f"{i % 7},5;{i:04};{i if i % 3 else ''}\n" for i in range(100))
    whole = read(tmp_path / "table.csv", text)
    parts = list(Table(str(tmp_path / "table.csv")).parts(30))
    assert [len(part) for part in parts] == [30, 30, 30, 10]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(text.encode()))
    pd.testing.assert_frame_equal(Table(str(tmp_path / "table.csv.gz")).read(), whole)
    few = Table(str(tmp_path / "table.csv"), Choice(["c", "0"]), rows=7).read()
    pd.testing.assert_frame_equal(few, whole[["c", "a"]][:7])


def test_header_is_of_text_files(tmp_path):
    np.save(tmp_path / "table.npy", REALS)
    with pytest.raises(InputError, match=r"--header and --no-header are for \.csv"):
        Table(str(tmp_path / "table.npy"), known=Known(header=True)).read()
