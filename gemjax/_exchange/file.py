"""One file for what was fitted: .npz with a format number and no pickle, whole or not there."""

from __future__ import annotations

import os
import secrets
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gemjax._base.records import Fit, Mixture
from gemjax._exchange.schema import RECORDS, checked, flat, rebuilt
from gemjax._reduce.select import Selection

FORMAT = 1  # a change that an older `load` would get wrong is a new one
_MOST_RATIO, _MOST_BYTES = 200, 2**26  # unpacked: times the file's size, or bytes, if that is more


def save(
    path: str | os.PathLike[str],
    thing: Mixture | Selection | Fit,
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Writes a mixture, a selection or a fit to one file, which `load` reads.

    The file is NumPy's .npz without pickles: an array per field under its path, such as
    "mixture.means", beside "record", the class, and "gemjax_format". It is written beside its
    place and moved there, so that it is there as a whole or not at all. Values keep every bit.

    Args:
      path: where to; taken as it is, whatever its suffix. A file that is there is replaced.
      thing: a `Mixture`, a `Selection`, or a single `Fit` whose mean rule has no state of its own;
        with a covariance of `gj.covariance`.
      names: d names of the data's columns, kept as the array "names": `np.load(path)["names"]`
        reads them, where they were given.

    Raises:
      TypeError: another thing, a covariance of another class, a mean rule's state.
      ValueError: values or shapes that are no mixture's; names that are not d texts; under `jit`.
      OSError: the file cannot be written.

    >>> import tempfile
    >>> import gemjax as gj
    >>> path = tempfile.mkdtemp() + "/model.npz"
    >>> covariance = gj.covariance.Spherical([1.0, 2.0])
    >>> mixture = gj.make_mixture([[0.0, 0.0], [4.0, 0.0]], covariance=covariance)
    >>> gj.save(path, mixture, names=["length", "width"])
    >>> gj.load(path).covariance.variances.tolist(), np.load(path)["names"].tolist()
    ([1.0, 2.0], ['length', 'width'])
    """
    if type(thing) not in RECORDS.values():
        raise TypeError(
            f"thing must be a Mixture, a Selection or a Fit, got {type(thing).__name__}"
        )
    thing = checked(thing)
    held = {
        "gemjax_format": np.asarray(FORMAT),
        "record": np.asarray(type(thing).__name__),
        **flat(thing),
    }
    if names is not None:
        held["names"] = _texts(names, _mixture(thing).means.shape[1])
    _write(Path(os.path.realpath(path)), held)


def load(path: str | os.PathLike[str]) -> Any:
    """Reads what `save` wrote.

    Arrays have the dtype they were saved with; float64 becomes float32 where JAX's `jax_enable_x64`
    is off, as everywhere in JAX. Arrays that this version does not know are passed over.

    Args:
      path: the file.

    Returns:
      a `Mixture`, a `Selection` or a `Fit`, whichever was saved.

    Raises:
      ValueError: the file is damaged, not of `save`, of a format newer than this version knows, or
        holds what is no mixture.
      OSError: it is not there, or cannot be opened.

    >>> import tempfile
    >>> import gemjax as gj
    >>> path = tempfile.mkdtemp() + "/model.npz"
    >>> gj.save(path, gj.make_mixture([[0.0], [1.0]]))
    >>> gj.load(path).means.tolist()
    [[0.0], [1.0]]
    """
    held: dict[str, np.ndarray] = {}
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{os.fspath(path)}: path must be an ordinary file, and it is not")
    with open(path, "rb") as file:
        try:
            held = _read(file)
            thing = checked(rebuilt(_record(held), held))
            if "names" in held:
                _texts(held["names"].tolist(), _mixture(thing).means.shape[1])
        except Exception as error:  # zlib's, zipfile's, tokenize's, recursion ...
            lines = str(error).splitlines() or [type(error).__name__]
            reason = f"{lines[0][:200]}{_advice(held)}"
            raise ValueError(
                f"{os.fspath(path)}: cannot be read as a file of gj.save: {reason}"
            ) from error
    return thing


def _read(file: Any) -> dict[str, np.ndarray]:
    """All arrays of a .npz file that unpacks to no more than data do."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no .npz, or not the whole of one")
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        most = max(_MOST_BYTES, _MOST_RATIO * os.fstat(file.fileno()).st_size)
        if sum(entry.file_size for entry in loaded.zip.infolist()) > most:
            raise ValueError(f"it unpacks to more than {_MOST_RATIO} times its size, as no data do")
        return {name: loaded[name] for name in loaded.files}


def _record(held: dict[str, np.ndarray]) -> type:
    """The class of what a file holds, where it is of a format that is known."""
    form, name = held.get("gemjax_format"), str(held.get("record"))
    if form is None or form.shape != () or form.dtype.kind not in "iu" or form < 1:
        raise ValueError("it has no format number, so something else wrote it")
    if form > FORMAT:
        raise ValueError(
            f"it has format {form}, and this gemjax reads up to {FORMAT}; install a newer one"
        )
    if name not in RECORDS:
        raise ValueError(f"record must be one of {', '.join(RECORDS)}, got {name[:40]!r}")
    return RECORDS[name]


def _advice(held: dict[str, np.ndarray]) -> str:
    """What may be the matter where float64 had to become float32."""
    lost = any(array.dtype == np.float64 for array in held.values())
    if not lost or jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        return ""
    return "; its float64 was read as float32: jax_enable_x64 keeps it"


def _mixture(thing: Any) -> Mixture:
    return thing if isinstance(thing, Mixture) else thing.mixture


def _texts(names: Sequence[str], d: int) -> np.ndarray:
    listed = [names] if isinstance(names, str) else list(names)
    if isinstance(names, str) or len(listed) != d or not all(isinstance(n, str) for n in listed):
        raise ValueError(f"names must be {d} texts, one per column of the data, got {names!r}")
    return np.asarray(listed, str)


def _write(path: Path, held: dict[str, np.ndarray]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, **held)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # which names the temporary file, or none
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
