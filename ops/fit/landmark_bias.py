"""By how much a landmark network's points lie beside a shape model's, the same for everybody and depending on the pose.

The 68 points of a network are not the vertices that a shape model calls by these numbers: an outline seen from the side
is elsewhere on the face than from the front, and annotators have places of their own. What is the same for everybody is
taken off the detected points before anything is fitted to them, so that no face has to make up for it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ops.errors import MissingModelFileError, ModelFormatError
from ops.face.landmark_parts import INNER_LOWER_LIP, INNER_UPPER_LIP, LOWER_LIDS, UPPER_LIDS
from ops.face.landmark_points import JAW
from ops.face.morphable_model import MorphableModel
from ops.fit.initial_camera import initial_camera
from ops.networks.face_crop import MIRRORED_68

FILE_FORMAT = "ganfit-landmark-bias"
FILE_VERSION = 1
YAW_UNIT, PITCH_UNIT = 0.5, 0.3
"""Radians; terms of the bias are of about the same size in these units."""
MAX_YAW, MAX_PITCH = 0.7, 0.45
"""Radians beyond which the bias stays as it is there: it was not seen further out."""
TERMS = 4
OPENINGS = tuple(zip((*UPPER_LIDS, *INNER_UPPER_LIP), (*LOWER_LIDS, *INNER_LOWER_LIP), strict=True))
"""Upper and lower points of eyelids and inner lips. How far they are apart is the photo's expression: a scan with
closed eyes would open everybody else's, so both have one bias."""
_RIDGE = (0.0, 2.0, 2.0, 6.0)
"""Photos without a bias that every term is fitted with besides the real ones."""


@dataclass(frozen=True, kw_only=True)
class LandmarkBias:
    """Coefficients of 1, yaw, yaw squared and pitch, by point."""

    coefficients: Float[Tensor, "4 68 2"]
    """Detected minus projected points in aligned crops, crop sides (x right, y down)."""

    def at(self, angles: Float[Tensor, "image 2"]) -> Float[Tensor, "image 68 2"]:
        """The bias of heads turned by yaw and pitch (`head_angles`), crop sides."""
        terms = _terms(angles)
        return torch.einsum("it,tpc->ipc", terms, self.coefficients.to(terms))

    def taken_off(self, shape: MorphableModel, landmarks: Float[Tensor, "image 68 2"]) -> Float[Tensor, "image 68 2"]:
        """Where the shape model's own points are seen, given the network's in aligned crops (crop sides).

        Each image by itself; one with a point that is not finite stays as it is.
        """
        corrected = landmarks.clone()
        for image in torch.nonzero(landmarks.flatten(1).isfinite().all(1)).flatten().tolist():
            alone = landmarks[image : image + 1].double()
            corrected[image] = (alone - self.at(head_angles(shape, alone)))[0].to(landmarks)
        return corrected

    def to(self, device: torch.device | str) -> "LandmarkBias":
        """A copy on another device."""
        return LandmarkBias(coefficients=self.coefficients.to(device))


def head_angles(shape: MorphableModel, landmarks: Float[Tensor, "image 68 2"]) -> Float[Tensor, "image 2"]:
    """Yaw (positive: the camera stands to the subject's left) and pitch (positive: above) of the mean face, radians."""
    points = shape.mean_mm[shape.landmarks[JAW:]].to(landmarks)
    camera = initial_camera(points.expand(len(landmarks), -1, -1), landmarks[:, JAW:])
    x, y, z = (camera.eye_mm - camera.target_mm).unbind(-1)
    return torch.stack((torch.atan2(x, z), torch.atan2(y, torch.hypot(x, z))), -1)


def fit_landmark_bias(
    differences: Float[Tensor, "image 68 2"], angles: Float[Tensor, "image 2"], weight: Float[Tensor, " image"]
) -> LandmarkBias:
    """The bias of faces whose shape is known, by ridge regression; every image counts a second time mirrored.

    Args:
        differences: detected minus projected points, crop sides.
        angles: of the heads, from `head_angles`.
        weight: of every image.
    """
    flip = differences.new_tensor((-1.0, 1.0))
    order = torch.from_numpy(MIRRORED_68).to(differences.device)
    seen = torch.cat((differences, differences[:, order] * flip)).double().flatten(1)
    terms = torch.cat((_terms(angles), _terms(angles * flip))).double()
    weighted = terms * weight.double().repeat(2).unsqueeze(-1)
    normal = weighted.mT @ terms + torch.diag(terms.new_tensor(_RIDGE))
    coefficients = torch.linalg.solve(normal, weighted.mT @ seen).unflatten(1, (68, 2))
    for pair in OPENINGS:
        coefficients[:, pair] = coefficients[:, pair].mean(1, keepdim=True)
    return LandmarkBias(coefficients=coefficients)


def save_landmark_bias(bias: LandmarkBias, path: Path, about: Mapping[str, object]) -> None:
    """Write a bias as JSON, in millionths of a crop side, with what it was made from."""
    micro = (bias.coefficients * 1e6).round().int().tolist()
    content = {"format": FILE_FORMAT, "version": FILE_VERSION, "about": dict(about), "coefficients_1e-6": micro}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_landmark_bias(path: Path) -> LandmarkBias:
    """Read a file of `save_landmark_bias`.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: a foreign, damaged or newer file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingModelFileError(f"{path}: no such landmark bias") from error
    except ValueError as error:
        raise ModelFormatError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FILE_FORMAT, FILE_VERSION):
        raise ModelFormatError(f"expected a file of format {FILE_FORMAT} version {FILE_VERSION}: {path}")
    try:
        values = torch.tensor(content["coefficients_1e-6"], dtype=torch.float64) / 1e6
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{path} is not a sound landmark bias: {error}") from error
    if values.shape != (TERMS, 68, 2) or not bool(values.isfinite().all()):
        raise ModelFormatError(f"{path}: expected {TERMS} x 68 x 2 finite coefficients, got {tuple(values.shape)}")
    return LandmarkBias(coefficients=values)


def _terms(angles: Float[Tensor, "image 2"]) -> Float[Tensor, "image 4"]:
    yaw = angles[:, 0].clamp(-MAX_YAW, MAX_YAW) / YAW_UNIT
    pitch = angles[:, 1].clamp(-MAX_PITCH, MAX_PITCH) / PITCH_UNIT
    return torch.stack((torch.ones_like(yaw), yaw, yaw.square(), pitch), -1)
