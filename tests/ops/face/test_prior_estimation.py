import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ops.errors import ConfigurationError, DegeneratePointsError, UnreadableInputError
from ops.face.prior import CameraLightPrior, sample_prior
from ops.face.prior_estimation import ImageParameters, angles_from_pose, estimate_prior, read_image_parameters
from ops.geometry.rotation import rotation_from_euler


def parameters(**changes: np.ndarray) -> dict[str, np.ndarray]:
    content = {
        "Pose_Para": np.array([[0.1, -0.5, 0.2, 10, 20, 30, 1e-3]], np.float32),
        "Illum_Para": np.array([[0.5, 0.6, 0.7, 0.2, 0.3, 0.4, 0.3, -0.6, 0.1, 20]], np.float32),
        "Color_Para": np.array([[2, 1, 0.5, 0.1, 0.1, 0.1, 0.9]], np.float32),
        "Exp_Para": np.linspace(-1, 1, 29, dtype=np.float32)[:, None],
        "Shape_Para": np.zeros((199, 1)),
    }
    return content | changes


def test_one_file_in_our_conventions(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", parameters())
    found = read_image_parameters(tmp_path / "a.mat")
    np.testing.assert_allclose(found.ambient, (1.0, 0.6, 0.35), rtol=1e-6)
    np.testing.assert_allclose(found.colour, (0.4, 0.3, 0.2), rtol=1e-6)
    expected = (math.cos(0.3) * math.sin(-0.6), math.sin(0.3), math.cos(0.3) * math.cos(0.6))
    np.testing.assert_allclose(found.direction, expected, rtol=1e-6)
    np.testing.assert_allclose(found.expression, np.linspace(-1, 1, 29), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turn_about_one_axis_changes_its_sign(axis: int) -> None:
    pose = np.zeros(3)
    pose[axis] = 0.4
    expected = np.zeros(3)
    expected[(1, 0, 2)[axis]] = -0.4
    np.testing.assert_allclose(angles_from_pose(pose), expected, atol=1e-12)


def test_angles_stand_for_the_same_rotation() -> None:
    """Transposing each published factor gives the right-handed turn about its axis."""
    rng = np.random.default_rng(0)
    for pitch, yaw, roll in rng.uniform(-1.2, 1.2, size=(20, 3)):
        angles = torch.from_numpy(angles_from_pose(np.array((pitch, yaw, roll))))
        zero = torch.zeros((), dtype=torch.float64)
        about_x, about_y, about_z = (
            rotation_from_euler(*(torch.tensor(-value, dtype=torch.float64) if i == place else zero for i in range(3)))
            for place, value in ((1, pitch), (0, yaw), (2, roll))
        )
        torch.testing.assert_close(rotation_from_euler(*angles), about_x @ about_y @ about_z)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Pose_Para": np.zeros((1, 6))}, "Pose_Para holds 6 numbers instead of 7"),
        ({"Illum_Para": np.full((1, 10), np.nan)}, "Illum_Para holds numbers that are not finite"),
        ({"Color_Para": np.array(["seven"])}, "no numbers in Color_Para"),
        ({"Exp_Para": np.zeros((10, 1))}, "Exp_Para holds 10 numbers instead of 29"),
    ],
)
def test_unusable_parameters_are_named(tmp_path: Path, changes: dict[str, np.ndarray], words: str) -> None:
    savemat(tmp_path / "a.mat", parameters(**changes))
    with pytest.raises(UnreadableInputError, match=words):
        read_image_parameters(tmp_path / "a.mat")


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 200])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(UnreadableInputError, match="not a readable MATLAB file"):
        read_image_parameters(tmp_path / "a.mat")


def test_a_known_prior_is_recovered_from_its_own_draws() -> None:
    truth = CameraLightPrior()
    generator = torch.Generator().manual_seed(0)
    draws = sample_prior(truth, [generator] * 20_000)
    sigma = np.linspace(0.1, 3, 29)
    weights = np.random.default_rng(0).normal(size=(20_000, 29)) * sigma * 0.4
    images = [ImageParameters(*(part[i].double().numpy() for part in draws), weights[i]) for i in range(len(weights))]
    found = estimate_prior(images, sigma)
    for name in ("yaw_deg", "pitch_deg", "roll_deg", "ambient", "colour"):
        estimated, expected = getattr(found, name), getattr(truth, name)
        assert estimated.mean == pytest.approx(expected.mean, abs=0.03 * expected.sd), name
        assert estimated.sd == pytest.approx(expected.sd, rel=0.04), name
        assert (estimated.minimum, estimated.maximum) == (expected.minimum, expected.maximum)
    assert found.ambient_chroma_sd == pytest.approx(truth.ambient_chroma_sd, rel=0.02)
    assert found.colour_chroma_sd == pytest.approx(truth.colour_chroma_sd, rel=0.02)
    assert found.expression_sd == pytest.approx(0.4, rel=0.01)
    directions = draws.direction.double().numpy()
    np.testing.assert_allclose(found.direction_mean, directions.mean(0))
    np.testing.assert_allclose(found.direction_sd, directions.std(0, ddof=1))
    assert found.source == "estimated from 20000 images"


def still(direction: tuple[float, float, float]) -> ImageParameters:
    return ImageParameters(np.zeros(3), np.ones(3), np.ones(3), np.array(direction), np.zeros(29))


def test_without_deviations_of_the_modes_expression_keeps_its_default() -> None:
    found = estimate_prior([still((0.0, 0.0, 1.0))] * 2)
    assert found.expression_sd == CameraLightPrior().expression_sd
    assert found.yaw_deg.sd == 0


def test_too_few_images_and_lights_from_behind_are_refused() -> None:
    with pytest.raises(DegeneratePointsError, match="at least 2 images, got 1"):
        estimate_prior([still((0.0, 0.0, 1.0))])
    with pytest.raises(ConfigurationError, match="in front of the face"):
        estimate_prior([still((0.0, 0.0, -1.0))] * 2)
