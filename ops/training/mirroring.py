"""Samples of the regressor's training, mirrored: a picture of a face is also one of its reflection."""

import torch
from jaxtyping import Bool
from torch import Tensor

from ops.face.mirror import Mirror
from ops.networks.face_crop import MIRRORED_68
from ops.training.regressor_samples import SampleBatch


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
