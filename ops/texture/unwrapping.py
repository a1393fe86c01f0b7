"""A fitted photo to UV: the albedo that it shows, and how far every texel of it can be believed.

The Phong model (see `ops.render.shading`) is solved for the albedo at every texel that the photo shows,

    albedo = (photo - highlight) / (ambient + colour max(n.l, 0)),

and what is left of the light in its ratio to the fitted texture, which is smooth in the normal (nine spherical
harmonics describe what a convex surface reflects of distant light, Ramamoorthi and Hanrahan 2001), is divided out of
the luma. So the fitted texture says how bright the face is as a whole; the photo says everything finer, and its hue.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, max_pool2d, normalize

from ops.face.landmark_parts import INNER_LIPS, LEFT_EYE, RIGHT_EYE
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
EYE_OPENINGS, MOUTH_OPENING = (RIGHT_EYE, LEFT_EYE), (INNER_LIPS,)
"""Landmarks around the openings of eyes and mouth."""
OPENING_MARGIN = 0.004
"""How far openings are widened where skin is looked for, and drawn in where teeth are, crop sides."""
OPENED = 0.99
"""Value of an opening's mask above which a pixel shows what lies behind it."""
SPOT_SEEN = 0.001
"""Area, crops, of which teeth or the inside of the mouth show their colour for certain."""
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


class _Drawn(NamedTuple):
    """The fitted face as the camera sees it, finer than the crop."""

    clip: Float[Tensor, "vertex 4"]
    normals: Float[Tensor, "vertex 3"]
    triangle: Int64[Tensor, "fine fine"]
    """Of a pixel, counted from 1; 0 beside the face."""
    corners: Int64[Tensor, "fine fine 3"]
    shares: Float[Tensor, "fine fine 3"]
    """Barycentric coordinates."""


class _Surface(NamedTuple):
    """Points of the face as the camera sees them."""

    xy: Float[Tensor, "*place 2"]
    """Place in the crop, [0, 1]."""
    point_mm: Float[Tensor, "*place 3"]
    normal: Float[Tensor, "*place 3"]


class _View(NamedTuple):
    """How the camera sees the texels' points."""

    facing: Float[Tensor, "side side"]
    """Cosine between normal and line of sight."""
    visible: Bool[Tensor, "side side"]


class _Lit(NamedTuple):
    """The fitted light on some points, channels first."""

    shading: Float[Tensor, "3 *place"]
    """What it multiplies the albedo by."""
    highlight: Float[Tensor, "3 *place"]
    """What it adds."""

    def brightened(self, least: Float[Tensor, "3 1 1"]) -> "_Lit":
        """The same with a shading of so much at least."""
        return _Lit(torch.maximum(self.shading, least), self.highlight)


class _LightLeft(NamedTuple):
    """The exponential of nine spherical harmonics of the normal, by which the photo is brighter than the fit."""

    harmonics: Float64[Tensor, "9"]

    def at(self, normal: Float[Tensor, "*place 3"]) -> Float[Tensor, "*place"]:
        """The factor at points of these normals."""
        return (_harmonics(normal).double() @ self.harmonics).clamp(-1, 1).exp().float()


