"""What there is to reconstruct: the files of an input folder or manifest, each with an id and a person."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import quote_from_bytes

from evaluation.micc import find_videos
from ops.errors import ConfigurationError
from pipeline.input.folder_files import File, files_of, is_file, single_file
from pipeline.input.listing import Item, Kind, Layout, Listing, kind_of, table_of
from pipeline.input.locations import location_of
from pipeline.input.manifests import PARQUET_SUFFIXES, TEXT_SUFFIXES, list_manifest
from pipeline.input.names import stable_id
from pipeline.input.service_files import SERVICE, is_service_path
from pipeline.storage.store import Storage, open_storage

_SPLITS = frozenset(("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"))
"""Folders that divide a data set, and are not persons."""
_NO_SUFFIX = "without suffix"
_Media = Sequence[tuple[File, Kind]]


def list_input(source: Path | str, layout: Layout = "auto", identity_field: str | None = None) -> Listing:
    """List a folder, a single file or a manifest, on a disk or in an object store.

    - `images`, `videos`, `mixed`: every photo, every clip, or both, is a person of its own, at any depth.
    - `identity-folders`: every sub-folder is a person, with all photos and clips below it; files beside the
      sub-folders are persons of their own. Where all sub-folders are called train, test or val, the folders inside
      these are the persons, and one that is in several of them is one person.
    - `manifest`: a Parquet, CSV or JSON lines file with columns `uri`, and optionally `identity_id` and `kind`.
    - `micc`: the MICC Florence data set; every clip of a subject is an identity `subject_NN/<Setting>`.
    - `auto`: a manifest for such a file; `identity-folders` where media lie in sub-folders only; else `mixed`.

    Args:
        source: a path or URI.
        layout: one of these.
        identity_field: the column of a manifest that names the person.

    Raises:
        ConfigurationError: the path does not exist, cannot be listed, has no media, or does not have the layout.
    """
    if layout not in get_args(Layout):
        raise ConfigurationError(f"expected a layout out of {', '.join(get_args(Layout))}, got {layout!r}")
    storage = open_storage(source)
    single = is_file(storage)
    is_manifest = single and str(storage).lower().endswith((*PARQUET_SUFFIXES, *TEXT_SUFFIXES))
    if layout == "manifest" or (layout == "auto" and is_manifest):
        return list_manifest(storage.uri, identity_field)
    if is_manifest:
        raise ConfigurationError(f"{storage} is a manifest: expected layout auto or manifest, got {layout}")
    if layout == "micc":
        if storage.local is None:
            raise ConfigurationError(f"{storage}: the layout micc is read from disks only, expected a folder")
        listing = _list_micc(storage.local)
    else:
        listing = _list_files(storage, single, layout)
    if not listing.items.num_rows:
        skipped = listing.skipped_text()
        raise ConfigurationError(
            f"expected photos or videos in {storage}, found none (layout {listing.layout}"
            f"{f'; {skipped}' if skipped else ''})"
        )
    return listing


def _list_files(storage: Storage, single: bool, layout: Layout) -> Listing:
    folder, files = single_file(storage) if single else (storage, files_of(storage))
    media, skipped = _media(files)
    layout, by_split = _resolved(layout, media)
    only = {"images": "image", "videos": "video"}.get(layout)
    chosen: _Media = [(file, kind) for file, kind in media if only in (None, kind)]
    skipped.update(_suffix(file) for file, kind in media if only not in (None, kind))
    depth = None if layout != "identity-folders" else 1 if by_split else 0
    table = table_of(_file_items(folder, chosen, depth))
    return Listing(items=table, layout=layout, skipped=dict(skipped), person=_described(layout, by_split, media))


def _media(files: Iterable[File]) -> tuple[_Media, Counter[str]]:
    """Photos and clips, and the number of other files by suffix."""
    media: list[tuple[File, Kind]] = []
    skipped: Counter[str] = Counter()
    for file in files:
        kind = kind_of(file.relative)
        if is_service_path(file.relative):
            skipped[SERVICE] += 1
        elif kind is None:
            skipped[_suffix(file)] += 1
        else:
            media.append((file, kind))
    return media, skipped


def _suffix(file: File) -> str:
    return os.path.splitext(file.relative)[1].lower() or _NO_SUFFIX


def _resolved(layout: Layout, media: _Media) -> tuple[Layout, bool]:
    """The layout itself for `auto`, and whether the outermost folders are parts of a data set."""
    tops = {file.relative.partition("/")[0].lower() for file, _ in media if "/" in file.relative}
    by_split = bool(tops) and tops <= _SPLITS
    if layout == "auto":
        depth = 2 if by_split else 1
        nested = bool(media) and all(file.relative.count("/") >= depth for file, _ in media)
        layout = "identity-folders" if nested else "mixed"
    return layout, by_split and layout == "identity-folders"


def _described(layout: Layout, by_split: bool, media: _Media) -> str:
    if layout == "identity-folders":
        where = "train and test folder's sub-folders" if by_split else "sub-folder"
        return f"every {where} is a person; --layout mixed makes every file a person of its own"
    if layout == "mixed" and any("/" in file.relative for file, _ in media):
        return "every file is a person of its own; --layout identity-folders makes every sub-folder a person"
    return "every file is a person of its own"


def _file_items(folder: Storage, media: _Media, person_depth: int | None) -> Iterator[Item]:
    """The items; the folder at that depth below the input is the person, where there is one."""
    for file, kind in media:
        relative = file.relative
        parts = relative.split("/")
        readable = "-".join((*parts[-2:-1], os.path.splitext(parts[-1])[0]))
        item_id = stable_id(relative, readable)
        if folder.local is not None:
            uri = location = location_of(folder.local / relative)
        else:
            uri, location = folder.location(relative, public=True), folder.location(relative)
        person = item_id
        if person_depth is not None and len(parts) > person_depth + 1:
            person = _printable(parts[person_depth])
        yield Item(
            item_id=item_id,
            identity_id=person,
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
    return Listing(items=table_of(items), layout="micc")


def _printable(name: str) -> str:
    """The name itself; percent-encoded bytes where it is not valid UTF-8, so that it can stand in a table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return quote_from_bytes(os.fsencode(name))
    return name
