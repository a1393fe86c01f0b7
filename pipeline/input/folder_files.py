"""The files of a folder, on a disk or in an object store, with their sizes and times."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ops.errors import ConfigurationError
from ops.files.filesystems import resolve
from pipeline.storage.store import Storage


class File(NamedTuple):
    """A file; size and time are None where they cannot be had."""

    relative: str
    """With `/` between parts."""
    size_bytes: int | None
    modified_ns: int | None


def is_file(storage: Storage) -> bool:
    """Whether it is a file and no folder.

    Raises:
        ConfigurationError: there is neither, or the store cannot be reached.
    """
    path = storage.local
    if path is not None:
        exists, found = path.exists(), path.is_file()
    else:
        try:
            filesystem, name = resolve(storage.uri)
            info = filesystem.get_file_info(name)
        except OSError as error:
            raise ConfigurationError(f"{storage}: the input cannot be reached ({error})") from error
        exists, found = info.type.name != "NotFound", info.is_file
    if not exists:
        raise ConfigurationError(
            f"expected a folder, a file, an archive or a manifest as input, but {storage} does not exist"
        )
    return found


def single_file(storage: Storage) -> tuple[Storage, list[File]]:
    """A file's folder, and the file."""
    uri, mark, query = storage.uri.partition("?") if storage.local is None else (storage.uri, "", "")
    parent, _, name = uri.rpartition("/")
    if storage.local is not None:
        found = storage.local.stat()
        return Storage(parent or "/"), [File(name, found.st_size, found.st_mtime_ns)]
    filesystem, path = resolve(storage.uri)
    info = filesystem.get_file_info(path)
    return Storage(parent + mark + query), [File(unquote(name), info.size, info.mtime_ns)]


def files_of(storage: Storage) -> list[File]:
    """All files at any depth, in the order of their paths."""
    if storage.local is not None:
        return sorted(_walk(storage.local))
    try:
        entries = storage.entries(recursive=True)
    except OSError as error:
        raise ConfigurationError(f"{storage}: the folder cannot be listed ({error})") from error
    return sorted(File(entry.name, entry.size, entry.modified_ns or None) for entry in entries if entry.is_file)


def _walk(root: Path) -> Iterator[File]:
    """All files, each folder once: real folders first, then what is reached by links alone."""
    seen: set[tuple[int, int]] = set()
    pending = [""]
    links: list[str] = []
    while pending or links:
        relative = pending.pop() if pending else links.pop(0)
        try:
            found = (root / relative).stat()
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            entries = sorted(os.scandir(root / relative), key=lambda entry: entry.name)
        except OSError as error:
            raise ConfigurationError(f"{root / relative}: the folder cannot be listed ({error.strerror})") from error
        for entry in entries:
            name = f"{relative}/{entry.name}" if relative else entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(name)
            elif entry.is_symlink() and _is_folder(entry):
                links.append(name)
            else:
                yield _stated(name, entry)


def _stated(relative: str, entry: os.DirEntry[str]) -> File:
    try:
        found = entry.stat()
    except OSError:  # a link to nowhere: listed, and found unreadable later
        return File(relative, None, None)
    return File(relative, found.st_size, found.st_mtime_ns)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
