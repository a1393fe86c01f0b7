"""A fitted photo to UV: the albedo that it shows, and how far every texel of it can be believed.

The Phong model (see `ops.render.shading`) is solved for the albedo at every texel that the photo shows,

    albedo = (photo - highlight) / (ambient + colour max(n.l, 0)),

and what is left of the light in its ratio to the fitted texture, which is smooth in the normal (nine spherical
harmonics describe what a convex surface reflects of distant light, Ramamoorthi and Hanrahan 2001), is divided out of
the luma. So the fitted texture says how bright the face is as a whole; the photo says everything finer, and its hue.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, max_pool2d, normalize

from ops.face.morphable_model import MorphableModel
from ops.face.signal import are_grey
from ops.face.skin import skin_weight
from ops.geometry.camera import Camera
from ops.geometry.mesh_normals import vertex_normals
from ops.geometry.projection import clip_from_world, transform_points_plain
from ops.render.lighting import Light
from ops.render.rasterize import select_rasterizer
from ops.render.shading import PhongMaterial
from ops.texture.atlas import Atlas
from ops.texture.colour import luma_chroma_from_rgb

DEPTH_SCALE = 3
"""Pixels of the depth buffer along a pixel of the crop of `CROP_PX`."""
CROP_PX = 224
DEPTH_TOLERANCE_MM = 2.5
"""A texel is hidden when a surface lies so far in front of it."""
FACING_START, FACING_END = 0.2, 0.35
"""Cosine between normal and line of sight below which a texel counts nothing, and above which nothing is held back."""
FACING_POWER = 1.5
SHADING_FLOOR = 0.7
"""Least shading, in medians over the face: one point light is darker under the nose than any photo is."""
DIMMEST = 0.15
"""Least shading whatever the median."""
OUTLINE = 0.015
"""How far the outline of the skin is drawn in, crop sides: there a misfit of a pixel is background, collar or hair."""
CLIPPED = (0.02, 0.985)
CLIPPED_WEIGHT = 0.05
"""Pixels with no channel above the first, or one above the second number, have lost their colour."""
OPENING_MARGIN = 0.004
"""How far the landmarks' openings of eyes and mouth are widened, crop sides."""
LIGHT_RESIDUAL = 0.12
"""Logarithmic difference at which a texel counts half when the remaining light is fitted (Cauchy weights)."""
LIGHT_ITERATIONS = 8
LIGHT_RIDGE = (0.0, 0.02, 0.02, 0.02, 0.04, 0.04, 0.04, 0.04, 0.04)
"""Ridge on the nine harmonics, as shares of all weight: brightness is free, second order is held most."""
SEEN_LEAST = 0.05
DARKEST = 0.03
"""Texels of a smaller weight or luma do not take part in fitting the light."""
_MATERIAL = PhongMaterial()


@dataclass(frozen=True, kw_only=True)
class FittedPhoto:
    """A crop and what was fitted to it; float32, all on the device of the shape model and the atlas."""

    crop_rgb: Float[Tensor, "3 crop crop"]
    """RGB in [0, 1]."""
    valid: Bool[Tensor, "crop crop"]
    """Crop pixels that lie inside the photo."""
    landmarks_px: Float[Tensor, "68 2"]
    """As detected, in pixels of the crop."""
    vertices_mm: Float[Tensor, "vertex 3"]
    camera: Camera
    """In the crop's frame; no batch."""
    light: Light
    """No batch."""
    texture: Float[Tensor, "3 texel texel"]
    """The fitted albedo, RGB."""
    zoom: float = 1.0
    """Crop pixels that one pixel of the photo covers: above 1 the crop is magnified."""

    @property
    def grey(self) -> bool:
        """Whether the photo tells no colour."""
        return bool(are_grey(self.crop_rgb.unsqueeze(0)))


class Unwrapped(NamedTuple):
    """What one photo says of the albedo."""

    albedo: Float[Tensor, "3 side side"]
    """Luma, Cb, Cr; the last two 0 for a grey photo. Means nothing where the weight is 0."""
    weight: Float[Tensor, "side side"]
    """0 where the photo does not show a texel or cannot be believed, up to 1 where it is seen from straight ahead."""
    grey: bool
    zoom: float
    """As in `FittedPhoto`."""
    pixel: float
    """What a pixel of the photo covers, crop sides; in the middle of the face a texture side is about as long."""


class _Surface(NamedTuple):
    """The texels' points as the camera sees them."""

    xy: Float[Tensor, "side side 2"]
    """Place in the crop, [0, 1]."""
    point_mm: Float[Tensor, "side side 3"]
    normal: Float[Tensor, "side side 3"]
    facing: Float[Tensor, "side side"]
    """Cosine between normal and line of sight."""
    visible: Bool[Tensor, "side side"]


