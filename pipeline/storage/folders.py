"""Folders that exist complete or not at all: the one way in which shards and finished items are committed.

::

    OUT/shards/00042/...  _SUCCESS.json      complete: its marker exists; readers look at nothing else

Any number of workers may make the same folder (a task that was retried, a worker that was taken for dead): one of them
is kept as a whole, and the files of two never mix.

- On disks (`OUT/shards/.tmp-00042-1f0c9a2b`): the worker fills a folder of its own, flushes it, and renames it to its
  final name. The rename is atomic and fails where the folder exists.
- In object stores, which cannot rename: the worker uploads to a folder of its own (`OUT/staged/shards-00042-1f0c9a2b`),
  then creates `OUT/shards/00042/_COMMIT.json`, which names that folder and its files. Only the first to create it
  succeeds (`Storage.create`), and from then on nothing of another worker can become this folder. The files are copied,
  inside the store, to their final names, the marker last, and the staged ones are deleted. Whoever finds a folder
  decided and not finished does the rest: the copies are those of the one decided folder, the same bytes whoever makes
  them.

What killed runs leave behind has no marker, and the next run finishes or deletes it.
"""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.errors import OutputError
from pipeline.storage.lease import Fence
from pipeline.storage.store import Storage, as_output_errors, in_parallel

COMMIT_NAME = "_COMMIT.json"
STAGED = "staged"
_TEMPORARY = ".tmp-"


@dataclass(frozen=True, kw_only=True)
class CommittedFolders:
    """All folders of one kind in an output."""

    root: Storage
    parent: str
    """The folder they are in, such as `shards`."""
    marker: str
    """The file that makes a folder complete."""
    fence: Fence | None = None
    """Asked before each commit; None where nobody else can write."""

    def path(self, name: str) -> str:
        """A folder, relative to the output."""
        return f"{self.parent}/{name}"

    def read(self, name: str) -> bytes | None:
        """The marker of a complete folder; None where there is no such folder.

        Raises:
            OutputError: on a disk, the folder exists without its marker; anywhere, the marker cannot be read.
        """
        try:
            return self.root.read(f"{self.path(name)}/{self.marker}")
        except FileNotFoundError as error:
            if self.root.local is None or not self.root.exists(self.path(name)):
                return None
            raise self.damaged(name, error) from error
        except OSError as error:
            raise OutputError(f"{self.root}/{self.path(name)}/{self.marker} cannot be read: {error}") from error

    def damaged(self, name: str, error: Exception) -> OutputError:
        """What to say of a folder whose marker is missing or makes no sense."""
        return OutputError(
            f"{self.root}/{self.path(name)} has no readable {self.marker} ({error}): such folders are complete or "
            "absent, so this one was altered or partly copied; delete it to have it made again"
        )

    def names(self) -> list[str]:
        """The folders, in order; in object stores perhaps not yet complete ones."""
        found = (entry.name for entry in self.root.entries(self.parent) if not entry.is_file)
        return sorted(name for name in found if not name.startswith(_TEMPORARY))

    def read_all(self) -> dict[str, bytes]:
        """The markers of all complete folders: one listing, and one small file per folder.

        Raises:
            OutputError: as `read`.
        """
        names = self.names()
        contents = [self.read(name) for name in names] if self.root.local else in_parallel(self.read, names)
        return {name: content for name, content in zip(names, contents, strict=True) if content is not None}

    def remove(self, name: str) -> None:
        """Delete a complete folder."""
        local = self.root.local
        if local is None:
            self.root.remove(self.path(name))
            return
        doomed = local / self.parent / f"{_TEMPORARY}{name}-{uuid.uuid4().hex[:8]}"
        (local / self.parent / name).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def remove_leftovers(self, complete: Iterable[str]) -> int:
        """Finish or delete what killed runs left half written, and say how many they were."""
        if self.root.local is not None:
            folder = self.root.local / self.parent
            leftovers = list(folder.glob(f"{_TEMPORARY}*"))
            for path in leftovers:
                shutil.rmtree(path, ignore_errors=True)
            return len(leftovers)
        half = sorted(set(self.names()) - set(complete))
        for name in half:
            try:
                finished = self.finish(name)
            except OutputError:  # what was decided is no longer there
                finished = None
            if finished is None:
                self.root.remove(self.path(name))
        staged = [entry.name for entry in self.root.entries(STAGED) if entry.name.startswith(f"{self.parent}-")]
        for name in staged:
            self.root.remove(f"{STAGED}/{name}")
        return len(half) + len(staged)

    @contextmanager
    def writing(self, name: str) -> Generator[Path]:
        """A local folder that becomes the named one when the block ends well, and vanishes otherwise.

        The block leaves the marker in it. Where the same folder was committed meanwhile, the first one stays.

        Raises:
            LeaseLostError: another driver has taken over the output; nothing was committed.
            OutputError: the output cannot be written.
        """
        attempt = f"{name}-{uuid.uuid4().hex[:8]}"
        local = self.root.local
        with as_output_errors(self.root):
            if local is not None:
                folder = local / self.parent / f"{_TEMPORARY}{attempt}"
                folder.mkdir(parents=True)
            else:
                folder = Path(tempfile.mkdtemp(prefix="ganfit-"))
            try:
                yield folder
                if local is not None:
                    self._rename(folder, name)
                else:
                    self._stage(folder, name, f"{STAGED}/{self.parent}-{attempt}")
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _rename(self, folder: Path, name: str) -> None:
        _flush(folder)
        self._check_fence()
        try:
            folder.rename(folder.with_name(name))
        except OSError:
            if self.read(name) is None:
                raise

    def _stage(self, folder: Path, name: str, staged: str) -> None:
        files = self.root.upload(folder, staged)
        self._check_fence()
        decision = json.dumps({"staged": staged, "files": sorted(files)})
        if not self.root.create(f"{self.path(name)}/{COMMIT_NAME}", decision.encode()):
            self.root.remove(staged)
        self.finish(name)

    def finish(self, name: str) -> bytes | None:
        """The marker if the folder is complete or decided, after whatever was left to do; None where it is neither.

        Raises:
            OutputError: the folder is damaged, or decided for files that are no longer there.
        """
        found = self.read(name)
        if found is not None or self.root.local is not None:
            return found
        try:
            decision = json.loads(self.root.read(f"{self.path(name)}/{COMMIT_NAME}"))
        except FileNotFoundError:
            return None
        staged, files = str(decision["staged"]), list[str](decision["files"])
        try:
            self.root.copy([file for file in files if file != self.marker], staged, self.path(name))
            self.root.copy([self.marker], staged, self.path(name))
        except FileNotFoundError as error:
            if found := self.read(name):  # somebody else finished meanwhile, and deleted what was staged
                return found
            raise OutputError(
                f"{self.root}/{self.path(name)} was decided for {staged}, which is gone: run the same command again"
            ) from error
        self.root.remove(staged)
        return self.read(name)

    def _check_fence(self) -> None:
        if self.fence is not None:
            self.fence.check()


def _flush(folder: Path) -> None:
    """Bring the files to the disk before the rename that declares them complete."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
