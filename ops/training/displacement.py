"""What a visit makes of samples: landmarks as a network finds them on a bad day, and mirror images.

A regressor that has only seen good landmarks believes bad ones. Here the landmarks of a batch move, the crop is aligned
anew by where they went, as `ops.face.alignment` does, and the true landmarks move with the picture.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ops.face.alignment import apply_affine, crop_from_image
from ops.face.landmark_parts import LEFT_OUTER_EYE, RIGHT_OUTER_EYE
from ops.face.mirror import Mirror
from ops.networks.face_crop import MIRRORED_68
from ops.training.regressor_samples import SampleBatch

BAD_SHARE, CALM = 0.5, 0.1
"""Share of the samples whose landmarks are displaced, and what the others have of the displacement; drawn for the two
kinds apart."""
MOST_TOGETHER, MOST_EACH = 0.1, 0.1
"""Longest displacement of all landmarks in one direction, and of each in its own, in outer-eye distances."""
TURN_RAD, GROWTH = 0.05, 0.04
"""Standard deviations of a common turn and of the logarithm of a common scale about the landmarks' centre."""


class DisplacedBatch(NamedTuple):
    """Samples in crops that follow displaced landmarks."""

    batch: SampleBatch
    """With the landmarks where the face is."""
    given: Float[Tensor, "sample 68 2"]
    """The displaced landmarks, in crop sides."""


def displaced_landmarks(
    landmarks: Float[Tensor, "sample 68 2"], rng: np.random.Generator
) -> Float[Tensor, "sample 68 2"]:
    """Landmarks displaced by a random similarity, and each by itself."""
    points = landmarks.cpu().double().numpy()
    count = len(points)
    common, own = (np.where(rng.random(count) < BAD_SHARE, 1.0, CALM) * rng.random(count) for _ in range(2))
    eyes = np.linalg.norm(points[:, RIGHT_OUTER_EYE] - points[:, LEFT_OUTER_EYE], axis=-1)
    shift = (MOST_TOGETHER * common * eyes)[:, None, None] * _directions(rng, (count, 1))
    noise = (MOST_EACH * own * eyes)[:, None, None] * _directions(rng, (count, 68))
    turn, growth = TURN_RAD * common * rng.normal(size=count), np.exp(GROWTH * common * rng.normal(size=count))
    rows = np.stack((np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)), -1).reshape(-1, 2, 2)
    centre = points.mean(1, keepdims=True)
    moved = (points - centre) @ (growth[:, None, None] * rows).swapaxes(1, 2) + centre + shift + noise
    return torch.from_numpy(moved).to(landmarks)


def align_anew(batch: SampleBatch, given: Float[Tensor, "sample 68 2"]) -> DisplacedBatch:
    """Samples in the crops that landmarks in crop sides ask for; what a crop did not show repeats its border."""
    side = batch.images.shape[-1]
    to_crop = crop_from_image(given.double() * side, side)
    grid = torch.nn.functional.affine_grid(
        _sampling(to_crop, side).to(batch.images), list(batch.images.shape), align_corners=False
    )
    images = torch.nn.functional.grid_sample(
        batch.images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    valid = torch.nn.functional.grid_sample(
        batch.valid[:, None].to(grid), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )

    def follow(points: Float[Tensor, "sample 68 2"]) -> Float[Tensor, "sample 68 2"]:
        return (apply_affine(to_crop, points.double() * side) / side).to(points)

    moved = batch._replace(images=images, valid=valid[:, 0] > 0.5, landmarks=follow(batch.landmarks))
    return DisplacedBatch(moved, follow(given))


def mirror_samples(batch: SampleBatch, mirror: Mirror, chosen: Bool[Tensor, " sample"]) -> SampleBatch:
    """Mirror the chosen samples, and what is known of them; a texture whose mirror image is not known becomes NaN."""
    across = batch.light.new_ones(batch.light.shape[1])
    across[0] = -1
    points = batch.landmarks[:, torch.from_numpy(MIRRORED_68)]
    texture = batch.texture.flip(-1) if mirror.swaps_texture else torch.full_like(batch.texture, torch.nan)
    reflected = batch._replace(
        images=batch.images.flip(-1),
        valid=batch.valid.flip(-1),
        landmarks=points * points.new_tensor((-1, 1)) + points.new_tensor((1, 0)),
        identity=batch.identity @ mirror.identity.to(batch.identity),
        expression=batch.expression @ mirror.expression.to(batch.expression),
        light=batch.light * across,
        texture=texture,
    )

    def pick(ours: Tensor, theirs: Tensor) -> Tensor:
        return torch.where(chosen.to(ours.device).view(-1, *[1] * (ours.ndim - 1)), theirs, ours)

    return SampleBatch(*(pick(ours, theirs) for ours, theirs in zip(batch, reflected, strict=True)))


def _directions(rng: np.random.Generator, shape: tuple[int, ...]) -> Float64[np.ndarray, "*shape 2"]:
    angles = rng.uniform(0, 2 * np.pi, shape)
    return np.stack((np.cos(angles), np.sin(angles)), -1)


def _sampling(to_crop: Float[Tensor, "sample 2 3"], side: int) -> Float[Tensor, "sample 2 3"]:
    """Where the pixels of the new crop lie in the old one, both in [-1, 1]."""
    last = to_crop.new_tensor((0.0, 0.0, 1.0)).expand(len(to_crop), 1, 3)
    back = torch.linalg.inv(torch.cat((to_crop, last), 1))
    half = to_crop.new_tensor(((side / 2, 0.0, side / 2), (0.0, side / 2, side / 2), (0.0, 0.0, 1.0)))
    return (torch.linalg.inv(half) @ back @ half)[:, :2]
