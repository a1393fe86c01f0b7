"""Samples for the regressor: from a data set by the pipeline's own detection and alignment, or from a finished run.

Every shard becomes one part of a sample set (`ops.training.regressor_samples`) with its counts beside it; parts that
are there are kept, so an interrupted preparation continues.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from ops.errors import ConfigurationError, InputError
from ops.files.photo import decode_photo, decode_png
from ops.files.video import read_frames
from ops.fit.parameters import LIGHT_UNITS
from ops.reconstruction.detection import DetectionConfig
from ops.reconstruction.fitting import seed_of
from ops.texture.interface import TextureModel
from ops.training.regressor_samples import CROP_PX, TEXTURE_PX, RegressorSamples, crop_sample, write_part
from ops.weights.bundle import ModelBundle, ModelRef, load_shape, load_texture
from ops.weights.registry import verify
from pipeline.cluster.session import ClusterConfig, local_cpus, ray_session
from pipeline.input.locations import local_file, read_location
from pipeline.input.planner import PlanConfig, block_of, plan_shards
from pipeline.input.sources import list_input
from pipeline.run.reader import Run, open_run
from pipeline.run.record import RUN_FILE
from pipeline.run.shards import folder_of, name_of
from pipeline.stages.alignment import AlignFaces
from pipeline.stages.detection import DetectFaces
from pipeline.stages.frames import ReadFrames
from pipeline.stages.models import model_sizes
from pipeline.stages.stage import Fused, Placement, Stage, apply_stage, naming
from pipeline.tables.schema import ALIGNED, PENDING, Frame, ModelSizes, Status, frames_from_table

Say = Callable[[str], None]
COUNTS_NAME = "counts.json"
SAMPLED = pa.schema([("shard", pa.int32()), ("counts", pa.string())])
"""One row a part: how many images became samples, and why others did not, as JSON."""


class RunSource(NamedTuple):
    """What sampling a run needs in memory."""

    run: Run
    texture: TextureModel
    """Turns coefficients into what is learned."""


class _Known(NamedTuple):
    """What a fit found of an image, NaN where nothing is known."""

    identity: np.ndarray
    expression: np.ndarray
    light: np.ndarray
    texture: np.ndarray


@dataclass(frozen=True, kw_only=True)
class WriteSamples:
    """Writes the aligned faces of a shard as a part, without known parameters."""

    folder: Path
    sizes: ModelSizes

    @property
    def inputs(self) -> pa.Schema:
        """Aligned crops."""
        return ALIGNED

    @property
    def outputs(self) -> pa.Schema:
        """Counts."""
        return SAMPLED

    def load(self) -> None:
        """Nothing is needed."""

    def __call__(self, loaded: None, table: pa.Table) -> pa.Table:
        """Write one part."""
        rows = frames_from_table(table)
        samples = [_unknown(row, self.sizes) for row in rows if row.ok]
        counts = Counter(row.reason if not row.ok else str(Status.OK) for row in rows)
        return _finish_part(self.folder / name_of(rows[0].shard), rows[0].shard, samples, counts)


@dataclass(frozen=True, kw_only=True)
class SampleFits:
    """Writes the fitted images of a run's shard as a part, with the parameters that were found."""

    run: Path
    folder: Path
    shape: ModelRef
    texture: ModelRef
    """The run's own: a fit's texture is an albedo whatever model drew it."""

    @property
    def inputs(self) -> pa.Schema:
        """Numbers of shards."""
        return PENDING

    @property
    def outputs(self) -> pa.Schema:
        """Counts."""
        return SAMPLED

    def load(self) -> RunSource:
        """The run and its texture model."""
        return RunSource(open_run(self.run), load_texture(self.texture, load_shape(self.shape)))

    def __call__(self, loaded: RunSource, table: pa.Table) -> pa.Table:
        """Write one part per shard."""
        parts = [self._sample(loaded, int(shard)) for shard in table.column("shard").to_pylist()]
        return pa.concat_tables(parts)

    def _sample(self, source: RunSource, shard: int) -> pa.Table:
        run, folder = source.run, folder_of(shard)
        people = {row["identity_id"]: row for row in run.shard_table(folder, "identities").to_pylist()}
        samples: list[RegressorSamples] = []
        counts: Counter[str] = Counter()
        for uri, rows in _by_uri(run.shard_table(folder, "frames").to_pylist()).items():
            good = [row for row in rows if row["status"] == Status.OK]
            counts.update(row["reason"] for row in rows if row["status"] != Status.OK)
            if not good:
                continue
            try:
                images = _images(uri, [row["frame_index"] for row in rows])
            except InputError:
                counts["unreadable"] += len(good)
                continue
            for row in good:
                with naming(self, row["image_id"]):
                    image, scale = images[row["frame_index"]]
                    points = np.array(row["landmarks_px"], np.float32).reshape(68, 2) / scale
                    found = _found(row, people[row["identity_id"]], source.texture)
                    samples.append(RegressorSamples(*crop_sample(image, points), seed_array(row["image_id"]), *found))
                    counts[str(Status.OK)] += 1
        return _finish_part(self.folder / _run_part(run, shard), shard, samples, counts)


