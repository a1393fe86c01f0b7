"""Fitted people to textures with what their own photos show, and each photo judged by a texture from the others."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ops.fit import FitInput, FitModels
from ops.geometry.camera import Camera, camera_from_vector
from ops.reconstruction.fitting import AlignedFace, FittedFace, PhotoTextured, to_bytes
from ops.reconstruction.likeness import Look, draw, kept_shares, make_look, similarity
from ops.render.lighting import Light, light_from_vector
from ops.texture.atlas import Atlas
from ops.texture.photo_texture import PhotoResidual, photo_residual
from ops.texture.unwrapping import FittedPhoto, resized, unwrap_photo

TextureSource = Literal["model", "photo"]
"""Of what a person's texture is made: of the texture model alone, or with what the photos show beyond it."""
TexturePx = Literal[256, 512, 1024]
CROP_PX_PER_TEXEL = 7 / 8
"""Pixels of a crop along the edge of a texel in the middle of the face."""
MOST_PHOTOS = 8
"""Photos of a person that its texture is made of."""
SIDE_VIEW = math.radians(20)
"""From this yaw on a photo shows the side of a face."""


def texture_crop_px(texture_px: int) -> int:
    """Side of the crops from which a texture is unwrapped: about as fine as its texels."""
    return round(CROP_PX_PER_TEXEL * texture_px)


@torch.no_grad()
def add_photo_textures(
    models: FitModels, atlas: Atlas, inputs: FitInput, faces: Sequence[AlignedFace], fits: Sequence[FittedFace]
) -> list[FittedFace]:
    """The fits of a batch, each with its person's texture from photos, of the side of an atlas of the shape model.

    The renders are drawn with it. A photo's crossed judge similarity is that of a render with the texture that the
    person's other photos make; None for a single photo, or without a judge. Photos whose fit diverged are left out, and
    left as they are.
    """
    results = list(fits)
    people: dict[int, list[int]] = {}
    for image, group in enumerate(inputs.group.tolist()):
        if not fits[image].diverged:
            people.setdefault(group, []).append(image)
    for images in people.values():
        photos = [
            _Photo(faces[image], fits[image], inputs.images[image], inputs.landmarks_px[image]) for image in images
        ]
        for image, found in zip(images, _texture_person(models, atlas, photos), strict=True):
            results[image] = found
    return results


class _Photo(NamedTuple):
    """One photo of a person."""

    face: AlignedFace
    fit: FittedFace
    crop_rgb: Float[Tensor, "3 side side"]
    landmarks_px: Float[Tensor, "68 2"]
    """Pixels of the crop."""


def _texture_person(models: FitModels, atlas: Atlas, photos: Sequence[_Photo]) -> list[FittedFace]:
    latent = photos[0].fit.texture.unsqueeze(0).to(models.device)
    model_rgb = resized(models.texture(latent)[0].clamp(0, 1), atlas.side).clamp(0, 1)
    chosen = choose_photos([photo.fit.camera for photo in photos], [_zoom(photo.face) for photo in photos])
    looks = [look_at(models, photo.fit, photo.crop_rgb, photo.landmarks_px) for photo in photos]
    unwrapped = {
        number: unwrap_photo(models.shape, atlas, _fitted_photo(photos[number], looks[number], model_rgb))
        for number in chosen
    }

    def residual_and_texture(numbers: Sequence[int]) -> tuple[PhotoResidual, Float[Tensor, "3 side side"]]:
        residual = photo_residual(model_rgb, [unwrapped[number] for number in numbers], atlas)
        return residual, residual.texture(kept_shares(models, atlas, residual, [looks[number] for number in numbers]))

    whole, whole_rgb = residual_and_texture(chosen)
    guessed = 1 - whole.seen - whole.mirrored
    texture_rgb, model_texture_rgb = to_bytes(whole_rgb.cpu()), to_bytes(model_rgb.cpu())
    weight_rgb = to_bytes(torch.stack((whole.seen, whole.mirrored, guessed)).cpu())
    seen = float(whole.seen[atlas.face].mean())
    found: list[FittedFace] = []
    for number, photo in enumerate(photos):
        others = [other for other in chosen if other != number]
        crossed = None
        if others and models.judge is not None:
            texture = residual_and_texture(others)[1] if number in unwrapped else whole_rgb
            value = float(similarity(models.judge, looks[number], draw(models, looks[number], texture)))
            crossed = value if math.isfinite(value) else None
        picture = draw(models, looks[number], whole_rgb)
        told = PhotoTextured(model_texture_rgb, weight_rgb, seen, crossed)
        render_rgba = to_bytes(picture.image.cpu(), picture.mask.cpu())
        found.append(photo.fit._replace(texture_rgb=texture_rgb, render_rgba=render_rgba, photo_texture=told))
    return found


def choose_photos(cameras: Sequence[Float[Tensor, "8"]], zooms: Sequence[float]) -> list[int]:
    """Up to `MOST_PHOTOS` photos to make a texture of: the sharpest from ahead, from the left and from the right.

    Args:
        cameras: see `ops.geometry.camera`.
        zooms: crop pixels that a pixel of the photo covers.
    """
    views: dict[int, list[int]] = {-1: [], 0: [], 1: []}
    for number in sorted(range(len(cameras)), key=lambda number: zooms[number]):
        eye, target = cameras[number][:3], cameras[number][3:6]
        sideways, _, ahead = (eye - target).tolist()
        yaw = math.atan2(sideways, ahead)
        views[0 if abs(yaw) < SIDE_VIEW else int(math.copysign(1, yaw))].append(number)
    ranked = [ranks for view in (0, -1, 1) if (ranks := views[view])]
    in_turn = [view[rank] for rank in range(len(cameras)) for view in ranked if rank < len(view)]
    return sorted(in_turn[:MOST_PHOTOS])


def _zoom(face: AlignedFace) -> float:
    """Pixels of the texture's crop that a pixel of the photo covers."""
    linear = face.crop_from_image[:, :2].astype(np.float64)
    return math.sqrt(abs(np.linalg.det(linear))) * len(face.finest_rgba) / len(face.crop_rgba)


def look_at(
    models: FitModels, fit: FittedFace, crop_rgb: Float[Tensor, "3 side side"], landmarks_px: Float[Tensor, "68 2"]
) -> Look:
    """A fitted photo as recognition compares it with its renders; landmarks in pixels of the crop."""
    identity, expression, camera, light = (
        value.unsqueeze(0).to(models.device) for value in (fit.identity, fit.expression, fit.camera, fit.light)
    )
    vertices = models.shape.vertices_mm(identity, expression)
    return make_look(crop_rgb, landmarks_px, vertices, camera_from_vector(camera), light_from_vector(light))


def _fitted_photo(photo: _Photo, look: Look, model_rgb: Float[Tensor, "3 texel texel"]) -> FittedPhoto:
    rgba = torch.from_numpy(np.array(photo.face.finest_rgba)).to(model_rgb.device).permute(2, 0, 1)
    return FittedPhoto(
        crop_rgb=(rgba[:3].float() / 255).contiguous(),
        valid=rgba[3] > 0,
        landmarks_px=photo.landmarks_px * (rgba.shape[-1] / photo.crop_rgb.shape[-1]),
        vertices_mm=look.vertices_mm[0],
        camera=Camera(*(value[0] for value in look.camera)),
        light=Light(*(value[0] for value in look.light)),
        texture=model_rgb,
        zoom=_zoom(photo.face),
    )
