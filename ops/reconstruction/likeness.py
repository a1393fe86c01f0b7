"""How much of what photos show beyond a model's texture is the person's: what recognition asks for.

Most of such a residual does not come back in another photo of the person: it is light, misfit, a year. Recognition was
trained to say the same of all photos of a person, so what it reads comes back sooner. From pores alone, the shares of
the residual's bands climb the likeness of the renders to the photos that they were unwrapped from, by the network that
the fit optimised, on a coarse grid over the texture and in few steps. The judge has no part.

A picture is linear in its texture (Phong), so a face is drawn once a band and not once a step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, grid_sample, interpolate

from ops.face.alignment import resample_window
from ops.face.landmark_parts import BROWS, EYES, MOUTH, NOSTRILS, NUMBERS
from ops.face.morphable_model import MorphableModel
from ops.face.signal import are_grey
from ops.face.skin import skin_weight
from ops.files.photo import LUMA
from ops.fit import FitModels
from ops.fit.objective import RecognitionModel
from ops.fit.views import View, make_views
from ops.geometry.camera import Camera
from ops.networks.recognition import cosine_similarity
from ops.render.lighting import Light
from ops.render.render import Topology, render
from ops.texture.atlas import Atlas
from ops.texture.photo_texture import PhotoResidual

FINE = (1.2, 1.9, 0.0, 0.0, 0.0)
"""Shares of the bands that are kept on plain skin whatever recognition says, which does not see pores and wrinkles;
above 1, as sampling a photo to texels and these to pixels blurs both times."""
SKIN_PIXEL = (1.5 / 256, 2.3 / 256)
"""What a pixel of a photo covers, crop sides: up to the first it shows what `FINE` keeps, from the second on what looks
like that is compression."""
LOOKED_AT = (0.0, 0.0, 1.0, 1.0, 1.0)
"""Bands whose shares recognition decides."""
FEATURES = (*NUMBERS[BROWS], *NUMBERS[NOSTRILS], *NUMBERS[EYES], *NUMBERS[MOUTH])
"""Landmarks of brows, nostrils, eyes and mouth, whose outlines are misfit where they are fine."""
FEATURE_MM = (4.0, 8.0)
"""A texel nearer to one than the first belongs to it; from the second on it is plain skin."""
OF_ONE = 0.3
"""Share of what recognition asks for that is kept where a single photo shows it, as another photo of the person shows
little of it again. Several photos have to agree on the shares."""
GRID = 32
"""Places along an edge of the texture with shares of their own."""
STEPS = 20
STEP = 0.1
"""Steps of the ascent (Adam), and how far a share moves in one."""
VIEWS = 8
"""Crops, shifted, scaled and mirrored as in a fit, that recognition looks at in turn: what it asks for in one of them
alone is no likeness."""


class Look(NamedTuple):
    """A fitted photo as recognition compares it with its render."""

    crop_rgb: Float[Tensor, "3 side side"]
    grey: bool
    skin: Float[Tensor, "side side"]
    """Where the render is laid over the photo."""
    vertices_mm: Float[Tensor, "1 vertex 3"]
    camera: Camera
    light: Light
    """Of one image each."""


class Picture(NamedTuple):
    """A face drawn with a texture, in the crop's frame."""

    image: Float[Tensor, "3 side side"]
    """Not clipped."""
    mask: Bool[Tensor, "side side"]


def make_look(
    crop_rgb: Float[Tensor, "3 side side"],
    landmarks_px: Float[Tensor, "68 2"],
    vertices_mm: Float[Tensor, "1 vertex 3"],
    camera: Camera,
    light: Light,
) -> Look:
    """A crop and what was fitted to it; camera and light are of one image."""
    skin = skin_weight(landmarks_px.unsqueeze(0), crop_rgb.shape[-1])[0]
    return Look(crop_rgb, bool(are_grey(crop_rgb.unsqueeze(0))[0]), skin, vertices_mm, camera, light)


def draw(models: FitModels, look: Look, texture: Float[Tensor, "3 texel texel"], light: Light | None = None) -> Picture:
    """The face with a texture, in its own light or another."""
    shape, side = models.shape, look.crop_rgb.shape[-1]
    topology = Topology(triangles=shape.triangles, uv=shape.uv, uv_triangles=shape.uv_triangles)
    lit = look.light if light is None else light
    seen = render(
        topology, look.vertices_mm, texture.unsqueeze(0), look.camera, lit, side, rasterizer=models.rasterizer
    )
    return Picture(seen.image[0], seen.mask[0])


def similarity(network: RecognitionModel, look: Look, picture: Picture) -> Float[Tensor, ""]:
    """Cosine between a photo and a face drawn over it, in grey where the photo is; differentiable in the picture."""
    straight = _views(1, look.crop_rgb)[0]
    photo, drawn = (_embedding(network, crop, straight) for crop in (look.crop_rgb, _laid_over(look, picture)))
    return cosine_similarity(photo, drawn)[0]


