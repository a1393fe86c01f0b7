"""Parquet files with a column of encoded pictures: plain bytes, or bytes and path as data sets of Hugging Face have."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from ops.errors import ConfigurationError, UnreadableInputError
from pipeline.input.container_formats.ranges import Member, RangeFile
from pipeline.input.identities import identity_texts

_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "photo", "picture", "content", "bytes")
"""Columns that are preferred where there are several."""
_MAX_GROUP_BYTES = 256 << 20
"""A column of a row group is kept in memory up to this size; in a larger one every row is looked for anew."""
_ROWS = 16_384


def picture_column(file: RangeFile) -> str | None:
    """The column of pictures; None where there is none, or a column `uri`.

    Raises:
        OSError, pa.ArrowException: the file cannot be read.
    """
    schema = pq.ParquetFile(file.raw).schema_arrow
    found = [field.name for field in schema if _is_bytes(field.type) or _has_bytes(field.type)]
    if "uri" in schema.names or not found:
        return None
    return next((name for name in _NAMES if name in found), found[0])


def members(file: RangeFile, identity_field: str | None) -> Iterator[Member]:
    """A member for every row, named by its number.

    Raises:
        ConfigurationError: there is no column of pictures or of that name.
    """
    parquet = pq.ParquetFile(file.raw)
    column, names = picture_column(file), parquet.schema_arrow.names
    if column is None or (identity_field and identity_field not in names):
        wanted = identity_field if column else "with pictures"
        raise ConfigurationError(f"{file.location}: expected a column {wanted}, found {', '.join(names)}")
    person = identity_field or ("identity_id" if "identity_id" in names else None)
    number = 0
    for group in range(parquet.num_row_groups):
        count = parquet.metadata.row_group(group).num_rows
        labels: list[str | None] = [None] * count
        if person:
            values = parquet.read_row_group(group, columns=[person]).column(person).combine_chunks()
            labels = identity_texts(f"{file.location}: column {person}", values)
        for row, label in enumerate(labels):
            place = f"parquet,{group},{row},{quote(column, safe='')},{file.size}"
            yield Member(f"{number:08d}", place, label=label, is_picture=True)
            number += 1


def read(file: RangeFile, name: str, words: tuple[str, ...]) -> bytes:
    """The picture of a row.

    Raises:
        UnreadableInputError: the row has none, or the file has changed since it was listed.
    """
    group, row, size = int(words[0]), int(words[1]), int(words[3])
    if file.size != size:
        raise UnreadableInputError("the file has changed since it was listed")
    value = _value(file, group, row, unquote(words[2]))
    data = value.get("bytes") if isinstance(value, dict) else value
    if not data:
        raise UnreadableInputError("the row has no picture")
    return data


def _value(file: RangeFile, group: int, row: int, column: str) -> Any:
    parquet = _opened(file)
    size = sum(
        chunk.total_uncompressed_size
        for chunk in map(parquet.metadata.row_group(group).column, range(parquet.metadata.num_columns))
        if chunk.path_in_schema.partition(".")[0] == column
    )
    if size <= _MAX_GROUP_BYTES:
        return _group(parquet, group, column)[row].as_py()
    for batch in parquet.iter_batches(batch_size=16, row_groups=[group], columns=[column]):
        if row < batch.num_rows:
            return batch.column(0)[row].as_py()
        row -= batch.num_rows
    raise UnreadableInputError("the row is not there")


@lru_cache(maxsize=4)
def _opened(file: RangeFile) -> pq.ParquetFile:
    return pq.ParquetFile(file.raw)


@lru_cache(maxsize=1)
def _group(parquet: pq.ParquetFile, group: int, column: str) -> pa.ChunkedArray:
    return parquet.read_row_group(group, columns=[column]).column(0)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _has_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(field.name == "bytes" and _is_bytes(field.type) for field in kind.fields)
