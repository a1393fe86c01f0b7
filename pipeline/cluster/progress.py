"""Showing how far a run is while its workers work."""

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.run.progress import PROGRESS_FILE, Board, Progress, write_progress
from pipeline.storage.store import Storage
from pipeline.tables.logs import log_event
from pipeline.tables.progress import LISTENER

LOOK_S = 1.0
"""How often workers' words are collected and shown."""
STORE_S = 15.0
"""How often the progress is stored in the output, for `ganfit status`."""
_ANSWER_S = 10.0

Show = Callable[[Progress], None]


class Listener:
    """Keeps the last words about every shard until they are asked for: what the actor is."""

    def __init__(self) -> None:
        self._words: dict[int, tuple[str, float]] = {}

    def hear(self, shard: int, step: str, share: float) -> None:
        """Of a worker."""
        self._words[shard] = (step, share)

    def collect(self) -> dict[int, tuple[str, float]]:
        """The words since the last time."""
        words, self._words = self._words, {}
        return words


class Watcher:
    """A thread that collects words, shows the progress and stores it; used as a context.

    Args:
        collect: gives the words since the last call; may fail, then there are none.
        images: of every shard that is not committed.
        root: of the output.
        show: what is done with it, in that thread.
    """

    def __init__(
        self,
        collect: Callable[[], Mapping[int, tuple[str, float]]],
        images: Mapping[int, int],
        root: Storage,
        show: Show,
    ) -> None:
        self._collect, self._root, self._show = collect, root, show
        self._board = Board(images)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def commit(self, shard: int) -> None:
        """A shard was committed."""
        with self._lock:
            self._board.commit(shard, time.monotonic())

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_ANSWER_S + LOOK_S)
        self._quietly(lambda: self._root.remove(PROGRESS_FILE))

    def _watch(self) -> None:
        stored = time.monotonic() - STORE_S
        while not self._stop.wait(LOOK_S):
            words = self._quietly(self._collect) or {}
            now = time.monotonic()
            with self._lock:
                self._board.hear(words, now)
                progress = self._board.progress(now, time.time())
            if self._stop.is_set():
                return
            self._show(progress)
            if now - stored >= STORE_S:
                self._quietly(lambda said=progress: write_progress(self._root, said))
                stored = now

    def _quietly(self, do: Callable[[], Any]) -> Any:
        """The result, or None and a line in the log: a run does not end because it cannot say how far it is."""
        try:
            return do()
        except Exception as error:  # noqa: BLE001 - of Ray, of the storage; the run itself meets the same and says so
            log_event("progress cannot be told", error=f"{type(error).__name__}: {error}")
            return None


@contextmanager
def watching(ray: Any, images: Mapping[int, int], root: Storage, show: Show) -> Generator[Watcher]:
    """Show the progress of the block's shards; `commit` of what is given has to be called with each committed one.

    The actor lies on the driver's machine, so that it is lost with the driver alone.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "name": LISTENER, "max_restarts": -1, "scheduling_strategy": here}
    listener = ray.remote(Listener).options(**options).remote()
    try:
        with Watcher(lambda: ray.get(listener.collect.remote(), timeout=_ANSWER_S), images, root, show) as watcher:
            yield watcher
    finally:
        ray.kill(listener)
