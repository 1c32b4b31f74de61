"""Pages whose tables are written by scripts."""

from __future__ import annotations


def replace(document: str, mark: str, text: str) -> str:
    """The document with what stands between `<!-- mark -->` and `<!-- /mark -->` replaced."""
    opening, closing = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if document.count(opening) != 1 or document.count(closing) != 1:
        raise SystemExit(f"expected {opening} and {closing} once each in the Markdown file")
    before, _, rest = document.partition(opening)
    return f"{before}{opening}\n{text}\n{closing}{rest.partition(closing)[2]}"
