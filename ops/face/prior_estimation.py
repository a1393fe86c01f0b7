"""Estimates a camera-and-light prior from the parameter files of 300W-LP and 300W-3D (Zhu et al., CVPR 2016).

Each image has a .mat file. What is used of it, and how:

- Pose_Para [1, 7] = (pitch, yaw, roll, x, y, z, scale), angles p, y, r in radians. The head's rotation is
  X(p) Y(y) Z(r) with X(p) = [1 0 0; 0 cos p sin p; 0 -sin p cos p], Y(y) = [cos y 0 -sin y; 0 1 0; sin y 0 cos y],
  Z(r) = [cos r sin r 0; -sin r cos r 0; 0 0 1] acting on columns (x to the image's right, y up, z to the viewer):
  all three turn the other way than those of `ops.geometry.rotation`, and in another order, so angles go through the
  matrix.
- Illum_Para [1, 10] = (ambient r g b, directional r g b, theta, phi, ks, v): light a and d of a Phong model with
  specular factor ks and exponent v, from the direction (cos theta sin phi, sin theta, cos theta cos phi) in the
  face's frame. ks and v are not used.
- Color_Para [1, 7] = (gain r g b, offset r g b, contrast): the camera's answer to light L is gain (c L + (1 - c)
  grey(L)) + offset. Gains multiply both lights here; contrast and offset are not used.
- Exp_Para [29, 1]: expression coefficients e of expression w e, not in standard deviations: dividing by the basis's
  sigma makes them so.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ops.errors import DegeneratePointsError, UnreadableInputError
from ops.face.prior import CameraLightPrior, ClippedNormal

MINIMUM_IMAGES = 2
PARAMETER_SIZES = {"Pose_Para": 7, "Illum_Para": 10, "Color_Para": 7, "Exp_Para": 29}


class ImageParameters(NamedTuple):
    """What one file says of its image, in this project's conventions."""

    angles_rad: Float[np.ndarray, "3"]
    """Yaw, pitch, roll of `ops.geometry.rotation.rotation_from_euler`."""
    ambient: Float[np.ndarray, "3"]
    colour: Float[np.ndarray, "3"]
    direction: Float[np.ndarray, "3"]
    """Unit vector to the light in the face's frame."""
    expression: Float[np.ndarray, "29"]


def read_image_parameters(path: Path) -> ImageParameters:
    """Read one parameter file.

    Raises:
        UnreadableInputError: no MATLAB file, or one without the four parameter vectors; the message is a short reason.
    """
    try:
        content = cast(dict[str, object], loadmat(path, variable_names=tuple(PARAMETER_SIZES)))
    except (ValueError, TypeError, NotImplementedError, OSError, EOFError, MatReadError) as error:
        raise UnreadableInputError("not a readable MATLAB file") from error
    vectors: dict[str, np.ndarray] = {}
    for name, size in PARAMETER_SIZES.items():
        value = content.get(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise UnreadableInputError(f"no numbers in {name}")
        if value.size != size:
            raise UnreadableInputError(f"{name} holds {value.size} numbers instead of {size}")
        vectors[name] = value.ravel().astype(np.float64)
        if not np.isfinite(vectors[name]).all():
            raise UnreadableInputError(f"{name} holds numbers that are not finite")
    light, gain = vectors["Illum_Para"], vectors["Color_Para"][:3]
    theta, phi = light[6:8]
    return ImageParameters(
        angles_rad=angles_from_pose(vectors["Pose_Para"][:3]),
        ambient=gain * light[:3],
        colour=gain * light[3:6],
        direction=np.array((math.cos(theta) * math.sin(phi), math.sin(theta), math.cos(theta) * math.cos(phi))),
        expression=vectors["Exp_Para"],
    )


def angles_from_pose(pose_rad: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Yaw, pitch, roll of `ops.geometry.rotation` of the rotation that (pitch, yaw, roll) of Pose_Para stand for."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(pose_rad), np.sin(pose_rad)
    about_x = np.array(((1, 0, 0), (0, cx, sx), (0, -sx, cx)))
    about_y = np.array(((cy, 0, -sy), (0, 1, 0), (sy, 0, cy)))
    about_z = np.array(((cz, sz, 0), (-sz, cz, 0), (0, 0, 1)))
    rotation = about_x @ about_y @ about_z
    yaw = math.atan2(-rotation[2, 0], rotation[2, 2])
    pitch = math.asin(min(1.0, max(-1.0, rotation[2, 1])))
    return np.array((yaw, pitch, math.atan2(-rotation[0, 1], rotation[1, 1])))


def estimate_prior(
    images: Sequence[ImageParameters], expression_sigma: Float[np.ndarray, "29"] | None = None
) -> CameraLightPrior:
    """The Gaussians of pose, light and, given the deviations of the expression modes, expression.

    Clipping intervals stay those of the defaults: they say which second pictures are useful, not which faces exist.
    The brightness of a light is the mean of its channels; what the channels deviate from it is its chroma. Without
    `expression_sigma` the expression's deviation stays the default.

    Raises:
        DegeneratePointsError: fewer than two images.
        ConfigurationError: a mean light that does not come from the front.
    """
    if len(images) < MINIMUM_IMAGES:
        raise DegeneratePointsError(f"a prior needs at least {MINIMUM_IMAGES} images, got {len(images)}")
    default = CameraLightPrior()
    degrees = np.rad2deg(np.stack([image.angles_rad for image in images]))
    ambient, ambient_chroma = _light(np.stack([image.ambient for image in images]), default.ambient)
    colour, colour_chroma = _light(np.stack([image.colour for image in images]), default.colour)
    direction = np.stack([image.direction for image in images])
    expression_sd = default.expression_sd
    if expression_sigma is not None:
        weights = np.stack([image.expression for image in images]) / expression_sigma
        expression_sd = math.sqrt(float(weights.var(0, ddof=1).mean()))
    return CameraLightPrior(
        yaw_deg=_normal(degrees[:, 0], default.yaw_deg),
        pitch_deg=_normal(degrees[:, 1], default.pitch_deg),
        roll_deg=_normal(degrees[:, 2], default.roll_deg),
        ambient=ambient,
        ambient_chroma_sd=ambient_chroma,
        colour=colour,
        colour_chroma_sd=colour_chroma,
        direction_mean=_triple(direction.mean(0)),
        direction_sd=_triple(direction.std(0, ddof=1)),
        expression_sd=expression_sd,
        source=f"estimated from {len(images)} images",
    )


def _normal(values: Float[np.ndarray, " image"], limits: ClippedNormal) -> ClippedNormal:
    return ClippedNormal(
        mean=float(values.mean()), sd=float(values.std(ddof=1)), minimum=limits.minimum, maximum=limits.maximum
    )


def _light(rgb: Float[np.ndarray, "image 3"], limits: ClippedNormal) -> tuple[ClippedNormal, float]:
    """Brightness and chroma such that one draw for all channels plus one a channel have the data's variances."""
    brightness = rgb.mean(1)
    chroma_variance = 1.5 * float(np.square(rgb - brightness[:, None]).mean())
    variance = max(float(brightness.var(ddof=1)) - chroma_variance / 3, 0.0)
    normal = ClippedNormal(
        mean=float(brightness.mean()), sd=math.sqrt(variance), minimum=limits.minimum, maximum=limits.maximum
    )
    return normal, math.sqrt(chroma_variance)


def _triple(values: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
