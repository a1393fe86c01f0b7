"""Aligned faces of several people to fitted faces with their pictures."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ops.fit import FitConfig, FitInput, FitLosses, FitModels, fit_faces, render_fit
from ops.fit.objective import with_dense_points
from ops.fit.regression import with_identity_prior
from ops.fit.stage_two import Watch
from ops.fit.uncertainty import shape_std_mm

LOSS_NAMES: tuple[str, ...] = FitLosses._fields
"""Names of the terms of the objective."""


class AlignedFace(NamedTuple):
    """One image of a person, ready to be fitted."""

    person: str
    """Images with the same value share identity and texture."""
    crop_rgba: UInt8[np.ndarray, "side side 4"]
    crop_from_image: Float[np.ndarray, "2 3"]
    landmarks_px: Float[np.ndarray, "68 2"]
    """Pixels of the image at full resolution."""
    texture_crop_rgba: UInt8[np.ndarray, "fine fine 4"] | None = None
    """The same crop with more pixels, for a texture from the photo; None where that takes the crop itself."""

    @property
    def finest_rgba(self) -> UInt8[np.ndarray, "fine fine 4"]:
        """The crop a texture is made from."""
        return self.crop_rgba if self.texture_crop_rgba is None else self.texture_crop_rgba


class PhotoTextured(NamedTuple):
    """What is said of a texture that has more than the model's from a person's photos."""

    model_texture_rgb: UInt8[np.ndarray, "texel texel 3"]
    """The texture without it."""
    weight_rgb: UInt8[np.ndarray, "texel texel 3"]
    """Shares out of 255: seen in photos, mirrored from the other half of the face, guessed by the model."""
    seen: float
    """Share of the face's texels that photos tell, in [0, 1]."""
    judge_similarity_crossed: float | None
    """The judge's similarity of this photo to a render with a texture from the person's other photos."""


class FittedFace(NamedTuple):
    """What a fit found in one image; identity, texture and seconds are those of its person."""

    identity: Float[Tensor, " identity"]
    texture: Float[Tensor, " latent"]
    expression: Float[Tensor, " expression"]
    camera: Float[Tensor, "8"]
    light: Float[Tensor, "9"]
    identity_similarity: float | None
    judge_similarity: float | None
    landmark_error: float | None
    loss_total: float | None
    losses: dict[str, float | None]
    """By name; None for a term that was left out."""
    iterations: int
    diverged: bool
    """The fit stopped being finite: the other values mean nothing."""
    fit_seconds: float
    shape_std_mm: float | None
    """Standard deviation of the person's shape given the landmarks, see `ops.fit.uncertainty`."""
    render_rgba: UInt8[np.ndarray, "side side 4"]
    """The face as fitted, in the crop's frame; opaque where it covers the crop."""
    shape_rgb: UInt8[np.ndarray, "side side 3"]
    """The surface alone."""
    texture_rgb: UInt8[np.ndarray, "texel texel 3"]
    """The person's texture, in the layout of the shape model."""
    photo_texture: PhotoTextured | None = None
    """What there is to say of a texture from photos; None for that of the model."""
    second_attempt: bool = False
    """Whether it comes from another start, as the first one's fit fell short."""


def batches(people: Sequence[str | None], limit: int) -> Iterator[list[int]]:
    """Positions of the images of people, whole people together, about `limit` at a time; None is left out."""
    positions_of: dict[str, list[int]] = {}
    for position, person in enumerate(people):
        if person is not None:
            positions_of.setdefault(person, []).append(position)
    waiting: list[int] = []
    for positions in positions_of.values():
        if waiting and len(waiting) + len(positions) > limit:
            yield waiting
            waiting = []
        waiting = waiting + positions
    if waiting:
        yield waiting


def pack_faces(faces: Sequence[AlignedFace], device: torch.device) -> FitInput:
    """Aligned faces as the tensors of a fit."""
    crops = torch.from_numpy(np.stack([face.crop_rgba for face in faces]))
    matrices = torch.from_numpy(np.stack([face.crop_from_image for face in faces]).astype(np.float64))
    landmarks = torch.from_numpy(np.stack([face.landmarks_px for face in faces]).astype(np.float64))
    number = {person: position for position, person in enumerate(dict.fromkeys(face.person for face in faces))}
    return FitInput(
        images=(crops[..., :3].permute(0, 3, 1, 2).float() / 255).contiguous().to(device),
        valid=(crops[..., 3] > 0).to(device),
        landmarks_px=(landmarks @ matrices[..., :2].mT + matrices[..., 2].unsqueeze(-2)).float().to(device),
        group=torch.tensor([number[face.person] for face in faces], device=device),
        seeds=torch.tensor([seed_of(face.crop_rgba.tobytes()) for face in faces], device=device),
    )


def fit_people(models: FitModels, inputs: FitInput, config: FitConfig, watch: Watch | None = None) -> list[FittedFace]:
    """Fit one batch and render it; one result per image, in order. `watch` is told how far it is.

    Raises:
        ConfigurationError: a start from a regressor that the models do not have.
    """
    inputs = with_identity_prior(models, with_dense_points(models, inputs, config), config)
    result = fit_faces(models, inputs, config, watch)
    preview = render_fit(inputs, result)
    spread = shape_std_mm(models, inputs, result)
    textures = [to_bytes(texture) for texture in preview.texture]
    return [
        FittedFace(
            identity=result.identity[group],
            texture=result.texture[group],
            expression=result.expression[image],
            camera=result.camera[image],
            light=result.light[image],
            identity_similarity=_number(result.identity_similarity[image]),
            judge_similarity=_number(result.judge_similarity[image]),
            landmark_error=_number(result.landmark_error[image]),
            loss_total=_number(result.loss_total[image]),
            losses={name: _number(getattr(result.losses, name)[image]) for name in LOSS_NAMES},
            iterations=int(result.iterations[image]),
            diverged=bool(result.diverged[image]),
            fit_seconds=float(result.seconds[group]),
            shape_std_mm=_number(spread[group]),
            render_rgba=to_bytes(preview.render[image], preview.mask[image]),
            shape_rgb=to_bytes(preview.shape_only[image]),
            texture_rgb=textures[group],
        )
        for image, group in enumerate(inputs.group.tolist())
    ]


def seed_of(data: bytes) -> int:
    """A seed that depends on these bytes alone: neither batches, order and retries matter nor where a photo lies."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") >> 1


def to_bytes(
    image: Float[Tensor, "3 height width"], mask: Bool[Tensor, "height width"] | None = None
) -> UInt8[np.ndarray, "height width channel"]:
    """RGB in [0, 1] as bytes, with a mask as opacity."""
    channels = image if mask is None else torch.cat((image, mask.unsqueeze(0).to(image.dtype)))
    return (channels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _number(value: Float[Tensor, ""]) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