def unwrap_photo(shape: MorphableModel, atlas: Atlas, photo: FittedPhoto) -> Unwrapped:
    """The albedo a photo shows, on the atlas of its shape model.

    Face texels count nothing where the landmarks see an eye's opening (if the model has eyeballs) or the inside of the
    mouth; texels of eyeballs count only inside the eyes' openings.
    """
    surface = _surface(shape, atlas, photo)
    shading, highlight = _lit(surface, photo, atlas)
    seen = _sample(photo.crop_rgb, surface.xy)
    expected = resized(luma_chroma_from_rgb(photo.texture), atlas.side)
    grey = photo.grey
    if grey:
        albedo = _grey_albedo(seen, shading, highlight, resized(photo.texture, atlas.side))
    else:
        albedo = luma_chroma_from_rgb((seen - highlight).clamp_min(0) / shading)
    weight = _weight(atlas, surface, photo, seen)
    left = _remaining_light(albedo[0], expected[0], surface.normal, weight * atlas.face)
    return Unwrapped(albedo / left, weight, grey, photo.zoom, photo.zoom / photo.crop_rgb.shape[-1])


def _surface(shape: MorphableModel, atlas: Atlas, photo: FittedPhoto) -> _Surface:
    vertices, camera = photo.vertices_mm.unsqueeze(0), Camera(*(value.unsqueeze(0) for value in photo.camera))
    clip = transform_points_plain(clip_from_world(camera), vertices)
    side = DEPTH_SCALE * CROP_PX
    pixels = select_rasterizer(clip.device, clip.dtype)(clip, shape.triangles, side, side)[0]
    corners = shape.triangles.long()[(pixels[..., 3].long() - 1).clamp_min(0)]
    shares = torch.cat((pixels[..., :2], 1 - pixels[..., :2].sum(-1, keepdim=True)), -1)
    depth = torch.where(pixels[..., 3] > 0, (clip[0, :, 3][corners] * shares).sum(-1), torch.inf)
    # Against the nearest surface of 3 x 3 pixels: a texel at a silhouette shows what is in front of it, too.
    nearest = -max_pool2d(-depth[None, None], 3, 1, 1)[0].nan_to_num(posinf=1e6)
    point = atlas.at(photo.vertices_mm)
    normal = normalize(atlas.at(vertex_normals(vertices, shape.triangles)[0]), dim=-1)
    screen = atlas.at(clip[0])
    flat = screen[..., :2] / screen[..., 3:]
    xy = 0.5 + 0.5 * flat * flat.new_tensor((1.0, -1.0))
    visible = atlas.covered & (screen[..., 3] < _sample(nearest, xy)[0] + DEPTH_TOLERANCE_MM)
    facing = (normal * normalize(photo.camera.eye_mm - point, dim=-1)).sum(-1).clamp_min(0)
    return _Surface(xy, point, normal, facing, visible)


def _lit(
    surface: _Surface, photo: FittedPhoto, atlas: Atlas
) -> tuple[Float[Tensor, "3 side side"], Float[Tensor, "3 side side"]]:
    """What the fitted light multiplies the albedo by, and what it adds."""
    light = photo.light
    to_light = normalize(light.position_mm - surface.point_mm, dim=-1)
    to_eye = normalize(photo.camera.eye_mm - surface.point_mm, dim=-1)
    cosine = (surface.normal * to_light).sum(-1, keepdim=True)
    mirrored = 2 * cosine * surface.normal - to_light
    glance = torch.where(cosine > 0, (mirrored * to_eye).sum(-1, keepdim=True), torch.zeros_like(cosine)).clamp_min(0)
    highlight = light.colour * (_MATERIAL.specular * glance**_MATERIAL.shininess)
    shading = light.ambient + light.colour * cosine.clamp_min(0)
    shown = atlas.face & surface.visible
    if bool(shown.any()):
        shading = torch.maximum(shading, SHADING_FLOOR * shading[shown].median(0).values)
    return shading.clamp_min(DIMMEST).movedim(-1, 0), highlight.movedim(-1, 0)


def _grey_albedo(
    seen: Float[Tensor, "3 side side"],
    shading: Float[Tensor, "3 side side"],
    highlight: Float[Tensor, "3 side side"],
    texture: Float[Tensor, "3 side side"],
) -> Float[Tensor, "3 side side"]:
    """Luma alone: the light's effect on it is that on the fitted texture's hue."""
    hue = texture.clamp_min(DARKEST)
    effect = luma_chroma_from_rgb(hue * shading)[0] / luma_chroma_from_rgb(hue)[0]
    luma = (luma_chroma_from_rgb(seen)[0] - luma_chroma_from_rgb(highlight)[0]).clamp_min(0) / effect
    return torch.stack((luma, torch.zeros_like(luma), torch.zeros_like(luma)))


