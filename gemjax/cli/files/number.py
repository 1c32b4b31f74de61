"""Numbers as people write them: the one grammar, for cells of data, options and the environment.

Python's own also knows digits of other alphabets and underscores between them.
"""

from __future__ import annotations

import contextlib


def real(text: str) -> float | None:
    """A number with a decimal point, or nan or inf; None where the text is something else."""
    if text.isascii() and "_" not in text:
        try:
            return float(text)
        except ValueError:
            return None
    return None


def integer(text: str) -> int | None:
    """A whole number, None where the text is something else."""
    if text.isascii() and "_" not in text:
        with contextlib.suppress(ValueError):  # also more digits than Python reads
            return int(text)
    return None


def is_count(text: str) -> bool:
    """Whether a text is a short number in nothing but the digits 0 to 9."""
    return text.isascii() and text.isdigit() and len(text) < 10
