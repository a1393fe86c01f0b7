"""How close a reconstructed albedo is to a known one on the face's part of a UV layout."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from ops.face.morphable_model import MorphableModel
from ops.texture.layout import bake


def region_texels(shape: MorphableModel, region: str, side: int) -> Bool[Tensor, "side side"]:
    """Texels of triangles that lie wholly inside a region of a shape model."""
    inside = shape.regions[region][shape.triangles.long()].all(-1)
    uv = shape.uv.double().numpy()
    _, covered = bake(uv, shape.uv_triangles[inside].numpy(), np.zeros((len(uv), 1)), side)
    return torch.from_numpy(covered)


def albedo_error(
    found: Float[Tensor, "image 3 side side"],
    truth: Float[Tensor, "image 3 true_side true_side"],
    texels: Bool[Tensor, "side side"],
) -> Float[Tensor, " image"]:
    """Mean absolute difference over the texels and channels, colours in [0, 1].

    Found textures are first multiplied by the one brightness that brings them closest in least squares: photos do not
    tell bright skin from bright light. The truth is resampled to the size of the found.
    """
    size = list(found.shape[-2:])
    true = functional.interpolate(truth, size, mode="bilinear", antialias=True)[..., texels]
    ours = found[..., texels]
    gain = (ours * true).sum((1, 2)) / ours.square().sum((1, 2)).clamp_min(1e-12)
    return (gain[:, None, None] * ours - true).abs().mean((1, 2))
