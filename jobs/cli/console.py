"""The progress of a run for people: a live bar on a terminal, a line now and then elsewhere."""

import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol, Self, TextIO

LINE_S = 30.0
"""Between two lines of progress where there is no terminal."""
_ERASE = "\r\x1b[K"


class Shown(Protocol):
    """What can be shown: a line, or a bar as wide as a terminal."""

    def text(self) -> str:
        """A line."""
        ...

    def bar(self, width: int) -> str:
        """A bar and what it means, at most so many characters."""
        ...


class Console:
    """Lines that stay and, on a terminal, a bar below them that is drawn again and again; used as a context.

    Args:
        stream: where it is written; default: standard output.
        clock: seconds that only go forward.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stdout
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._lock = threading.Lock()
        self._has_bar = False
        self._last = clock()

    def say(self, line: str) -> None:
        """Write a line that stays."""
        with self._lock:
            self._clear()
            print(line, file=self._stream, flush=True)

    def show(self, progress: Shown) -> None:
        """Draw the bar anew; without a terminal write a line where the last one is `LINE_S` old."""
        if self._is_terminal:
            with self._lock:
                width = shutil.get_terminal_size().columns - 1
                print(_ERASE + progress.bar(width), end="", file=self._stream, flush=True)
                self._has_bar = True
        elif self._clock() - self._last >= LINE_S:
            self._last = self._clock()
            self.say(progress.text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._has_bar:
            print(_ERASE, end="", file=self._stream, flush=True)
            self._has_bar = False
