"""Tables as people have them: each is read as it is meant, and told, or refused in one line."""

import numpy as np
import pytest

from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.dataset import read_table


def read(folder, content, **options):
    path = folder / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, **options)


XY = [[1.5, 2.0], [3.0, 4.25]]
SAME = {  # ways to write XY, under the names x and y
    "comma": "x,y\n1.5,2\n3,4.25\n",
    "semicolon": "x;y\n1.5;2\n3;4.25\n",
    "tab": "x\ty\n1.5\t2\n3\t4.25\n",
    "bar": "x|y\n1.5|2\n3|4.25\n",
    "spaces": "x   y\n1.5  2\n 3 4.25\n",
    "decimal comma": "x;y\n1,5;2\n3;4,25\n",
    "decimal comma, tabs": "x\ty\n1,5\t2\n3\t4,25\n",
    "decimal comma, spaces": "x y\n1,5 2\n3 4,25\n",
    "Excel's first line": "sep=;\nx;y\n1,5;2\n3;4,25\n",
    "comments": "# of 2020, by me; see x\n#\nx,y\n1.5,2\n3,4.25\n",
    "NumPy's header": "# x y\n1.5e+00 2.0e+00\n3.0e+00 4.25e+00\n",
    "quotes": '"x","y"\n"1.5","2"\n"3","4.25"\n',
    "spaces around": " x , y \n 1.5 , 2 \n 3 , 4.25 \n",
    "blank lines": "\nx,y\n\n1.5,2\n   \n3,4.25\n\n",
    "trailing delimiters": "x,y,\n1.5,2,\n3,4.25,\n",
    "trailing in the rows": "x,y\n1.5,2,\n3,4.25,\n",
    "trailing in one row": "x,y\n1.5,2\n3,4.25,\n",
    "trailing in the header": "x,y,\n1.5,2\n3,4.25\n",
    "empty rows": "x,y\n1.5,2\n3,4.25\n,\n,\n",
    "returns": "x,y\r1.5,2\r3,4.25\r",
    "both": "x,y\r\n1.5,2\r\n3,4.25",
    "mark": "\ufeffx,y\n1.5,2\n3,4.25\n",
    "UTF-16": "x,y\n1.5,2\n3,4.25\n".encode("utf-16"),
    "UTF-16 without a mark": "x,y\n1.5,2\n3,4.25\n".encode("utf-16-le"),
    "UTF-16, the other end": "x,y\n1.5,2\n3,4.25\n".encode("utf-16-be"),
    "UTF-32": "x,y\n1.5,2\n3,4.25\n".encode("utf-32"),
    "pandas": ",x,y\n0,1.5,2\n1,3,4.25\n",
    "pandas, read again": "Unnamed: 0,x,y\n0,1.5,2\n1,3,4.25\n",
    "numbered": "ID;x;y\n1;1.5;2\n2;3;4.25\n",
    "R": '"x" "y"\n"1" 1.5 2\n"2" 3 4.25\n',
    "R, semicolons": '"";"x";"y"\n"1";1,5;2\n"2";3;4,25\n',
    "text": "name,x,y\nA,1.5,2\nB,3,4.25\n",
    "a comma in a text": 'name,x,y\n"A, B",1.5,2\n"C\nD",3,4.25\n',
    "dates": "day,x,y\n2020-01-02,1.5,2\n2020-01-03,3,4.25\n",
    "moments": "at;x;y\n2020-01-02T10:30Z;1,5;2\n2020-01-02T10:45Z;3;4,25\n",
    "times": "at;x;y\n10:30;1,5;2\n10:45;3;4,25\n",
    "logical": "x,y,ok\n1.5,2,True\n3,4.25,False\n",
    "constant": "x,c,y\n1.5,7,2\n3,7,4.25\n",
    "empty column": "x,y,z\n1.5,2,\n3,4.25,NA\n",
    "titles": "Table 1\nof mine\nname,x,y\na,1.5,2\nb,3,4.25\n",
    "title of two": "My data\n\nx,y\n1.5,2\n3,4.25\n",
    "identifiers": "Customer ID,x,y\n7703,1.5,2\n1204,3,4.25\n",
    "clock": "timestamp,x,y\n1700000000,1.5,2\n1700000060,3,4.25\n",
    "numbered on": "id,x,y\n1001,1.5,2\n1002,3,4.25\n",
}
TOLD = {  # words that must be said of some
    "semicolon": "semicolons", "decimal comma": "1,5 is 1.5", "comments": "2 lines of comment",
    "trailing delimiters": "empty column", "empty rows": "2 empty rows", "UTF-16": "UTF-16",
    "mark": "byte order mark", "pandas": "'column 1': numbers the rows, 0 to 1",
    "numbered": "'ID': numbers the rows, 1 to 2", "text": "'name': text, 2 values",
    "dates": "'day': dates", "times": "'at': dates or times",
    "moments": "'at': dates or times", "logical": "'ok': True/False",
    "constant": "'c': constant (7)", "empty column": "'z': empty",
    "titles": "line 2, a title: of mine", "title of two": "line 1, a title: My data",
    "identifiers": "'Customer ID': whole numbers, by its name identifiers",
    "clock": "'timestamp': whole numbers, by its name times",
    "numbered on": "'id': numbers the rows, 1001 to 1002",
    "NumPy's header": "names from the comment above",
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_tables_that_are_the_same(tmp_path, name):
    table = read(tmp_path, SAME[name])
    assert table.names == ["x", "y"]
    assert table.points.tolist() == XY
    assert table.rows.tolist() == [0, 1]
    assert table.num_rows == 2
    assert TOLD.get(name, "names from line") in " / ".join(table.told)


NAMED = {  # first lines of tables, whether they are names, and what these are
    "x,y\n1.5,2\n": ["x", "y"],
    "1,2\n1.5,2\n": None,
    "2019,2020\n1.5,2.5\n0.5,1\n": ["2019", "2020"],
    "2019,2020\n2021,2022.5\n": None,
    "site,2019,2020\na,1.5,2\nb,1,4\n": ["2019", "2020"],
    ",0,1\n0,1.5,2.5\n1,0.25,3\n": ["0", "1"],
    "0,1,2\n0.5,0.25,1.5\n1.5,2.5,3.5\n": ["0", "1", "2"],
    "0,1,2\n3,4,6\n5,6,9\n": None,
    "dose,10,20\n1.5,2,5\n3,4,7\n": ["dose", "10", "20"],
    "x,y\nNA,2\n1,3\n2,4\n": ["x", "y"],
    "NA,2.5\n1,3\n2,4\n": None,
    "?,?\n1,3\n2,4\n": None,
    "x,,z\n1,3,4\n2,4,5\n": ["x", "column 2", "z"],
    "x,x,x.2\n1,3,4\n2,4,5\n": ["x", "x.2.2", "x.2"],
    "5.1,3.5,setosa\n4.9,3.1,setosa\n": None,
    '"a\nb",=1+1,[/red],$_$,高さ,\x1b\n1,2,3,4,5,6\n2,4,4,5,6,8\n': [
        "a b", "=1+1", "[/red]", "$_$", "高さ", "\\x1b"],
}  # fmt: skip


@pytest.mark.parametrize("text", NAMED)
def test_the_first_line(tmp_path, text):
    table = read(tmp_path, text, drop_missing=True)
    if NAMED[text] is None:
        assert table.num_rows == text.count("\n")
        assert table.names[0].startswith("x")
        assert "no header" in table.told[0]
    else:
        assert table.names == NAMED[text]
        assert "names from line 1" in table.told[0]


def test_what_is_given_is_not_asked_of_the_file(tmp_path):
    assert read(tmp_path, "2019,2020\n1.5,2.5\n", header=False).points[0, 0] == 2019
    assert read(tmp_path, "1,2\n3,4\n5,7\n", header=True).names == ["1", "2"]
    assert read(tmp_path, "3,14\n2,71\n", decimal=",").points.tolist() == [[3.14], [2.71]]
    assert read(tmp_path, 'x,y\n"0,5",1\n"1,5",2\n', decimal=",").points[1].tolist() == [1.5, 2]
    assert read(tmp_path, "x;y\n1.5;2\n2;3\n", decimal=".", delimiter="semicolon").names == list(
        "xy"
    )
    for given in (":", "\t", "tab", "|", "space"):
        mark = {"tab": "\t", "space": " "}.get(given, given)
        assert read(tmp_path, f"x{mark}y\n1{mark}2\n2{mark}5\n", delimiter=given).names == list(
            "xy"
        )
    for delimiter in ("", "ab", "1", '"'):
        with pytest.raises(InputError, match="--delimiter must be one of"):
            read(tmp_path, "x,y\n", delimiter=delimiter)
    with pytest.raises(InputError, match="have no ';' and are parted by commas"):
        read(tmp_path, "x,y\n1,2\n3,4\n", delimiter=";")
    assert read(tmp_path, "x\n1,5\n2,5\n", delimiter=";").points.tolist() == [[1.5], [2.5]]
    with pytest.raises(InputError, match="--decimal must be"):
        read(tmp_path, "x,y\n", decimal=":")
    with pytest.raises(InputError, match="cannot be where --delimiter is a comma"):
        read(tmp_path, "x,y\n", decimal=",", delimiter=",")


def test_columns_asked_for_are_taken(tmp_path):
    text = "id,x,c,label,s\n1,5,7,0,a\n2,6,7,0,b\n3,9,7,1,c\n4,8,7,1,c\n"
    names = ["label", "c", "id"]
    assert read(tmp_path, text, columns=names).points[:, 2].tolist() == [1, 2, 3, 4]
    assert read(tmp_path, text, columns=names).names == names
    table = read(tmp_path, text)
    assert table.names == ["x"]
    assert any("'label': 2 whole numbers, by its name classes" in line for line in table.told)
    assert read(tmp_path, "id\n1\n2\n3\n").names == ["id"]
    assert read(tmp_path, "label\n1\n2\n2\n1\n").names == ["label"]
    with pytest.raises(InputError, match="line 2, column 's': 'a' is not a number"):
        read(tmp_path, text, columns=["s"])
    twice = "x,x,y\n1,2,3\n4,5,9\n"
    assert read(tmp_path, twice, columns=["2"]).points.ravel().tolist() == [2, 5]
    assert "called 'x.2'" in " ".join(read(tmp_path, twice).told)
    with pytest.raises(InputError, match="2 columns are called 'x'; give their numbers, 1 or 2"):
        read(tmp_path, twice, columns=["x"])
    comma = '"a,b",c\n1,2\n3,4\n'
    assert read(tmp_path, comma, columns=["1"]).names == ["a,b"]
    with pytest.raises(InputError, match=r"no column 'a'; .* by its number, 1"):
        read(tmp_path, comma, columns=["a", "b"])


MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-", " na ", "<NA>", "#N/A"]


@pytest.mark.parametrize("missing", MISSING)
def test_missing_values_are_all_alike(tmp_path, missing):
    rows = ["1.5,2,a", f"{missing},3,{missing}", "2.5,4,", f"4,{missing},b", "3,5,c"]
    text = "\n".join(["x,y,s", *rows]) + "\n"
    said = r"2 of 5 rows with missing values: 'x' 1 \(in line 3\), 'y' 1 \(in line 5\)"
    with pytest.raises(InputError, match=said + r"; drop these rows with --drop-missing"):
        read(tmp_path, text)
    table = read(tmp_path, text, drop_missing=True)
    assert table.points.tolist() == [[1.5, 2], [2.5, 4], [3, 5]]
    assert table.rows.tolist() == [0, 2, 4]
    assert list(table.lines) == [2, 4, 6]
    assert table.num_rows == 5
    assert any(line.startswith("dropped 2 of 5 rows") for line in table.told)
    assert read(tmp_path, text, columns=["x"], drop_missing=True).rows.tolist() == [0, 2, 3, 4]


def test_weights(tmp_path):
    table = read(tmp_path, "x,y,w\n1,2,5\n3,4,NA\n5,7,10\n", weights="w", drop_missing=True)
    assert table.names == ["x", "y"]
    assert table.weights.tolist() == [0.5, 1]
    for text, message in {
        "x,w\n1,-2\n3,4\n": "line 2, column 'w', weight -2.0: weights must be",
        "x,w\n1,0\n3,0\n": "weights in 'w' are all zero",
        "w\n1\n3\n": "only the weights' column is left",
        "x,w\n1,a\n3,b\n": "line 2, column 'w': 'a' is not a number",
    }.items():
        with pytest.raises(InputError, match=message):
            read(tmp_path, text, weights="w")


REFUSED = {
    "x,y\n1,2\n0_1257,3\n2,4\n": ["line 3, column 'x': '0_1257'", "without underscores"],
    "x,y\n1,2\n1,3x\n2,4\n": ["line 3, column 'y': '3x'", "--columns"],
    "x,y\n1,2\n1,O.5\n2,4\n": ["line 3, column 'y': 'O.5'", "correct it"],
    'x,y\n"1,101.5",2\n3,4\n': ["'1,101.5'", "without separators of thousands"],
    'x,y\n"1,101",2\n"2,205",4\n': ["thousands", "--decimal ','"],
    "x;y\n91.646;2,5\n53.244;3,5\n": ["decimals with a point"],
    "x;y\n1.101,5;2\n3,5;4\n": ["'1.101,5'", "thousands"],
    "x;y\n898;5.012\n1.217;9.034\n": ["line 3 has 1.217 and line 2 898", "--decimal '.'"],
    "x;y\n1 101;2\n3;4\n5;6\n": ["'1 101'", "thousands"],
    'x,y\n"0,5",2\n"1,5",4\n': ["'0,5'", "with a point"],
    "x;y\n1.5;2\n3,5;4\n": ["line 2 has decimals with a point (1.5), line 3 with a comma (3,5)"],
    "x,y\n5 cm,2\n6 cm,3\n7 cm,4\n": ["line 2, column 'x': '5 cm'", "without units"],
    "x,y\n5%,2\n6%,3\n7.5%,4\n": ["'5%'", "without units"],
    "x,y\n1.5D-3,2\n2.5D2,3\n1.0D0,5\n": ["'1.5D-3'", "write numbers as -1.5e-3"],
    "x,y\n\u22121.5,2\n\u22122.5,3\n": ["'\u22121.5'", "write numbers as -1.5e-3"],
    "x,y\ncm,kg\n1,2\n3,5\n": ["line 2, column 'x': 'cm'", "second line of names"],
    "1.0x,2.5\n3.5,4.5\n5,6\n": ["line 1, column 'x1': '1.0x'"],
    "x,y\n1,1e400\n2,3\n": ["line 2, column 'y': 1e400 is too large"],
    "x,y\n1,2\n2,-inf\n": ["line 3, column 'y' is -inf"],
    "x,y\n1,2\n3,4,5\n": ["line 3 has 3 fields where the first has 2"],
    "My data\n1;2\n3;4\n": ["line 1 has 1 field where most after it have 2", "title"],
    'n,x,y\n"a,1,2\nb,3,4\n': ["line 2: a quote is never closed"],
    'n,x,y\nc,1,2\n"a,1,2\n' + "b,3,4\n" * 30_000: ["line 3: a quote is never closed"],
    'n,x,y\n"a"b,1,2\n': ["line 2: a quote is closed before the end"],
    "": ["the file is empty"], "\n \n# x\n": ["the file is empty"], "x,y\n": ["holds no data"],
    "a,b\nc,d\ne,f\n": ["no column of numbers", "'a' is text, 2 values"],
    "x\n7\n7\n": ["'x' is constant (7)"],
    "x,y\n1,\n2,\n,3\n,4\n": ["4 of 4 rows with missing values"],
    bytes(range(256)): ["save the file as UTF-8"],
    b"x,y\n1,2\x81\n3,4\n": ["byte 7 ", "save the file as UTF-8"],
    b"\xff\xfex\x00,\x00y": ["save the file as UTF-8"],
    b"PK\x03\x04": ["Excel", "the name that says so"], b"\x1f\x8b\x08": ["gzip"],
    b"PAR1": [".parquet"],
    b'[{"x": 1}]': ["JSON", "save the table as .csv"],
    b"<html><table>": ["HTML"],
}  # fmt: skip


@pytest.mark.parametrize("content", REFUSED, ids=lambda content: repr(content)[:30])
def test_one_clear_line(tmp_path, content):
    with pytest.raises(InputError) as error:
        read(tmp_path, content)
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'data.csv'}: ")
    assert said.isprintable()
    for words in REFUSED[content]:
        assert words in said


