"""What ends a command early, as one line and an exit code: signals, disk, device, memory."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import jax

from gemjax.cli.process.devices import in_any
from gemjax.cli.process.memory import is_out_of_memory

STOPPED = 130  # after Ctrl-C, as shells have it; typer returns the same
FAILED = 1
_TRY_AGAIN = 75  # EX_TEMPFAIL


class Ended(Exception):  # noqa: N818  it may be by request
    """A command has ended early; the message is one line that says what to do."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextlib.contextmanager
def one_line(advice: Callable[[], str]) -> Iterator[None]:
    """Turns what may end a command early into `Ended`; its message ends with what `advice` says."""
    try:
        yield
    except KeyboardInterrupt:
        raise Ended(STOPPED, f"stopped; {advice()}") from None
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise Ended(FAILED, f"{what}; {advice()}") from None
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            message = (
                "out of memory; take fewer components or points, float32 instead of float64, a "
                "device with more memory, or, in several processes, a smaller sweep.batch_size"
            )
        else:
            reason, *_ = str(error).split("\n")
            message = f"the device failed: {reason}; {advice()}"
        raise Ended(FAILED, message) from None


@contextlib.contextmanager
def sigterm(advice: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """Lets SIGTERM only make a note; the function given raises `Ended` once there is one."""
    noted = False

    def note(*_: object) -> None:
        nonlocal noted
        noted = True

    def check() -> None:
        # Where several processes share a run, one that is to end ends all.
        if in_any(noted):
            raise Ended(_TRY_AGAIN, f"terminated; {advice()}")

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGTERM, before)
