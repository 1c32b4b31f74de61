"""How far a run is, and the bar that shows it on a terminal, on stderr; nothing elsewhere."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Column

from gemjax.cli.files.boundary import brief


@dataclasses.dataclass(frozen=True)
class Progress:
    """Between two pieces of a run.

    Attributes:
      seeds, total_seeds: done, by this process or an earlier one, and of the whole run.
      rate: iterations per second of this process, None before its first piece.
      seconds_left: at that rate.
      point_success, success: share of the seeds done that were recovered, of the grid point at
        work and of all; None without a truth, or a seed.
    """

    seeds: int
    total_seeds: int
    rate: float | None
    seconds_left: float | None
    point_success: float | None
    success: float | None

    @property
    def note(self) -> str:
        """What stands beside the bar."""
        parts = []
        if self.rate is not None and self.seconds_left is not None:
            minutes, seconds = divmod(round(self.seconds_left), 60)
            left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"
            parts += [f"{self.rate:,.0f} it/s", left]
        if self.success is not None and self.point_success is not None:
            parts.append(f"recovered {self.point_success:.2f} here, {self.success:.2f} overall")
        return ", ".join(parts)


class Display(ExitStack):
    """A bar with a note beside it, and lines above it; `remaining` time where no note says it.

    Where nothing is `counted`, the bar says that there is work, and how long it has taken.
    """

    def __init__(self, what: str, *, remaining: bool = False, counted: bool = True) -> None:
        super().__init__()
        console = Console(stderr=True)
        # In a narrow terminal the note is what is cut short.
        whole = Column(no_wrap=True, min_width=9)
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}"), BarColumn(bar_width=8),
            MofNCompleteColumn(table_column=whole),
            TimeRemainingColumn() if remaining
            else TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
        ]  # fmt: skip
        if not counted:
            columns[2:] = [TimeElapsedColumn()]
        self._bar = self.enter_context(
            Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        )
        self._task = self._bar.add_task(what, total=None, note="")

    def show(self, done: int, total: int, note: str = "") -> None:
        self._bar.update(self._task, completed=done, total=total, note=note)

    def tell(self, line: str) -> None:
        self._bar.console.print(
            f"gemjax: {brief(line)}", markup=False, highlight=False, soft_wrap=True
        )
