"""Reading Parquet files of an output, wherever it lies."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.store import Storage


def read_table(root: Storage, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns of a file, or all."""
    filesystem, base = root.filesystem()

    def read() -> pa.Table:
        with filesystem.open_input_file(f"{base}/{name}") as file:
            return pq.ParquetFile(file).read(None if columns is None else list(columns))

    return root.patiently(read)
