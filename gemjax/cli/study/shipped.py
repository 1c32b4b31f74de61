"""The studies that come along: configs that are run by their name, from a clone or installed."""

from __future__ import annotations

import difflib
from pathlib import Path

from gemjax.cli.files.boundary import InputError, brief

_HOME = Path(__file__).parents[2]  # the package
_PLACES = (_HOME / "configs", _HOME.parent / "configs")  # installed, and in a clone


def configs() -> dict[str, Path]:
    """Names and files, in alphabetical order."""
    place = next((place for place in _PLACES if place.is_dir()), None)
    return {} if place is None else {path.stem: path for path in sorted(place.glob("*.toml"))}


def find(given: Path) -> Path:
    """A config by its path, or one that ships by its name."""
    known, name = configs(), given.name.removesuffix(".toml")
    if given.exists() or len(given.parts) > 1 or (given.suffix and name not in known):
        return given
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name[:60], list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`gemjax studies` lists those that ship"
    raise InputError(f"{brief(given)}: no such file, and no study of that name; {hint}")
