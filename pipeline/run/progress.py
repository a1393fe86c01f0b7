"""How far a run is, photo by photo: shards that are committed, and what workers say of those they work on.

::

    OUT/progress.json    while a run goes on: what `ganfit status` shows of it
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pipeline.run.summary import duration_text
from pipeline.storage.store import Storage

PROGRESS_FILE = "progress.json"
_BAR = 24
"""Characters of the bar."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run at one moment; images count sampled frames of clips too."""

    done: float
    """Images through the fit, rejected ones included; of an image in work the share that is done."""
    total: int
    """Images of the shards that were not committed when the run began."""
    seconds: float
    """Since the first word of a worker."""
    steps: Mapping[str, int] = field(default_factory=dict[str, int])
    """Shards in work by step: detect, fit."""
    time: float = 0.0
    """Of this moment, seconds since 1970."""

    @property
    def per_minute(self) -> float | None:
        """Images per minute; None where nothing is done yet."""
        return 60 * self.done / self.seconds if self.done > 0 and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """At that rate."""
        rate = self.per_minute
        return None if rate is None else 60 * (self.total - self.done) / rate

    def text(self) -> str:
        """A line of it."""
        parts = [f"{int(self.done + 1e-6)} of {self.total} images"]
        if (rate := self.per_minute) is not None and (left := self.seconds_left) is not None:
            parts += [f"{rate:.1f} per minute", f"{duration_text(left)} left"]
        if self.steps:
            parts.append("shards in work: " + ", ".join(f"{count} {step}" for step, count in self.steps.items()))
        return "; ".join(parts)

    def bar(self, width: int) -> str:
        """The same with a bar in front, cut to the width of a terminal."""
        share = self.done / self.total if self.total else 1.0
        filled = int(_BAR * share)
        return f"[{'#' * filled}{'.' * (_BAR - filled)}] {100 * share:3.0f} % {self.text()}"[:width]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"per_minute": self.per_minute, "seconds_left": self.seconds_left}

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The inverse of what is stored.

        Raises:
            ValueError: the text is no progress.
        """
        content: Any = json.loads(text)
        try:
            return cls(**{name: content[name] for name in ("done", "total", "seconds", "steps", "time")})
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error


class Board:
    """Adds up what is said of the shards of a run."""

    def __init__(self, images: Mapping[int, int]) -> None:
        self._images = dict(images)
        """Of every shard that is not committed."""
        self._shares: dict[int, float] = {}
        self._steps: dict[int, str] = {}
        self._committed = 0
        self._total = sum(self._images.values())
        self._first: float | None = None

    def hear(self, words: Mapping[int, tuple[str, float]], now: float) -> None:
        """Note how far shards are: step, and the share of their images that is through it.

        Detected images still have to be fitted, so they count as nothing done. What is said late, of a committed
        shard, is nothing new; a shard that starts again, elsewhere, is at its beginning again.
        """
        for shard, (step, share) in words.items():
            if shard in self._images:
                self._steps[shard] = step
                self._shares[shard] = share if step == "fit" else 0.0
                self._first = now if self._first is None else self._first

    def commit(self, shard: int, now: float) -> None:
        """A shard is done."""
        self._committed += self._images.pop(shard, 0)
        self._steps.pop(shard, None)
        self._shares.pop(shard, None)
        self._first = now if self._first is None else self._first

    def progress(self, now: float, time: float) -> Progress:
        """How far the run is; `now` by the clock of the other calls, `time` in seconds since 1970."""
        steps = list(self._steps.values())
        return Progress(
            done=self._committed + sum(self._images[shard] * share for shard, share in self._shares.items()),
            total=self._total,
            seconds=0.0 if self._first is None else now - self._first,
            steps={step: steps.count(step) for step in sorted(set(steps))},
            time=time,
        )


def read_progress(root: Storage) -> Progress | None:
    """What the run that goes on has stored last; None where there is nothing."""
    try:
        return Progress.from_json(root.read(PROGRESS_FILE))
    except (FileNotFoundError, ValueError):
        return None


def write_progress(root: Storage, progress: Progress) -> None:
    """Store it for `read_progress`."""
    root.write(PROGRESS_FILE, json.dumps(progress.to_json(), sort_keys=True).encode())
