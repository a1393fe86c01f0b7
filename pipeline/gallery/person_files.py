"""What a shard holds for the gallery: a thumbnail of every person, and a data file for the person's page.

::

    SHARD/gallery/STEM.jpg   the best photo, and beside it the render over it
    SHARD/gallery/STEM.js    photos, renders and scores, the mesh and its texture

Pages that are opened from a disk may not read other files, but they may run scripts and show pictures. So the data is a
script that calls `ganfit.person(...)`, with pictures and numbers in base64. The mesh is the neutral face, 16 bits a
coordinate; its topology is that of the model, which the report has once.
"""

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from evaluation.contact_sheet import flattened, over
from ops.files.photo import decode_png, encode_jpeg
from pipeline.run.summary import label_of

FOLDER = "gallery"
THUMBNAIL_PX = 128
PICTURE_PX = 256
"""Longest side of the pictures on a person's page."""
TEXTURE_PX = 1024
MAX_PICTURES = 200
"""Images of a person that are shown; the rest is counted."""
DECODED_ROWS = 64
"""Rows whose pictures are kept decoded: those of a shard, usually."""
_PAPER = np.uint8(225)
_QUALITY = 85
Row = Mapping[str, Any]


def write_person(
    folder: Path,
    stem: str,
    person: Row,
    rows: Sequence[Row],
    surface: tuple[Float[np.ndarray, "vertex 3"], UInt8[np.ndarray, "row column 3"]] | None,
) -> str:
    """Write the two files of a person and return the name of the data file, relative to the shard.

    Args:
        folder: of the shard.
        stem: the person's file name without suffix.
        person: row of `identities.parquet`.
        rows: the person's fitted rows.
        surface: vertices of the neutral face in millimetres, and its texture; None where there is none.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    shown = [row for row in rows if row["crop_png"] is not None] or list(rows)
    best = max(shown, key=lambda row: (row["render_png"] is not None, row["identity_similarity"] or 0.0))
    (folder / FOLDER / f"{stem}.jpg").write_bytes(encode_jpeg(_thumbnail(best), _QUALITY))
    content = {
        "id": person["identity_id"],
        "frames": [_frame(row) for row in rows[:MAX_PICTURES]],
        "more": Counter(label_of(row["status"], row["reason"]) for row in rows[MAX_PICTURES:]),
        "mesh": None if surface is None else _mesh(*surface),
        "mesh_path": person.get("mesh_path"),
        "texture_path": person.get("texture_path"),
        "message": person["message"],
        "method": person["method"],
    }
    name = f"{FOLDER}/{stem}.js"
    (folder / name).write_text(f"ganfit.person({json.dumps(content, separators=(',', ':'))});\n")
    return name


def quantised(vertices_mm: Float[np.ndarray, "vertex 3"]) -> dict[str, Any]:
    """Vertices as 16-bit steps from the smallest of each axis: `low + step * value`, little-endian, in base64."""
    low = vertices_mm.min(0).astype(np.float64)
    step = np.maximum(vertices_mm.max(0) - low, 1e-6) / 65535
    values = np.rint((vertices_mm - low) / step).astype("<u2")
    return {"low": low.tolist(), "step": step.tolist(), "values": base64.b64encode(values.tobytes()).decode()}


def _mesh(vertices_mm: np.ndarray, texture_rgb: np.ndarray) -> dict[str, Any]:
    return quantised(vertices_mm) | {"texture": _picture(texture_rgb, TEXTURE_PX)}


def _frame(row: Row) -> dict[str, Any]:
    scores = {name: row[name] for name in ("identity_similarity", "judge_similarity", "landmark_error")}
    return {
        "id": row["image_id"],
        "uri": row["uri"],
        "time_s": row.get("time_s"),
        "status": row["status"],
        "reason": row["reason"],
        "message": row["message"],
        **{name: None if value is None else round(value, 4) for name, value in scores.items()},
        "pictures": [None if image is None else _picture(image, PICTURE_PX) for image in row_pictures(row)],
    }


class RowPictures(NamedTuple):
    """The pictures of a row over light grey, RGB; None where there is none. Not to be written to."""

    crop: UInt8[np.ndarray, "side side 3"] | None
    render: UInt8[np.ndarray, "side side 3"] | None
    """Over the crop."""
    shape: UInt8[np.ndarray, "side side 3"] | None


def row_pictures(row: Row) -> RowPictures:
    """Decode the pictures of a row, once for all who show them one after the other."""
    return _decoded(row["crop_png"], row["render_png"], row["shape_png"])


@lru_cache(maxsize=DECODED_ROWS)
def _decoded(crop_png: bytes | None, render_png: bytes | None, shape_png: bytes | None) -> RowPictures:
    crop = None if crop_png is None else flattened(decode_png(crop_png))
    if crop is None or render_png is None or shape_png is None:
        return RowPictures(crop, None, None)
    return RowPictures(crop, over(decode_png(render_png), crop), decode_png(shape_png))


def _thumbnail(row: Row) -> np.ndarray:
    blank = np.full((THUMBNAIL_PX, THUMBNAIL_PX, 3), _PAPER)
    crop, render, _ = row_pictures(row)
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    halves = [
        blank if image is None else cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (crop, render)
    ]
    return np.concatenate(halves, 1)


def _picture(image_rgb: np.ndarray, side_px: int) -> str:
    zoom = side_px / max(image_rgb.shape[:2])
    if zoom < 1:
        height, width = (max(1, round(side * zoom)) for side in image_rgb.shape[:2])
        image_rgb = np.asarray(cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_AREA))
    return base64.b64encode(encode_jpeg(np.ascontiguousarray(image_rgb), _QUALITY)).decode()
