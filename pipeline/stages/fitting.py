"""Aligned crops to face parameters: the expensive stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ops.face.signal import shows_something
from ops.files.photo import decode_png, encode_png
from ops.fit import FitConfig, FitModels
from ops.reconstruction.fitting import LOSS_NAMES, AlignedFace, FittedFace, batches, fit_people, pack_faces
from ops.reconstruction.photo_texture import add_photo_textures
from ops.reconstruction.second_attempt import fit_again, fit_remark
from ops.render.rasterize import RasterizerName
from ops.weights.bundle import ModelBundle
from pipeline.stages.gate import QualityGate
from pipeline.stages.models import load_atlas, load_fit_models
from pipeline.stages.stage import naming
from pipeline.tables.progress import report_progress
from pipeline.tables.schema import ALIGNED, Frame, ModelSizes, Reason, Status, fitted_schema, frames_from_table

MEASURES = ("identity_similarity", "judge_similarity", "landmark_error")
"""How well a fit matches; kept of fits that do not pass, too."""


@dataclass(frozen=True, kw_only=True)
class FitFaces:
    """Adds the fitted parameters, their measures and the pictures for the contact sheet."""

    bundle: ModelBundle
    config: FitConfig
    sizes: ModelSizes
    device: str
    batch_images: int
    """Images fitted together; a person is never divided, so a batch may have more."""
    rasterizer: RasterizerName = "warp"
    """What draws where the device is a GPU."""
    gate: QualityGate = field(default_factory=QualityGate)
    texture_px: int | None = None
    """Side of textures from photos; None for the texture model's own."""

    @property
    def inputs(self) -> pa.Schema:
        """Aligned crops."""
        return ALIGNED

    @property
    def outputs(self) -> pa.Schema:
        """Fitted rows."""
        return fitted_schema(self.sizes, LOSS_NAMES)

    def load(self) -> FitModels:
        """All models, on the device."""
        return replace(load_fit_models(self.bundle, self.device), rasterizer=self.rasterizer)

    def __call__(self, loaded: FitModels, table: pa.Table) -> pa.Table:
        """Fit every person of a block."""
        rows = frames_from_table(table)
        fits: list[FittedFace | None] = [None] * len(rows)
        waiting = sum(row.ok for row in rows)
        for batch in batches([row.identity_id if row.ok else None for row in rows], self.batch_images):

            def watch(share: float, left: int = waiting, size: int = len(batch)) -> None:
                report_progress(rows[0].shard, "fit", 1 - (left - share * size) / len(rows))

            watch(0.0)
            with naming(self, ", ".join(sorted({rows[position].identity_id for position in batch}))):
                for position, fit in zip(batch, self.fit(loaded, [rows[p] for p in batch], watch), strict=True):
                    fits[position] = fit
            waiting -= len(batch)
        return self._table(fitted_records(rows, fits, self.gate))

    def give_up(self, table: pa.Table, message: str) -> pa.Table:
        """The result for rows that cannot be fitted."""
        fields: dict[str, Any] = {"status": Status.FAILED, "reason": Reason.WORKER_CRASH, "message": message}
        return self._table([_values(replace(row, **fields) if row.ok else row) for row in frames_from_table(table)])

    def fit(self, loaded: FitModels, rows: Sequence[Frame], watch: Callable[[float], None]) -> list[FittedFace]:
        """The fits of ok rows, in their order; `watch` hears which share of the work is done, 0 to 1."""
        faces = [aligned_face(row) for row in rows]
        inputs = pack_faces(faces, loaded.device)
        fits = fit_people(loaded, inputs, self.config, watch)
        fits = fit_again(loaded, faces, fits, self.config, self.gate.fit_quality, self.batch_images)
        if self.texture_px is None:
            return fits
        return add_photo_textures(loaded, load_atlas(self.bundle, self.device, self.texture_px), inputs, faces, fits)

    def _table(self, records: Sequence[dict[str, Any]]) -> pa.Table:
        schema = self.outputs
        columns: list[Any] = [pa.array([record.get(f.name) for record in records], f.type) for f in schema]
        return pa.Table.from_arrays(columns, schema=schema)


def aligned_face(row: Frame) -> AlignedFace:
    """What a fit takes of an ok row of `ALIGNED`."""
    return AlignedFace(
        person=row.identity_id,
        crop_rgba=decode_png(row.crop_png or b""),
        crop_from_image=np.array(row.crop_from_image).reshape(2, 3),
        landmarks_px=np.array(row.landmarks_px).reshape(68, 2),
        texture_crop_rgba=None if row.texture_crop_png is None else decode_png(row.texture_crop_png),
    )


def fitted_records(rows: Sequence[Frame], fits: Sequence[FittedFace | None], gate: QualityGate) -> list[dict[str, Any]]:
    """The rows' values by column; the texture is on the first ok row of every person.

    A fit that does not pass the gate leaves its measures, and nothing that others could take for a result.
    """
    records: list[dict[str, Any]] = []
    textured: set[str] = set()
    for row, fit in zip(rows, fits, strict=True):
        if fit is None or fit.diverged:
            records.append(_values(row) | ({} if fit is None else _failure(fit)))
            continue
        found = _found(fit)
        if not shows_something(decode_png(row.crop_png or b"")[..., :3]):
            found |= {"identity_similarity": None, "judge_similarity": None, "judge_similarity_crossed": None}
        measures = {name: found[name] for name in MEASURES}
        message = fit_remark(row.message, fit)
        verdict = {"message": message} | gate.verdict(measures | {"landmark_shift": row.landmark_shift}, message)
        if "status" in verdict:
            records.append(_values(row) | measures | {"iterations": fit.iterations} | verdict)
            continue
        if row.identity_id not in textured:
            found |= _texture_pictures(fit)
            textured.add(row.identity_id)
        records.append(_values(row) | found | verdict)
    return records


def _values(row: Frame) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "image"}


def _texture_pictures(fit: FittedFace) -> dict[str, Any]:
    pictures = {"texture_png": encode_png(fit.texture_rgb)}
    if told := fit.photo_texture:
        pictures["model_texture_png"] = encode_png(told.model_texture_rgb)
        pictures["texture_weight_png"] = encode_png(told.weight_rgb)
    return pictures


def _failure(fit: FittedFace) -> dict[str, Any]:
    message = f"the fit diverged after {fit.iterations} iterations"
    return {"status": Status.FAILED, "reason": Reason.DIVERGED, "message": message, "iterations": fit.iterations}


def _found(fit: FittedFace) -> dict[str, Any]:
    vectors = ("identity", "texture", "expression", "camera", "light")
    measures = (*MEASURES, "loss_total", "iterations", "fit_seconds", "shape_std_mm")
    return {
        **{name: getattr(fit, name).tolist() for name in vectors},
        **{name: getattr(fit, name) for name in measures},
        **{f"loss_{name}": value for name, value in fit.losses.items()},
        "judge_similarity_crossed": told.judge_similarity_crossed if (told := fit.photo_texture) else None,
        "texture_seen": told.seen if told else None,
        "render_png": encode_png(fit.render_rgba),
        "shape_png": encode_png(fit.shape_rgb),
    }
