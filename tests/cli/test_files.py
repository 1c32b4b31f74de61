"""Reading what people have, refusing what cannot be right, and never leaving half a file."""

import gzip

import numpy as np
import pytest

from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.dataset import read_table
from gemjax.cli.files.read import check_varies
from gemjax.cli.files.write import jsonable, replacing, write_csv

TABLE = np.array([[1.5, -2.0], [3.0, 4e5], [0.25, 1e-3]])
LINES = ["1.5{0}-2.0", "3{0}4e5", "0.25{0}0.001"]


def read_points(path, columns=None):
    table = read_table(path, columns=columns)
    return table.points, table.names


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "  "])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv(tmp_path, delimiter, header, suffix):
    lines = [line.format(delimiter) for line in LINES]
    if header:
        lines.insert(0, f"a{delimiter}b")
    path = tmp_path / f"data{suffix}"
    opener = gzip.open if suffix.endswith("gz") else open
    with opener(path, "wt") as file:
        file.write("\n".join(lines) + "\n\n")
    points, names = read_points(path)
    np.testing.assert_array_equal(points, TABLE)
    assert names == (["a", "b"] if header else ["x1", "x2"])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(["b"], [1]), (["2", "1"], [1, 0]), (["b", "a"], [1, 0]), (None, [0, 1])],
)
def test_columns(tmp_path, columns, expected):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n" + "\n".join(line.format(",") for line in LINES))
    points, names = read_points(path, columns)
    np.testing.assert_array_equal(points, TABLE[:, expected])
    assert names == [["a", "b"][i] for i in expected]


def test_a_column_of_text_is_fine_when_not_chosen(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('name,x\n"a, b",1\nc,2\n')
    points, names = read_points(path, ["x"])
    assert points.ravel().tolist() == [1, 2]
    assert names == ["x"]


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_numpy(tmp_path, shape, suffix):
    table = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    path = tmp_path / f"data{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, table)
    points, names = read_points(path)
    np.testing.assert_array_equal(points, table.reshape(3, -1))
    assert len(names) == points.shape[1]


BAD = {
    "empty": ("", "the file is empty"),
    "header only": ("a,b\n", "holds no data"),
    "ragged": ("a,b\n1,2\n3\n", "line 3 has 1 field where the first has 2"),
    "text": ("a,b\n1,2\n3,x\n", "line 3, column 'b': 'x' is not a number"),
    "missing": ("a,b\n1,2\n3,\n4,5\n", r"1 of 3 rows with missing values: 'b' 1 \(in line 3\)"),
    "nan": ("a,b\n1,2\n\n3,nan\n4,5\n", r"'b' 1 \(in line 4\).* --drop-missing"),
    "infinite": ("1,2\n3,-inf\n", "line 2, column 'x2' is -inf"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_csv(tmp_path, name):
    text, message = BAD[name]
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_points(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_points(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path)
    (tmp_path / "broken.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path / "broken.csv.gz")
    (tmp_path / "broken.npy").write_bytes(b"not numpy")
    with pytest.raises(InputError, match="not a NumPy file"):
        read_points(tmp_path / "broken.npy")
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    with pytest.raises(InputError, match="must hold numbers"):
        read_points(tmp_path / "text.npy")
    np.savez(tmp_path / "two.npz", a=TABLE, b=TABLE)
    with pytest.raises(InputError, match="holds the arrays a, b"):
        read_points(tmp_path / "two.npz")
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column 'c'; there are a, b"):
        read_points(tmp_path / "data.csv", ["c"])
    with pytest.raises(InputError, match="chosen twice"):
        read_points(tmp_path / "data.csv", ["a", "1"])


def test_files_that_are_no_text(tmp_path):
    for name in ("data.json", "data.pkl", "data.mat", "data.zip"):
        (tmp_path / name).write_bytes(b"x,y\n1,2\n")
        with pytest.raises(InputError, match=f"{name[5:]} is not read; "):
            read_table(tmp_path / name)
    path = tmp_path / "data.npz"
    np.savez(path, points=TABLE, labels=np.arange(3), names=np.array(["a", "b"]))
    assert read_table(path).points.tolist() == TABLE.tolist()
    np.savez(path, a=TABLE, b=TABLE, c=np.arange(3))
    with pytest.raises(InputError, match="holds the arrays a, b, c, 2 of them tables"):
        read_table(path)
    whole = path.read_bytes()
    for content in (whole[:300], b"PK\x03\x04junk", whole[:200] + b"\xff" + whole[201:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"data\.npz: "):
            read_table(path)
    np.save(tmp_path / "data.npy", np.array([[1.0, np.nan], [2, 3], [4, 5]]))
    assert read_table(tmp_path / "data.npy", drop_missing=True).rows.tolist() == [1, 2]
    for option in ({"delimiter": ";"}, {"decimal": ","}, {"header": True}):
        with pytest.raises(InputError, match=r"text files, not for \.npy"):
            read_table(tmp_path / "data.npy", **option)
    (tmp_path / "DATA.TSV.GZ").write_bytes(
        gzip.compress("\n".join(line.format("\t") for line in LINES).encode())
    )
    assert read_table(tmp_path / "DATA.TSV.GZ").points.tolist() == TABLE.tolist()


def test_columns_to_fit_vary(tmp_path):
    with pytest.raises(InputError, match=r"column 'b' is constant \(7\).*--columns"):
        check_varies(tmp_path, np.array([[1.0, 7.0], [2.0, 7.0]]), ["a", "b"])
    check_varies(tmp_path, np.array([[1.0, 7.0]]), ["a", "b"])
    np.save(tmp_path / "data.npy", np.array([[1.0], [np.nan], [2.0]]))
    with pytest.raises(InputError, match=r"'x1' 1 \(in row 2\)"):
        read_points(tmp_path / "data.npy")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "results.csv"
    write_csv(path, ["a"], [[1]])

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "a\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_jsonable():
    assert jsonable(np.float32(0.5)) == 0.5
    assert jsonable(np.inf) is None


@pytest.mark.parametrize(
    ("name", "numbers", "is_left_out"),
    [
        ("Kundennr", range(1001, 1021), True),
        ("sample", range(41, 61), True),
        ("year", range(1990, 2010), False),
        ("phone", [n * n + 7_000_000 for n in range(20)], True),
        ("number", [n % 7 for n in range(20)], False),
    ],
)
def test_a_first_column_that_numbers_the_rows(tmp_path, name, numbers, is_left_out):
    rows = "".join(f"{n},{n % 3}.5,{n % 5}.25\n" for n in numbers)
    path = tmp_path / "table.csv"
    path.write_text(f"{name},x,y\n{rows}")
    table = read_table(path)
    assert table.names == (["x", "y"] if is_left_out else [name, "x", "y"])