def test_no_row_is_left(tmp_path):
    with pytest.raises(InputError, match=r"4 of 4 rows .* no row is left"):
        read(tmp_path, "x,y\n1,\n2,\n,3\n,4\n", drop_missing=True)
    table = read(tmp_path, "x,y,z\n1,2,3\n2,5,3\n,6,4\n", drop_missing=True)
    assert table.names == ["x", "y"]
    assert "left out 'z': constant in the rows left" in table.told


def test_letters_of_old_programs_are_told(tmp_path):
    table = read(tmp_path, "größe,b\n1,2\n3,4\n".encode("latin-1"))
    assert table.names == ["größe", "b"]
    assert "save the file as UTF-8" in table.told[0]


def test_one_row(tmp_path):
    assert read(tmp_path, "x,y\n1,2\n").points.tolist() == [[1, 2]]
    assert read(tmp_path, "1;2,5\n").points.tolist() == [[1, 2.5]]
    assert read(tmp_path, "x\n1\n").points.tolist() == [[1]]


@pytest.mark.parametrize("odd", ["", "12,x,1\n", ",,\n", '"7",8,9\n', "7,8\n"])
def test_what_comes_late_in_a_long_file(tmp_path, odd):
    """The head alone looks plain; what is after it is found, at its line."""
    rows = np.arange(9000.0).reshape(3000, 3) ** 2 / 7
    text = "x,y,z\n\n" + "".join("{:.3f},{:.3f},{:.3f}\n".format(*row) for row in rows) + odd
    wrong = {"12,x,1\n": "line 3003, column 'y': 'x'", "7,8\n": "line 3003 has 2 fields"}
    if odd in wrong:
        with pytest.raises(InputError, match=wrong[odd]):
            read(tmp_path, text)
        return
    table = read(tmp_path, text)
    np.testing.assert_array_equal(table.points[:3000], rows.round(3))
    assert len(table.points) == 3000 + (odd == '"7",8,9\n')
    assert list(table.lines)[:2] == [3, 4]


def test_what_memory_does_not_hold(tmp_path, monkeypatch):
    """Plain numbers take no more than the text; other fields, as texts, many times more."""
    monkeypatch.setattr("gemjax.cli.files.table.available", lambda: 2000)
    plain = "x,y\n" + "".join(f"{i}.5,{i * i}\n" for i in range(50))
    assert read(tmp_path, plain).num_rows == 50
    for text in (plain.replace("\n", ",a\n"), plain * 4):
        with pytest.raises(InputError, match=r"too large to be read as text; save it as \.npy"):
            read(tmp_path, text)
