"""The stream of portraits: sample i is a function of the seed and i."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from ops.face.dense_points import choose_dense_points
from ops.face.landmark_parts import NASION
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.appearance import HAIR_COLOURS, blend_colours, sample_appearance
from ops.faceworld.backgrounds import paint_background
from ops.faceworld.people import IDENTITY_LIMIT
from ops.faceworld.portraits.cover import Head, Viewpoint, cast_shadow, paint_before, paint_behind
from ops.faceworld.portraits.expressions import portrait_expression
from ops.faceworld.portraits.mesh import portrait_mesh, turn_eyes
from ops.faceworld.portraits.nearest_light import nearest_light, seen_vertices
from ops.faceworld.portraits.view import (
    PortraitLight,
    light_vertices,
    sample_camera,
    sample_crop,
    sample_light,
)
from ops.faceworld.scenes import HEAD_CENTRE_MM, degrade
from ops.files.photo import LUMA
from ops.geometry.camera import Camera, camera_from_world, camera_to_vector, project_points
from ops.geometry.projection import clip_from_world
from ops.render.backend import select_backend
from ops.render.interpolation import interpolate_attributes
from ops.render.lighting import Light
from ops.render.shading import PhongMaterial, Scene

BLOCK = 16
"""Portraits whose shapes are computed together: always the same ones, so that sums are the same to the last bit."""
SUPERSAMPLING = 1.35
GAZE_DEVIATION = (0.22, 0.13)
"""Yaw and pitch of the eyes in the head, radians."""
HIDDEN_MM = 4.0
"""A point so far behind what its pixel shows is not seen."""
METERED_LUMA = (0.3, 0.65)
"""Of faces, RGB in [0, 1]."""
ALBEDO_PX = 32
"""Side of the known albedos."""
LOOK_SEED, COEFFICIENT_SEED, PICTURE_SEED, PERSON_SEED = 11, 12, 13, 14


class Portrait(NamedTuple):
    """A picture and the truth about it."""

    image_rgb: UInt8[np.ndarray, "side side 3"]
    points_px: Float32[np.ndarray, "point 2"]
    """Dense points in pixels of the picture, some of them outside it."""
    visible: Bool[np.ndarray, " point"]
    """Inside the picture and hidden neither by the face itself nor by anything before it."""
    identity: Float32[np.ndarray, " identity"]
    expression: Float32[np.ndarray, " expression"]
    camera: Float32[np.ndarray, "8"]
    """See `ops.geometry.camera`."""
    crop: Float32[np.ndarray, "2 3"]
    """Takes the camera's normalised picture to the portrait's."""
    albedo: Float32[np.ndarray, "3 32 32"]
    """In UV space, RGB in [0, 1]; the light's tint is in it."""
    light: Float32[np.ndarray, "9"]
    """The nearest white light of the Phong model, as the picture was exposed, see `ops.render.lighting`."""


class Look(NamedTuple):
    """A face's albedo, and the colour of the hair that goes with it."""

    texture: UInt8[np.ndarray, "3 side side"]
    hair: tuple[float, float, float]


@runtime_checkable
class LookSource(Protocol):
    """Where albedos come from."""

    def __call__(self, seed: tuple[int, ...]) -> Look:
        """The look of a seed."""
        ...


@dataclass(frozen=True)
class PaintedLooks:
    """Procedurally painted faces, with hair on the scalp or without."""

    painter: AlbedoPainter
    freedom: float = 0.14

    def __call__(self, seed: tuple[int, ...]) -> Look:
        """The look of a seed."""
        rng = np.random.default_rng(seed)
        look = sample_appearance(
            rng,
            float(rng.choice((-1.0, 0.0, 1.0))),
            hair=rng.random() < 0.7,
            detail=rng.uniform(0, 1),
            freedom=self.freedom,
        )
        return Look((self.painter(look) * 255 + 0.5).astype(np.uint8), look.hair_colour)


@dataclass(frozen=True, kw_only=True)
class PortraitSettings:
    """What portraits vary over."""

    side_px: int = 144
    seed: int = 0
    """Another seed gives other people and pictures."""
    looks: int = 2000
    """Different albedos; each is drawn once while the stream runs and kept."""
    painted_share: float = 0.4
    """Of them, that are painted where a learned texture model draws the others."""
    points: int = 320
    pictures_each: int = 1
    """Portraits in a row that show one person: a divisor of 16."""