def _weight(
    atlas: Atlas, surface: _Surface, photo: FittedPhoto, seen: Float[Tensor, "3 side side"]
) -> Float[Tensor, "side side"]:
    side = photo.crop_rgb.shape[-1]
    skin = _sample(_inner_skin(photo.landmarks_px, side), surface.xy)[0]
    inside = _sample(photo.valid.float().unsqueeze(0), surface.xy)[0] > 0.99
    brightest = seen.amax(0)
    clipped = (brightest < CLIPPED[0]) | (brightest > CLIPPED[1])
    ramp = ((surface.facing - FACING_START) / (FACING_END - FACING_START)).clamp(0, 1)
    weight = surface.visible * inside * skin * ramp * surface.facing**FACING_POWER
    weight = weight * torch.where(clipped, CLIPPED_WEIGHT, 1.0)
    has_eyeballs = bool(atlas.eyeballs.any())
    eyes, mouth = (_sample(opening, surface.xy)[0] for opening in _openings(photo.landmarks_px, side))
    opened = torch.maximum(eyes, mouth) if has_eyeballs else mouth
    return weight * torch.where(atlas.eyeballs, eyes, 1 - opened)


def _inner_skin(landmarks_px: Float[Tensor, "68 2"], side: int) -> Float[Tensor, "1 crop crop"]:
    import cv2

    skin: Any = skin_weight(landmarks_px.unsqueeze(0), side)[0].cpu().numpy()
    blurred = np.asarray(cv2.GaussianBlur(skin, (0, 0), OUTLINE * side))
    return torch.from_numpy((2 * blurred - 1).clip(0, 1)).unsqueeze(0).to(landmarks_px.device)


def _openings(
    landmarks_px: Float[Tensor, "68 2"], side: int
) -> tuple[Float[Tensor, "1 crop crop"], Float[Tensor, "1 crop crop"]]:
    """1 where the landmarks see eyeballs, and the inside of the mouth: never skin, whatever the fit says."""
    import cv2

    points = landmarks_px.cpu().double().numpy()
    masks: list[Tensor] = []
    for parts in ((slice(36, 42), slice(42, 48)), (slice(60, 68),)):
        fine = np.zeros((4 * side, 4 * side), np.float32)
        for part in parts:
            cv2.fillPoly(fine, [np.round(points[part] * 4 - 0.5).astype(np.int32)], 1.0)
        width = 2 * round(4 * OPENING_MARGIN * side) + 1
        widened: Any = cv2.dilate(fine, np.ones((width, width)))
        small: Any = cv2.resize(widened, (side, side), interpolation=cv2.INTER_AREA)
        soft = np.asarray(cv2.GaussianBlur(small, (0, 0), side / CROP_PX))
        masks.append(torch.from_numpy((1.6 * soft).clip(0, 1)).unsqueeze(0).to(landmarks_px.device))
    return masks[0], masks[1]


def _remaining_light(
    seen: Float[Tensor, "side side"],
    expected: Float[Tensor, "side side"],
    normal: Float[Tensor, "side side 3"],
    weight: Float[Tensor, "side side"],
) -> Float[Tensor, "side side"]:
    """The exponential of spherical harmonics of the normal, robustly fitted to log(seen / expected)."""
    x, y, z = normal.unbind(-1)
    harmonics = torch.stack((torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1), -1)
    used = (weight > SEEN_LEAST) & (seen > DARKEST) & (expected > DARKEST)
    if int(used.sum()) < len(LIGHT_RIDGE):
        return torch.ones_like(seen)
    ratio, rows, count = (seen[used] / expected[used]).log().double(), harmonics[used].double(), weight[used].double()
    ridge = torch.diag(count.new_tensor(LIGHT_RIDGE) * count.sum())
    robust, found = torch.ones_like(ratio), rows.new_zeros(rows.shape[1])
    for _ in range(LIGHT_ITERATIONS):
        weighted = rows * (count * robust).unsqueeze(-1)
        found = torch.linalg.solve(rows.mT @ weighted + ridge, weighted.mT @ ratio)
        robust = 1 / (1 + ((ratio - rows @ found) / LIGHT_RESIDUAL) ** 2)
    return (harmonics.double() @ found).clamp(-1, 1).exp().float()


def _sample(
    image: Float[Tensor, "channel height width"], xy: Float[Tensor, "side side 2"]
) -> Float[Tensor, "channel side side"]:
    """Bilinear values at places in [0, 1], pixel centres at +0.5."""
    return grid_sample(image[None], (2 * xy - 1)[None], mode="bilinear", padding_mode="border", align_corners=False)[0]


def resized(image: Float[Tensor, "3 height width"], side: int) -> Float[Tensor, "3 side side"]:
    """A texture of another side, anti-aliased."""
    if image.shape[-1] == side:
        return image
    return interpolate(image[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
