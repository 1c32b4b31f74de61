"""A table that is written in whatever way is read back equal, names and all, or refused if damaged.

Each case has its own seed; `-m slow` runs many more.
"""

import csv
import gzip
import io
import random

import numpy as np
import pytest

from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.dataset import read_table

LETTERS = "abcxyzÄß高Ω [](){}$_^&=+-@#;,|\"'/\\.:%µ²\x1b\n"
TEXTS = ["", "a", "b c", 'say "no"', "x;y", "1, 2, 3", "NA", "ä", "#", "two\nlines"]


def numbers(rng, N):
    """A column that no integer and no index is like, in a range of its own."""
    scale = 10.0 ** rng.randint(-8, 8)
    values = [rng.uniform(-1, 1) * scale for _ in range(N)]
    digits = rng.choice([3, 6, 17])
    return [float(f"{value:.{digits}g}") for value in values]


def names_for(rng, d):
    names = []
    while len(names) < d:
        name = " ".join(("h" + "".join(rng.choices(LETTERS, k=rng.randint(0, 6)))).split())
        if name not in names:
            names.append(name)
    return names


def told_as(name):
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def written(rng, names, columns):
    """The bytes of a text file that holds them, beside columns that are no numbers."""
    N, delimiter = len(columns[0]), rng.choice(",;\t| ")
    comma = delimiter != "," and rng.random() < 0.4
    form = rng.choice([repr, lambda v: f"{v:.17g}", lambda v: f"{v:+.16E}"])
    cells = [[form(v).replace(".", ",") if comma else form(v) for v in c] for c in columns]
    heads = list(names)
    for _ in range(rng.randint(0, 2)):
        at, texts = rng.randint(0, len(cells)), rng.choice([TEXTS, ["True", "False"], ["7"]])
        cells.insert(at, [rng.choice(texts) for _ in range(N)])
        heads.insert(at, f"t{len(cells)}")
    if rng.random() < 0.3:
        first = rng.randint(0, 1)
        cells.insert(0, [str(first + i) for i in range(N)])
        heads.insert(0, rng.choice(["", "id", "Unnamed: 0"]))
    buffer = io.StringIO()
    quoting = csv.QUOTE_ALL if delimiter == " " or rng.random() < 0.2 else csv.QUOTE_MINIMAL
    end = rng.choice(["\n", "\r\n", "\r"])
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=end)
    if rng.random() < 0.2:
        buffer.write(f"# written by a test{end}#{end}")
    writer.writerow(heads)
    writer.writerows(zip(*cells, strict=True))
    text = buffer.getvalue()
    if delimiter == " " or end == "\r":  # a quoted text goes over no line, or has no quotes
        text = text.replace("two\nlines", "two lines")
    if rng.random() < 0.2:
        text = text.rstrip("\r\n")
    return text.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))


def round_trip(seed, folder):
    rng = random.Random(seed)
    N, d = rng.choice([2, 3, 12, 40]), rng.randint(1, 4)
    columns, names = [numbers(rng, N) for _ in range(d)], names_for(rng, d)
    if d == 1:  # no other delimiter tells that a comma in the heading is none
        names = ["h"]
    content = written(rng, [n.replace("\n", " ") for n in names], columns)
    path = folder / f"data{seed}.csv"
    if rng.random() < 0.1:
        path, content = folder / f"data{seed}.csv.gz", gzip.compress(content)
    path.write_bytes(content)
    table = read_table(path)
    assert table.names == [told_as(name) for name in names], content[:300]
    np.testing.assert_array_equal(table.points, np.column_stack(columns))
    assert all(line.isprintable() for line in table.told)


def test_round_trips(tmp_path):
    for seed in range(300):
        round_trip(seed, tmp_path)


@pytest.mark.slow
def test_many_round_trips(tmp_path):
    for seed in range(1000, 11_000):
        round_trip(seed, tmp_path)


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".xlsx"])
def test_pandas_writes_the_same(tmp_path, suffix):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("openpyxl" if suffix == ".xlsx" else "pyarrow")
    path = tmp_path / f"data{suffix}"
    for seed in range(8):
        rng = random.Random(seed)
        columns, names = [numbers(rng, 9) for _ in range(2)], names_for(rng, 2)
        names = [told_as(name) for name in names]
        columns[0][4] = None
        frame = pandas.DataFrame(dict(zip(names, columns, strict=True)), dtype="Float64")
        frame["when"] = pandas.date_range("2020-01-01", periods=9)
        frame["kind"] = pandas.Categorical(["a", "b", None] * 3)
        frame["good"] = [True, False, True] * 3
        if suffix == ".xlsx":
            frame.to_excel(path, startcol=seed % 3)
        else:
            (frame.to_parquet if suffix == ".parquet" else frame.to_feather)(path)
        said = r"1 of 9 rows with missing values: .* 1 \(in row " + ("6" if "x" in suffix else "5")
        with pytest.raises(InputError, match=said):
            read_table(path)
        table = read_table(path, drop_missing=True)
        assert table.names == names
        assert table.rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
        expected = np.delete(np.array(columns, float).T, 4, axis=0)
        # Excel keeps 15 to 17 digits, as its writer gives them.
        np.testing.assert_allclose(table.points, expected, rtol=1e-15 if "x" in suffix else 0)
        left = " ".join(table.told)
        for name, reason in {"when": "dates", "kind": "text, 2", "good": "True/False"}.items():
            assert f"left out '{name}': {reason}" in left


def test_without_pandas(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, extra in {
        "a.parquet": "gemjax[tables]",
        "a.xlsx": "gemjax[tables]",
        "a.ods": "odfpy",
    }.items():
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(InputError, match=r"pip install") as error:
            read_table(tmp_path / name)
        assert extra in str(error.value)


DAMAGE = [
    b"\x00",
    b'"',
    b",",
    b";",
    b"\n",
    b"x",
    b"\xff",
    b"1e999",
    b"_",
    b"NA",
    b"'",
    b"\x1f",
    b"#",
]


def damaged(seed, folder):
    """Whatever is read of a damaged file is finite; else one line says where."""
    rng = random.Random(seed)
    columns = [numbers(rng, 12) for _ in range(2)]
    content = bytearray(written(rng, ["x", "y"], columns))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content))
        content[at : at + rng.randint(0, 2)] = rng.choice(DAMAGE)
    path = folder / "data.csv"
    path.write_bytes(content)
    options = rng.choice([{}, {"drop_missing": True}, {"header": False}, {"decimal": ","}])
    try:
        table = read_table(path, **options)
    except InputError as error:
        said = str(error)
        assert said.startswith(f"{path}: ")
        assert said.isprintable()
        assert "damaged or not" not in said  # no parser failed in a way of its own
        return
    assert np.isfinite(table.points).all()
    assert (
        table.points.shape
        == (len(table.rows), len(table.names))
        == (len(table.lines), len(table.names))
    )


def test_damaged_texts(tmp_path):
    for seed in range(400):
        damaged(seed, tmp_path)


@pytest.mark.slow
def test_many_damaged_texts(tmp_path):
    for seed in range(1000, 11_000):
        damaged(seed, tmp_path)
