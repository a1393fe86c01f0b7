"""Files that hold many pictures: tar and ZIP archives, Parquet files with pictures, RecordIO pairs.

They are read where they are, by ranges of bytes, and never unpacked. A listing gives every member a place: a few words
that tell a worker where its bytes are. A location of a member is `member:PLACE:NAME@CONTAINER`.
"""

import os
import posixpath
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa

from ops.errors import ConfigurationError, UnreadableInputError
from ops.files.filesystems import FILE_SCHEME, local_path_of
from pipeline.input.container_formats import parquet_pictures, record_file, tar_archive, zip_archive
from pipeline.input.container_formats.ranges import Member, RangeFile

_MEMBER = "member:"
_BROKEN = "broken"
SUFFIXES = (".tar", ".zip", ".parquet", ".pq", ".rec")
_PARQUET = (".parquet", ".pq")


class Place(NamedTuple):
    """A member's location, in parts."""

    kind: str
    words: tuple[str, ...]
    name: str
    container: str


def is_container(name: str) -> bool:
    """By the suffix; a Parquet file may also be a manifest."""
    return posixpath.splitext(name)[1].lower() in SUFFIXES


def has_pictures(location: str) -> bool:
    """Whether a Parquet file has a column of pictures, and none of URIs.

    Raises:
        OSError, pa.ArrowException: it cannot be read.
    """
    with RangeFile(location) as file:
        return parquet_pictures.picture_column(file) is not None


def list_members(location: str, identity_field: str | None) -> Iterator[Member]:
    """All members; what is damaged is a member too, which cannot be read later.

    Args:
        location: of the container.
        identity_field: what names the person: a column, or a field of JSON members.

    Raises:
        ConfigurationError: the container has no such field.
    """
    list_format = _LISTERS[posixpath.splitext(location.partition("?")[0])[1].lower()]
    try:
        with RangeFile(location) as file:
            yield from list_format(file, identity_field)
    except ConfigurationError:
        raise
    except (*_ERRORS, UnreadableInputError) as error:
        message = " ".join(str(error).split())[:200] or type(error).__name__
        yield Member(name="", place=f"{_BROKEN},{quote(message, safe='')}", is_broken=True)


def member_location(container: str, member: Member) -> str:
    """Where a worker finds the member."""
    name = quote(member.name, safe="/", errors="surrogateescape")
    return f"{_MEMBER}{member.place}:{name}@{container}"


def place_of(location: str) -> Place | None:
    """The parts of a member's location; None for the location of a file."""
    if not location.startswith(_MEMBER):
        return None
    place, _, rest = location.removeprefix(_MEMBER).partition(":")
    name, _, container = rest.partition("@")
    kind, *words = place.split(",")
    return Place(kind, tuple(words), unquote(name, errors="surrogateescape"), container)


def read_member(place: Place) -> bytes:
    """The content of a member.

    Raises:
        UnreadableInputError: it is damaged, or the container has changed since it was listed.
    """
    if place.kind == _BROKEN:
        raise UnreadableInputError(f"the archive cannot be read here: {unquote(place.words[0])}")
    try:
        return _READERS[place.kind](_opened(place.container, _version(place.container)), place.name, place.words)
    except _ERRORS as error:
        _opened.cache_clear()
        raise UnreadableInputError(f"the member cannot be read: {' '.join(str(error).split())[:200]}") from error


def find_member(uri: str) -> str | None:
    """The location of a member named as in the tables, `CONTAINER#NAME`; None where it names none."""
    container, mark, name = uri.partition("#")
    while mark and not is_container(container.partition("?")[0]):
        more, mark, name = name.partition("#")
        container = f"{container}#{more}"
    return _index(container).get(name) if mark else None


@lru_cache(maxsize=2)
def _index(container: str) -> dict[str, str]:
    return {member.name: member_location(container, member) for member in list_members(container, None)}


@lru_cache(maxsize=8)
def _opened(location: str, version: tuple[int, int]) -> RangeFile:
    return RangeFile(location)


def _version(location: str) -> tuple[int, int]:
    """Changes with a local file, so that none is read by what an earlier one at its place was like."""
    path = local_path_of(location) if location.startswith(FILE_SCHEME) else location
    if "://" in path:
        return 0, 0
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


_ERRORS = (OSError, ValueError, LookupError, EOFError, ConfigurationError, pa.ArrowException, *zip_archive.ERRORS)
_LISTERS: dict[str, Callable[[RangeFile, str | None], Iterator[Member]]] = {
    ".tar": tar_archive.members,
    ".zip": zip_archive.members,
    ".rec": record_file.members,
    **dict.fromkeys(_PARQUET, parquet_pictures.members),
}
_READERS: dict[str, Callable[[RangeFile, str, tuple[str, ...]], bytes]] = {
    "tar": tar_archive.read,
    "zip": zip_archive.read,
    "rec": record_file.read,
    "parquet": parquet_pictures.read,
}
