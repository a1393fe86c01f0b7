"""Scenes: people of the face world in front of something, under some light, through a camera that blurs and compresses.

A scene is a function of its seed and settings alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from ops.face.landmark_parts import NASION
from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.face.morphable_model import MorphableModel
from ops.faceworld.backgrounds import Picture, paint_background, paint_occluder
from ops.faceworld.people import Person, sample_expression
from ops.files.photo import LUMA
from ops.geometry.camera import Camera, project_points
from ops.render.lighting import LIGHT_SIZE, Light, light_to_vector
from ops.render.render import Topology, render

HEAD_CENTRE_MM = (0.0, -35.0, -20.0)
"""What the camera looks at, relative to the nasion landmark."""
FACE_HEIGHT_MM = 150.0
"""From above the brows to below the chin; `FacePlace.height` is this length in image sides."""
FOREHEAD_SHARE = 0.30
"""Boxes reach above the landmarks by this share of their height: to the middle of the forehead and beyond."""
NEAREST_MM = 350.0
SUPERSAMPLING = 2
METERED_LUMA = (0.3, 0.75)
"""Cameras expose for faces: the mean luma of the faces, RGB in [0, 1], is brought between these."""


class FacePlace(NamedTuple):
    """Where a face lies in the picture."""

    x: float
    """Centre, in image sides."""
    y: float
    height: float
    """Of the face, in image sides; see `FACE_HEIGHT_MM`."""


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """What scenes vary over."""

    side_px: int = 128
    yaw_deg: float = 28.0
    """Standard deviation."""
    yaw_limit_deg: float = 65.0
    pitch_deg: float = 11.0
    """Standard deviation; clipped at twice that."""
    roll_deg: float = 12.0
    """Standard deviation; clipped at two and a half times that."""
    farthest_mm: float = 2500.0
    """Of the camera from the face; the nearest is `NEAREST_MM`."""
    occlusion: float = 0.15
    """Probability that something covers a part of the face."""
    degradation: float = 1.0
    """Scale of blur, noise and compression."""


class Scene(NamedTuple):
    """A picture and what is in it."""

    image_rgb: UInt8[np.ndarray, "side side 3"]
    landmarks_px: Float32[np.ndarray, "face 68 2"]
    """iBUG order; the jaw follows the visible outline."""
    boxes_xyxy_px: Float32[np.ndarray, "face 4"]
    expressions: Float32[np.ndarray, "face expression"]
    lights: Float32[np.ndarray, "face 9"]
    """See `ops.render.lighting`; millimetres in the shape model's frame, before the picture's tone was changed."""


def render_scene(
    model: MorphableModel,
    faces: list[tuple[Person, FacePlace]],
    seed: int | tuple[int, ...],
    settings: SceneSettings | None = None,
) -> Scene:
    """Draw people at the given places, the later in front, over a random background."""
    settings = settings or SceneSettings()
    rng = np.random.default_rng(seed)
    picture = paint_background(rng, settings.side_px)
    landmarks = np.zeros((len(faces), 68, 2), np.float32)
    expressions = np.zeros((len(faces), model.expression_size), np.float32)
    lights = np.zeros((len(faces), LIGHT_SIZE), np.float32)
    topology = Topology(triangles=model.triangles, uv=model.uv, uv_triangles=model.uv_triangles)
    for index, (person, place) in enumerate(faces):
        expression = sample_expression(model, rng)
        vertices = model.vertices_mm(person.identity, expression).unsqueeze(0)
        centre = vertices[0, model.landmarks[NASION]] + vertices.new_tensor(HEAD_CENTRE_MM)
        camera, light = sample_view(rng, centre, settings)
        placing = _placement(camera, centre, place)
        drawn = render(
            topology,
            vertices,
            person.texture.unsqueeze(0),
            camera,
            light,
            settings.side_px * SUPERSAMPLING,
            image_from_normalised=placing,
        )
        _composite(picture, drawn.image[0], drawn.mask[0])
        points = choose_landmarks(vertices[:, landmark_vertices(model)], camera)
        normalised = project_points(camera, points)[0] @ placing[0, :, :2].mT + placing[0, :, 2]
        landmarks[index] = normalised.numpy() * settings.side_px
        expressions[index], lights[index] = expression.numpy(), light_to_vector(light)[0].numpy()
        if rng.random() < settings.occlusion:
            paint_occluder(rng, picture, (place.x, place.y), place.height)
    expose_for_faces(picture, landmarks / settings.side_px)
    boxes = np.stack([face_box(points) for points in landmarks]) if faces else np.zeros((0, 4), np.float32)
    image = degrade(rng, picture, settings.degradation)
    return Scene(image, landmarks, boxes.astype(np.float32), expressions, lights)


def face_box(landmarks_px: Float32[np.ndarray, "68 2"]) -> Float32[np.ndarray, "4"]:
    """The box detectors draw: ear to ear, chin to the upper forehead."""
    low, high = landmarks_px.min(0), landmarks_px.max(0)
    return np.array([low[0], low[1] - FOREHEAD_SHARE * (high[1] - low[1]), high[0], high[1]], np.float32)


def expose_for_faces(picture: Picture, landmarks: Float32[np.ndarray, "face 68 2"]) -> None:
    """Scale a picture's brightness, in place, so that its faces are neither black nor burnt out.

    `landmarks` in image sides; the picture is metered within the boxes that they span.
    """
    side = picture.shape[-1]
    luma = np.tensordot(np.array(LUMA, np.float32), picture, 1)
    faces = np.zeros((side, side), bool)
    for points in landmarks:
        (left, top), (right, bottom) = np.clip(points.min(0), 0, 1) * side, np.clip(points.max(0), 0, 1) * side
        faces[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    if faces.any():
        metered = float(luma[faces].mean())
        picture *= np.clip(metered, *METERED_LUMA) / max(metered, 1e-3)


def sample_view(rng: np.random.Generator, centre_mm: Tensor, settings: SceneSettings) -> tuple[Camera, Light]:
    """A camera round the head and a light before the face, as batches of one."""
    spread = (settings.yaw_deg, settings.pitch_deg, settings.roll_deg)
    limit = (settings.yaw_limit_deg, 2 * settings.pitch_deg, 2.5 * settings.roll_deg)
    yaw, pitch, roll = (
        np.deg2rad(np.clip(rng.normal(0, s), -bound, bound)) if s else 0.0
        for s, bound in zip(spread, limit, strict=True)
    )
    distance = float(np.exp(rng.uniform(np.log(NEAREST_MM), np.log(settings.farthest_mm))))
    direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    eye = centre_mm + torch.from_numpy(direction * distance).to(centre_mm)
    camera = Camera(
        eye_mm=eye.unsqueeze(0),
        target_mm=centre_mm.unsqueeze(0),
        focal=centre_mm.new_tensor([distance / FACE_HEIGHT_MM]),
        roll=centre_mm.new_tensor([float(roll)]),
    )
    towards = rng.normal((0, 0.35, 1.0), (0.8, 0.45, 0.25)) + 0.5 * direction
    towards[2] = max(towards[2], 0.1)
    towards = towards / np.linalg.norm(towards)
    ambient = rng.uniform(0.35, 0.85) * (1 + rng.normal(0, 0.06, 3))
    colour = rng.uniform(0.15, 0.75) * (1 + rng.normal(0, 0.10, 3))
    light = Light(
        position_mm=(centre_mm + torch.from_numpy(towards * rng.uniform(800, 4000)).to(centre_mm)).unsqueeze(0),
        colour=torch.from_numpy(np.clip(colour, 0, None)).to(centre_mm).unsqueeze(0),
        ambient=torch.from_numpy(np.clip(ambient, 0, None)).to(centre_mm).unsqueeze(0),
    )
    return camera, light


def degrade(rng: np.random.Generator, picture: Picture, strength: float = 1.0) -> UInt8[np.ndarray, "side side 3"]:
    """Blur, lower resolution, noise, tone and JPEG, each at random."""
    import cv2

    image = np.ascontiguousarray(picture.transpose(1, 2, 0))
    side = image.shape[0]
    if rng.random() < 0.35 * strength:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0 + 0.006 * side))
    if rng.random() < 0.12 * strength:
        image = cv2.filter2D(image, -1, _motion_kernel(rng))
    if rng.random() < 0.15 * strength:
        small = int(side * rng.uniform(0.45, 0.9))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (side, side))
    image = np.clip(image, 0, 1) ** rng.uniform(0.75, 1.3)
    if rng.random() < 0.15 * strength:
        image = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    image = image + rng.standard_normal(image.shape, np.float32) * (rng.uniform(0, 0.035) * strength)
    encoded = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.6 * strength:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))]
        encoded = np.asarray(cv2.imdecode(cv2.imencode(".jpg", encoded, quality)[1], cv2.IMREAD_COLOR))
    return np.ascontiguousarray(encoded)


def _motion_kernel(rng: np.random.Generator) -> Float32[np.ndarray, "height width"]:
    length = int(rng.integers(2, 7))
    kernel = np.zeros((length, length), np.float32)
    if rng.random() < 0.5:
        kernel[length // 2] = 1 / length
    else:
        kernel[np.arange(length), np.arange(length)] = 1 / length
    return kernel


def _placement(camera: Camera, centre_mm: Tensor, place: FacePlace) -> Tensor:
    """The normalised affine that moves the head centre to its place and scales the face to its height.

    The camera's focal length maps `FACE_HEIGHT_MM` to one image side, so the scale is the height itself.
    """
    at = project_points(camera, centre_mm.reshape(1, 1, 3))[0, 0]
    shift = at.new_tensor((place.x, place.y)) - place.height * at
    return torch.cat((place.height * torch.eye(2, dtype=at.dtype), shift.unsqueeze(1)), 1).unsqueeze(0)


def _composite(picture: Picture, image: Tensor, mask: Tensor) -> None:
    """Lay a supersampled render over a picture, in place."""
    layers = torch.cat((image, mask.unsqueeze(0).to(image.dtype))).unsqueeze(0)
    layers = torch.nn.functional.avg_pool2d(layers, SUPERSAMPLING)[0].numpy()
    picture *= 1 - layers[3]
    picture += layers[:3]
