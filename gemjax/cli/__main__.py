"""`python -m gemjax.cli`, the same as `gemjax`."""

from gemjax.cli import process

if __name__ == "__main__":
    process()
