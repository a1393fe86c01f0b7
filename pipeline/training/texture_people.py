"""From the shards of a run to what every person's photos show of the albedo, a row per person in Parquet.

::

    FOLDER/people/00042.parquet    the people of the run's shard 42: measures, and the maps of those to learn from
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ops.face.landmark_parts import outer_eye_distance
from ops.face.morphable_model import MorphableModel
from ops.files.photo import decode_png
from ops.geometry.camera import camera_from_vector
from ops.render.lighting import light_from_vector
from ops.texture.atlas import Atlas, make_atlas
from ops.texture.colour import luma_chroma_from_rgb
from ops.texture.completion import SeenTexture, merge_photos
from ops.texture.interface import TextureModel
from ops.texture.learning import SeenPerson
from ops.texture.unwrapping import FittedPhoto, Unwrapped, unwrap_photo
from ops.weights.bundle import ModelBundle, load_shape, load_texture
from pipeline.input.planner import block_of
from pipeline.run.plans import PlannedShards, read_plans
from pipeline.run.reader import Run, open_run
from pipeline.run.shards import folder_of, name_of
from pipeline.stages.alignment import AlignFaces
from pipeline.stages.child_process import ChildProcess
from pipeline.stages.frames import ReadFrames
from pipeline.stages.stage import naming
from pipeline.storage.parquet import read_table
from pipeline.storage.store import Storage, as_output_errors
from pipeline.tables.schema import DETECTED, PENDING, Frame, Status, frames_from_table, table_from_frames

PEOPLE = "people"
STEP = 2.0**-14
"""Of the stored luma and chroma: 16 bits hold luma in [0, 4) and chroma in [-2, 2)."""
SEEN = 0.3
"""Weight from which a texel counts as seen in the tables."""
Row = dict[str, Any]
pc: Any = pyarrow.compute

MEASURES = pa.schema(
    [
        ("identity_id", pa.string()),
        ("used", pa.bool_()),
        ("reason", pa.string()),
        ("held_out", pa.bool_()),
        ("photos", pa.int32()),
        ("used_photos", pa.int32()),
        ("grey", pa.bool_()),
        ("identity_similarity", pa.float32()),
        ("judge_similarity", pa.float32()),
        ("landmark_error", pa.float32()),
        ("eye_distance_px", pa.float32()),
        ("seen", pa.float32()),
        ("skin_luma", pa.float32()),
    ]
)
"""One row per person: whether it is learned from, and why not. Similarities and errors are means over its photos, the
eye distance is that of the largest; `seen` is the share of the face that they show, `skin_luma` its median luma."""
_MAPS = ("luma", "cb", "cr", "luma_weight", "chroma_weight")
SEEN_PEOPLE = pa.schema(
    [
        *MEASURES,
        ("side", pa.int32()),
        ("latent", pa.list_(pa.float32())),
        *((name, pa.large_binary()) for name in _MAPS),
    ]
)
"""The same with the fitted latent, and the maps as bytes, 16 bits per texel of the albedo and 8 of the weights; null
for people who are not used."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Who is learned from."""

    min_judge: float = 0.3
    """Least similarity of a photo to its fit, by the bundle's judge if it has one."""
    max_landmark_error: float = 0.08
    """Largest landmark error of a photo, eye distances."""
    min_eye_px: float = 24.0
    """Least distance of the outer eye corners in a photo, pixels."""
    min_seen: float = 0.15
    """Least share of the face's texels that a person's photos show."""
    hold_out: float = 0.05
    """Share of the people who are kept back to measure on, by hash of their id."""

    def holds_out(self, identity_id: str) -> bool:
        """Whether a person is kept back."""
        return draw_of(identity_id) < self.hold_out

    def refuses(self, frame: Row) -> str:
        """Why a fitted photo is not learned from; empty where it is."""
        judge, error = frame["judge_similarity"], frame["landmark_error"]
        if judge is not None and judge < self.min_judge:
            return "unlike_fit"
        if error is None or error > self.max_landmark_error:
            return "landmarks_off"
        return "eyes_too_small" if eye_distance_px(frame) < self.min_eye_px else ""


class _Loaded(NamedTuple):
    """What unwrapping needs in memory."""

    run: Run
    planned: PlannedShards
    shape: MorphableModel
    texture: TextureModel
    atlas: Atlas
    decoder: ChildProcess


