"""The tables of a run: names and types are a public contract; columns may be added, never changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import pyarrow as pa

from ops.geometry.camera import CAMERA_SIZE
from ops.render.lighting import LIGHT_SIZE


class Status(StrEnum):
    """What became of a row."""

    OK = "ok"
    REJECTED = "rejected"
    """The input is readable but unfit for reconstruction."""
    FAILED = "failed"
    """Something went wrong with it."""


class Reason(StrEnum):
    """Why; empty for ok rows without a remark."""

    NONE = ""
    UNREADABLE = "unreadable"
    TRUNCATED_VIDEO = "truncated_video"
    """The clip has fewer frames than it declares, or damaged ones; the frames that decode are used."""
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    SURPLUS = "surplus"
    """The person has more images than are used."""
    NO_FACE = "no_face"
    LOW_SCORE = "low_score"
    BAD_LANDMARKS = "bad_landmarks"
    TOO_DARK = "too_dark"
    TOO_BLURRED = "too_blurred"
    """Blurred or without contrast."""
    LOW_QUALITY = "low_quality"
    """A measure is beyond where those of good reconstructions end."""
    OTHER_PERSON = "other_person"
    """The face is not that of the person whom most images show."""
    DIVERGED = "diverged"
    TIMEOUT = "timeout"
    """A clip took longer to decode than it is given."""
    WORKER_CRASH = "worker_crash"
    """Working on it killed the process, again and again."""


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Lengths of the coefficient vectors of a bundle."""

    identity: int
    expression: int
    texture: int


def _vector(size: int) -> pa.DataType:
    return pa.list_(pa.float32(), size)


ITEMS = pa.schema(
    [
        ("shard", pa.int32()),
        ("item_id", pa.string()),
        ("identity_id", pa.string()),
        ("stem", pa.string()),
        ("uri", pa.string()),
        ("location", pa.string()),
        ("kind", pa.string()),
        ("surplus", pa.bool_()),
    ]
)
"""One row an input file, as the first stage reads it from the plan."""

PENDING = pa.schema([("shard", pa.int32())])
"""One row a shard to do: all that travels from the driver to the workers."""

_SOURCE = [
    ("image_id", pa.string()),
    ("identity_id", pa.string()),
    ("uri", pa.string()),
    ("frame_index", pa.int32()),
    ("time_s", pa.float64()),
    ("status", pa.string()),
    ("reason", pa.string()),
    ("message", pa.string()),
    ("width_px", pa.int32()),
    ("height_px", pa.int32()),
]
_FACE = [
    ("box_xyxy_px", _vector(4)),
    ("detection_score", pa.float32()),
    ("landmarks_px", _vector(136)),
    ("frame_score", pa.float32()),
]
_CROP = [
    ("crop_from_image", pa.list_(pa.float64(), 6)),
    ("landmark_shift", pa.float32()),
    ("quality", pa.float32()),
]
# Columns that travel between stages and are not part of the committed tables.
_CARRIED = [("shard", pa.int32()), ("item_id", pa.string()), ("stem", pa.string())]

DECODED = pa.schema([*_SOURCE, *_CARRIED, ("image", pa.large_binary()), ("part", pa.int32()), ("spare", pa.int32())])
"""Images and sampled frames, encoded as they came or as PNG. Of the frames of a clip, those with the same `part` stand
in for one another: `spare` 0 is used, 1 and so on replace it where it shows no usable face. Those without a `part` are
all looked at, and some of them chosen."""
DETECTED = pa.schema([*_SOURCE, *_FACE, *_CARRIED, ("image", pa.large_binary())])
ALIGNED = pa.schema(
    [*_SOURCE, *_FACE, *_CROP, *_CARRIED, ("crop_png", pa.large_binary()), ("texture_crop_png", pa.large_binary())]
)
"""`crop_png` is RGBA: the aligned crop, opaque where the image covers it; a small picture of the whole image for rows
without a crop. `texture_crop_png` is the same crop with more pixels, where a texture from photos wants them."""