def kept_shares(
    models: FitModels, atlas: Atlas, residual: PhotoResidual, looks: Sequence[Look]
) -> Float[Tensor, "band grid grid"]:
    """Which share of each band is kept, on a grid over the texture: in [0, 1] of those that recognition decides on.

    Args:
        models: of the fit; recognition and renderer are used.
        atlas: the texels.
        residual: of the photos.
        looks: the same photos.
    """
    fine = shows_skin(residual.pixel) * residual.luma.new_tensor(FINE)[:, None, None] * plain_skin(models.shape, atlas)
    looked_at = residual.luma.new_tensor(LOOKED_AT)[:, None, None]
    views = _views(VIEWS, looks[0].crop_rgb)
    with torch.no_grad():
        parts = [parts_of(models, residual, look) for look in looks]
        targets = [[_embedding(models.recognition, look.crop_rgb, view) for look in looks] for view in views]
    asked = torch.zeros_like(fine).requires_grad_()
    optimiser = torch.optim.Adam([asked], STEP)
    with torch.enable_grad():
        for step in range(STEPS):
            optimiser.zero_grad()
            view, seen = views[step % VIEWS], targets[step % VIEWS]
            for look, part, target in zip(looks, parts, seen, strict=True):
                picture = part.picture(fine + looked_at * asked)
                shown = _embedding(models.recognition, _laid_over(look, picture), view)
                (-cosine_similarity(target, shown) / len(looks)).sum().backward()
            optimiser.step()
            with torch.no_grad():
                asked.clamp_(0, 1)
    return fine + looked_at * asked.detach() * (OF_ONE if len(looks) == 1 else 1.0)


def shows_skin(pixel: float) -> float:
    """How far photos show pores and wrinkles: from 1 to 0 with what a pixel covers, crop sides."""
    sharp, blurred = SKIN_PIXEL
    return min(1.0, max(0.0, (blurred - pixel) / (blurred - sharp)))


def plain_skin(shape: MorphableModel, atlas: Atlas) -> Float[Tensor, "grid grid"]:
    """From 0 at features and eyeballs to 1 on plain skin, on a grid over the texture."""
    cells = (GRID, GRID)
    # Of the cell's middle; where no triangle lies, the point means nothing, and nothing is added there.
    point = interpolate(atlas.at(shape.mean_mm).movedim(-1, 0)[None], cells, mode="nearest-exact")[0].flatten(1).T
    feature = shape.mean_mm[shape.landmarks[list(FEATURES)]]
    near, far = FEATURE_MM
    plain = ((torch.cdist(point, feature).amin(-1) - near) / (far - near)).clamp(0, 1).unflatten(0, cells)
    return plain * (1 - adaptive_max_pool2d(atlas.eyeballs[None].to(plain), cells)[0])


class Parts(NamedTuple):
    """The pictures of which those of a photo's face with any shares are made."""

    bare: Picture
    """Without the residual's luma."""
    bands: Float[Tensor, "band 3 side side"]
    """What each band adds."""
    place: Float[Tensor, "1 side side 2"]
    """Where in the texture a pixel lies, in [-1, 1]."""

    def picture(self, shares: Float[Tensor, "band grid grid"]) -> Picture:
        """The face with these shares."""
        kept = grid_sample(shares[None], self.place, padding_mode="border", align_corners=False)[0]
        return Picture(self.bare.image + (kept.unsqueeze(1) * self.bands).sum(0), self.bare.mask)


def parts_of(models: FitModels, residual: PhotoResidual, look: Look) -> Parts:
    """Draw a photo's face once a band."""
    side = residual.luma.shape[-1]
    bare_rgb = residual.bare_rgb
    bare = draw(models, look, bare_rgb)
    bands = torch.stack(
        [draw(models, look, bare_rgb + band * residual.tint).image - bare.image for band in residual.luma]
    )
    line = (2 * torch.arange(side, device=bare_rgb.device, dtype=bare_rgb.dtype) + 1) / side - 1
    where = torch.stack((line.expand(side, -1), line.unsqueeze(1).expand(-1, side), torch.zeros_like(bare_rgb[0])))
    even = Light(look.light.position_mm, torch.zeros_like(look.light.colour), torch.ones_like(look.light.ambient))
    place = draw(models, look, where, even).image[:2]
    return Parts(bare, bands, place.permute(1, 2, 0).unsqueeze(0))


def _laid_over(look: Look, picture: Picture) -> Float[Tensor, "3 side side"]:
    image = picture.image.clamp(0, 1)
    if look.grey:
        image = (image * image.new_tensor(LUMA)[:, None, None]).sum(0, keepdim=True).expand_as(image)
    alpha = look.skin * picture.mask
    return alpha * image + (1 - alpha) * look.crop_rgb


def _views(count: int, crop: Float[Tensor, "3 side side"]) -> list[View]:
    """Of a crop, the exact template first."""
    return [View(*(matrix.to(crop.device) for matrix in view)) for view in make_views(count, crop.shape[-1])]


def _embedding(
    network: RecognitionModel, crop: Float[Tensor, "3 side side"], view: View
) -> Float[Tensor, "1 embedding"]:
    return network(resample_window(crop.unsqueeze(0), view.vertical, view.horizontal)).embedding