@dataclass(frozen=True, kw_only=True)
class UnwrapPeople:
    """Unwraps the people of a run's shard, and writes them; gives their rows without the maps."""

    run: Storage
    folder: Storage
    """Where `people` is written."""
    bundle: ModelBundle
    """The one the run was made with."""
    selection: Selection
    side: int
    """Texels."""

    @property
    def inputs(self) -> pa.Schema:
        """Numbers of shards."""
        return PENDING

    @property
    def outputs(self) -> pa.Schema:
        """Rows per person."""
        return MEASURES

    def load(self) -> _Loaded:
        """The run, its plans and models."""
        shape = load_shape(self.bundle.shape)
        with as_output_errors(self.run):
            planned = PlannedShards(read_plans(self.run))
        return _Loaded(
            run=open_run(self.run, self.bundle),
            planned=planned,
            shape=shape,
            texture=load_texture(self.bundle.texture, shape),
            atlas=make_atlas(shape, self.side),
            decoder=ChildProcess(),
        )

    def __call__(self, loaded: _Loaded, table: pa.Table) -> pa.Table:
        """Unwrap some shards."""
        parts = [self._shard(loaded, int(shard)) for shard in table.column("shard").to_pylist()]
        return pa.concat_tables(parts).select(MEASURES.names).cast(MEASURES)

    def _shard(self, loaded: _Loaded, shard: int) -> pa.Table:
        name = people_file(shard)
        with as_output_errors(self.folder):
            if self.folder.exists(name):
                return read_table(self.folder, name, MEASURES.names)
        people = loaded.run.shard_table(folder_of(shard), "identities").to_pylist()
        frames = loaded.run.shard_table(folder_of(shard), "frames").to_pylist()
        fitted = {frame["image_id"]: frame for frame in frames if frame["status"] == Status.OK}
        aligned = aligned_frames(loaded.run, loaded.planned, shard, fitted, loaded.decoder)
        crops = {frame.image_id: decode_png(frame.crop_png) for frame in aligned if frame.crop_png is not None}
        rows: list[Row] = []
        for person in people:
            with naming(self, person["identity_id"]):
                own = [frame for frame in fitted.values() if frame["identity_id"] == person["identity_id"]]
                rows.append(self._person(loaded, person, own, crops))
        written = pa.Table.from_pylist(rows, schema=SEEN_PEOPLE)
        buffer = io.BytesIO()
        pq.write_table(written, buffer, compression="zstd")
        with as_output_errors(self.folder):
            self.folder.write(name, buffer.getvalue())
        return written

    def _person(self, loaded: _Loaded, person: Row, frames: Sequence[Row], crops: dict[str, np.ndarray]) -> Row:
        held_out = self.selection.holds_out(person["identity_id"])
        row: Row = {
            "identity_id": person["identity_id"],
            "used": False,
            "held_out": held_out,
            "photos": person["n_images"],
            "used_photos": 0,
            "side": self.side,
            **{name: _mean(frame[name] for frame in frames) for name in ("identity_similarity", "judge_similarity")},
            "landmark_error": _mean(frame["landmark_error"] for frame in frames),
            "eye_distance_px": max(map(eye_distance_px, frames), default=None),
        }
        if person["status"] != Status.OK:
            return row | {"reason": person["reason"] or person["status"]}
        if held_out:
            return row | {"reason": "held_out"}
        there = [frame for frame in frames if frame["image_id"] in crops]
        good = [frame for frame in there if not self.selection.refuses(frame)]
        if not good:
            return row | {"reason": self.selection.refuses(there[0]) if there else "unreadable"}
        with torch.no_grad():
            texture = loaded.texture(torch.tensor(person["texture"]).unsqueeze(0))[0]
            photos = [self._unwrapped(loaded, person, frame, crops[frame["image_id"]], texture) for frame in good]
        seen = merge_photos(photos)
        shown = (seen.luma_weight > SEEN) & loaded.atlas.face
        row |= {
            "used_photos": len(good),
            "grey": all(photo.grey for photo in photos),
            "seen": float(shown.sum() / loaded.atlas.face.sum()),
        }
        if row["seen"] < self.selection.min_seen:
            return row | {"reason": "seen_too_little"}
        luma = float(seen.albedo[0][shown].median())
        maps = pack_seen(seen)
        return row | {"used": True, "reason": "", "skin_luma": luma, "latent": person["texture"], **maps}

    def _unwrapped(self, loaded: _Loaded, person: Row, frame: Row, crop: np.ndarray, texture: Tensor) -> Unwrapped:
        matrix = torch.tensor(frame["crop_from_image"], dtype=torch.float64).reshape(2, 3)
        landmarks = torch.tensor(frame["landmarks_px"], dtype=torch.float64).reshape(68, 2)
        pixels = torch.from_numpy(crop.copy())
        identity, expression = torch.tensor(person["identity"]), torch.tensor(frame["expression"])
        photo = FittedPhoto(
            crop_rgb=(pixels[..., :3].permute(2, 0, 1).float() / 255).contiguous(),
            valid=pixels[..., 3] > 0,
            landmarks_px=(landmarks @ matrix[:, :2].mT + matrix[:, 2]).float(),
            vertices_mm=loaded.shape.vertices_mm(identity, expression),
            camera=camera_from_vector(torch.tensor(frame["camera"])),
            light=light_from_vector(torch.tensor(frame["light"])),
            texture=texture,
            zoom=float(torch.linalg.det(matrix[:, :2]).abs().sqrt()),
        )
        return unwrap_photo(loaded.shape, loaded.atlas, photo)


