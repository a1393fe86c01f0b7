"""What there is to reconstruct: the files of an input folder or manifest, each with an id and a person."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, get_args
from urllib.parse import quote_from_bytes, unquote

from evaluation.micc import find_videos
from ops.errors import ConfigurationError
from ops.files.filesystems import resolve
from pipeline.input.listing import Item, Kind, Layout, Listing, kind_of, table_of
from pipeline.input.locations import location_of
from pipeline.input.manifests import list_manifest
from pipeline.input.names import stable_id
from pipeline.storage.store import Storage, open_storage

_MANIFEST_SUFFIXES = (".parquet", ".pq")


class _File(NamedTuple):
    """A file of the input; size and time are None where they cannot be had."""

    relative: str
    """With `/` between parts."""
    size_bytes: int | None
    modified_ns: int | None


def list_input(source: Path | str, layout: Layout = "auto") -> Listing:
    """List a folder, a single file or a Parquet manifest, on a disk or in an object store.

    - `images`, `videos`, `mixed`: every photo, every clip, or both, is a person of its own, at any depth.
    - `identity-folders`: every sub-folder is a person, with all photos and clips below it; files beside the
      sub-folders are persons of their own.
    - `manifest`: a Parquet file with columns `uri`, and optionally `identity_id` and `kind` (image or video).
    - `micc`: the MICC Florence data set; every clip of a subject is an identity `subject_NN/<Setting>`.
    - `auto`: a manifest for a .parquet file; `identity-folders` where media lie in sub-folders only; else `mixed`.

    Raises:
        ConfigurationError: the path does not exist, cannot be listed, has no media, or does not have the layout.
    """
    if layout not in get_args(Layout):
        raise ConfigurationError(f"expected a layout out of {', '.join(get_args(Layout))}, got {layout!r}")
    storage = open_storage(source)
    is_file = _is_file(storage)
    is_manifest = is_file and str(storage).lower().endswith(_MANIFEST_SUFFIXES)
    if layout == "manifest" or (layout == "auto" and is_manifest):
        return list_manifest(storage.uri)
    if is_manifest:
        raise ConfigurationError(f"{storage} is a Parquet manifest: expected layout auto or manifest, got {layout}")
    if layout == "micc":
        if storage.local is None:
            raise ConfigurationError(f"{storage}: the layout micc is read from disks only, expected a folder")
        listing = _list_micc(storage.local)
    else:
        listing = _list_files(storage, is_file, layout)
    if not listing.items.num_rows:
        raise ConfigurationError(
            f"expected photos or videos in {storage}, found none "
            f"(layout {listing.layout}, {listing.skipped} other files)"
        )
    return listing


def _is_file(storage: Storage) -> bool:
    path = storage.local
    if path is not None:
        exists, is_file = path.exists(), path.is_file()
    else:
        try:
            filesystem, name = resolve(storage.uri)
            info = filesystem.get_file_info(name)
        except OSError as error:
            raise ConfigurationError(f"{storage}: the input cannot be reached ({error})") from error
        exists, is_file = info.type.name != "NotFound", info.is_file
    if not exists:
        raise ConfigurationError(
            f"expected a folder, a file or a Parquet manifest as input, but {storage} does not exist"
        )
    return is_file


def _list_files(storage: Storage, is_file: bool, layout: Layout) -> Listing:
    folder, files = _single(storage) if is_file else (storage, _files(storage))
    media: list[tuple[_File, Kind]] = [(file, kind) for file in files if (kind := kind_of(file.relative)) is not None]
    if layout == "auto":
        nested = bool(media) and all("/" in file.relative for file, _ in media)
        layout = "identity-folders" if nested else "mixed"
    only = {"images": "image", "videos": "video"}.get(layout)
    media = [(file, kind) for file, kind in media if only in (None, kind)]
    table = table_of(_file_items(folder, media, layout == "identity-folders"))
    return Listing(items=table, layout=layout, skipped=len(files) - len(media), duplicates=0)


def _file_items(folder: Storage, media: Iterable[tuple[_File, Kind]], person_by_folder: bool) -> Iterator[Item]:
    for file, kind in media:
        relative = file.relative
        parts = relative.split("/")
        by_folder = person_by_folder and len(parts) > 1
        readable = "-".join((*parts[-2:-1], os.path.splitext(parts[-1])[0]))
        item_id = stable_id(relative, readable)
        if folder.local is not None:
            uri = location = location_of(folder.local / relative)
        else:
            uri, location = folder.location(relative, public=True), folder.location(relative)
        yield Item(
            item_id=item_id,
            identity_id=_printable(parts[0]) if by_folder else item_id,
            uri=uri,
            location=location,
            kind=kind,
            size_bytes=file.size_bytes,
            modified_ns=file.modified_ns,
        )


def _list_micc(root: Path) -> Listing:
    """The three clips of every subject, each an identity of its own; clips that are not there have no item."""
    items: list[Item] = []
    for video in find_videos(root):
        if video.video_path is None:
            continue
        identity_id = f"{video.subject}/{video.setting.value}"
        location, found = location_of(video.video_path), video.video_path.stat()
        items.append(
            Item(
                item_id=stable_id(str(video.video_path.relative_to(root)), identity_id),
                identity_id=identity_id,
                uri=location,
                location=location,
                kind="video",
                size_bytes=found.st_size,
                modified_ns=found.st_mtime_ns,
            )
        )
    return Listing(items=table_of(items), layout="micc", skipped=0, duplicates=0)


def _printable(name: str) -> str:
    """The name itself; percent-encoded bytes where it is not valid UTF-8, so that it can stand in a table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return quote_from_bytes(os.fsencode(name))
    return name


def _single(storage: Storage) -> tuple[Storage, list[_File]]:
    """A file's folder, and the file."""
    uri, mark, query = storage.uri.partition("?") if storage.local is None else (storage.uri, "", "")
    parent, _, name = uri.rpartition("/")
    if storage.local is not None:
        found = storage.local.stat()
        return Storage(parent or "/"), [_File(name, found.st_size, found.st_mtime_ns)]
    filesystem, path = resolve(storage.uri)
    info = filesystem.get_file_info(path)
    return Storage(parent + mark + query), [_File(unquote(name), info.size, info.mtime_ns)]


def _files(storage: Storage) -> list[_File]:
    """All files at any depth, in the order of their paths."""
    if storage.local is not None:
        return sorted(_walk(storage.local))
    try:
        entries = storage.entries(recursive=True)
    except OSError as error:
        raise ConfigurationError(f"{storage}: the folder cannot be listed ({error})") from error
    return sorted(_File(entry.name, entry.size, entry.modified_ns or None) for entry in entries if entry.is_file)


def _walk(root: Path) -> Iterator[_File]:
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


def _stated(relative: str, entry: os.DirEntry[str]) -> _File:
    try:
        found = entry.stat()
    except OSError:  # a link to nowhere: listed, and found unreadable later
        return _File(relative, None, None)
    return _File(relative, found.st_size, found.st_mtime_ns)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
