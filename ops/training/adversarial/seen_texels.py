"""What a critic may see of textures that are guessed in part: a random measurement, alike for real and generated ones.

A map that was completed from photos is a guess where no photo shows it: smoother than skin, and with the detail of the
model that completed it. A critic that sees this teaches a generator to draw guesses. So real and generated textures go
through the same measurement before the critic (AmbientGAN, Bora et al. 2018): with the mask m of a person drawn at
random, and L what is coarser than `GUESSED_SIDE` cells along an edge,

    seen(x) = L(x) + m (x - L(x)),    m for luma and for chroma, which a grey photo does not tell.

A generated texture takes the masks of the real maps of its minibatch, which it does not depend on. If both come from
one distribution, so do their measurements; and where the masks of enough people show every place, only then. Tones are
compared everywhere: a completion tells them well enough, and a place that nobody shows, such as the scalp, would be
left to chance without them. Detail is compared where it is seen alone.

After a supervised start the critic sees `DETAIL_SCALE` m (x - L(x)) alone. Codes give tones then, and the few people
of a minibatch differ so much in tone from the textures of random latent vectors that their detail is lost in it.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma

GUESSED_SIDE = 16
"""Cells along an edge; what their means say is believed of guessed texels, too."""
DETAIL_SCALE = 8.0
"""Of detail that is seen without tones: brings it to about the deviation of the images that networks are made for."""


def as_seen(
    images: Float[Tensor, "image 3 side side"], seen: Float[Tensor, "image 2 side side"], *, tones: bool = True
) -> Float[Tensor, "image 3 side side"]:
    """Images without the detail that is not seen; linear in them.

    Args:
        images: RGB, of any range.
        seen: share of luma and of chroma that is seen, in [0, 1].
        tones: whether what is coarser than the cells stays; without it detail is enlarged by `DETAIL_SCALE`. Images of
            no more texels than cells stay as they are.
    """
    side = images.shape[-1]
    if side <= GUESSED_SIDE:
        return images
    cells = functional.avg_pool2d(images, side // GUESSED_SIDE)
    coarse = functional.interpolate(cells, size=(side, side), mode="bilinear", align_corners=False)
    share = torch.cat((seen, seen[:, 1:]), 1)
    detail = rgb_from_luma_chroma(share * luma_chroma_from_rgb(images - coarse))
    return coarse + detail if tones else DETAIL_SCALE * detail
