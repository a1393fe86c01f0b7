import dataclasses
from pathlib import Path

import pytest
import torch

from ops.errors import ConfigurationError, ModelFormatError
from ops.face.landmark_calibration import (
    LandmarkCalibration,
    load_landmark_calibration,
    save_landmark_calibration,
)
from ops.face.landmark_points import landmark_vertices
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def calibration(shape: MorphableModel) -> LandmarkCalibration:
    vertices = landmark_vertices(shape)
    triangles = shape.triangles.long()
    corners = torch.stack([triangles[(triangles == vertex).any(1)][0] for vertex in vertices])
    return LandmarkCalibration(
        corners=corners,
        weights=torch.full(corners.shape, 1 / 3),
        noise=1e-4 * torch.eye(136),
        expression_mean=torch.zeros(shape.expression_size),
        expression_covariance=torch.eye(shape.expression_size),
    )


def test_a_calibration_survives_its_file(calibration: LandmarkCalibration, tmp_path: Path) -> None:
    save_landmark_calibration(calibration, tmp_path / "c.safetensors", {"photos": 3})
    read = load_landmark_calibration(tmp_path / "c.safetensors")
    for name, value in vars(calibration).items():
        assert torch.equal(getattr(read, name), value), name


def test_points_lie_in_the_middle_of_their_triangles(shape: MorphableModel, calibration: LandmarkCalibration) -> None:
    points = calibration.surface.of(shape)
    expected = shape.mean_mm[calibration.corners].mean(1)
    torch.testing.assert_close(points.mean_mm, expected)
    torch.testing.assert_close(points.identity_basis_mm, shape.identity_basis_mm[:, calibration.corners].mean(2))


def test_another_shape_model_is_refused(shape: MorphableModel, calibration: LandmarkCalibration) -> None:
    calibration.check(shape)
    size = shape.expression_size + 1
    other = dataclasses.replace(calibration, expression_mean=torch.zeros(size), expression_covariance=torch.eye(size))
    with pytest.raises(ConfigurationError, match="another shape model"):
        other.check(shape)


def test_a_matrix_that_is_no_covariance_is_refused(calibration: LandmarkCalibration) -> None:
    with pytest.raises(ModelFormatError, match="positive definite"):
        dataclasses.replace(calibration, noise=-calibration.noise)


def test_a_foreign_file_is_refused(tmp_path: Path, calibration: LandmarkCalibration) -> None:
    from ops.files.tensor_file import write_tensor_file

    write_tensor_file(tmp_path / "c.safetensors", vars(calibration), {"format": "other"})
    with pytest.raises(ModelFormatError, match="ganfit-landmark-calibration"):
        load_landmark_calibration(tmp_path / "c.safetensors")