def sample_input(source: Path, folder: Path, bundle: ModelBundle, cluster: ClusterConfig, say: Say) -> dict[str, int]:
    """Make the samples of a data set, or of a run of `ganfit reconstruct`, that are not there yet; returns the counts.

    Raises:
        ConfigurationError: nothing to sample, or a run of other models.
    """
    is_run = (source / RUN_FILE).is_file()
    blocks, stage = _of_run(source, folder, bundle) if is_run else _of_data_set(source, folder, bundle)
    if is_run:
        _remove_others(folder, [part for part, _ in blocks])
    pending = [block for part, block in blocks if not (folder / part / COUNTS_NAME).is_file()]
    if pending:
        with ray_session(cluster) as ray:
            workers = max(1, min(len(pending), int(ray.cluster_resources().get("CPU", local_cpus())) - 1))
            dataset = apply_stage(ray.data.from_arrow(pending), stage, Placement(workers=workers, cpus=1))
            done = 0
            for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                done += block.num_rows
                say(f"sampled {done} of {len(pending)} shards of {source}")
    total: Counter[str] = Counter()
    for part, _ in blocks:
        total.update(json.loads((folder / part / COUNTS_NAME).read_text(encoding="utf-8")))
    say(f"samples of {source}: " + ", ".join(f"{count} {label}" for label, count in sorted(total.items())))
    return dict(total)


def seed_array(image_id: str) -> np.ndarray:
    """The seed of an image as an array."""
    return np.array(seed_of(image_id.encode()), np.int64)


def _of_data_set(source: Path, folder: Path, bundle: ModelBundle) -> tuple[list[tuple[str, pa.Table]], Stage]:
    plan = plan_shards(list_input(source).items, PlanConfig())
    rows = block_of(plan.rows())
    shards = rows.column("shard").to_numpy()
    starts = [*np.flatnonzero(np.diff(shards, prepend=-1)).tolist(), len(shards)]
    blocks = [
        (name_of(int(shards[start])), rows.slice(start, stop - start).combine_chunks())
        for start, stop in pairwise(starts)
    ]
    stage = Fused(
        stages=(
            ReadFrames(),
            DetectFaces(
                detector=bundle.detector,
                landmarks=bundle.landmarks,
                recognition=bundle.recognition,
                config=DetectionConfig(),
            ),
            AlignFaces(side_px=CROP_PX),
            WriteSamples(folder=folder, sizes=model_sizes(bundle)),
        )
    )
    return blocks, stage


def _of_run(run: Path, folder: Path, bundle: ModelBundle) -> tuple[list[tuple[str, pa.Table]], Stage]:
    opened = open_run(run)
    models: dict[str, Any] = opened.record["models"]
    ours, theirs = (
        {key: found[key] for key in ("kind", "sha256")} for found in (bundle.shape.description(), models["shape"])
    )
    if ours != theirs:
        raise ConfigurationError(
            f"the run {run} was made with the shape model {theirs}, the bundle {bundle.name} has {ours}: its "
            "coefficients mean something else"
        )
    shards = [int(Path(shard_folder).name) for shard_folder in opened.folders]
    if not shards:
        raise ConfigurationError(f"expected committed shards in the run {run}, found none")
    blocks = [(_run_part(opened, shard), pa.table({"shard": [shard]}, schema=PENDING)) for shard in shards]
    texture = texture_of_run(models["texture"], bundle)
    return blocks, SampleFits(run=run.absolute(), folder=folder, shape=bundle.shape, texture=texture)