def frames_schema(sizes: ModelSizes, losses: Sequence[str]) -> pa.Schema:
    """`frames.parquet`: one row an input image or sampled frame."""
    return pa.schema(
        [
            *_SOURCE,
            *_FACE,
            *_CROP,
            ("expression", _vector(sizes.expression)),
            ("camera", _vector(CAMERA_SIZE)),
            ("light", _vector(LIGHT_SIZE)),
            ("identity_similarity", pa.float32()),
            ("judge_similarity", pa.float32()),
            ("judge_similarity_crossed", pa.float32()),
            ("landmark_error", pa.float32()),
            ("loss_total", pa.float32()),
            *((f"loss_{name}", pa.float32()) for name in losses),
            ("iterations", pa.int32()),
        ]
    )


def fitted_schema(sizes: ModelSizes, losses: Sequence[str]) -> pa.Schema:
    """The fitted rows on their way to the writer.

    Identity, texture and seconds are those of the row's person, repeated on each of its ok rows; the pictures of the
    texture are on the first of them.
    """
    return pa.schema(
        [
            *frames_schema(sizes, losses),
            ("identity", _vector(sizes.identity)),
            ("texture", _vector(sizes.texture)),
            ("fit_seconds", pa.float64()),
            ("shape_std_mm", pa.float32()),
            ("texture_seen", pa.float32()),
            *_CARRIED,
            ("crop_png", pa.large_binary()),
            ("render_png", pa.large_binary()),
            ("shape_png", pa.large_binary()),
            ("texture_png", pa.large_binary()),
            ("model_texture_png", pa.large_binary()),
            ("texture_weight_png", pa.large_binary()),
        ]
    )


def identities_schema(sizes: ModelSizes) -> pa.Schema:
    """`identities.parquet`: one row per person or clip."""
    return pa.schema(
        [
            ("identity_id", pa.string()),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("message", pa.string()),
            ("n_images", pa.int32()),
            ("n_ok", pa.int32()),
            ("identity", _vector(sizes.identity)),
            ("texture", _vector(sizes.texture)),
            ("mesh_path", pa.string()),
            ("texture_path", pa.string()),
            ("identity_similarity", pa.float32()),
            ("judge_similarity", pa.float32()),
            ("landmark_error", pa.float32()),
            ("quality", pa.float32()),
            ("fit_seconds", pa.float64()),
            ("shape_std_mm", pa.float32()),
            ("texture_seen", pa.float32()),
            ("method", pa.string()),
            ("fingerprint", pa.string()),
            ("page_path", pa.string()),
        ]
    )


PICTURES = pa.schema(
    [
        ("identity_id", pa.string()),
        ("image_id", pa.string()),
        ("crop_png", pa.large_binary()),
        ("render_png", pa.large_binary()),
        ("shape_png", pa.large_binary()),
    ]
)
"""`pictures.parquet`: one row per reconstructed person, of its first usable image. The crop is opaque where the image
covers it, the render where the face covers the crop."""

COMMITTED = pa.schema([("shard", pa.int32()), ("summary", pa.string())])
"""One row a committed shard: its `_SUCCESS.json`."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One row of the stages before the fit; fields that a stage's schema lacks stay empty."""

    image_id: str
    identity_id: str
    uri: str
    shard: int
    item_id: str
    stem: str
    frame_index: int | None = None
    time_s: float | None = None
    status: str = Status.OK
    reason: str = Reason.NONE
    message: str = ""
    width_px: int | None = None
    height_px: int | None = None
    image: bytes | None = None
    part: int | None = None
    spare: int = 0
    box_xyxy_px: Sequence[float] | None = None
    detection_score: float | None = None
    landmarks_px: Sequence[float] | None = None
    frame_score: float | None = None
    """Where the best frames of a clip are chosen: how well this one shows the face, in [0, 1]."""
    crop_from_image: Sequence[float] | None = None
    landmark_shift: float | None = None
    quality: float | None = None
    crop_png: bytes | None = None
    texture_crop_png: bytes | None = None

    @property
    def ok(self) -> bool:
        """Whether later stages have work with it."""
        return self.status == Status.OK


_FRAME_FIELDS = frozenset(field.name for field in fields(Frame))


def frames_from_table(table: pa.Table) -> list[Frame]:
    """The rows of a table of `DECODED`, `DETECTED` or `ALIGNED`."""
    return [Frame(**row) for row in table.to_pylist()]


def table_from_frames(frames: Iterable[Frame], schema: pa.Schema) -> pa.Table:
    """The rows as a table of exactly the schema's columns."""
    rows = list(frames)
    unknown = set(schema.names) - _FRAME_FIELDS
    assert not unknown, f"frames have no {', '.join(sorted(unknown))}"
    columns: list[Any] = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)
