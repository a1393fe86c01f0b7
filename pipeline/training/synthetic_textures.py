"""Sets of painted UV maps: what texture generators are trained on and texture models are measured with.

::

    maps/00042/00042137.png      map number 42137
    manifest.parquet             uri (relative), number, appearance (JSON: everything the painter was given)
    textures.json                format, UV layout, side, seed, count
    texel_weight.npy             how much every texel counts where principal components are chosen

A map depends on the settings and its number alone, not on how many there are or how many processes paint.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ops.errors import FingerprintMismatchError, OutputError
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.canonical import CanonicalMap
from ops.texture.procedural import canvas_for, sample_painted_face, texel_weight, wears_hair
from ops.training.texture_maps import WEIGHT_FILE
from pipeline.stages.child_process import map_in_processes

FORMAT = "ganfit-uv-maps-1"
RECORD_FILE, MANIFEST_FILE, MAPS_DIR = "textures.json", "manifest.parquet", "maps"
MAPS_A_FOLDER = 1000
MAPS_A_TASK = 250
JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class SyntheticTextureSettings:
    """What decides the content of every map; their number does not: more can be added later."""

    side: int = 512
    """Texels."""
    seed: int = 1
    """Another seed gives other faces."""
    image_format: Literal["png", "jpg"] = "png"
    plain: bool = False
    """Faces without spots, pores and streaks, see `ops.texture.procedural.sample_painted_face`."""


def write_synthetic_textures(
    model: MorphableModel,
    folder: Path,
    count: int,
    settings: SyntheticTextureSettings,
    processes: int,
    report: Callable[[str], None],
) -> None:
    """Paint maps 0 to count - 1 on a model's layout; those already there are kept.

    Raises:
        ConfigurationError: the layout cannot be painted.
        FingerprintMismatchError: the folder holds maps of other settings.
        OutputError: it holds something else.
    """
    record = {"format": FORMAT, "uv_layout": model.metadata.uv_layout, **dataclasses.asdict(settings)}
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, record)
    missing = [number for number in range(count) if not map_path(folder, number, settings).is_file()]
    size = max(1, min(MAPS_A_TASK, -(-len(missing) // processes)))
    tasks = [missing[start : start + size] for start in range(0, len(missing), size)]
    canvas = canvas_for(model, settings.side)
    np.save(folder / WEIGHT_FILE, texel_weight(canvas))
    paint = partial(_paint_maps, canvas, wears_hair(model), folder, settings)
    done = count - len(missing)
    for painted in map_in_processes(paint, tasks, processes):
        done += painted
        report(f"{done} of {count} maps")
    _write_manifest(folder, model, count, settings)
    _write_text(folder / RECORD_FILE, {**record, "count": count})


def map_path(folder: Path, number: int, settings: SyntheticTextureSettings) -> Path:
    """Where a map lies."""
    name = f"{number:08d}.{settings.image_format}"
    return folder / MAPS_DIR / f"{number // MAPS_A_FOLDER:05d}" / name


def _claim(folder: Path, record: Mapping[str, object]) -> None:
    path = folder / RECORD_FILE
    if not path.is_file():
        if any(folder.iterdir()):
            raise OutputError(f"expected an empty folder or one of an earlier run, {folder} holds something else")
        _write_text(path, record)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    differing = [key for key, value in record.items() if found.get(key) != value]
    if differing:
        raise FingerprintMismatchError(
            f"{folder} holds maps of another kind; they differ in "
            + ", ".join(f"{key} (there {found.get(key)!r}, here {record[key]!r})" for key in differing)
            + ": choose another folder"
        )


def _paint_maps(
    canvas: CanonicalMap, hair: bool, folder: Path, settings: SyntheticTextureSettings, numbers: list[int]
) -> int:
    painter = AlbedoPainter(canvas)
    for number in numbers:
        path = map_path(folder, number, settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng((settings.seed, number))
        albedo = painter(sample_painted_face(rng, hair=hair, plain=settings.plain))
        pixels = (albedo.transpose(1, 2, 0) * 255).round().astype(np.uint8)
        partial_path = path.with_name(f"{path.name}.partial")
        name = {"png": "PNG", "jpg": "JPEG"}[settings.image_format]
        Image.fromarray(pixels).save(partial_path, name, quality=JPEG_QUALITY)
        partial_path.replace(path)
    return len(numbers)


def _write_manifest(folder: Path, model: MorphableModel, count: int, settings: SyntheticTextureSettings) -> None:
    hair = wears_hair(model)
    faces = [
        sample_painted_face(np.random.default_rng((settings.seed, number)), hair=hair, plain=settings.plain)
        for number in range(count)
    ]
    table = pa.table(
        {
            "uri": [map_path(folder, n, settings).relative_to(folder).as_posix() for n in range(count)],
            "number": pa.array(range(count), pa.int32()),
            "appearance": [json.dumps(dataclasses.asdict(face)) for face in faces],
        }
    )
    path = folder / MANIFEST_FILE
    pq.write_table(table, path.with_name(f"{path.name}.partial"))
    path.with_name(f"{path.name}.partial").replace(path)


def _write_text(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(dict(content), indent=2) + "\n", encoding="utf-8")
