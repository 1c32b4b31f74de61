"""Compiled programs in the user's cache folder: kept, private, and never in the way."""

import os
import subprocess
import sys

import pytest
from marks import mostly_slow


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def fit(data, tmp_path, *more, **variables):
    """`gemjax fit` in a process of its own, and what it prints on stderr."""
    kept_out = ("JAX_COMPILATION_CACHE_DIR", "GEMJAX_NO_CACHE")
    env = {name: value for name, value in os.environ.items() if name not in kept_out}
    command = [
        sys.executable,
        "-m",
        "gemjax.cli",
        "fit",
        str(data),
        "--components",
        "2",
        "--scale",
        "1",
    ]
    command += ["--scale", "5", "--iterations", "2", "--no-certificate", "--no-figures", "--force"]
    command += ["--out", str(tmp_path / "out"), *more]
    env |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), **variables}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def programs(cache):
    return {path.name for path in cache.rglob("*-cache")}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no umask, and another folder")
def test_what_was_compiled_is_kept_and_mended(data, tmp_path, cache):
    assert fit(data, tmp_path) == ""
    (folder,) = (cache / "gemjax").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    first = programs(cache)
    assert any("work" in name for name in first)

    # One that a kill cut off, without the file that JAX writes last, and one that a disk lost.
    torn, garbled, *_ = sorted(folder.glob("*-cache"))
    torn.write_bytes(torn.read_bytes()[:50])
    torn.with_name(torn.name.removesuffix("cache") + "atime").unlink()
    garbled.write_bytes(b"no program")
    assert fit(data, tmp_path) == ""
    assert programs(cache) == first
    assert torn.stat().st_size > 50


@pytest.mark.parametrize("way", mostly_slow(["option", "variable", "mine", "open"], 1))
def test_nothing_is_kept_where_it_should_not_be(way, data, tmp_path, cache):
    if way == "option":
        fit(data, tmp_path, "--no-cache")
    elif way == "variable":
        fit(data, tmp_path, GEMJAX_NO_CACHE="1")
    elif way == "mine":
        fit(data, tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))
    else:  # a folder that others could write to
        fit(data, tmp_path)
        (folder,) = (cache / "gemjax").iterdir()
        for path in folder.iterdir():
            path.unlink()
        folder.chmod(0o777)
        assert fit(data, tmp_path) == ""
    assert programs(cache) == set()
