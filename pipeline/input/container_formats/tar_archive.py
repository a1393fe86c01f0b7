"""Tar archives, such as the shards of a WebDataset: files of one sample share a name up to its first dot."""

import json
import posixpath
import tarfile
from collections.abc import Iterator
from typing import Any

from ops.errors import ConfigurationError, UnreadableInputError
from pipeline.input.container_formats.ranges import Member, RangeFile
from pipeline.input.identities import identity_text

_BLOCK = 512
_MAX_FIELDS_BYTES = 16 << 20


def members(file: RangeFile, identity_field: str | None) -> Iterator[Member]:
    """The regular files of an uncompressed archive.

    A label is the field of that name in a sample's `.json`, or the content of its file with that suffix.

    Raises:
        UnreadableInputError: the archive is damaged or compressed.
    """
    sample, label = "", None
    waiting: list[Member] = []
    try:
        with tarfile.open(fileobj=file.ahead(), mode="r:") as archive:  # type: ignore[arg-type]
            for entry in archive:
                archive.__dict__["members"] = []  # it would keep all of them
                if not entry.isreg():
                    continue
                key, suffix = _key(entry.name)
                if key != sample:
                    yield from (member._replace(label=label) for member in waiting)
                    sample, label, waiting = key, None, []
                if identity_field and suffix in ("json", identity_field) and entry.size <= _MAX_FIELDS_BYTES:
                    label = _label(archive, entry, suffix, identity_field) or label
                place = f"tar,{entry.offset_data},{entry.size},{entry.offset}"
                waiting.append(Member(entry.name, place, entry.size, int(entry.mtime * 1e9)))
            yield from (member._replace(label=label) for member in waiting)
            waiting = []
            _check_end(file, archive.offset)
    except tarfile.TarError as error:
        yield from (member._replace(label=label) for member in waiting)
        raise UnreadableInputError(f"no uncompressed tar, or a damaged one ({error})") from error


def read(file: RangeFile, name: str, words: tuple[str, ...]) -> bytes:
    """The bytes of a member.

    Raises:
        UnreadableInputError: another member is there now.
    """
    start, size, header = map(int, words)
    data = file.read(header, start - header + size)
    short = name.encode("utf-8", "surrogateescape")[-90:]
    if short not in data[: start - header] and posixpath.basename(short) not in data[: start - header]:
        raise UnreadableInputError("the archive has changed since it was listed")
    return data[start - header :]


def _key(name: str) -> tuple[str, str]:
    """The sample's name and what follows its first dot."""
    folder, base = posixpath.split(name)
    stem, _, suffix = base.partition(".")
    return f"{folder}/{stem}", suffix.lower()


def _label(archive: tarfile.TarFile, entry: tarfile.TarInfo, suffix: str, field: str) -> str | None:
    content = archive.extractfile(entry)
    assert content is not None
    text = content.read()
    try:
        if suffix != "json":
            return identity_text(text.decode().strip())
        fields: Any = json.loads(text)
        return identity_text(fields.get(field)) if isinstance(fields, dict) else None
    except ValueError as error:
        raise ConfigurationError(f"{entry.name}: the field {field} names no person ({error})") from error


def _check_end(file: RangeFile, offset: int) -> None:
    """Raises UnreadableInputError where the listing ended before the archive does."""
    if offset + _BLOCK <= file.size and any(file.read(offset, _BLOCK)):
        raise UnreadableInputError(f"the archive is damaged at byte {offset}; what follows is not listed")
    if offset > file.size:
        raise UnreadableInputError(f"the archive is cut off at byte {file.size}")
