"""Ending early: what Ctrl-C, Kubernetes and `ray job stop` ask for, with a clear end within their patience.

Imports nothing that takes time, so that it works from the first moment of a job on.
"""

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 2
"""Exit status of a job that was interrupted and can be continued."""
GRACE_S = 20.0
"""How long an interrupted job may take to end; Kubernetes kills after 30 s."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_at_once_when_interrupted() -> None:
    """While modules are imported: there is nothing yet that has to be left in order."""
    for number in _SIGNALS:
        signal.signal(number, _end_at_once)


@contextmanager
def interruptible() -> Generator[None]:
    """Turn the first SIGINT or SIGTERM of the block into a KeyboardInterrupt that nothing delays for over GRACE_S."""
    before = {number: signal.signal(number, _end_soon) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say_how_to_continue() -> None:
    """One line on standard error."""
    print("interrupted: what is finished is kept, the same command continues from it", file=sys.stderr, flush=True)


def _end_soon(number: int, frame: FrameType | None) -> None:
    end_at_once_when_interrupted()
    timer = threading.Timer(GRACE_S, _end_at_once, (number, None))
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _end_at_once(number: int, frame: FrameType | None) -> None:
    say_how_to_continue()
    os._exit(INTERRUPTED)
