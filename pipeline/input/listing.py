"""What a listing of the input holds: one row per file, as Arrow columns so that ten million of them fit into memory."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute

from pipeline.input.names import stable_id

Layout = Literal["auto", "images", "videos", "mixed", "identity-folders", "labels", "cluster", "manifest", "micc"]
Kind = Literal["image", "video"]

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2")
) | {".heic", ".heif", ".hif", ".avif"}
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mjpg", ".mjpeg", ".wmv", ".flv", ".ts", ".mts")
) | {".3gp", ".ogv"}
_BATCH = 65_536
_SHOWN_SUFFIXES = 8
pc: Any = pyarrow.compute
LISTED = pa.schema(
    [
        ("item_id", pa.large_string()),
        ("item_key", pa.uint64()),
        ("identity_id", pa.large_string()),
        ("uri", pa.large_string()),
        ("location", pa.large_string()),
        ("kind", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_ns", pa.int64()),
    ]
)
"""`item_key` is the number at the end of the id; `location` is null where it equals `uri`; sizes and times are null
where the input does not tell them."""


class Item(NamedTuple):
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
    size_bytes: int | None = None
    modified_ns: int | None = None
    """Nanoseconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The items of an input, and what was left out."""

    items: pa.Table
    """Rows of `LISTED`, no item twice."""
    layout: Layout
    """The layout that was used; never `auto`."""
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    """Files that are no input, counted by suffix."""
    duplicates: int = 0
    """Manifest rows or members of an archive that repeat an earlier one."""
    person: str = ""
    """What the layout takes for a person, and how to say otherwise."""

    def skipped_text(self) -> str:
        """The counts in a line, the largest first; empty where there are none."""
        largest = sorted(self.skipped.items(), key=lambda pair: (-pair[1], pair[0]))
        counted = [f"{count} {suffix}" for suffix, count in largest[:_SHOWN_SUFFIXES]]
        if rest := sum(count for _, count in largest[_SHOWN_SUFFIXES:]):
            counted.append(f"{rest} others")
        return f"{sum(self.skipped.values())} other files skipped: {', '.join(counted)}" if counted else ""

    def largest_persons(self, count: int) -> list[tuple[str, int]]:
        """The persons with the most files, and how many these are."""
        counted: Any = pc.value_counts(self.items.column("identity_id"))
        names, numbers = counted.field("values"), counted.field("counts")
        order = pc.sort_indices(
            pa.table({"number": numbers, "name": names}), sort_keys=[("number", "descending"), ("name", "ascending")]
        )
        return list(zip(names.take(order[:count]).to_pylist(), numbers.take(order[:count]).to_pylist(), strict=True))


def table_of(items: Iterable[Item]) -> pa.Table:
    """Items as columns; never more than a few of them exist as objects."""
    return pa.Table.from_batches(_batches(iter(items)), LISTED)


def kind_of(name: str) -> Kind | None:
    """Photo, video or neither, by the suffix of a file name."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


def stem_of(item_id: str, identity_id: str) -> str:
    """The person's file name in the output, without suffix; safe whatever the person is called."""
    return identity_id if identity_id == item_id else stable_id(identity_id, identity_id)


def _batches(items: Iterator[Item]) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(items, _BATCH)):
        ids, identities, uris, locations, kinds, sizes, times = zip(*chunk, strict=True)
        columns: list[Any] = [
            ids,
            [int(item_id[-16:], 16) for item_id in ids],
            identities,
            uris,
            [None if location == uri else location for location, uri in zip(locations, uris, strict=True)],
            kinds,
            sizes,
            times,
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, LISTED, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=LISTED)
