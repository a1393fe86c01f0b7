"""What there is to reconstruct: the files of an input folder or manifest, each with an id and a person."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_args
from urllib.parse import quote_from_bytes

import pyarrow as pa

from evaluation.micc import find_videos
from ops.errors import ConfigurationError
from pipeline.input.container_formats.ranges import Member
from pipeline.input.containers import has_pictures, is_container, list_members, member_location
from pipeline.input.folder_files import File, files_of, is_file, single_file
from pipeline.input.listing import Item, Kind, Layout, Listing, kind_of, table_of
from pipeline.input.locations import location_of
from pipeline.input.manifests import PARQUET_SUFFIXES, TEXT_SUFFIXES, list_manifest, without_repeats
from pipeline.input.names import stable_id
from pipeline.input.service_files import SERVICE, is_service_path
from pipeline.storage.store import Storage, open_storage

_SPLITS = frozenset(("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"))
"""Folders that divide a data set, and are not persons."""
_NO_SUFFIX = "without suffix"


class _Entry(NamedTuple):
    """A photo or clip: a file of the input, or a member of an archive."""

    relative: str
    """To the input or to its archive."""
    kind: Kind
    size_bytes: int | None
    modified_ns: int | None
    container: str = ""
    """The archive, relative to the input."""
    member: Member | None = None

    @property
    def label(self) -> str | None:
        return None if self.member is None else self.member.label


def list_input(source: Path | str, layout: Layout = "auto", identity_field: str | None = None) -> Listing:
    """List a folder, a single file, archives or a manifest, on a disk or in an object store.

    Archives are tar and ZIP files, Parquet files with pictures and RecordIO pairs: one of them, or a folder with no
    photos beside them. Their members are items as files are.

    - `images`, `videos`, `mixed`: every photo, every clip, or both, is a person of its own, at any depth.
    - `identity-folders`: every sub-folder is a person, with all photos and clips below it; files beside the
      sub-folders are persons of their own. Where all sub-folders are called train, test or val, the folders inside
      these are the persons, and one that is in several of them is one person.
    - `labels`: a person is what the archive names: a label of a record, a column or a field.
    - `cluster`: as `mixed`; who is who is found out later, by recognition.
    - `manifest`: a Parquet, CSV or JSON lines file with columns `uri`, and optionally `identity_id` and `kind`.
    - `micc`: the MICC Florence data set; every clip of a subject is an identity `subject_NN/<Setting>`.
    - `auto`: a manifest for such a file; `labels` where there are any; `identity-folders` where media lie in
      sub-folders only; else `mixed`.

    Args:
        source: a path or URI.
        layout: one of these.
        identity_field: the column or field that names the person.

    Raises:
        ConfigurationError: the path does not exist, cannot be listed, has no media, or does not have the layout.
    """
    if layout not in get_args(Layout):
        raise ConfigurationError(f"expected a layout out of {', '.join(get_args(Layout))}, got {layout!r}")
    storage = open_storage(source)
    single = is_file(storage)
    is_manifest = single and _is_manifest(storage)
    if layout == "manifest" or (layout == "auto" and is_manifest):
        return list_manifest(storage.uri, identity_field)
    if is_manifest:
        raise ConfigurationError(f"{storage} is a manifest: expected layout auto or manifest, got {layout}")
    if layout == "micc":
        if storage.local is None:
            raise ConfigurationError(f"{storage}: the layout micc is read from disks only, expected a folder")
        listing = _list_micc(storage.local)
    else:
        listing = _list_files(storage, single, layout, identity_field)
    if not listing.items.num_rows:
        skipped = listing.skipped_text()
        raise ConfigurationError(
            f"expected photos or videos in {storage}, found none (layout {listing.layout}"
            f"{f'; {skipped}' if skipped else ''})"
        )
    return listing


def _is_manifest(file: Storage) -> bool:
    """By the suffix, and for Parquet by whether it has no pictures of its own."""
    name = str(file).lower()
    if not name.endswith(PARQUET_SUFFIXES):
        return name.endswith(TEXT_SUFFIXES)
    try:
        return not has_pictures(file.uri)
    except (OSError, pa.ArrowException):
        return True


def _list_files(storage: Storage, single: bool, layout: Layout, identity_field: str | None) -> Listing:
    folder, files = single_file(storage) if single else (storage, files_of(storage))
    found, containers, skipped = _sorted_out(files)
    if found:  # archives beside photos are most likely copies of them
        skipped.update(_suffix(file.relative) for file in containers)
    else:
        for file in containers:
            found.extend(_members(folder, file, identity_field, skipped))
    in_containers = bool(found) and found[0].member is not None
    if identity_field and not in_containers:
        raise ConfigurationError(
            f"{storage}: expected a manifest or archives with a field {identity_field}, found files"
        )
    layout, depth = _resolved(layout, found)
    if layout == "labels" and not any(entry.label for entry in found):
        raise ConfigurationError(f"{storage}: the layout labels needs archives that name persons")
    only = {"images": "image", "videos": "video"}.get(layout)
    skipped.update(_suffix(entry.relative) for entry in found if only not in (None, entry.kind))
    chosen = (entry for entry in found if only in (None, entry.kind))
    table = table_of(_file_items(folder, chosen, depth, layout == "labels"))
    table, repeats = without_repeats(table) if in_containers else (table, 0)
    person = _described(layout, depth, found)
    return Listing(items=table, layout=layout, skipped=dict(skipped), duplicates=repeats, person=person)


def _sorted_out(files: Iterable[File]) -> tuple[list[_Entry], list[File], Counter[str]]:
    """Photos and clips, archives, and the number of other files by suffix."""
    media: list[_Entry] = []
    containers: list[File] = []
    skipped: Counter[str] = Counter()
    for file in files:
        kind = kind_of(file.relative)
        if is_service_path(file.relative):
            skipped[SERVICE] += 1
        elif kind is not None:
            media.append(_Entry(file.relative, kind, file.size_bytes, file.modified_ns))
        elif is_container(file.relative):
            containers.append(file)
        else:
            skipped[_suffix(file.relative)] += 1
    return media, containers, skipped


def _members(folder: Storage, container: File, identity_field: str | None, skipped: Counter[str]) -> Iterator[_Entry]:
    """The photos and clips of an archive; what else is in it is counted."""
    location = _location(folder, container.relative)
    if container.relative.lower().endswith(PARQUET_SUFFIXES) and not _may_have_pictures(location):
        skipped[_suffix(container.relative)] += 1
        return
    for member in list_members(location, identity_field):
        kind = kind_of(member.name)
        kind = "image" if member.is_picture or member.is_broken else kind
        if is_service_path(member.name):
            skipped[SERVICE] += 1
        elif kind is None:
            skipped[_suffix(member.name)] += 1
        else:
            modified = container.modified_ns if member.modified_ns is None else member.modified_ns
            yield _Entry(member.name, kind, member.size_bytes, modified, container.relative, member)


def _may_have_pictures(location: str) -> bool:
    """Whether a Parquet file has pictures, or is damaged and may have had some."""
    try:
        return has_pictures(location)
    except (OSError, pa.ArrowException):
        return True


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower() or _NO_SUFFIX


def _resolved(layout: Layout, found: Sequence[_Entry]) -> tuple[Layout, int | None]:
    """The layout itself for `auto`, and how deep the folders that are persons lie, None where none are."""
    paths = [entry.relative for entry in found if entry.member is None or not entry.member.is_broken]
    tops = {path.partition("/")[0].lower() for path in paths if "/" in path}
    depth = 1 if tops and tops <= _SPLITS else 0
    if layout == "auto":
        nested = bool(paths) and all(path.count("/") > depth for path in paths)
        labelled = any(entry.label is not None for entry in found)
        layout = "labels" if labelled else "identity-folders" if nested else "mixed"
    return layout, depth if layout == "identity-folders" else None


def _described(layout: Layout, depth: int | None, found: Sequence[_Entry]) -> str:
    if layout == "identity-folders":
        where = "sub-folder of the train and test folders" if depth else "sub-folder"
        return f"every {where} is a person; --layout mixed makes every file a person of its own"
    if layout == "cluster":
        return "faces are grouped by recognition"
    if layout == "labels":
        return "every label is a person; --layout mixed makes every file a person of its own"
    text = "every file is a person of its own"
    if layout == "mixed" and any("/" in entry.relative for entry in found):
        text += "; --layout identity-folders makes every sub-folder a person"
    elif any(entry.member is not None and entry.label is None for entry in found):
        text += "; --identity-field takes persons from a column or field"
    return text


def _file_items(folder: Storage, entries: Iterable[_Entry], person_depth: int | None, by_label: bool) -> Iterator[Item]:
    """The items; the folder at that depth or the label is the person, where there is one."""
    for entry in entries:
        parts = entry.relative.split("/")
        stem = os.path.splitext(parts[-1])[0]
        if entry.member is None:
            item_id = stable_id(entry.relative, "-".join((*parts[-2:-1], stem)))
            uri, location = _public(folder, entry.relative), _location(folder, entry.relative)
        else:
            key = f"{entry.container}#{entry.relative}"
            archive = os.path.splitext(entry.container.rpartition("/")[2])[0]
            item_id = stable_id(key, f"{archive}-{stem}")
            uri = f"{_public(folder, entry.container)}#{_printable(entry.relative)}"
            location = member_location(_location(folder, entry.container), entry.member)
        person = entry.label if by_label else None
        if person_depth is not None and len(parts) > person_depth + 1:
            person = _printable(parts[person_depth])
        yield Item(
            item_id=item_id,
            identity_id=person or item_id,
            uri=uri,
            location=location,
            kind=entry.kind,
            size_bytes=entry.size_bytes,
            modified_ns=entry.modified_ns,
        )


def _location(folder: Storage, relative: str) -> str:
    return folder.location(relative) if folder.local is None else location_of(folder.local / relative)


def _public(folder: Storage, relative: str) -> str:
    return folder.location(relative, public=True) if folder.local is None else location_of(folder.local / relative)


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
