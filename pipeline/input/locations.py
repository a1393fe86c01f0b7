"""Reading input files, from the local disk or from any store that Arrow's file systems reach."""

import posixpath
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa

from ops.errors import ConfigurationError, UnreadableInputError
from ops.files.filesystems import local_path_of, patiently, resolve
from pipeline.input.containers import Place, find_member, place_of, read_member

MAX_FILE_BYTES = 1 << 30
"""Photos larger than this are not read."""
_FILE_SCHEME = "file://"


def location_of(path: Path) -> str:
    """The path as text; as a percent-encoded file URI where it is not valid UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.as_uri()
    return str(path)


def local_path(location: str) -> Path | None:
    """The local path of a location, None for a remote one."""
    if location.startswith(_FILE_SCHEME):
        return Path(local_path_of(location))
    return None if "://" in location else Path(location)


def read_location(location: str) -> bytes:
    """The whole content of a regular file, or of a member of an archive.

    Raises:
        UnreadableInputError: it is missing, not a regular file, not permitted or too large.
    """
    if place := _member_place(location):
        return read_member(place)
    path = local_path(location)
    try:
        if path is None:
            return patiently(lambda: _fetch(location))
        _check_size(location, _regular_size(path))
        return path.read_bytes()
    except (OSError, ValueError, pa.ArrowException, ConfigurationError) as error:
        raise UnreadableInputError(f"cannot be read: {_one_line(error)}") from error


@contextmanager
def local_file(location: str) -> Generator[Path]:
    """The path of a local file, or of a temporary copy of a remote one or of a member of an archive.

    Raises:
        UnreadableInputError: it is missing, not a regular file or not permitted.
    """
    if place := _member_place(location):
        with _temporary(posixpath.splitext(place.name)[1]) as copy:
            copy.write_bytes(read_member(place))
            yield copy
        return
    path = local_path(location)
    if path is not None:
        try:
            _regular_size(path)
        except (OSError, ValueError) as error:
            raise UnreadableInputError(f"cannot be read: {_one_line(error)}") from error
        yield path
        return
    with _temporary(posixpath.splitext(urlsplit(location).path)[1]) as copy:
        try:
            patiently(lambda: _copy(location, copy))
        except (OSError, ValueError, pa.ArrowException, ConfigurationError) as error:
            raise UnreadableInputError(f"cannot be read: {_one_line(error)}") from error
        yield copy


@contextmanager
def _temporary(suffix: str) -> Generator[Path]:
    """A path for a copy, whose suffix says what bare JPEGs are; the copy goes at the end."""
    with tempfile.TemporaryDirectory(prefix="ganfit-") as folder:
        yield Path(folder) / f"copy{suffix if suffix[1:].isalnum() else ''}"


def _member_place(location: str) -> Place | None:
    """Where a member is; also for one that is named as in the tables, `ARCHIVE#NAME`."""
    place = place_of(location)
    if place is None and "#" in location:
        path = local_path(location)
        found = find_member(location) if path is None or not path.exists() else None
        return None if found is None else place_of(found)
    return place


def _fetch(location: str) -> bytes:
    filesystem, name = resolve(location)
    _check_size(location, filesystem.get_file_info(name).size or 0)
    with filesystem.open_input_stream(name, compression=None) as stream:
        return stream.read()


def _copy(location: str, target: Path) -> None:
    filesystem, name = resolve(location)
    with filesystem.open_input_stream(name, compression=None) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def _regular_size(path: Path) -> int:
    """Raises OSError for what is missing or would block, such as a pipe."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("not a regular file")
    return found.st_size


def _check_size(location: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise UnreadableInputError(f"{location}: {size / 1e9:.1f} GB is more than a photo can have")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