def unwrap_photo(shape: MorphableModel, atlas: Atlas, photo: FittedPhoto) -> Unwrapped:
    """The albedo a photo shows, on the atlas of its shape model.

    Face texels count nothing where the landmarks see an eye's opening (if the model has eyeballs) or the inside of the
    mouth; texels of eyeballs count only inside the eyes' openings. Where teeth and the inside of the mouth have one
    colour each, it is the median of what is seen of them inside the mouth's opening.
    """
    drawn, grey = _draw(shape, photo), photo.grey
    surface, view = _texels(atlas, drawn, photo)
    lit = _lit(surface, photo)
    least = _least_shading(lit.shading[:, atlas.face & view.visible])
    seen = _sample(photo.crop_rgb, surface.xy)
    fitted = resized(photo.texture, atlas.side)
    albedo = _albedo(grey, seen, lit.brightened(least), fitted)
    weight = _weight(surface.xy, view, photo, seen) * _seen_through(atlas, surface.xy, photo)
    expected = resized(luma_chroma_from_rgb(photo.texture), atlas.side)
    light_left = _light_left(albedo[0], expected[0], surface.normal, weight * atlas.face)
    albedo = albedo / light_left.at(surface.normal)
    for number, inside in _spots_in(atlas, drawn, photo):
        spot, texels = _pixels(drawn, photo, inside), atlas.spots == number
        rgb, hue = _sample(photo.crop_rgb, spot.xy), fitted[:, texels].mean(1)[:, None, None]
        found = _albedo(grey, rgb, _lit(spot, photo).brightened(least), hue) / light_left.at(spot.normal)
        believed = ~_clipped(rgb)
        if bool(believed.any()):
            albedo[:, texels] = found[:, believed].median(1, keepdim=True).values
            weight[texels] = (believed.sum() / (SPOT_SEEN * inside.numel())).clamp(max=1)
    return Unwrapped(albedo, weight, grey, photo.zoom, photo.zoom / photo.crop_rgb.shape[-1])


def _draw(shape: MorphableModel, photo: FittedPhoto) -> _Drawn:
    vertices, camera = photo.vertices_mm.unsqueeze(0), Camera(*(value.unsqueeze(0) for value in photo.camera))
    clip = transform_points_plain(clip_from_world(camera), vertices)
    side = DEPTH_SCALE * CROP_PX
    pixels = select_rasterizer(clip.device, clip.dtype)(clip, shape.triangles, side, side)[0]
    triangle = pixels[..., 3].long()
    corners = shape.triangles.long()[(triangle - 1).clamp_min(0)]
    shares = torch.cat((pixels[..., :2], 1 - pixels[..., :2].sum(-1, keepdim=True)), -1)
    return _Drawn(clip[0], vertex_normals(vertices, shape.triangles)[0], triangle, corners, shares)


def _texels(atlas: Atlas, drawn: _Drawn, photo: FittedPhoto) -> tuple[_Surface, _View]:
    depth = torch.where(drawn.triangle > 0, (drawn.clip[:, 3][drawn.corners] * drawn.shares).sum(-1), torch.inf)
    # Against the nearest surface of 3 x 3 pixels: a texel at a silhouette shows what is in front of it, too.
    nearest = -max_pool2d(-depth[None, None], 3, 1, 1)[0].nan_to_num(posinf=1e6)
    point = atlas.at(photo.vertices_mm)
    normal = normalize(atlas.at(drawn.normals), dim=-1)
    screen = atlas.at(drawn.clip)
    flat = screen[..., :2] / screen[..., 3:]
    xy = 0.5 + 0.5 * flat * flat.new_tensor((1.0, -1.0))
    visible = atlas.covered & (screen[..., 3] < _sample(nearest, xy)[0] + DEPTH_TOLERANCE_MM)
    facing = (normal * normalize(photo.camera.eye_mm - point, dim=-1)).sum(-1).clamp_min(0)
    return _Surface(xy, point, normal), _View(facing, visible)


def _spots_in(atlas: Atlas, drawn: _Drawn, photo: FittedPhoto) -> Iterator[tuple[int, Bool[Tensor, "fine fine"]]]:
    """The number of every colour spot that is seen well inside the mouth's opening, and the pixels that show it."""
    if not bool(atlas.spots.any()):
        return
    spot = torch.where(drawn.triangle > 0, atlas.spot_of_triangles[(drawn.triangle - 1).clamp_min(0)], 0)
    opening = _opening(photo.landmarks_px, MOUTH_OPENING, photo.crop_rgb.shape[-1], -OPENING_MARGIN)
    opened = _sample(opening, _places(drawn.triangle))[0] > OPENED
    for number in range(1, int(atlas.spots.max()) + 1):
        inside = opened & (spot == number)
        if bool(inside.any()):
            yield number, inside


def _places(pixels: Int64[Tensor, "fine fine"]) -> Float[Tensor, "fine fine 2"]:
    """Of pixels' centres in the crop, [0, 1]."""
    side = len(pixels)
    centres = (torch.arange(side, device=pixels.device) + 0.5) / side
    return torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)


