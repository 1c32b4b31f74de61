"""The program `gemjax`: it sees of the library only what every other program sees."""

from gemjax.cli.app import main, process

__all__ = ["main", "process"]
