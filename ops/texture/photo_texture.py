"""A person's own texture: that of the model, with what the person's photos show beyond it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from ops.texture.atlas import Atlas
from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma
from ops.texture.completion import (
    EYE_WEIGHT,
    agreement,
    complete_eyeballs,
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
COARSE = 8 / 256
"""Standard deviation, texture sides, of the blur that divides the residual into a coarse and a fine part."""
REPEATS = 0.4
"""Share of the fine luma residual of one photo that another photo of the person shows again."""


class PhotoTexture(NamedTuple):
    """A texture and where it comes from."""

    rgb: Float[Tensor, "3 side side"]
    """Albedo in [0, 1]."""
    seen: Float[Tensor, "side side"]
    """How far a texel is told by photos, in [0, 1]."""
    mirrored: Float[Tensor, "side side"]
    """How far by its mirror image; what is left of 1 is guessed by the model."""


def photo_texture(
    model_rgb: Float[Tensor, "3 side side"],
    photos: Sequence[Unwrapped],
    atlas: Atlas,
) -> PhotoTexture:
    """The model's texture with the residual of some photos of the person.

    Of the luma residual so much is kept as is likely to be the person's, not the photo's (`kept_residual`).

    Texels that differ from the model's by more than skin does, over more than a texel or two, are glasses, hair, hands
    or cast shadows: they are left to the model. Of the eyeballs every seen texel is believed.
    """
    expected = luma_chroma_from_rgb(model_rgb)
    seen = merge_photos(photos, [_believed(one.albedo, expected, chroma=not one.grey) for one in photos])
    believed = _believed(seen.albedo, expected, chroma=False)
    full = complete_texture(expected, seen, atlas, atlas.face, believed, fade=FADE)
    full = expected + kept_residual(full - expected, _photos_seen(photos), atlas)
    share, borrowed = told_shares(seen.luma_weight, atlas, atlas.face, believed)
    if bool(atlas.eyeballs.any()):
        eyes = merge_photos(photos)
        full = torch.where(atlas.eyeballs, complete_eyeballs(expected, eyes, atlas), full)
        share = torch.where(atlas.eyeballs, seen_share(EYE_WEIGHT * eyes.luma_weight), share)
    return PhotoTexture(rgb_from_luma_chroma(full).clamp(0, 1), share, borrowed)


def _believed(
    seen: Float[Tensor, "3 side side"], expected: Float[Tensor, "3 side side"], *, chroma: bool
) -> Float[Tensor, "side side"]:
    """From 1 where a photo agrees with the model to 0 at differences of `DOUBT` and around them.

    Truly 0, as filling in takes what is little believed for more where nothing better is near.
    """
    share = (2 * agreement(seen, expected, DOUBT, chroma=chroma) - 1).clamp_min(0)
    reach = math.ceil(OUTLINE * share.shape[-1])
    return -max_pool2d(-share[None, None], 2 * reach + 1, 1, reach)[0, 0]


def kept_residual(
    residual: Float[Tensor, "3 side side"], photos_seen: Float[Tensor, "side side"], atlas: Atlas
) -> Float[Tensor, "3 side side"]:
    """What of a residual inside the face is the person's rather than the photos'.

    Of what differs from the model in one photo a share r would differ in another one, too: the rest is its light, its
    make-up, its year. So in the mean of n photos the person's share is n r / (1 + (n - 1) r) (Spearman 1910, Brown
    1910), which is the factor that leaves the least squared error. That is for fine luma: wide differences of luma are
    light, which does not repeat, and are left out. The tone, which is wide and in Cb and Cr, is kept as it is seen.
    """
    face = atlas.face.to(residual.dtype)
    sigma = COARSE * atlas.side
    coarse = blurred(residual * face, sigma) / blurred(face.unsqueeze(0), sigma).clamp_min(1e-4)
    narrow = photos_seen * REPEATS / (1 + (photos_seen - 1) * REPEATS)
    toned = torch.cat((torch.zeros_like(coarse[:1]), coarse[1:]))
    return (toned + narrow * (residual - coarse)) * face


def _photos_seen(photos: Sequence[Unwrapped]) -> Float[Tensor, "side side"]:
    """How many equally well seen photos there are of a texel, at least 1: (sum w)^2 / sum w^2 of squared weights."""
    weight = torch.stack([photo.weight for photo in photos]) ** 2
    count = weight.sum(0) ** 2 / weight.square().sum(0).clamp_min(1e-12)
    return count.clamp_min(1)


def blurred(image: Float[Tensor, "channel side side"], sigma: float) -> Float[Tensor, "channel side side"]:
    """By a Gaussian of standard deviation `sigma` texels; what lies beyond the border counts 0."""
    reach = round(3 * sigma)
    offset = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    along = conv2d(image.unsqueeze(1), kernel.unsqueeze(2), padding=(0, reach))
    return conv2d(along, kernel.unsqueeze(3), padding=(reach, 0)).squeeze(1)
