"""What there is to reconstruct: the files of an input folder or manifest, each with an id and a person."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args
from urllib.parse import quote_from_bytes, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.micc import find_videos
from ops.errors import ConfigurationError
from pipeline.locations import location_of
from pipeline.names import stable_id

Layout = Literal["auto", "images", "videos", "mixed", "identity-folders", "manifest", "micc"]
Kind = Literal["image", "video"]

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2")
)
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mjpg", ".mjpeg", ".wmv", ".flv", ".ts", ".mts")
) | {".3gp", ".ogv"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One input file, and the person it shows."""

    item_id: str
    """Depends on the relative path or manifest row alone; safe as a file name."""
    identity_id: str
    """Folder name, the manifest's own value, or the item's id where a file is a person of its own."""
    uri: str
    """As reported in the tables."""
    location: str
    """Where to read it: an absolute path, a file URI or a remote URI."""
    kind: Kind

    @property
    def stem(self) -> str:
        """The person's file name in the output, without suffix."""
        return self.identity_id if self.identity_id == self.item_id else stable_id(self.identity_id, self.identity_id)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The items of an input, and what was left out."""

    items: tuple[Item, ...]
    layout: Layout
    """The layout that was used; never `auto`."""
    skipped: int
    """Files that are not of the wanted kind."""
    duplicates: int
    """Manifest rows that repeat an earlier one."""


def list_input(path: Path, layout: Layout = "auto") -> Listing:
    """List a folder, a single file or a Parquet manifest.

    - `images`, `videos`, `mixed`: every photo, every clip, or both, is a person of its own, at any depth.
    - `identity-folders`: every sub-folder is a person, with all photos and clips below it; files beside the
      sub-folders are persons of their own.
    - `manifest`: a Parquet file with columns `uri`, and optionally `identity_id` and `kind` (image or video).
    - `micc`: the MICC Florence data set; every clip of a subject is an identity `subject_NN/<Setting>`.
    - `auto`: a manifest for a .parquet file; `identity-folders` where media lie in sub-folders only; else `mixed`.

    Raises:
        ConfigurationError: the path does not exist, has no media, or does not have the layout.
    """
    if layout not in get_args(Layout):
        raise ConfigurationError(f"expected a layout out of {', '.join(get_args(Layout))}, got {layout!r}")
    if not path.exists():
        raise ConfigurationError(f"expected a folder, a file or a Parquet manifest as input, but {path} does not exist")
    is_manifest = path.is_file() and path.suffix.lower() in (".parquet", ".pq")
    if layout == "manifest" or (layout == "auto" and is_manifest):
        return _list_manifest(path)
    if is_manifest:
        raise ConfigurationError(f"{path} is a Parquet manifest: expected layout auto or manifest, got {layout}")
    listing = _list_micc(path.absolute()) if layout == "micc" else _list_files(path.absolute(), layout)
    if not listing.items:
        raise ConfigurationError(
            f"expected photos or videos in {path}, found none (layout {listing.layout}, {listing.skipped} other files)"
        )
    return listing


def kind_of(name: str) -> Kind | None:
    """Photo, video or neither, by the suffix of a file name."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


def _list_files(root: Path, layout: Layout) -> Listing:
    folder, relatives = (root, sorted(_walk(root))) if root.is_dir() else (root.parent, [PurePosixPath(root.name)])
    media: list[tuple[PurePosixPath, Kind]] = [
        (relative, kind) for relative in relatives if (kind := kind_of(relative.name)) is not None
    ]
    if layout == "auto":
        nested = bool(media) and all(len(relative.parts) > 1 for relative, _ in media)
        layout = "identity-folders" if nested else "mixed"
    only = {"images": "image", "videos": "video"}.get(layout)
    items = [
        _file_item(folder, relative, kind, layout == "identity-folders")
        for relative, kind in media
        if only in (None, kind)
    ]
    return Listing(items=tuple(items), layout=layout, skipped=len(relatives) - len(items), duplicates=0)


