"""Portraits for training: drawn in a background process, kept in a window that slides on as training goes.

Which portraits a step may learn from follows from its number alone, so a training that was interrupted goes on with the
same ones; it draws those of its window anew.
"""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from ops.errors import GanfitError
from ops.faceworld.portraits.stream import BLOCK, PortraitStream

ALIVE_CHECK_S = 5.0
QUEUED_BLOCKS = 64


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which portraits there are at which step."""

    first: int = 4096
    """Before the first step."""
    fresh: int = 6
    """New ones with every step."""
    kept: int = 4096
    """The newest so many are learned from."""

    def at(self, step: int) -> range:
        """The numbers of the portraits that a step draws from."""
        stop = self.first + self.fresh * step
        return range(max(stop - self.kept, 0), stop)


class FedPortraits(NamedTuple):
    """Some portraits of the window."""

    images_rgb: UInt8[np.ndarray, "portrait side side 3"]
    points_px: Float32[np.ndarray, "portrait point 2"]


class PortraitFeed:
    """The portraits of the steps' windows; use it as a context.

    `make_stream` is called in the background process, so it must be picklable.

    Raises:
        GanfitError: the background process ended.
    """

    def __init__(self, make_stream: Callable[[], PortraitStream], window: Window, step: int, last_step: int) -> None:
        self._window = window
        self._next = window.at(step).start // BLOCK * BLOCK
        stop = max(window.at(last_step).stop, 1)
        context = multiprocessing.get_context("spawn")
        self._queue: Any = context.Queue(QUEUED_BLOCKS)
        self._process = context.Process(
            target=_draw, args=(make_stream, self._next, stop, self._queue), daemon=True, name="portraits"
        )
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __enter__(self) -> "PortraitFeed":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._queue.close()

    def draw(self, step: int, count: int, rng: np.random.Generator) -> FedPortraits:
        """Portraits of the step's window at random, with repetition; waits until they are there."""
        window = self._window.at(step)
        while self._next < window.stop:
            self._take()
        for number in [number for number in self._kept if number < window.start]:
            del self._kept[number]
        chosen = [self._kept[int(number)] for number in rng.integers(window.start, window.stop, count)]
        return FedPortraits(np.stack([image for image, _ in chosen]), np.stack([points for _, points in chosen]))

    def _take(self) -> None:
        while True:
            try:
                first, images, points = self._queue.get(timeout=ALIVE_CHECK_S)
                break
            except Empty:
                if not self._process.is_alive():
                    raise GanfitError(f"the process that draws portraits ended with {self._process.exitcode}") from None
        for index in range(len(images)):
            self._kept[first + index] = images[index], points[index]
        self._next = first + len(images)


def _draw(make_stream: Callable[[], PortraitStream], first: int, stop: int, queue: Any) -> None:
    torch.set_num_threads(1)
    stream = make_stream()
    for start in range(first, stop, BLOCK):
        drawn = list(stream.portraits(start, min(start + BLOCK, stop)))
        queue.put((start, np.stack([p.image_rgb for p in drawn]), np.stack([p.points_px for p in drawn])))