def texture_of_run(described: dict[str, str | None], bundle: ModelBundle) -> ModelRef:
    """The texture model of a run: the bundle's, or another one of which a fit's albedo is known just as well.

    Raises:
        ModelFileError: its file is gone or another one.
    """
    kind, path, sha256 = str(described["kind"]), described["path"], described["sha256"]
    if (kind, sha256) == (bundle.texture.kind, bundle.texture.sha256):
        return bundle.texture
    if path is None or sha256 is None:
        return ModelRef(kind=kind, path=None, sha256=None)
    advice = "its texture model must be where it was when the run was made"
    return ModelRef(kind=kind, path=verify(Path(path), sha256, advice), sha256=sha256)


def _run_part(run: Run, shard: int) -> str:
    """The part of a run's shard: another one when fewer of its rows are current."""
    people = sorted(run.folders[folder_of(shard)].to_pylist())
    return f"{name_of(shard)}-{blake2b(json.dumps(people).encode(), digest_size=4).hexdigest()}"


def _remove_others(folder: Path, parts: Sequence[str]) -> None:
    """Remove the parts of a run's rows that have been superseded since they were sampled."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in parts:
            shutil.rmtree(path)


def _finish_part(part: Path, shard: int, samples: Sequence[RegressorSamples], counts: Counter[str]) -> pa.Table:
    if samples:
        write_part(part, RegressorSamples(*(np.stack(column) for column in zip(*samples, strict=True))))
    part.mkdir(parents=True, exist_ok=True)
    text = json.dumps(counts)
    (part / COUNTS_NAME).write_text(text, encoding="utf-8")
    return pa.table({"shard": [shard], "counts": [text]}, schema=SAMPLED)


def _unknown(row: Frame, sizes: ModelSizes) -> RegressorSamples:
    matrix = np.array(row.crop_from_image).reshape(2, 3)
    points = np.array(row.landmarks_px).reshape(68, 2) @ matrix[:, :2].T + matrix[:, 2]
    identity, expression, light = (
        np.full(size, np.nan, np.float32) for size in (sizes.identity, sizes.expression, len(LIGHT_UNITS))
    )
    texture = np.full((3, TEXTURE_PX, TEXTURE_PX), np.nan, np.float32)
    landmarks = (points / CROP_PX).astype(np.float32)
    crop = decode_png(row.crop_png or b"")
    return RegressorSamples(crop, landmarks, seed_array(row.image_id), identity, expression, light, texture)


def _found(row: dict[str, Any], person: dict[str, Any], texture: TextureModel) -> _Known:
    latent = torch.tensor(person["texture"]).unsqueeze(0)
    level = max((side for side in texture.levels if side <= TEXTURE_PX), default=texture.levels[0])
    with torch.no_grad():
        albedo = torch.nn.functional.interpolate(texture(latent, level), size=(TEXTURE_PX, TEXTURE_PX), mode="bilinear")
    return _Known(
        np.array(person["identity"], np.float32),
        np.array(row["expression"], np.float32),
        (np.array(row["light"]) / np.array(LIGHT_UNITS)).astype(np.float32),
        albedo[0].numpy(),
    )


def _by_uri(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["uri"], []).append(row)
    return grouped


def _images(uri: str, frames: Sequence[int | None]) -> dict[int | None, tuple[np.ndarray, float]]:
    """The images of a file by frame, and the full-resolution pixels in one of theirs."""
    if frames[0] is None:
        photo = decode_photo(read_location(uri))
        return {None: (photo.image_rgb, photo.scale)}
    images: dict[int | None, tuple[np.ndarray, float]] = {}
    with local_file(uri) as path:
        for frame in read_frames(path, [index for index in frames if index is not None]):
            image = frame.image_rgb
            images[frame.frame_index] = image, frame.width_px / image.shape[1]
    return images
