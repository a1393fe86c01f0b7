"""Items to embeddings of their faces: the pass that finds out who is who, before anything is planned."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops.face.clustering import unit_rows
from ops.files.photo import decode_photo
from ops.networks.recognition import RecognitionNetwork
from ops.reconstruction.face_choice import face_crop
from ops.reconstruction.strangers import embed_both_ways
from ops.weights.bundle import load_recognition
from ops.weights.models import ModelRef
from pipeline.run.groups import FACES, FACES_FILE, FACES_MARKER, block_name, face_folders
from pipeline.stages.stage import naming
from pipeline.storage.lease import Fence
from pipeline.storage.store import Storage
from pipeline.tables.schema import DETECTED, Frame, frames_from_table

EMBEDDED = pa.schema(
    [
        ("shard", pa.int32()),
        ("item_id", pa.string()),
        ("identity_id", pa.string()),
        ("embedding", pa.list_(pa.float32())),
    ]
)
"""One row an item. In this pass an item's person is the item itself, in its present version: see `face_keys`."""
STORED = pa.schema([("shard", pa.int32()), ("items", pa.int32()), ("faces", pa.int32())])
"""One row a stored block: its number, its items, and how many of them show a face."""


@dataclass(frozen=True, kw_only=True)
class EmbedItems:
    """Gives one embedding per item, the mean over the usable frames of a clip; null where there is no usable face."""

    recognition: ModelRef

    @property
    def inputs(self) -> pa.Schema:
        """Images with faces."""
        return DETECTED

    @property
    def outputs(self) -> pa.Schema:
        """Embeddings."""
        return EMBEDDED

    def load(self) -> RecognitionNetwork:
        """The network, on the CPU."""
        return load_recognition(self.recognition, ())

    def __call__(self, loaded: RecognitionNetwork, table: pa.Table) -> pa.Table:
        """Embed the faces of a block."""
        rows_of: dict[str, list[Frame]] = {}
        for row in frames_from_table(table):
            rows_of.setdefault(row.item_id, []).append(row)
        return embedded_table([self._embed(loaded, rows) for rows in rows_of.values()])

    def _embed(self, recognition: RecognitionNetwork, rows: Sequence[Frame]) -> dict[str, Any]:
        embeddings: list[np.ndarray] = []
        for row in rows:
            if row.ok and row.image is not None:
                with naming(self, row.image_id):
                    photo = decode_photo(row.image)
                    landmarks = np.array(row.landmarks_px).reshape(68, 2) / (row.width_px or 1)
                    embeddings.append(
                        embed_both_ways(recognition, face_crop(photo.image_rgb, landmarks * photo.image_rgb.shape[1]))
                    )
        first = rows[0]
        mean = unit_rows(unit_rows(np.stack(embeddings)).mean(0, keepdims=True))[0] if embeddings else None
        return {"shard": first.shard, "item_id": first.item_id, "identity_id": first.identity_id, "embedding": mean}


@dataclass(frozen=True, kw_only=True)
class StoreFaces:
    """Commits the embeddings of a block to the output."""

    root: Storage
    fence: Fence | None
    fingerprint: str

    @property
    def inputs(self) -> pa.Schema:
        """Embeddings."""
        return EMBEDDED

    @property
    def outputs(self) -> pa.Schema:
        """What was stored."""
        return STORED

    def load(self) -> None:
        """Nothing is needed."""

    def __call__(self, loaded: None, table: pa.Table) -> pa.Table:
        """Write one block as one folder."""
        block = int(table.column("shard")[0].as_py())
        counts = {"items": table.num_rows, "faces": table.num_rows - table.column("embedding").null_count}
        with face_folders(self.root, self.fence).writing(block_name(self.fingerprint, block)) as folder:
            columns = [table.column("identity_id"), table.column("embedding")]
            pq.write_table(pa.Table.from_arrays(columns, schema=FACES), folder / FACES_FILE)
            (folder / FACES_MARKER).write_text(json.dumps(counts))
        return pa.table({"shard": [block], **{name: [count] for name, count in counts.items()}}, schema=STORED)


def embedded_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of `EMBEDDED`."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=EMBEDDED)


def give_up_faces(items: pa.Table, message: str) -> pa.Table:
    """The result for items that cannot be worked on: no face. The run meets them again, and says what is wrong."""
    columns = ("shard", "item_id", "identity_id")
    return embedded_table([{name: row[name] for name in columns} for row in items.to_pylist()])
