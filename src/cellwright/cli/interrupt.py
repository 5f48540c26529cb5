"""Ctrl-C asks for an orderly end; a second one ends at once."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

_SHOW_CURSOR = b"\x1b[?25h\n"
# A closed terminal and a polite kill are wishes to stop as well: what was trained is saved.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stoppable(Protocol):
    """Whatever can be asked to stop from inside a signal handler."""

    def set(self) -> None:
        """Ask to stop; returns at once."""
        ...


class Ending:
    """How a verb came to its end: the signal that asked for it, or output nobody reads."""

    def __init__(self) -> None:
        self.signal = 0

    @property
    def code(self) -> int:
        """The exit code of a process that this signal ended; 0 without one."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def orderly(stop: Stoppable, notice: Callable[[], None]) -> Iterator[Ending]:
    """Within the block the first SIGINT, SIGTERM or SIGHUP calls `stop.set()` and `notice()`.

    The second leaves the process at once: what was saved is whole, because every file is replaced
    in one piece. A signal that the parent told us to ignore (nohup) stays ignored.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending  # signals belong to the main thread
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if ending.signal:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _SHOW_CURSOR)
            os._exit(128 + number)
        ending.signal = number
        stop.set()
        notice()

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    heeded = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def while_read(
    show: Callable[[Any], None], stop: Stoppable, ending: Ending
) -> Callable[[Any], None]:
    """`show`, until the reader of its output is gone; then silence, and `stop.set()`."""

    def shown(event: Any) -> None:
        if ending.signal == signal.SIGPIPE:
            return
        try:
            show(event)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            ending.signal = signal.SIGPIPE
            stop.set()

    return shown
