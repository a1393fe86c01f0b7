"""The shards of an output: complete folders, numbered.

::

    OUT/run.json
    OUT/shards/00042/identities.parquet  frames.parquet  meshes/  textures/  contact_sheet.png
                     pictures.parquet  _SUCCESS.json

A shard is committed when its `_SUCCESS.json` exists, which names its files and their sizes; see
`pipeline.storage.folders` for how this is guaranteed.
"""

import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pipeline.storage.folders import CommittedFolders
from pipeline.storage.lease import Fence
from pipeline.storage.store import Storage

SUCCESS_NAME = "_SUCCESS.json"
SHARDS = "shards"
MIXED = 20
"""Persons and images of a shard, and of a run, that are named."""


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
    device: str = ""
    """What the fit ran on: cpu or cuda."""
    mixed: dict[str, str] = field(default_factory=dict)
    """Persons of whose faces at least half are somebody else's, and how many; the first `MIXED` of the shard."""
    doubtful: dict[str, str] = field(default_factory=dict)
    """Images whose reconstruction did not pass the quality gate, and why; the first `MIXED` of the shard."""

    def to_json(self) -> str:
        """The content of `_SUCCESS.json`, to which the commit adds the `files` and their sizes."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is no summary.
        """
        content: Any = json.loads(text)
        try:
            return cls(**{name: value for name, value in content.items() if name != "files"})
        except (AttributeError, TypeError) as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class ShardStore:
    """The shards of one output folder."""

    root: Storage
    fence: Fence | None = None
    """Asked before each commit; None where nobody else can write."""

    @property
    def folders(self) -> CommittedFolders:
        """The shards as committed folders."""
        return CommittedFolders(root=self.root, parent=SHARDS, marker=SUCCESS_NAME, fence=self.fence)

    def summary(self, index: int) -> ShardSummary | None:
        """What a committed shard holds; None where there is no such shard.

        Raises:
            OutputError: its `_SUCCESS.json` is damaged, or, on a disk, missing from its folder.
        """
        return self._parsed(name_of(index), self.folders.read(name_of(index)))

    def finish(self, index: int) -> ShardSummary | None:
        """As `summary`; a commit that was interrupted in an object store is brought to its end."""
        return self._parsed(name_of(index), self.folders.finish(name_of(index)))

    def summaries(self) -> dict[int, ShardSummary]:
        """All committed shards, ascending: one listing, and one small file per shard.

        Raises:
            OutputError: as `summary`.
        """
        found = (self._parsed(name, text) for name, text in self.folders.read_all().items() if name.isdigit())
        return {summary.shard: summary for summary in found if summary is not None}

    def _parsed(self, name: str, text: bytes | None) -> ShardSummary | None:
        try:
            return None if text is None else ShardSummary.from_json(text)
        except ValueError as error:
            raise self.folders.damaged(name, error) from error

    def remove_leftovers(self, committed: Iterable[int]) -> int:
        """Finish or delete what killed runs left half written, and say how many they were."""
        return self.folders.remove_leftovers(map(name_of, committed))

    @contextmanager
    def writing(self, index: int) -> Generator[Path]:
        """A local folder that becomes the shard when the block ends well, and vanishes otherwise.

        The block leaves a `_SUCCESS.json` in it. Where the same shard was committed meanwhile, the first one stays.

        Raises:
            LeaseLostError: another driver has taken over the output; nothing was committed.
        """
        with self.folders.writing(name_of(index)) as folder:
            yield folder
            _name_files(folder)


def name_of(index: int) -> str:
    """The name of a shard's folder."""
    return f"{index:05d}"


def folder_of(index: int) -> str:
    """The folder of a shard, relative to the output."""
    return f"{SHARDS}/{name_of(index)}"


def _name_files(folder: Path) -> None:
    """Write into `_SUCCESS.json` which files there are."""
    marker = folder / SUCCESS_NAME
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != marker
    }
    content: dict[str, Any] = json.loads(marker.read_bytes())
    marker.write_text(json.dumps(content | {"files": files}, indent=2, sort_keys=True))
