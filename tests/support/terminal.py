"""Commands on a pseudo terminal."""

import os
import pty
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

_ERASE = "\r\x1b[K"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def screen_lines(written: str) -> list[str]:
    """The lines that a terminal shows, which knows no more than to go to the start of a line and to erase it.

    Colours are not seen.
    """
    return [line.rpartition(_ERASE)[2] for line in _COLOUR.sub("", written).split("\n")]


class Terminal(NamedTuple):
    """What a command left on a terminal."""

    status: int
    written: str
    """All of it, line ends as they were printed."""

    @property
    def screen(self) -> str:
        """What is there in the end."""
        return "\n".join(screen_lines(self.written))


def run_on_terminal(command: Sequence[str]) -> Terminal:
    """Run a command, its output and its errors on a terminal of 80 columns, to its end."""
    here, there = pty.openpty()
    try:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=there, stderr=there) as process:
            os.close(there)
            parts: list[bytes] = []
            with suppress(OSError):  # the way a terminal says that nobody writes any more
                while part := os.read(here, 1 << 16):
                    parts.append(part)
    finally:
        os.close(here)
    return Terminal(process.returncode, b"".join(parts).decode().replace("\r\n", "\n"))
