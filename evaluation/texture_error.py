"""How close a texture is to the true one: absolute error, structural similarity, and detail in the top two octaves."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import dctn
from torch import Tensor
from torch.nn import functional

DETAIL_FREQUENCY = 1 / 8
"""Cycles a texel; the two octaves above it are the highest an image holds."""
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


class TextureError(NamedTuple):
    """Of textures in [0, 1] against the truth, one value per image."""

    l1: Float[Tensor, " image"]
    """Mean absolute difference."""
    ssim: Float[Tensor, " image"]
    """Mean structural similarity (Wang et al. 2004), Gaussian window of 11 texels, over the three channels."""
    energy_kept: Float[Tensor, " image"]
    """Energy in the top two octaves over the truth's: 1 where the texture is as detailed, wherever the detail is."""
    energy_explained: Float[Tensor, " image"]
    """1 minus the energy of the difference in these octaves over the truth's: 1 where every detail is in its place."""


def texture_error(found: Float[Tensor, "image 3 side side"], truth: Float[Tensor, "image 3 side side"]) -> TextureError:
    """Compare textures of one size; values outside [0, 1] are clamped first."""
    found, truth = found.clamp(0, 1), truth.clamp(0, 1)
    energy = detail_energy(truth)
    return TextureError(
        l1=(found - truth).abs().mean((1, 2, 3)),
        ssim=structural_similarity(found, truth),
        energy_kept=detail_energy(found) / energy,
        energy_explained=1 - detail_energy(found - truth) / energy,
    )


def detail_energy(images: Float[Tensor, "image 3 side side"]) -> Float[Tensor, " image"]:
    """Squared amplitude above `DETAIL_FREQUENCY`, by the cosine transform, which needs no periodic image."""
    side = images.shape[-1]
    frequency = np.arange(side) / (2 * side)
    high = np.hypot(frequency[:, None], frequency) > DETAIL_FREQUENCY
    amplitude = np.asarray(dctn(images.double().cpu().numpy(), axes=(2, 3), norm="ortho"))
    return torch.from_numpy(np.square(amplitude[..., high]).sum((1, 2)))


def structural_similarity(
    first: Float[Tensor, "image 3 side side"], second: Float[Tensor, "image 3 side side"]
) -> Float[Tensor, " image"]:
    """SSIM of images in [0, 1], where the whole window lies inside the image."""
    offset = torch.arange(SSIM_WINDOW, dtype=first.dtype, device=first.device) - SSIM_WINDOW // 2
    window = torch.exp(-(offset**2) / (2 * SSIM_SIGMA**2))
    window = window / window.sum()

    def smooth(images: Tensor) -> Tensor:
        flat = images.flatten(0, 1).unsqueeze(1)
        flat = functional.conv2d(flat, window[None, None, :, None])
        return functional.conv2d(flat, window[None, None, None]).squeeze(1).unflatten(0, images.shape[:2])

    mean_1, mean_2 = smooth(first), smooth(second)
    var_1, var_2 = smooth(first**2) - mean_1**2, smooth(second**2) - mean_2**2
    covariance = smooth(first * second) - mean_1 * mean_2
    likeness = (2 * mean_1 * mean_2 + SSIM_C1) * (2 * covariance + SSIM_C2)
    return (likeness / ((mean_1**2 + mean_2**2 + SSIM_C1) * (var_1 + var_2 + SSIM_C2))).mean((1, 2, 3))