def _pixels(drawn: _Drawn, photo: FittedPhoto, chosen: Bool[Tensor, "fine fine"]) -> _Surface:
    """The points that some pixels show, a row each."""
    corners, shares = drawn.corners[chosen], drawn.shares[chosen].unsqueeze(-1)
    point, normal = ((values[corners] * shares).sum(-2).unsqueeze(1) for values in (photo.vertices_mm, drawn.normals))
    return _Surface(_places(drawn.triangle)[chosen].unsqueeze(1), point, normalize(normal, dim=-1))


def _lit(surface: _Surface, photo: FittedPhoto) -> _Lit:
    light = photo.light
    to_light = normalize(light.position_mm - surface.point_mm, dim=-1)
    to_eye = normalize(photo.camera.eye_mm - surface.point_mm, dim=-1)
    cosine = (surface.normal * to_light).sum(-1, keepdim=True)
    mirrored = 2 * cosine * surface.normal - to_light
    glance = torch.where(cosine > 0, (mirrored * to_eye).sum(-1, keepdim=True), torch.zeros_like(cosine)).clamp_min(0)
    highlight = light.colour * (_MATERIAL.specular * glance**_MATERIAL.shininess)
    shading = light.ambient + light.colour * cosine.clamp_min(0)
    return _Lit(shading.movedim(-1, 0), highlight.movedim(-1, 0))


def _least_shading(shown: Float[Tensor, "3 texel"]) -> Float[Tensor, "3 1 1"]:
    """What no point is taken to be darker lit than, from the shading of the face that is shown."""
    least = shown.new_zeros(3) if shown.shape[1] == 0 else SHADING_FLOOR * shown.median(1).values
    return least.clamp_min(DIMMEST)[:, None, None]


def _albedo(
    grey: bool, seen: Float[Tensor, "3 row column"], lit: _Lit, fitted: Float[Tensor, "3 _ _"]
) -> Float[Tensor, "3 row column"]:
    """Luma, Cb, Cr; the fitted albedo tells the hue of a grey photo."""
    if grey:
        return _grey_albedo(seen, lit.shading, lit.highlight, fitted)
    return luma_chroma_from_rgb((seen - lit.highlight).clamp_min(0) / lit.shading)


def _grey_albedo(
    seen: Float[Tensor, "3 row column"],
    shading: Float[Tensor, "3 row column"],
    highlight: Float[Tensor, "3 row column"],
    texture: Float[Tensor, "3 _ _"],
) -> Float[Tensor, "3 row column"]:
    """Luma alone: the light's effect on it is that on the fitted texture's hue."""
    hue = texture.clamp_min(DARKEST)
    effect = luma_chroma_from_rgb(hue * shading)[0] / luma_chroma_from_rgb(hue)[0]
    luma = (luma_chroma_from_rgb(seen)[0] - luma_chroma_from_rgb(highlight)[0]).clamp_min(0) / effect
    return torch.stack((luma, torch.zeros_like(luma), torch.zeros_like(luma)))


def _weight(
    xy: Float[Tensor, "side side 2"],
    view: _View,
    photo: FittedPhoto,
    seen: Float[Tensor, "3 side side"],
) -> Float[Tensor, "side side"]:
    skin = _sample(_inner_skin(photo.landmarks_px, photo.crop_rgb.shape[-1]), xy)[0]
    inside = _sample(photo.valid.float().unsqueeze(0), xy)[0] > 0.99
    ramp = ((view.facing - FACING_START) / (FACING_END - FACING_START)).clamp(0, 1)
    weight = view.visible * inside * skin * ramp * view.facing**FACING_POWER
    return weight * torch.where(_clipped(seen), CLIPPED_WEIGHT, 1.0)


def _clipped(seen: Float[Tensor, "3 row column"]) -> Bool[Tensor, "row column"]:
    brightest = seen.amax(0)
    return (brightest < CLIPPED[0]) | (brightest > CLIPPED[1])


