"""Floor 8: the command line. It parses, calls and prints; the work is done on the floors below."""

from collections.abc import Sequence
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cellwright` with `argv` (None: the process's own) and return its exit code.

    0: done. 2: something the user can put right, said in one line. 130: stopped by Ctrl-C.
    141: the reader of our output went away. 1: a defect of Cellwright, with its traceback.
    """
    try:
        from cellwright.cli.verbs import run  # here, so that Ctrl-C while importing stays quiet

        return run(argv)
    except KeyboardInterrupt:
        return 130


def __getattr__(name: str) -> Any:
    """`cellwright.cli.app`, the typer application, made when it is asked for."""
    if name == "app":
        from cellwright.cli.verbs import app

        return app
    raise AttributeError(name)
