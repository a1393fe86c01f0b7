"""Parquet manifests: an input that is a table of URIs."""

import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops.errors import ConfigurationError
from ops.files.filesystems import resolve
from pipeline.input.listing import Item, Listing, kind_of, table_of
from pipeline.input.names import stable_id
from pipeline.storage.store import open_storage

_COLUMNS = {
    "uri": pa.large_string(),
    "identity_id": pa.large_string(),
    "kind": pa.string(),
    "size_bytes": pa.int64(),
    "modified": pa.timestamp("ns"),
}


def list_manifest(location: str) -> Listing:
    """The rows of a Parquet file with a column `uri`.

    Optional columns: `identity_id`; `kind` (image or video); `size_bytes` and `modified` (a time), by which a later run
    notices that the content of a URI changed.

    Raises:
        ConfigurationError: it is no such file.
    """
    filesystem, path = resolve(location)
    try:
        with filesystem.open_input_file(path) as stream:
            file = pq.ParquetFile(stream)
            names = file.schema_arrow.names
            if "uri" not in names:
                raise ConfigurationError(
                    f"{location}: expected columns uri and optionally {', '.join(list(_COLUMNS)[1:])}, found "
                    f"{', '.join(names)}"
                )
            table = table_of(_items(location, file))
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{location}: not a readable Parquet manifest ({error})") from error
    if not table.num_rows:
        raise ConfigurationError(f"{location}: the manifest has no rows")
    keys, first = np.unique(table.column("item_key").to_numpy(), return_index=True)
    duplicates = table.num_rows - len(keys)
    if duplicates:
        table = table.take(np.sort(first))
    return Listing(items=table, layout="manifest", skipped=0, duplicates=duplicates)


def _items(location: str, file: pq.ParquetFile) -> Iterator[Item]:
    parent, _, _ = location.partition("?")[0].rpartition("/")
    folder = open_storage(parent + location[len(location.partition("?")[0]) :])
    present = [name for name in _COLUMNS if name in file.schema_arrow.names]
    number = 0
    for batch in file.iter_batches(batch_size=65_536, columns=present):
        columns = [_column(location, batch, name) for name in _COLUMNS]
        for uri, identity, kind, size, modified in zip(*columns, strict=True):
            if not uri:
                raise ConfigurationError(f"{location}: row {number} has no uri")
            if kind not in (None, "", "image", "video"):
                raise ConfigurationError(f"{location}: row {number}: expected kind image or video, got {kind!r}")
            remote = "://" in uri
            name = unquote(urlsplit(uri).path) if remote else uri
            item_id = stable_id(f"{uri}\0{identity or ''}", posixpath.splitext(posixpath.basename(name))[0])
            is_video = kind == "video" or (not kind and kind_of(name) == "video")
            yield Item(
                item_id=item_id,
                identity_id=identity or item_id,
                uri=uri,
                location=uri if remote else folder.location(uri),
                kind="video" if is_video else "image",
                size_bytes=size,
                modified_ns=modified,
            )
            number += 1


def _column(location: str, batch: pa.RecordBatch, name: str) -> list[Any]:
    if name not in batch.schema.names:
        return [None] * batch.num_rows
    column = batch.column(name)
    try:
        column = column.cast(_COLUMNS[name])
        return (column.cast(pa.int64()) if name == "modified" else column).to_pylist()
    except pa.ArrowException as error:
        wanted = {"size_bytes": "whole numbers", "modified": "times"}.get(name, "text")
        raise ConfigurationError(f"{location}: expected {wanted} in column {name}, found {column.type}") from error
