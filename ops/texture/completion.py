"""Several unwrapped photos of one person to one complete texture: the model where nothing is seen, photos elsewhere.

All maps are luma, Cb, Cr. A texture is completed by its residual against a model's texture: taken as it is where it is
seen, from the other half of the face in part where only that is, and smoothly continued from there on, towards nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ops.texture.atlas import Atlas
from ops.texture.unwrapping import Unwrapped

HALF_SEEN = 0.15
"""Weight at which a texel counts as half seen."""
MIRROR_TRUST = 0.3
"""How far a texel may be told by its mirror image where it is not seen itself."""
FADE = 0.02
"""How fast what is continued from elsewhere dies away."""
CHROMA_SCALE = 2.0
"""A difference in Cb or Cr counts as so many times the same one in luma."""
MAGNIFIED = 1.2
"""Zoom of a crop above which its photo tells less of fine detail."""
DARKEST_HUE = 0.08
"""Luma below which colours are not divided by it."""
EYE_FADE = 0.3
EYE_WEIGHT = 3.0
"""Eyeballs are small and seen through slits, so a photo counts more there; their residual is not continued far."""
COARSEST = 4


class SeenTexture(NamedTuple):
    """What the photos of one person say of its albedo."""

    albedo: Float[Tensor, "3 side side"]
    """Luma, Cb, Cr; means nothing where the weight is 0."""
    luma_weight: Float[Tensor, "side side"]
    chroma_weight: Float[Tensor, "side side"]
    """0 everywhere where all photos are grey."""

    @property
    def weight(self) -> Float[Tensor, "3 side side"]:
        """One weight per channel."""
        return torch.stack((self.luma_weight, self.chroma_weight, self.chroma_weight))


def merge_photos(photos: Sequence[Unwrapped], trust: Sequence[Float[Tensor, "side side"]] | None = None) -> SeenTexture:
    """One texture out of a person's photos; `trust` in [0, 1] lowers their weights.

    Photos count by their squared weight, so that the better one decides. A magnified photo tells less luma, as it would
    blur a sharp one. Cb and Cr are merged as ratios to the luma: where a grey photo tells the luma, the hue stays that
    of the coloured one.
    """
    trusted = [photo.weight for photo in photos]
    if trust is not None:
        trusted = [weight * share for weight, share in zip(trusted, trust, strict=True)]
    albedo, weight = torch.stack([photo.albedo for photo in photos]), torch.stack(trusted)
    hue = albedo[:, 1:] / albedo[:, :1].clamp_min(DARKEST_HUE)
    sharpness = albedo.new_tensor([min(1.0, MAGNIFIED / photo.zoom) ** 2 for photo in photos])
    coloured = albedo.new_tensor([not photo.grey for photo in photos])
    luma_weight, chroma_weight = (weight * factor[:, None, None] for factor in (sharpness, coloured))
    luma = _weighted_mean(albedo[:, :1], luma_weight**2)
    chroma = _weighted_mean(hue, chroma_weight**2) * luma.clamp_min(DARKEST_HUE)
    return SeenTexture(torch.cat((luma, chroma)), luma_weight.amax(0), chroma_weight.amax(0))


def agreement(
    seen: Float[Tensor, "3 side side"], expected: Float[Tensor, "3 side side"], scale: float, *, chroma: bool
) -> Float[Tensor, "side side"]:
    """1 where a photo agrees with what a model expects, 1/2 at differences of `scale`, 0 far beyond.

    Differences are averaged over 3 x 3 texels: glasses, hair, hands and collars are larger than that, wrinkles and
    pores change sign. With `chroma` a difference of hue counts, too.
    """
    difference = avg_pool2d((seen - expected)[None], 3, 1, 1, count_include_pad=False)[0]
    squared = difference[0] ** 2
    if chroma:
        squared = squared + (CHROMA_SCALE * difference[1:]).square().sum(0)
    return 1 / (1 + squared**2 / scale**4)


def seen_share(weight: Float[Tensor, "*batch side side"]) -> Float[Tensor, "*batch side side"]:
    """How far a texel of a weight is taken from the photo, in [0, 1]: saturates soon, as a texel is seen or not."""
    return (weight / (weight + HALF_SEEN) * (1 + HALF_SEEN)).clamp(0, 1)


def complete_texture(
    expected: Float[Tensor, "3 side side"],
    seen: SeenTexture,
    atlas: Atlas,
    region: Bool[Tensor, "side side"],
    trust: Float[Tensor, "side side"],
    *,
    mirror: float = MIRROR_TRUST,
    fade: float = FADE,
) -> Float[Tensor, "3 side side"]:
    """A model's texture with the photos' residual inside a region, such as the face.

    `mirror` is the share of a texel's residual that its mirror image may tell, moved to the texel's own half's tone.
    """
    share, borrowed = told_shares(seen.weight, atlas, region, trust, mirror=mirror)
    residual = seen.albedo - expected
    other, other_share = residual.flip(-1), share.flip(-1) * atlas.mirrored
    both = torch.minimum(share, other_share)
    shift = (both * (residual - other)).sum((-1, -2), keepdim=True) / both.sum((-1, -2), keepdim=True).clamp_min(1)
    total = share + borrowed
    mixed = (share * residual + borrowed * (other + shift)) / total.clamp_min(1e-6)
    return expected + pull_push(mixed, total.clamp(max=1), fade) * region


def complete_eyeballs(
    expected: Float[Tensor, "3 side side"], seen: SeenTexture, atlas: Atlas
) -> Float[Tensor, "3 side side"]:
    """A model's texture with the photos' residual on the eyeballs, which is zero elsewhere.

    All that is seen is believed, as an iris differs from any other more than skin does, and nothing is mirrored, as
    eyes look aside.
    """
    eyes = SeenTexture(seen.albedo, EYE_WEIGHT * seen.luma_weight, EYE_WEIGHT * seen.chroma_weight)
    ones = torch.ones_like(seen.luma_weight)
    return complete_texture(expected, eyes, atlas, atlas.eyeballs, ones, mirror=0.0, fade=EYE_FADE)


def complete_spots(
    expected: Float[Tensor, "3 side side"], seen: SeenTexture, atlas: Atlas
) -> Float[Tensor, "3 side side"]:
    """A model's texture with the photos' colours of teeth and the inside of the mouth, as far as they are seen.

    What is seen of little is not stretched: between lips that are hardly apart colours are the lips'.
    """
    share = seen.weight * (atlas.spots > 0)
    return expected + share * (seen.albedo - expected)


def told_shares(
    weight: Float[Tensor, "*batch side side"],
    atlas: Atlas,
    region: Bool[Tensor, "side side"],
    trust: Float[Tensor, "side side"],
    *,
    mirror: float = MIRROR_TRUST,
) -> tuple[Float[Tensor, "*batch side side"], Float[Tensor, "*batch side side"]]:
    """How far every texel is told by photos, and how far by its mirror image; both in [0, 1], as is their sum."""
    share = seen_share(weight) * region * trust
    return share, mirror * (1 - share) * share.flip(-1) * atlas.mirrored


def pull_push(
    values: Float[Tensor, "channel side side"], share: Float[Tensor, "channel side side"], fade: float = 0.0
) -> Float[Tensor, "channel side side"]:
    """Fill in where the share is below 1 from ever coarser surroundings (Gortler et al. 1996, "The Lumigraph").

    What comes from far away is drawn towards 0 by `fade`.
    """
    total = values * share
    if values.shape[-1] <= COARSEST or values.shape[-1] % 2:
        below = total.sum((-1, -2), keepdim=True) / (share.sum((-1, -2), keepdim=True) + fade + 1e-6)
        return share * values + (1 - share) * below
    weight = avg_pool2d(share, 2)
    coarse = avg_pool2d(total, 2) / (weight + 1e-6)
    below = pull_push(coarse, (4 * weight).clamp(max=1), fade)
    filled = interpolate(below[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    return share * values + (1 - share) * filled


def _weighted_mean(
    values: Float[Tensor, "photo channel side side"], weight: Float[Tensor, "photo side side"]
) -> Float[Tensor, "channel side side"]:
    return (values * weight.unsqueeze(1)).sum(0) / weight.sum(0).clamp_min(1e-8)
