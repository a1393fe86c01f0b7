"""Manifests: an input that is a table of URIs, as Parquet, CSV or JSON lines."""

import csv
import io
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops.errors import ConfigurationError
from ops.files.filesystems import ARROW_SCHEMES, FILE_SCHEME, local_path_of, resolve
from pipeline.input.identities import identity_text, identity_texts
from pipeline.input.listing import Item, Listing, kind_of, table_of
from pipeline.input.names import stable_id
from pipeline.storage.store import Storage, open_storage

PARQUET_SUFFIXES = (".parquet", ".pq")
TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_COLUMNS = {
    "uri": pa.large_string(),
    "identity_id": None,
    "kind": pa.string(),
    "size_bytes": pa.int64(),
    "modified": pa.timestamp("ns"),
}
_ROWS = 65_536
_MISSING = ("", "NaN", "nan", "NULL", "null")
"""What programs write into a CSV cell for nothing."""


def list_manifest(location: str, identity_field: str | None = None) -> Listing:
    """The rows of a Parquet, CSV or JSON lines file with a column `uri`.

    Optional columns: `identity_id`; `kind` (image or video); `size_bytes` and `modified` (a time), by which a later run
    notices that the content of a URI changed. The cells of a CSV file are text: an id `007` stays what it is.

    Args:
        location: of the file.
        identity_field: the column that names the person, in place of `identity_id`.

    Raises:
        ConfigurationError: it is no such file.
    """
    filesystem, path = resolve(location)
    column = identity_field or "identity_id"
    try:
        with filesystem.open_input_file(path) as stream:
            table = table_of(_items(location, _batches(location, stream, column), column))
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise ConfigurationError(f"{location}: not a readable manifest ({error})") from error
    if not table.num_rows:
        raise ConfigurationError(f"{location}: the manifest has no rows")
    table, duplicates = without_repeats(table)
    return Listing(items=table, layout="manifest", duplicates=duplicates)


def without_repeats(table: pa.Table) -> tuple[pa.Table, int]:
    """The rows whose item is not in an earlier one, and the number of the others."""
    keys, first = np.unique(table.column("item_key").to_numpy(), return_index=True)
    repeats = table.num_rows - len(keys)
    return (table.take(np.sort(first)), repeats) if repeats else (table, 0)


def _batches(location: str, stream: Any, identity_column: str) -> Iterator[pa.RecordBatch]:
    suffix = _suffix(location)
    if suffix in TEXT_SUFFIXES:
        text = io.TextIOWrapper(io.BufferedReader(stream), "utf-8-sig", newline="")
        read = _json_batches if suffix in (".jsonl", ".ndjson") else _csv_batches
        for batch in read(location, text):
            _require(location, batch.schema.names, identity_column)
            yield batch
        return
    file = pq.ParquetFile(stream)
    names = file.schema_arrow.names
    _require(location, names, identity_column)
    wanted = {*_COLUMNS, identity_column}
    yield from file.iter_batches(batch_size=_ROWS, columns=[name for name in names if name in wanted])


def _require(location: str, names: Sequence[str], identity_column: str) -> None:
    for needed in ("uri",) if identity_column == "identity_id" else ("uri", identity_column):
        if needed not in names:
            raise ConfigurationError(
                f"{location}: expected columns uri and optionally {', '.join(list(_COLUMNS)[1:])}"
                f"{'' if needed == 'uri' else f', and {needed} as --identity-field says'}, found {', '.join(names)}"
            )


