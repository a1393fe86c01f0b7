"""How often work began that never ended: counted on disk, so that the count outlives the workers."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attempts:
    """Counts of one output folder, by the name of the work; kept in OUT/attempts while the work goes on."""

    root: Path

    def begin(self, name: str) -> int:
        """Note that work begins, and return how often it has begun since it last ended."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return len(path.read_text().splitlines())

    def end(self, name: str) -> None:
        """Forget the work: it ended, well or with an error."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.root / "attempts" / name
