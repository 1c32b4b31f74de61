"""The bar that shows progress on a terminal, on stderr; nothing elsewhere."""

from __future__ import annotations

from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from gemjax.tally import Progress


class Display(ExitStack):
    """A bar with a note beside it, and lines above it."""

    def __init__(self, what: str) -> None:
        super().__init__()
        console = Console(stderr=True)
        self._bar = self.enter_context(
            Bar(
                TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
                TimeElapsedColumn(), TextColumn("{task.fields[note]}"),
                console=console, transient=True, disable=not console.is_terminal,
            )
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=None, note="")

    def show(self, done: int, total: int, note: str = "") -> None:
        self._bar.update(self._task, completed=done, total=total, note=note)

    def tell(self, line: str) -> None:
        self._bar.console.print(f"gemjax: {line}", markup=False, highlight=False, soft_wrap=True)


def note(progress: Progress) -> str:
    """What a run's progress says beside its bar."""
    parts = []
    if progress.rate is not None and progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"
        parts += [f"{progress.rate:,.0f} it/s", left]
    if progress.success is not None and progress.point_success is not None:
        parts.append(f"recovered {progress.point_success:.2f} here, {progress.success:.2f} overall")
    return ", ".join(parts)
