"""What a landmark network's points are on a shape model, and how far they scatter: its numbers and its file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.errors import ConfigurationError, ModelFormatError
from ops.face.landmark_points import LandmarkSurface, landmark_vertices
from ops.face.morphable_model import MorphableModel
from ops.files.tensor_file import read_tensor_file, write_tensor_file

FILE_FORMAT = "ganfit-landmark-calibration"
FILE_VERSION = 1
LANDMARKS = 68


@dataclass(frozen=True, kw_only=True)
class LandmarkCalibration:
    """A pair of shape model and landmark network, estimated from photos (see `ops.fit.calibration`).

    Raises:
        ModelFormatError: arrays that do not belong together, a covariance that is not one.
    """

    corners: Int64[Tensor, "candidate 3"]
    """Vertices of the triangle each point lies in, in the order of `ops.face.landmark_points.landmark_vertices`."""
    weights: Float[Tensor, "candidate 3"]
    """Barycentric coordinates there."""
    noise: Float[Tensor, "136 136"]
    """Covariance of the detected points about the projected ones (x0, y0, x1, ...), aligned crop sides squared."""
    expression_mean: Float[Tensor, " expression"]
    """Mean expression of the population."""
    expression_covariance: Float[Tensor, "expression expression"]
    """Covariance of the expressions about it."""

    def __post_init__(self) -> None:
        if self.corners.shape != self.weights.shape or self.noise.shape != (2 * LANDMARKS, 2 * LANDMARKS):
            raise ModelFormatError(
                f"expected three corners and weights for every point and a covariance of {2 * LANDMARKS} coordinates, "
                f"got {tuple(self.corners.shape)}, {tuple(self.weights.shape)} and {tuple(self.noise.shape)}"
            )
        for matrix in (self.noise, self.expression_covariance):
            if int(torch.linalg.cholesky_ex(matrix.double()).info):
                raise ModelFormatError("expected positive definite covariances, got another matrix")

    @property
    def surface(self) -> LandmarkSurface:
        """Where the points lie."""
        return LandmarkSurface(self.corners, self.weights)

    def to(self, device: torch.device | str) -> "LandmarkCalibration":
        """A copy on another device."""
        return LandmarkCalibration(**{name: value.to(device) for name, value in vars(self).items()})

    def check(self, shape: MorphableModel) -> None:
        """Refuse another shape model than the one that was calibrated.

        Raises:
            ConfigurationError: its numbers of points, vertices or expressions differ.
        """
        points, vertices, expressions = len(landmark_vertices(shape)), len(shape.mean_mm), shape.expression_size
        if (
            len(self.corners) != points
            or int(self.corners.max()) >= vertices
            or len(self.expression_mean) != expressions
        ):
            raise ConfigurationError(
                f"the landmark calibration is for another shape model than {shape.metadata.name!r}: expected "
                f"{points} points on {vertices} vertices and {expressions} expressions, got {len(self.corners)} points "
                f"up to vertex {int(self.corners.max())} and {len(self.expression_mean)} expressions"
            )


def save_landmark_calibration(calibration: LandmarkCalibration, path: Path, about: Mapping[str, object]) -> None:
    """Write a calibration as safetensors, in float32, with what it was made from as JSON in the header."""
    header = {"format": FILE_FORMAT, "version": str(FILE_VERSION), "about": json.dumps(about, sort_keys=True)}
    stored = {name: value.float() if value.is_floating_point() else value for name, value in vars(calibration).items()}
    write_tensor_file(path, stored, header)


def load_landmark_calibration(path: Path) -> LandmarkCalibration:
    """Read a file of `save_landmark_calibration`.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: a foreign, damaged or newer file.
    """
    header, tensors = read_tensor_file(path, "a landmark calibration", "make one with: ganfit calibrate --help")
    if header.get("format") != FILE_FORMAT or header.get("version") != str(FILE_VERSION):
        raise ModelFormatError(
            f"expected a file of format {FILE_FORMAT} version {FILE_VERSION}, {path} says {header.get('format')!r} "
            f"{header.get('version')!r}"
        )
    try:
        return LandmarkCalibration(**tensors)
    except TypeError as error:
        raise ModelFormatError(f"{path} is not a sound landmark calibration: {error}") from error