def _seen_through(atlas: Atlas, xy: Float[Tensor, "side side 2"], photo: FittedPhoto) -> Float[Tensor, "side side"]:
    """Eyeballs through the eyes' openings, the face beside all openings: never skin there, whatever the fit says."""
    through_eyes, through_mouth = (
        _sample(_opening(photo.landmarks_px, outlines, photo.crop_rgb.shape[-1], OPENING_MARGIN), xy)[0]
        for outlines in (EYE_OPENINGS, MOUTH_OPENING)
    )
    has_eyeballs = bool(atlas.eyeballs.any())
    opened = torch.maximum(through_eyes, through_mouth) if has_eyeballs else through_mouth
    return torch.where(atlas.eyeballs, through_eyes, 1 - opened)


def _inner_skin(landmarks_px: Float[Tensor, "68 2"], side: int) -> Float[Tensor, "1 crop crop"]:
    import cv2

    skin: Any = skin_weight(landmarks_px.unsqueeze(0), side)[0].cpu().numpy()
    blurred = np.asarray(cv2.GaussianBlur(skin, (0, 0), OUTLINE * side))
    return torch.from_numpy((2 * blurred - 1).clip(0, 1)).unsqueeze(0).to(landmarks_px.device)


def _opening(
    landmarks_px: Float[Tensor, "68 2"], outlines: Sequence[slice], side: int, margin: float
) -> Float[Tensor, "1 crop crop"]:
    """1 inside some outlines of landmarks, widened by a margin, crop sides; drawn in where that is negative."""
    import cv2

    points = landmarks_px.cpu().double().numpy()
    fine = np.zeros((4 * side, 4 * side), np.float32)
    for outline in outlines:
        cv2.fillPoly(fine, [np.round(points[outline] * 4 - 0.5).astype(np.int32)], 1.0)
    width = 2 * round(4 * abs(margin) * side) + 1
    moved: Any = (cv2.dilate if margin > 0 else cv2.erode)(fine, np.ones((width, width)))
    small: Any = cv2.resize(moved, (side, side), interpolation=cv2.INTER_AREA)
    soft = np.asarray(cv2.GaussianBlur(small, (0, 0), side / CROP_PX))
    return torch.from_numpy((1.6 * soft).clip(0, 1)).unsqueeze(0).to(landmarks_px.device)


def _light_left(
    seen: Float[Tensor, "side side"],
    expected: Float[Tensor, "side side"],
    normal: Float[Tensor, "side side 3"],
    weight: Float[Tensor, "side side"],
) -> _LightLeft:
    """Robustly fitted to log(seen / expected)."""
    used = (weight > SEEN_LEAST) & (seen > DARKEST) & (expected > DARKEST)
    rows = _harmonics(normal[used]).double()
    found = rows.new_zeros(rows.shape[1])
    if int(used.sum()) < len(LIGHT_RIDGE):
        return _LightLeft(found)
    ratio, count = (seen[used] / expected[used]).log().double(), weight[used].double()
    ridge = torch.diag(count.new_tensor(LIGHT_RIDGE) * count.sum())
    robust = torch.ones_like(ratio)
    for _ in range(LIGHT_ITERATIONS):
        weighted = rows * (count * robust).unsqueeze(-1)
        found = torch.linalg.solve(rows.mT @ weighted + ridge, weighted.mT @ ratio)
        robust = 1 / (1 + ((ratio - rows @ found) / LIGHT_RESIDUAL) ** 2)
    return _LightLeft(found)


def _harmonics(normal: Float[Tensor, "*place 3"]) -> Float[Tensor, "*place 9"]:
    x, y, z = normal.unbind(-1)
    return torch.stack((torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1), -1)


def _sample(
    image: Float[Tensor, "channel height width"], xy: Float[Tensor, "row column 2"]
) -> Float[Tensor, "channel row column"]:
    """Bilinear values at places in [0, 1], pixel centres at +0.5."""
    return grid_sample(image[None], (2 * xy - 1)[None], mode="bilinear", padding_mode="border", align_corners=False)[0]


def resized(image: Float[Tensor, "3 height width"], side: int) -> Float[Tensor, "3 side side"]:
    """A texture of another side, anti-aliased."""
    if image.shape[-1] == side:
        return image
    return interpolate(image[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
