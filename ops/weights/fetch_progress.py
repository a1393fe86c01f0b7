"""How a fetch goes on: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

_BAR_WIDTH = 24
_REDRAWN_EVERY_S = 0.1
_LINE_EVERY_S = 10.0


class FetchProgress:
    """Lines of text and, on a terminal, a bar for the file that is arriving."""

    def __init__(self, stream: Any = None) -> None:
        self._stream: Any = stream or sys.stdout
        self.live = self._stream.isatty()
        self._shown_at = 0.0
        self._what: str | None = None

    def say(self, line: str) -> None:
        """A line of its own, below what is shown."""
        self._end_bar()
        self._write(f"{line}\n")

    def received(self, what: str, done: int, total: int | None) -> None:
        """So many bytes of a file are there."""
        now = time.monotonic()
        ended = done == total
        new = what != self._what
        if new:
            self._end_bar()
            self._what, self._shown_at = what, now if not self.live else 0.0
        pause_s = _REDRAWN_EVERY_S if self.live else _LINE_EVERY_S
        if not ended and now - self._shown_at < pause_s:
            return
        self._shown_at = now
        if self.live:
            self._write(f"\r\033[K{what}  {bar(done, total)}")
        else:
            self._write(f"{what}: {amount(done, total)}\n")
        if ended:
            self._end_bar()

    def _end_bar(self) -> None:
        if self.live and self._what is not None:
            self._write("\n")
        self._what = None

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def bar(done: int, total: int | None) -> str:
    """The bar, where there is a total, and the amount."""
    if not total:
        return amount(done, total)
    filled = min(_BAR_WIDTH, _BAR_WIDTH * done // total)
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {amount(done, total)}"


def amount(done: int, total: int | None) -> str:
    """What is there, out of what is expected."""
    if not total:
        return f"{done / 1e6:.1f} MB"
    return f"{100 * done // total} %, {done / 1e6:.1f} of {total / 1e6:.1f} MB"
