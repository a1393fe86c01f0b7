"""Cameras, crops and light of portraits."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ops.face.landmark_parts import LEFT_EYE, RIGHT_EYE
from ops.geometry.camera import Camera

YAW_LIMIT, PITCH_LIMIT = np.deg2rad(60.0), np.deg2rad(30.0)
YAW_DEVIATION, PITCH_DEVIATION = np.deg2rad(22.0), np.deg2rad(11.0)
ANY_YAW = 0.35
"""Share of portraits whose yaw is uniform within the limit; the others' is normal."""
NEAREST_MM, FARTHEST_MM = 320.0, 5000.0
CAMERA_HEIGHT_MM = 150.0
"""Length that fills the camera's picture at the face's distance."""
MARGIN = 1.5
"""Side of a portrait over the longer side of the box round all points."""
MARGIN_DEVIATION, SHIFT_DEVIATION = 0.07, 0.05
"""Of the log of the margin, and of the centre in box sides: how detectors' boxes differ."""
ROLL_DEVIATION, WILD_ROLL_DEVIATION, WILD_ROLL = np.deg2rad(5.0), np.deg2rad(18.0), 0.12
"""What alignment by a detector's eyes leaves of the roll, and how often it leaves more."""
SH_BANDS = 9


class PortraitLight(NamedTuple):
    """Light from everywhere (spherical harmonics up to the second band) and from one point.

    E(n) = sum_k harmonics_k Y_k(n), with Y in the order 1, y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2 without their
    constants (Ramamoorthi and Hanrahan 2001); 1 leaves an albedo as it is.
    """

    harmonics: Float[Tensor, "9 3"]
    position_mm: Float[Tensor, "3"]
    colour: Float[Tensor, "3"]
    gloss: float
    """Strength of the highlight as a factor on the point light's colour."""
    shininess: float
    recess: float
    """How much of it reaches eyes and teeth."""


def sample_camera(rng: np.random.Generator, centre_mm: Float[Tensor, "3"]) -> Camera:
    """A camera that looks at the face from within the limits of yaw and pitch, as a batch of one."""
    wide = rng.random() < ANY_YAW
    yaw = rng.uniform(-YAW_LIMIT, YAW_LIMIT) if wide else np.clip(rng.normal(0, YAW_DEVIATION), -YAW_LIMIT, YAW_LIMIT)
    pitch = np.clip(rng.normal(0, PITCH_DEVIATION), -PITCH_LIMIT, PITCH_LIMIT)
    distance = math.exp(rng.uniform(math.log(NEAREST_MM), math.log(FARTHEST_MM)))
    direction = (math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch))
    eye = centre_mm + centre_mm.new_tensor(direction) * distance
    return Camera(
        eye_mm=eye.unsqueeze(0),
        target_mm=centre_mm.unsqueeze(0),
        focal=centre_mm.new_tensor([distance / CAMERA_HEIGHT_MM]),
        roll=centre_mm.new_zeros(1),
    )


def sample_crop(
    rng: np.random.Generator, points: Float32[np.ndarray, "point 2"], landmarks: Float32[np.ndarray, "68 2"]
) -> Float32[np.ndarray, "2 3"]:
    """The affine from the camera's normalised picture to a portrait's, about as a detector's box and eyes would cut it.

    `points` and `landmarks` in normalised coordinates; all points lie in a box whose side is that of the portrait
    over `MARGIN`, about in its middle, and the eyes are about level.
    """
    along = landmarks[LEFT_EYE].mean(0) - landmarks[RIGHT_EYE].mean(0)
    wild = rng.random() < WILD_ROLL
    angle = math.atan2(along[1], along[0]) + rng.normal(0, WILD_ROLL_DEVIATION if wild else ROLL_DEVIATION)
    turn = np.array(((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))))
    level = points @ turn.T
    low, high = level.min(0), level.max(0)
    size = float((high - low).max())
    side = size * MARGIN * math.exp(rng.normal(0, MARGIN_DEVIATION))
    centre = (low + high) / 2 + rng.normal(0, SHIFT_DEVIATION, 2) * size
    return np.concatenate((turn / side, (0.5 - centre / side)[:, None]), 1).astype(np.float32)


def sample_light(rng: np.random.Generator, centre_mm: Float[Tensor, "3"], towards_camera: np.ndarray) -> PortraitLight:
    """Light as in rooms and out of doors, tinted a little."""
    level = rng.uniform(0.4, 1.0)
    lean = rng.normal((0.0, 0.35, 0.25), (0.5, 0.35, 0.4)) * rng.uniform(0, 0.9)
    # Y in the order of PortraitLight: y, z, x of the first band.
    first = np.array((lean[1], lean[2], lean[0]))
    second = rng.normal(0, 0.10, 5) * rng.uniform(0, 1.5)
    grey = level * np.concatenate(([1.0], first, second))
    tint = 1 + rng.normal(0, 0.05, 3)
    harmonics = grey[:, None] * tint + level * rng.normal(0, 0.015, (SH_BANDS, 3)) * (np.arange(SH_BANDS) > 0)[:, None]
    direction = rng.normal((0, 0.35, 1.0), (0.9, 0.45, 0.4)) + 0.5 * towards_camera
    direction[2] = max(direction[2], 0.0)
    direction = direction / max(float(np.linalg.norm(direction)), 1e-6)
    strength = rng.uniform(0.1, 1.1) if rng.random() < 0.7 else 0.0
    return PortraitLight(
        harmonics=torch.from_numpy(harmonics).float(),
        position_mm=centre_mm + torch.from_numpy(direction * math.exp(rng.uniform(6.2, 8.5))).float(),
        colour=torch.from_numpy(np.clip(strength * (1 + rng.normal(0, 0.08, 3)), 0, None)).float(),
        gloss=rng.uniform(0, 0.3),
        shininess=rng.uniform(6, 40),
        recess=rng.uniform(0.5, 0.95),
    )


def harmonic_terms(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """The nine Y of `PortraitLight` at unit normals."""
    x, y, z = normals.unbind(-1)
    return torch.stack((torch.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y), -1)


def light_vertices(
    vertices_mm: Float[Tensor, "vertex 3"],
    normals: Float[Tensor, "vertex 3"],
    eye_mm: Float[Tensor, "3"],
    light: PortraitLight,
) -> tuple[Float[Tensor, "vertex 3"], Float[Tensor, "vertex 3"]]:
    """What falls on every vertex (a factor on its albedo), and what it mirrors to the eye (Phong 1975)."""
    ray = torch.nn.functional.normalize(light.position_mm - vertices_mm, dim=-1)
    to_eye = torch.nn.functional.normalize(eye_mm - vertices_mm, dim=-1)
    cosine = (normals * ray).sum(-1, keepdim=True)
    glance = ((2 * cosine * normals - ray) * to_eye).sum(-1, keepdim=True).clamp_min(0) * (cosine > 0)
    diffuse = (harmonic_terms(normals) @ light.harmonics).clamp_min(0.02) + light.colour * cosine.clamp_min(0)
    return diffuse, light.colour * light.gloss * glance**light.shininess
