"""The folder of what is under way inside a model directory: one process at a time, and nothing half put in place."""

import fcntl
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ops.errors import AlteredModelFileError
from ops.weights.download import Progress, unwritable
from ops.weights.registry import sha256_of
from ops.weights.sources import ModelFile

DOWNLOADS_FOLDER = ".downloads"
"""Inside the model directory; it is gone when nothing is under way."""
_LOCK = "lock"
_PARTS = ".part"
_ADVICE = "run the same command again; if it stays so, what is there was changed or damaged: do not use it"


@dataclass(frozen=True)
class Placement:
    """A model directory and its folder of what is under way."""

    model_dir: Path
    folder: Path

    def part(self, name: str) -> Path:
        """Where a download grows; it is kept when the download is cut off."""
        return self.folder / f"{name}{_PARTS}"

    def fresh(self, item: ModelFile) -> Path:
        """Where a file is made before it is put in place."""
        return self.folder / f"{item.filename}.new"

    def put(self, item: ModelFile, fresh: Path, origin: str) -> None:
        """Move a new file into place, if it is the registered one.

        Raises:
            AlteredModelFileError: it is another one.
            ModelFileError: it cannot be moved there.
        """
        try:
            sha256_check(item.sha256, origin)(fresh)
        except AlteredModelFileError:
            fresh.unlink()
            raise
        target = self.model_dir / item.filename
        try:
            os.replace(fresh, target)
        except OSError as error:
            raise unwritable(target, error) from error


def is_there(item: ModelFile, model_dir: Path) -> bool:
    """Whether the model directory holds the file, unaltered."""
    path = model_dir / item.filename
    return path.is_file() and sha256_of(path) == item.sha256


def sha256_check(sha256: str, origin: str) -> Callable[[Path], None]:
    """A check that raises AlteredModelFileError for a file with another checksum."""

    def check(path: Path) -> None:
        found = sha256_of(path)
        if found != sha256:
            raise AlteredModelFileError(f"{origin}: expected sha256 {sha256}, found {found}\n  to do: {_ADVICE}")

    return check


@contextmanager
def placing(model_dir: Path, progress: Progress) -> Generator[Placement]:
    """The model directory for this process alone: others wait until it is done.

    Afterwards nothing is left of what was under way but downloads that were cut off.

    Raises:
        ModelFileError: the model directory cannot be written.
    """
    folder = model_dir / DOWNLOADS_FOLDER
    try:
        lock = _locked(folder, progress)
    except OSError as error:
        raise unwritable(Path(error.filename or folder), error) from error
    with os.fdopen(lock, "w"):
        try:
            yield Placement(model_dir, folder)
        finally:
            _tidy(folder)


def _locked(folder: Path, progress: Progress) -> int:
    """An open file that this process alone holds locked until it is closed."""
    while True:
        with suppress(FileExistsError):  # exist_ok would look again, when another process may have tidied up
            folder.mkdir(parents=True)
        path = folder / _LOCK
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another process has tidied up in between
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"another process fetches into {folder.parent}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)


def _tidy(folder: Path) -> None:
    """Delete everything but parts; the lock last, and only where nothing is left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix != _PARTS and path.name != _LOCK:
            path.unlink(missing_ok=True)
    if [path.name for path in folder.iterdir()] == [_LOCK]:
        (folder / _LOCK).unlink()
        with suppress(OSError):  # another process may have come
            folder.rmdir()