def aligned_frames(
    run: Run,
    planned: PlannedShards,
    shard: int,
    fitted: Mapping[str, Row],
    decoder: ChildProcess,
    texture_side_px: int | None = None,
) -> list[Frame]:
    """The fitted photos of a run's shard with their crops, cut anew with the landmarks of the run.

    Args:
        run: where they were fitted.
        planned: the run's plans.
        shard: its number.
        fitted: rows of `frames` by image id.
        decoder: reads the photos.
        texture_side_px: side of a second crop, for a texture from photos.
    """
    configuration = run.record["configuration"]
    items = block_of(planned.rows(shard))
    wanted = pa.array(sorted({frame["identity_id"] for frame in fitted.values()}), pa.string())
    items = items.filter(pc.is_in(items.column("identity_id"), value_set=wanted))
    if not items.num_rows:
        return []
    plan = configuration["plan"]
    read = ReadFrames(
        frames=plan["frames"],
        frame_choice=plan.get("frame_choice", "uniform"),
        clip_timeout_s=configuration["clip_timeout_s"],
    )
    decoded = [frame for frame in frames_from_table(read(decoder, items)) if frame.image_id in fitted]
    found = [_with_face(frame, fitted[frame.image_id]) for frame in decoded if frame.ok]
    align = AlignFaces(side_px=configuration["fit"]["render_px"], texture_side_px=texture_side_px)
    return frames_from_table(align(None, table_from_frames(found, DETECTED)))


def people_file(shard: int) -> str:
    """Where the people of a run's shard are, relative to the folder of a round."""
    return f"{PEOPLE}/{name_of(shard)}.parquet"


def draw_of(identity_id: str) -> float:
    """A number in [0, 1) that depends on a person's id alone: who is drawn, and who is kept back."""
    return int.from_bytes(sha256(identity_id.encode()).digest()[:6], "big") / 2**48


def eye_distance_px(frame: Row) -> float:
    """Distance of the outer eye corners of a fitted frame in the photo."""
    return outer_eye_distance(np.array(frame["landmarks_px"]).reshape(68, 2))


def pack_seen(seen: SeenTexture) -> dict[str, bytes]:
    """The maps of a person as bytes."""
    offsets = (0.0, 2.0, 2.0)
    packed: dict[str, bytes] = {}
    for name, values, offset in zip(_MAPS[:3], seen.albedo, offsets, strict=True):
        scaled = ((values + offset) / STEP).round().clamp(0, 65_535)
        packed[name] = scaled.numpy().astype("<u2").tobytes()
    for name, weight in zip(_MAPS[3:], (seen.luma_weight, seen.chroma_weight), strict=True):
        packed[name] = (weight * 255).round().clamp(0, 255).numpy().astype(np.uint8).tobytes()
    return packed


def unpack_seen(row: Row) -> SeenTexture:
    """What `pack_seen` made bytes of, to within their steps."""
    shape = (row["side"], row["side"])
    channels = [np.frombuffer(row[name], "<u2").reshape(shape).astype(np.float32) * STEP for name in _MAPS[:3]]
    weights = [np.frombuffer(row[name], np.uint8).reshape(shape).astype(np.float32) / 255 for name in _MAPS[3:]]
    albedo = torch.from_numpy(np.stack((channels[0], channels[1] - 2, channels[2] - 2)))
    return SeenTexture(albedo, torch.from_numpy(weights[0]), torch.from_numpy(weights[1]))


def seen_person(row: Row, texture: TextureModel) -> SeenPerson:
    """A used row of `SEEN_PEOPLE` as the E-step takes it; the texture model is that of the fit."""
    with torch.no_grad():
        fitted = texture(torch.tensor(row["latent"]).unsqueeze(0), row["side"])[0]
    return SeenPerson(unpack_seen(row), luma_chroma_from_rgb(fitted))


def _with_face(frame: Frame, fitted: Row) -> Frame:
    values = {name: fitted[name] for name in ("box_xyxy_px", "detection_score", "landmarks_px")}
    return Frame(**{**vars(frame), **values})


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
