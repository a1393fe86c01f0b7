"""Luma and chroma of textures: the colour space in which what photos show is merged and learned.

The chroma of BT.601, Cb = 0.564 (B - Y) and Cr = 0.713 (R - Y), is linear in RGB, so principal components are the same
model in both spaces; and what a grey photo lacks are whole channels here.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ops.files.photo import LUMA

LUMA_CHROMA = torch.tensor((LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)))
"""Rows: luma, Cb, Cr; columns: R, G, B (ITU-R BT.601)."""


def luma_chroma_from_rgb(rgb: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
    """RGB to luma, Cb, Cr; of colours in [0, 1] the luma lies there too, the others in [-0.5, 0.5]."""
    return _mixed(rgb, LUMA_CHROMA)


def rgb_from_luma_chroma(
    luma_chroma: Float[Tensor, "*batch 3 height width"],
) -> Float[Tensor, "*batch 3 height width"]:
    """The inverse of `luma_chroma_from_rgb`; not clamped."""
    return _mixed(luma_chroma, torch.linalg.inv(LUMA_CHROMA))


def _mixed(
    channels: Float[Tensor, "*batch 3 height width"], matrix: Float[Tensor, "3 3"]
) -> Float[Tensor, "*batch 3 height width"]:
    """Texel by texel, so that equal colours stay equal bit by bit wherever they lie."""
    first, second, third = channels.unbind(-3)
    return torch.stack([a * first + b * second + c * third for a, b, c in matrix.tolist()], -3)