def _file_item(folder: Path, relative: PurePosixPath, kind: Kind, person_by_folder: bool) -> Item:
    location = location_of(folder / relative)
    by_folder = person_by_folder and len(relative.parts) > 1
    readable = "-".join((*relative.parts[-2:-1], relative.stem))
    item_id = stable_id(str(relative), readable)
    return Item(
        item_id=item_id,
        identity_id=_printable(str(relative).split("/")[0]) if by_folder else item_id,
        uri=location,
        location=location,
        kind=kind,
    )


def _list_micc(root: Path) -> Listing:
    """The three clips of every subject, each an identity of its own; clips that are not there have no item."""
    videos = find_videos(root)
    items = [
        Item(
            item_id=stable_id(str(video.video_path.relative_to(root)), identity_id),
            identity_id=identity_id,
            uri=location_of(video.video_path),
            location=location_of(video.video_path),
            kind="video",
        )
        for video in videos
        if video.video_path is not None and (identity_id := f"{video.subject}/{video.setting.value}")
    ]
    return Listing(items=tuple(items), layout="micc", skipped=0, duplicates=0)


def _printable(name: str) -> str:
    """The name itself; percent-encoded bytes where it is not valid UTF-8, so that it can stand in a table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return quote_from_bytes(os.fsencode(name))
    return name


def _walk(root: Path) -> Iterator[PurePosixPath]:
    """Relative paths of all files, each folder once: real folders first, then what is reached by links alone."""
    seen: set[tuple[int, int]] = set()
    pending = [PurePosixPath()]
    links: list[PurePosixPath] = []
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
            if entry.is_dir(follow_symlinks=False):
                pending.append(relative / entry.name)
            elif entry.is_symlink() and _is_folder(entry):
                links.append(relative / entry.name)
            else:
                yield relative / entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _list_manifest(path: Path) -> Listing:
    table = _read_manifest(path)
    rows = zip(*(table.column(name).to_pylist() for name in ("uri", "identity_id", "kind")), strict=True)
    items = {item.item_id: item for item in _manifest_items(path, rows)}
    if not items:
        raise ConfigurationError(f"{path}: the manifest has no rows")
    return Listing(items=tuple(items.values()), layout="manifest", skipped=0, duplicates=table.num_rows - len(items))


def _read_manifest(path: Path) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path}: not a readable Parquet manifest ({error})") from error
    if "uri" not in table.column_names:
        raise ConfigurationError(
            f"{path}: expected columns uri and optionally identity_id and kind, found {', '.join(table.column_names)}"
        )
    columns: list[pa.ChunkedArray] = []
    for name in ("uri", "identity_id", "kind"):
        column = table.column(name) if name in table.column_names else pa.chunked_array([pa.nulls(table.num_rows)])
        try:
            columns.append(column.cast(pa.string()))
        except pa.ArrowException as error:
            raise ConfigurationError(f"{path}: expected text in column {name}, found {column.type}") from error
    return pa.table(columns, names=["uri", "identity_id", "kind"])


def _manifest_items(path: Path, rows: Iterable[tuple[str | None, str | None, str | None]]) -> Iterator[Item]:
    folder = path.absolute().parent
    for number, (uri, identity, kind) in enumerate(rows):
        if not uri:
            raise ConfigurationError(f"{path}: row {number} has no uri")
        if kind not in (None, "", "image", "video"):
            raise ConfigurationError(f"{path}: row {number}: expected kind image or video, got {kind!r}")
        remote = "://" in uri
        name = unquote(urlsplit(uri).path) if remote else uri
        item_id = stable_id(f"{uri}\0{identity or ''}", PurePosixPath(name).stem)
        yield Item(
            item_id=item_id,
            identity_id=identity or item_id,
            uri=uri,
            location=uri if remote else str(folder / uri),
            kind="video" if kind == "video" or (not kind and kind_of(name) == "video") else "image",
        )
