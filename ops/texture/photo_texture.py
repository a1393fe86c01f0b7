"""A person's own texture: that of the model, with what the person's photos show beyond it.

The luma of that residual falls into bands, octave by octave from pores to what is as wide as a cheek. How much of each
band is kept, and where, is for others to say: `ops.reconstruction.likeness` asks recognition.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d

from ops.texture.atlas import Atlas
from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma
from ops.texture.completion import (
    DARKEST_HUE,
    EYE_WEIGHT,
    agreement,
    complete_eyeballs,
    complete_spots,
    complete_texture,
    merge_photos,
    seen_share,
    told_shares,
)
from ops.texture.unwrapping import Unwrapped

DOUBT = 0.25
"""Luma difference to the model from which on a texel of a photo is not believed: glasses and hair are beyond."""
OUTLINE = 1 / 256
"""How far what is not believed is widened, texture sides: at its edge pixels show skin and hair at once."""
FADE = 0.1
"""How fast the residual dies away beyond what is seen."""
BLURS = (1 / 256, 2 / 256, 4 / 256, 8 / 256)
"""Standard deviations, texture sides, of the blurs between which the bands lie."""
BANDS = len(BLURS) + 1
FINE_HUE = 0.5
"""Share of what is narrower than the widest blur in Cb / luma and Cr / luma: compression leaves patches there."""


class PhotoResidual(NamedTuple):
    """What photos show of a face beyond a model's texture."""

    bare_rgb: Float[Tensor, "3 side side"]
    """The model's texture with the photos' hue; not clipped."""
    tint: Float[Tensor, "3 side side"]
    """RGB of that hue at luma 1: what luma adds comes in it."""
    luma: Float[Tensor, "band side side"]
    """What the photos add to its luma, `BANDS` parts, the finest first."""
    seen: Float[Tensor, "side side"]
    """How far a texel is told by photos, in [0, 1]."""
    mirrored: Float[Tensor, "side side"]
    """How far by its mirror image; what is left of 1 is guessed by the model."""
    pixel: float
    """What a pixel of the sharpest photo covers, crop sides."""

    def texture(self, shares: Float[Tensor, "band rows columns"]) -> Float[Tensor, "3 side side"]:
        """RGB in [0, 1] with a share of every band, given on a grid that covers the texture."""
        whole = interpolate(shares[None], self.luma.shape[-2:], mode="bilinear", align_corners=False)[0]
        return (self.bare_rgb + (whole * self.luma).sum(0) * self.tint).clamp(0, 1)


def photo_residual(model_rgb: Float[Tensor, "3 side side"], photos: Sequence[Unwrapped], atlas: Atlas) -> PhotoResidual:
    """What some photos of a person show beyond the model's texture.

    Texels that differ from the model's by more than skin does, over more than a texel or two, are glasses, hair, hands
    or cast shadows: they are left to the model. Of eyeballs, teeth and the inside of the mouth all that is
    seen is believed.
    """
    expected = luma_chroma_from_rgb(model_rgb)
    seen = merge_photos(photos, [_believed(one.albedo, expected, chroma=not one.grey) for one in photos])
    believed = _believed(seen.albedo, expected, chroma=False)
    full = complete_texture(expected, seen, atlas, atlas.face, believed, fade=FADE)
    share, borrowed = told_shares(seen.luma_weight, atlas, atlas.face, believed)
    everything = merge_photos(photos)
    if bool(atlas.eyeballs.any()):
        full = torch.where(atlas.eyeballs, complete_eyeballs(expected, everything, atlas), full)
        share = torch.where(atlas.eyeballs, seen_share(EYE_WEIGHT * everything.luma_weight), share)
    share = torch.where(atlas.spots > 0, everything.luma_weight, share)
    of_model, of_photos = (image[1:] / image[:1].clamp_min(DARKEST_HUE) for image in (expected, full))
    bands = divide_residual(torch.cat((full[:1] - expected[:1], of_photos - of_model)), atlas)
    hue = bands[-1, 1:] + FINE_HUE * bands[:-1, 1:].sum(0)
    toned = torch.cat((expected[:1], expected[1:] + hue * expected[:1]))
    toned = torch.where(atlas.spots > 0, complete_spots(expected, everything, atlas), toned)
    tint = torch.cat((torch.ones_like(expected[:1]), of_model + hue))
    pixel = min(photo.pixel for photo in photos)
    return PhotoResidual(rgb_from_luma_chroma(toned), rgb_from_luma_chroma(tint), bands[:, 0], share, borrowed, pixel)


def divide_residual(
    residual: Float[Tensor, "channel side side"], atlas: Atlas
) -> Float[Tensor, "band channel side side"]:
    """A residual on face and eyeballs as `BANDS` parts that add up to it, the finest first.

    The two are blurred apart, as they do not lie side by side on the head.
    """
    parts = [_bands(residual, part.to(residual.dtype)) for part in (atlas.face, atlas.eyeballs) if bool(part.any())]
    return torch.stack(parts).sum(0)


def _bands(
    residual: Float[Tensor, "channel side side"], region: Float[Tensor, "side side"]
) -> Float[Tensor, "band channel side side"]:
    levels = [residual * region]
    for blur in BLURS:
        *wide, norm = blurred(torch.cat((levels[0], region.unsqueeze(0))), blur * region.shape[-1])
        levels.append(torch.stack(wide) / norm.clamp_min(1e-4) * region)
    return torch.stack([fine - wide for fine, wide in pairwise(levels)] + levels[-1:])


def _believed(
    seen: Float[Tensor, "3 side side"], expected: Float[Tensor, "3 side side"], *, chroma: bool
) -> Float[Tensor, "side side"]:
    """From 1 where a photo agrees with the model to 0 at differences of `DOUBT` and around them.

    Truly 0, as filling in takes what is little believed for more where nothing better is near.
    """
    share = (2 * agreement(seen, expected, DOUBT, chroma=chroma) - 1).clamp_min(0)
    reach = math.ceil(OUTLINE * share.shape[-1])
    return -max_pool2d(-share[None, None], 2 * reach + 1, 1, reach)[0, 0]


def blurred(image: Float[Tensor, "channel side side"], sigma: float) -> Float[Tensor, "channel side side"]:
    """By a Gaussian of standard deviation `sigma` texels; what lies beyond the border counts 0."""
    reach = round(3 * sigma)
    offset = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    along = conv2d(image.unsqueeze(1), kernel.unsqueeze(2), padding=(0, reach))
    return conv2d(along, kernel.unsqueeze(3), padding=(reach, 0)).squeeze(1)
