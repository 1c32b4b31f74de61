"""What is a number, in data, options and the environment; what nobody wrote as one is none."""

import pytest
from studies import one_line, refused

from gemjax import cli
from gemjax.cli.files.boundary import InputError
from gemjax.cli.files.dataset import read_table
from gemjax.cli.process import devices

COMMAS = "x;y\n0,5;1,5\n-0,25;1e1\n"


def test_decimal_commas(tmp_path, capsys):
    path = tmp_path / "data.csv"
    for text in (COMMAS, COMMAS.replace(";", "\t")):
        path.write_text(text)
        assert read_table(path).points.tolist() == [[0.5, 1.5], [-0.25, 10]]
    path.write_text('x,y\n"0,5",1\n2,3\n')
    with pytest.raises(InputError, match=r"line 2, column 'x': '0,5' .* decimals with a point"):
        read_table(path)
    path.write_text("a;b,c\n1,2\n3,4\n")
    assert read_table(path).names == ["a;b", "c"]


@pytest.mark.parametrize("text", ["3,14\n2,05\n", "-1,5\n2,00\n7\n", "v\n3,14\n2,71\n"])
def test_decimal_commas_in_one_column(tmp_path, text):
    path = tmp_path / "data.csv"
    path.write_text(text)
    table = read_table(path)
    numbers = text.replace(",", ".").removeprefix("v\n").split()
    assert table.points.ravel().tolist() == [float(number) for number in numbers]
    assert "decimal comma" in table.told[0]


def test_decimal_commas_that_look_like_columns(tmp_path):
    (tmp_path / "data.csv").write_text("1,5,2,25\n3,7,0,001\n")
    with pytest.raises(InputError, match="line 1 looks like decimals with a comma"):
        read_table(tmp_path / "data.csv")


COLUMNS = [
    "x,y\n3,14\n2,71\n", "3,1.4\n2,71\n", "3,-14\n2,71\n", "01,02\n02,03\n", "1, 2\n3, 4\n",
    "1,2,3\n4,5,6\n",
]  # fmt: skip


def test_whole_numbers_without_names_are_told(tmp_path, capsys):
    path, out = tmp_path / "data.csv", tmp_path / "out"
    more = [
        "--components",
        "1",
        "--scale",
        "1",
        "--out",
        out,
        "--force",
        "--no-figures",
        "--no-certificate",
    ]
    path.write_text("3,14\n2,71\n")
    assert cli.main([str(a) for a in ["fit", path, *more]]) == 0
    one_line(capsys.readouterr().err, path, "read as 2 columns of whole numbers")
    assert cli.main([str(a) for a in ["fit", path, *more, "--columns", "1,2"]]) == 0
    assert capsys.readouterr().err == ""
    for text in COLUMNS:
        path.write_text(text)
        table = read_table(path)
        assert len(table.points) == 2
        assert len(table.told) == 1


@pytest.mark.parametrize("number", ["1_000", "١٢", "１２", "0x10", "1e", "--1"])
def test_numbers_that_nobody_wrote_as_numbers(tmp_path, number):
    (tmp_path / "data.csv").write_text(f"x\n1\n{number}\n")
    with pytest.raises(InputError, match=r"line 3, column 'x': .* is not a number"):
        read_table(tmp_path / "data.csv")


OPTIONS = {
    "--components": "１", "--seed": "1_000", "--seeds": "２", "--scale": "1_0.5", "--rank": "1_0",
    "--iterations": "١٢", "--tolerance": "1e-١", "--step-size": "0_1", "--weight-steps": "2.0",
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_options_that_are_no_numbers(data, capsys, option):
    given = {"--components": "2", "--scale": "1", option: OPTIONS[option]}
    if option == "--rank":  # which is of this start
        given["--init"] = "spectral"
    words = [word for pair in given.items() for word in pair]
    refused(capsys, ["fit", data, *words], f"{option} must be a", repr(OPTIONS[option]))


def test_every_number_among_the_options_is_read_so():
    from gemjax.cli.options import _FIT, HINTS

    keys = {f"--{name.replace('_', '-')}": key.split(".") for name, (key, *_) in _FIT.items()}
    hints = {name: str(HINTS[table][key]) for name, (table, key) in keys.items()}
    assert {name for name, hint in hints.items() if "int" in hint or "float" in hint} == {*OPTIONS}


@pytest.mark.parametrize("name", ["JAX_NUM_PROCESSES", "JAX_PROCESS_ID"])
def test_an_environment_without_numbers(monkeypatch, name):
    monkeypatch.setenv(name, "２")
    with pytest.raises(InputError, match=f"--distributed: {name} must be an integer, got '２'"):
        devices.join()
