"""What training pictures go through besides what their scenes did to them."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def as_batch(images_rgb: UInt8[np.ndarray, "image height width 3"]) -> Float[Tensor, "image 3 height width"]:
    """RGB in [0, 1], channels first."""
    return torch.from_numpy(np.ascontiguousarray(images_rgb.transpose(0, 3, 1, 2))).float() / 255


def jitter_colours(
    images: Float[Tensor, "image 3 height width"], rng: np.random.Generator, strength: float = 1.0
) -> Float[Tensor, "image 3 height width"]:
    """Random gain a channel, contrast and noise a picture."""
    count = len(images)
    gain = 1 + strength * torch.from_numpy(
        rng.normal(0, 0.10, (count, 1, 1, 1)) + rng.normal(0, 0.05, (count, 3, 1, 1))
    )
    contrast = 1 + strength * torch.from_numpy(rng.normal(0, 0.12, (count, 1, 1, 1)))
    mean = images.mean((1, 2, 3), keepdim=True)
    changed = (images * gain.float() - mean) * contrast.float() + mean
    return changed.clamp(0, 1)
