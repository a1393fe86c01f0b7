"""What workers say while they work: how far a shard is. The driver shows it; results do not depend on it.

Words go to an actor of the driver's, without an answer; a worker sends one a second at most, so that they cost nothing.
In a process without Ray, and where no driver listens, they go nowhere.
"""

import sys
import time
from functools import lru_cache
from typing import Any, Literal

from pipeline.tables.logs import log_event

LISTENER = "ganfit-progress"
"""Name of the actor that listens, in the namespace of the run's Ray job."""
EVERY_S = 1.0
"""Between two words of a worker about one step of a shard."""
Step = Literal["detect", "fit"]


class _Pace:
    """When this process spoke last, and of what."""

    def __init__(self) -> None:
        self._spoken = -EVERY_S
        self._about: tuple[int, Step] | None = None

    def due(self, about: tuple[int, Step], now: float) -> bool:
        if about == self._about and now - self._spoken < EVERY_S:
            return False
        self._spoken, self._about = now, about
        return True


_PACE = _Pace()


def report_progress(shard: int, step: Step, share: float) -> None:
    """Say which share of a shard's images, in [0, 1], is through a step."""
    if "ray" not in sys.modules or not sys.modules["ray"].is_initialized():
        return
    if _PACE.due((shard, step), time.monotonic()) and (listener := _listener()) is not None:
        listener.hear.remote(shard, step, share)


@lru_cache(maxsize=1)
def _listener() -> Any:
    """The driver's actor; None where there is none."""
    try:
        return sys.modules["ray"].get_actor(LISTENER)
    except ValueError:
        log_event("no listener for progress")
        return None
