"""Aligned crops to face parameters: the expensive stage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ops.files.photo import decode_png, encode_png
from ops.fit import FitConfig, FitInput, FitModels, FitPreview, FitResult, fit_faces, render_fit
from ops.weights.bundle import ModelBundle
from pipeline.stages.models import LOSS_NAMES, load_fit_models
from pipeline.stages.stage import naming
from pipeline.tables.schema import ALIGNED, Frame, ModelSizes, Reason, Status, fitted_schema, frames_from_table


class _Fit(NamedTuple):
    """One image of a finished batch."""

    image: int
    group: int
    result: FitResult
    preview: FitPreview
    shows_texture: bool
    """Whether this row carries the texture picture of its person."""


@dataclass(frozen=True, kw_only=True)
class FitFaces:
    """Adds the fitted parameters, their measures and the pictures for the contact sheet."""

    bundle: ModelBundle
    config: FitConfig
    sizes: ModelSizes
    device: str
    batch_images: int
    """Images fitted together; a person is never divided, so a batch may have more."""

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
        return load_fit_models(self.bundle, self.device)

    def __call__(self, loaded: FitModels, table: pa.Table) -> pa.Table:
        """Fit every person of a block."""
        rows = frames_from_table(table)
        fits: list[_Fit | None] = [None] * len(rows)
        for batch in batches(rows, self.batch_images):
            with naming(self, ", ".join(sorted({rows[position].identity_id for position in batch}))):
                for position, fit in zip(batch, self._fit(loaded, [rows[p] for p in batch]), strict=True):
                    fits[position] = fit
        return self._table([_record(row, fit) for row, fit in zip(rows, fits, strict=True)])

    def give_up(self, table: pa.Table, message: str) -> pa.Table:
        """The result for rows that cannot be fitted."""
        fields: dict[str, Any] = {"status": Status.FAILED, "reason": Reason.WORKER_CRASH, "message": message}
        records = [_record(replace(row, **fields) if row.ok else row, None) for row in frames_from_table(table)]
        return self._table(records)

    def _table(self, records: Sequence[dict[str, Any]]) -> pa.Table:
        schema = self.outputs
        columns: list[Any] = [pa.array([record.get(f.name) for record in records], f.type) for f in schema]
        return pa.Table.from_arrays(columns, schema=schema)

    def _fit(self, models: FitModels, rows: Sequence[Frame]) -> Iterator[_Fit]:
        inputs = fit_input(rows, models.device)
        result = fit_faces(models, inputs, self.config)
        preview = render_fit(models, inputs, result, self.config.render_px)
        seen: set[int] = set()
        for image, group in enumerate(inputs.group.tolist()):
            diverged = bool(result.diverged[image])
            yield _Fit(image, group, result, preview, not diverged and group not in seen)
            if not diverged:
                seen.add(group)


def batches(rows: Sequence[Frame], limit: int) -> Iterator[list[int]]:
    """Positions of the ok rows, whole persons together, about `limit` at a time."""
    persons: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        if row.ok:
            persons.setdefault(row.identity_id, []).append(position)
    waiting: list[int] = []
    for positions in persons.values():
        if waiting and len(waiting) + len(positions) > limit:
            yield waiting
            waiting = []
        waiting = waiting + positions
    if waiting:
        yield waiting


def fit_input(rows: Sequence[Frame], device: torch.device) -> FitInput:
    """The crops, landmarks, persons and seeds of ok rows."""
    crops = torch.from_numpy(np.stack([decode_png(row.crop_png or b"") for row in rows]))
    matrices = torch.tensor([row.crop_from_image for row in rows], dtype=torch.float64).reshape(-1, 2, 3)
    landmarks = torch.tensor([row.landmarks_px for row in rows], dtype=torch.float64).reshape(-1, 68, 2)
    number = {identity: position for position, identity in enumerate(dict.fromkeys(row.identity_id for row in rows))}
    return FitInput(
        images=(crops[..., :3].permute(0, 3, 1, 2).float() / 255).contiguous().to(device),
        valid=(crops[..., 3] > 0).to(device),
        landmarks_px=(landmarks @ matrices[..., :2].mT + matrices[..., 2].unsqueeze(-2)).float().to(device),
        group=torch.tensor([number[row.identity_id] for row in rows], device=device),
        seeds=torch.tensor([seed_of(row.image_id) for row in rows], device=device),
    )


def seed_of(image_id: str) -> int:
    """A seed that depends on the image's id alone, so that batches, order and retries do not matter."""
    return int.from_bytes(blake2b(image_id.encode(), digest_size=8).digest(), "little") >> 1


def _record(row: Frame, fit: _Fit | None) -> dict[str, Any]:
    """A row's values by column; columns it lacks stay null."""
    record: dict[str, Any] = {name: value for name, value in vars(row).items() if name != "image"}
    if fit is None:
        return record
    image, group, result, preview, shows_texture = fit
    record["iterations"] = int(result.iterations[image])
    if bool(result.diverged[image]):
        message = f"the fit diverged after {record['iterations']} iterations"
        return record | {"status": Status.FAILED, "reason": Reason.DIVERGED, "message": message}
    record |= {
        "expression": result.expression[image].tolist(),
        "camera": result.camera[image].tolist(),
        "light": result.light[image].tolist(),
        "identity_similarity": _number(result.identity_similarity[image]),
        "judge_similarity": _number(result.judge_similarity[image]),
        "landmark_error": _number(result.landmark_error[image]),
        "loss_total": _number(result.loss_total[image]),
        "identity": result.identity[group].tolist(),
        "texture": result.texture[group].tolist(),
        "fit_seconds": float(result.seconds[group]),
        "render_png": encode_png(to_bytes(preview.render[image], preview.mask[image])),
        "shape_png": encode_png(to_bytes(preview.shape_only[image])),
        "texture_png": encode_png(to_bytes(preview.texture[group])) if shows_texture else None,
    }
    return record | {f"loss_{name}": _number(getattr(result.losses, name)[image]) for name in LOSS_NAMES}


def to_bytes(image: Tensor, mask: Tensor | None = None) -> np.ndarray:
    """RGB [3, h, w] in [0, 1] as uint8 [h, w, 3], or [h, w, 4] with a mask as opacity."""
    channels = image if mask is None else torch.cat((image, mask.unsqueeze(0).to(image.dtype)))
    return (channels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _number(value: Tensor) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
