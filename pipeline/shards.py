"""Shards on disk: one exists complete, or it does not exist.

::

    OUT/run.json
    OUT/shards/00042/identities.parquet  frames.parquet  meshes/  textures/  contact_sheet.png  _SUCCESS.json
    OUT/shards/.tmp-00042-1f0c9a2b       being written; a leftover of a run that was killed
    OUT/attempts/00042                   one line each time work on the shard began
"""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ops.errors import OutputError

SUCCESS_NAME = "_SUCCESS.json"
_TEMPORARY = ".tmp-"


@dataclass(frozen=True, kw_only=True)
class ShardSummary:
    """What a committed shard holds, stored in its `_SUCCESS.json`."""

    shard: int
    fingerprint: str
    items: int
    """Input files."""
    identities: dict[str, int]
    """Persons by `status` or `status reason`."""
    frames: dict[str, int]
    """Images and sampled frames by `status` or `status reason`."""
    fit_seconds: float
    """Time a fit worker was busy with the shard."""

    def to_json(self) -> str:
        """The content of `_SUCCESS.json`."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is no summary.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class ShardStore:
    """The shards of one output folder."""

    root: Path

    @property
    def folder(self) -> Path:
        """Where the shards are."""
        return self.root / "shards"

    def path(self, index: int) -> Path:
        """The folder of a committed shard."""
        return self.folder / f"{index:05d}"

    def summary(self, index: int) -> ShardSummary | None:
        """What a committed shard holds; None where there is no such shard.

        Raises:
            OutputError: the folder exists without a readable `_SUCCESS.json`.
        """
        path = self.path(index)
        try:
            return ShardSummary.from_json((path / SUCCESS_NAME).read_text())
        except (OSError, ValueError) as error:
            if not path.exists():
                return None
            raise OutputError(
                f"{path} has no readable {SUCCESS_NAME} ({error}): shards are complete or absent, so this folder was "
                "altered or partly copied; delete it to have the shard made again"
            ) from error

    def indices(self) -> list[int]:
        """The committed shards, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def remove_leftovers(self) -> int:
        """Delete what killed runs left half written, and say how many."""
        leftovers = list(self.folder.glob(f"{_TEMPORARY}*")) if self.folder.is_dir() else []
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)
        return len(leftovers)

    @contextmanager
    def writing(self, index: int) -> Generator[Path]:
        """A temporary folder that becomes the shard when the block ends well, and vanishes otherwise.

        Where the same shard was committed meanwhile (a retried task), the first one stays.
        """
        temporary = self.folder / f"{_TEMPORARY}{index:05d}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        try:
            yield temporary
            _flush(temporary)
            try:
                temporary.rename(self.path(index))
            except OSError:
                if self.summary(index) is None:
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def record_attempt(self, index: int) -> int:
        """Note that work on the shard begins, and return how often it has begun.

        A shard that kills its worker is retried for ever by the scheduler; this count outlives the workers.
        """
        path = self.root / "attempts" / f"{index:05d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return len(path.read_text().splitlines())


@contextmanager
def locked(root: Path) -> Generator[None]:
    """Hold the output folder for one driver; the lock dies with the process.

    Raises:
        OutputError: the folder cannot be made or written, or another run holds it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("w")
    except OSError as error:
        raise OutputError(f"expected a folder that can be written as output, got {root}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"another run is writing to {root}: wait for it, or choose another output") from error
        except OSError:
            pass  # a file system without locks
        yield


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content in one step."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Bring the files to the disk before the rename that declares them complete."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