class PortraitStream:
    """Portraits of one shape model's people by number, drawn when they are asked for."""

    def __init__(self, model: MorphableModel, looks: LookSource, settings: PortraitSettings) -> None:
        self.settings, self.dense = settings, choose_dense_points(model, settings.points)
        self._model = model
        self._mesh = portrait_mesh(model, self.dense)
        self._look = lru_cache(maxsize=settings.looks)(lambda number: looks((LOOK_SEED, settings.seed, number)))

    def portraits(self, first: int, stop: int) -> Iterator[Portrait]:
        """The portraits with the numbers first..stop - 1."""
        with torch.no_grad():
            for block in range(first // BLOCK, (stop - 1) // BLOCK + 1):
                identities, expressions, gazes = self._coefficients(block)
                vertices = self._mesh.points.vertices_mm(identities, expressions)
                for inside in range(max(first - block * BLOCK, 0), min(stop - block * BLOCK, BLOCK)):
                    turn_eyes(vertices[inside], self._mesh.eyeballs, gazes[inside])
                    coefficients = identities[inside].numpy(), expressions[inside].numpy()
                    yield self._draw(block * BLOCK + inside, vertices[inside], coefficients)

    def _coefficients(self, block: int) -> tuple[Tensor, Tensor, list[tuple[float, float]]]:
        rng = np.random.default_rng((COEFFICIENT_SEED, self.settings.seed, block))
        identity = rng.standard_normal((BLOCK, self._model.identity_size)).clip(-IDENTITY_LIMIT, IDENTITY_LIMIT)
        each = self.settings.pictures_each
        identity = identity[np.arange(BLOCK) // each * each]
        gazes = [(rng.normal(0, GAZE_DEVIATION[0]), rng.normal(0, GAZE_DEVIATION[1])) for _ in range(BLOCK)]
        expressions = [portrait_expression(self._model, rng, pitch) for _, pitch in gazes]
        return torch.from_numpy(identity).float(), torch.stack(expressions), gazes

    def _draw(self, number: int, vertices: Tensor, coefficients: tuple[np.ndarray, np.ndarray]) -> Portrait:
        settings, rng = self.settings, np.random.default_rng((PICTURE_SEED, self.settings.seed, number))
        side, look = settings.side_px, int(rng.integers(settings.looks))
        if settings.pictures_each > 1:
            person = number // settings.pictures_each
            look = int(np.random.default_rng((PERSON_SEED, settings.seed, person)).integers(settings.looks))
        worn = self._look(look)
        landmarks = vertices[self._mesh.landmarks]
        centre = landmarks[NASION] + landmarks.new_tensor(HEAD_CENTRE_MM)
        camera = sample_camera(rng, centre)
        normalised = project_points(camera, vertices[self._mesh.dense].unsqueeze(0))[0].numpy()
        crop = sample_crop(rng, normalised, normalised[:68])
        backward = camera_from_world(camera)[0]
        light = sample_light(rng, centre, backward[2].numpy())
        fine = round(side * SUPERSAMPLING)
        texture = torch.from_numpy(worn.texture).float() / 255
        texture = (texture * _tone(rng)).clamp(0, 1)
        face = self._render(vertices, texture, camera, light, crop, fine)
        view = Viewpoint(
            rotation=backward.double().numpy(),
            eye_mm=camera.eye_mm[0].double().numpy(),
            focal=float(camera.focal[0]),
            crop=crop.astype(np.float64),
            side_px=fine,
        )
        skin = np.median(texture[:, ::8, ::8].flatten(1).numpy(), 1) * float(light.harmonics[0].mean())
        hair = np.array(worn.hair) if rng.random() < 0.7 else np.array(blend_colours(HAIR_COLOURS, rng.uniform()))
        head = Head(landmarks_mm=landmarks.double().numpy(), skin=skin, hair=hair * float(light.harmonics[0].mean()))
        picture = _background(rng, fine)
        paint_behind(rng, picture, view, head)
        shadow = cast_shadow(rng, fine)
        shown = face.image if shadow is None else face.image * shadow[..., None]
        picture = np.where(face.mask[..., None], shown, picture)
        hidden = paint_before(rng, picture, view, head)
        points = (normalised @ crop[:, :2].T + crop[:, 2]).astype(np.float32)
        visible = _visible(
            points * fine,
            face.depth,
            hidden,
            -(vertices[self._mesh.dense] - camera.eye_mm[0]).double().numpy() @ view.rotation[2],
        )
        exposure = _exposure(rng, picture, face.mask & ~hidden)
        image = _finish(rng, picture * exposure, side)
        albedo, nearest = self._known_look(vertices, face, camera, texture, float(exposure))
        seen_from = camera_to_vector(camera)[0].numpy()
        return Portrait(image, points * side, visible, *coefficients, seen_from, crop, albedo, nearest)

    def _known_look(
        self, vertices: Tensor, face: "_Face", camera: Camera, texture: Tensor, exposure: float
    ) -> tuple[Float32[np.ndarray, "3 32 32"], Float32[np.ndarray, "9"]]:
        """The albedo with the light's tint, and the nearest white light."""
        chosen = self._mesh.dense[
            seen_vertices(vertices[self._mesh.dense], face.normals[self._mesh.dense], camera.eye_mm[0])
        ]
        received = face.diffuse[chosen] * exposure
        level = received.mean(1)
        tint = received.mean(0) / level.mean()
        albedo = torch.nn.functional.adaptive_avg_pool2d(texture, ALBEDO_PX) * tint.view(3, 1, 1)
        light = nearest_light(level, vertices[chosen], face.normals[chosen])
        return albedo.clamp(0, 1).numpy(), light.numpy()

    def _render(
        self, vertices: Tensor, texture: Tensor, camera: Camera, light: PortraitLight, crop: np.ndarray, side: int
    ) -> "_Face":
        backend, topology = select_backend(vertices.device, vertices.dtype), self._mesh.topology
        batch = vertices.unsqueeze(0)
        clip = backend.transform(clip_from_world(camera, torch.from_numpy(crop).unsqueeze(0)), batch)
        pixels = backend.rasterize(clip, topology.triangles, side, side)
        normals = backend.normals(batch, topology.triangles)
        one, none = vertices.new_ones(1, 3), vertices.new_zeros(1, 3)
        plain = Scene(camera.eye_mm, Light(camera.eye_mm, none, one))
        albedo = backend.shade(pixels, topology, batch, normals, texture.unsqueeze(0), plain, PhongMaterial())
        diffuse, mirrored = light_vertices(vertices, normals[0], camera.eye_mm[0], light)
        diffuse[self._mesh.recessed] *= light.recess
        depth = clip[0, :, 3:]
        attributes = torch.cat((diffuse, mirrored, depth), 1).unsqueeze(0)
        found = interpolate_attributes(pixels, topology.triangles, attributes)[0]
        image = albedo[0].movedim(0, -1) * found[..., :3] + found[..., 3:6]
        return _Face(image.numpy(), (pixels[0, ..., 3] > 0).numpy(), found[..., 6].numpy(), diffuse, normals[0])


class _Face(NamedTuple):
    image: Float32[np.ndarray, "side side 3"]
    mask: Bool[np.ndarray, "side side"]
    depth: Float32[np.ndarray, "side side"]
    """Millimetres from the camera's plane, 0 beside the face."""
    diffuse: Float[Tensor, "vertex 3"]
    """What falls on every vertex, as a factor on its albedo."""
    normals: Float[Tensor, "vertex 3"]


def _tone(rng: np.random.Generator) -> Tensor:
    gain = rng.uniform(0.8, 1.2) * (1 + rng.normal(0, 0.04, 3))
    return torch.from_numpy(gain).float().view(3, 1, 1)


def _background(rng: np.random.Generator, side: int) -> Float32[np.ndarray, "side side 3"]:
    """Mostly dim colours and out of focus."""
    import cv2

    coarse = paint_background(rng, 64).transpose(1, 2, 0)
    grey = coarse.mean(-1, keepdims=True)
    coarse = grey + (coarse - grey) * np.float32(rng.uniform(0, 1) ** 1.5)
    if rng.random() < 0.6:
        coarse = cv2.GaussianBlur(coarse, (0, 0), rng.uniform(0.5, 6))
    return np.ascontiguousarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def _visible(
    points_px: np.ndarray, depth: np.ndarray, hidden: np.ndarray, distance: np.ndarray
) -> Bool[np.ndarray, " point"]:
    side = len(depth)
    inside = ((points_px >= 0) & (points_px < side)).all(1)
    column, row = np.clip(points_px.astype(np.int64), 0, side - 1).T
    nearest = np.where(depth > 0, depth, np.inf)[row, column]
    return inside & (distance <= nearest + HIDDEN_MM) & ~hidden[row, column]


def _exposure(rng: np.random.Generator, picture: np.ndarray, face: np.ndarray) -> np.float32:
    """Cameras expose for faces: the factor that brings the mean luma of what is seen of it about between the limits."""
    seen = picture[face] if face.any() else picture.reshape(-1, 3)
    luma = float((seen @ np.array(LUMA, np.float32)).mean())
    low, high = METERED_LUMA
    return np.float32(np.clip(luma, low, high) * np.exp(rng.normal(0, 0.12)) / max(luma, 1e-3))


def _finish(rng: np.random.Generator, picture: np.ndarray, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """What lenses, cameras and files do to a picture."""
    import cv2

    small = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))
    return degrade(rng, np.ascontiguousarray(small.transpose(2, 0, 1)))