def _csv_batches(location: str, lines: Any) -> Iterator[pa.RecordBatch]:
    rows = csv.reader(lines, delimiter="\t" if _suffix(location) == ".tsv" else ",")
    try:
        names = next(rows, [])
        while chunk := list(islice(rows, _ROWS)):
            cells = [[None if cell in _MISSING else cell for cell in row] for row in chunk if row]
            if not cells:
                continue
            if wrong := [row for row in cells if len(row) != len(names)]:
                raise ConfigurationError(
                    f"{location}: expected {len(names)} cells in every row, found {len(wrong[0])} in {wrong[0]}"
                )
            columns = [pa.array(column, pa.string()) for column in zip(*cells, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, names)
    except csv.Error as error:
        raise ConfigurationError(f"{location}: not a readable CSV file ({error})") from error


def _suffix(location: str) -> str:
    return posixpath.splitext(location.partition("?")[0])[1].lower()


def _json_batches(location: str, lines: Any) -> Iterator[pa.RecordBatch]:
    """Objects as columns; values that Arrow would not put into one, such as 7 and "7", become text first."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigurationError(f"{location}: line {number + 1} is no JSON ({error})") from error
        if not isinstance(row, dict):
            raise ConfigurationError(f"{location}: line {number + 1}: expected an object, found {line.strip()[:40]}")
        rows.append(row)
        if len(rows) == _ROWS:
            yield _json_batch(rows)
            rows = []
    if rows:
        yield _json_batch(rows)


def _json_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, pa.Array] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError):
            columns[name] = pa.array([value if value is None else _text(value) for value in values], pa.string())
    return pa.RecordBatch.from_pydict(columns)


def _text(value: Any) -> str | None:
    try:
        return identity_text(value)
    except ValueError:
        return json.dumps(value)


def _items(location: str, batches: Iterator[pa.RecordBatch], identity_column: str) -> Iterator[Item]:
    base, mark, query = location.partition("?")
    folder = open_storage(base.rpartition("/")[0] + mark + query)
    number = 0
    for batch in batches:
        columns = [
            _identities(location, batch, identity_column) if kind is None else _column(location, batch, name, kind)
            for name, kind in _COLUMNS.items()
        ]
        for uri, identity, kind, size, modified in zip(*columns, strict=True):
            if not uri:
                raise ConfigurationError(f"{location}: row {number} has no uri")
            if kind not in (None, "", "image", "video"):
                raise ConfigurationError(f"{location}: row {number}: expected kind image or video, got {kind!r}")
            remote = "://" in uri
            name = unquote(urlsplit(uri).path) if remote else uri
            readable = posixpath.splitext(posixpath.basename(name))[0]
            item_id = stable_id(f"{_one_spelling(uri, folder)}\0{identity or ''}", readable)
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


def _one_spelling(uri: str, folder: Storage) -> str:
    """The same text for every way to write a file's place: relative to the manifest where it lies below it."""
    if folder.local is None:
        base = f"{folder.uri.partition('?')[0]}/"
        return unquote(uri.partition("?")[0]).removeprefix(unquote(base)) if _is_arrow(uri) else uri
    path = local_path_of(uri) if uri.startswith(FILE_SCHEME) else uri
    if "://" in path:
        return unquote(uri.partition("?")[0]) if _is_arrow(uri) else uri
    return os.path.normpath(path).removeprefix(f"{folder.local}/")


def _is_arrow(uri: str) -> bool:
    """Whether quoted and unquoted text of a URI name the same object."""
    return urlsplit(uri).scheme in ARROW_SCHEMES


def _identities(location: str, batch: pa.RecordBatch, name: str) -> list[str | None]:
    if name not in batch.schema.names:
        return [None] * batch.num_rows
    return identity_texts(f"{location}: column {name}", batch.column(name))


def _column(location: str, batch: pa.RecordBatch, name: str, kind: pa.DataType) -> list[Any]:
    if name not in batch.schema.names:
        return [None] * batch.num_rows
    column = batch.column(name)
    try:
        column = column.cast(kind)
        return (column.cast(pa.int64()) if name == "modified" else column).to_pylist()
    except pa.ArrowException as error:
        wanted = {"size_bytes": "whole numbers", "modified": "times"}.get(name, "text")
        raise ConfigurationError(f"{location}: expected {wanted} in column {name}, found {column.type}") from error
