from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ModelFormatError
from ops.face.dense_points import choose_dense_points
from ops.faceworld.shape import faceworld_model
from ops.networks.dense_landmarks import (
    ARCHITECTURE,
    CROP_PX,
    CROP_SCALE,
    DenseLandmarks,
    DenseNetwork,
    crop_about_points,
    load_dense_landmarks,
)
from ops.networks.embedded_blocks import save_weights
from ops.networks.landmarks import LandmarkNetwork
from ops.weights.models import ModelRef, load_landmarks

POINTS = 160
BOXES = np.array([[10, 10, 110, 110], [30, 5, 100, 90]], np.float32)
FIVE = np.array([[[40, 60], [88, 60], [64, 80], [50, 90], [78, 90]]] * 2, np.float32)


@pytest.fixture
def network() -> DenseNetwork:
    torch.manual_seed(0)
    return DenseNetwork(choose_dense_points(faceworld_model(), POINTS)).eval()


def test_points_lie_in_the_crop_and_deviations_are_positive(network: DenseNetwork, rng: torch.Generator) -> None:
    with torch.no_grad():
        found = network(torch.rand(2, 3, CROP_PX, CROP_PX, generator=rng))
    assert found.points.shape == (2, POINTS, 2)
    assert found.deviations.shape == (2, POINTS)
    assert float(found.points.min()) > 0
    assert float(found.points.max()) < 1
    assert float(found.deviations.min()) > 0


def test_a_bright_map_cell_is_where_its_point_is(network: DenseNetwork) -> None:
    with torch.no_grad():
        network.maps.weight.zero_()
        found = network(torch.zeros(1, 3, CROP_PX, CROP_PX))
    torch.testing.assert_close(found.points, torch.full((1, POINTS, 2), 0.5))


def test_size_is_as_promised() -> None:
    network = DenseNetwork(choose_dense_points(faceworld_model()))
    assert sum(parameter.numel() for parameter in network.parameters()) < 4e6


def test_crop_about_points_levels_the_eyes_and_holds_all() -> None:
    points = np.random.default_rng(0).uniform(50, 90, (POINTS, 2))
    points[36:42], points[42:48] = (55, 60), (75, 70)
    matrix = crop_about_points(points)
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    assert moved[36, 1] == pytest.approx(moved[42, 1], abs=1e-3)
    assert np.ptp(moved, axis=0).max() == pytest.approx(CROP_PX / CROP_SCALE, rel=1e-4)
    assert moved.min() > 0
    assert moved.max() < CROP_PX


def test_file_holds_points_and_weights(network: DenseNetwork, tmp_path: Path) -> None:
    save_weights(network, tmp_path / "dense.safetensors", ARCHITECTURE)
    loaded = load_landmarks(ModelRef(kind="dense", path=tmp_path / "dense.safetensors", sha256=None))
    assert isinstance(loaded, DenseLandmarks)
    assert isinstance(loaded, LandmarkNetwork)
    for ours, theirs in zip(loaded.dense, choose_dense_points(faceworld_model(), POINTS), strict=True):
        assert torch.equal(ours, theirs)
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    found = loaded.find(image, BOXES, FIVE)
    kept = DenseLandmarks(network).find(image, BOXES, FIVE)
    np.testing.assert_allclose(found.points_px, kept.points_px, atol=0.5)


def test_another_file_is_refused(tmp_path: Path) -> None:
    save_weights(torch.nn.Linear(2, 2), tmp_path / "other.safetensors", "other")
    with pytest.raises(ModelFormatError, match="vertices"):
        load_dense_landmarks(tmp_path / "other.safetensors")


def test_faces_do_not_influence_each_other(network: DenseNetwork) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    finder = DenseLandmarks(network)
    both, alone = finder(image, BOXES, FIVE), finder(image, BOXES[1:], FIVE[1:])
    assert both.shape == (2, 68, 2)
    np.testing.assert_allclose(both[1], alone[0], atol=0.02)
    assert finder(image, BOXES[:0], FIVE[:0]).shape == (0, 68, 2)


def test_a_mirrored_picture_has_mirrored_points(network: DenseNetwork) -> None:
    side = 120
    image = np.random.default_rng(2).integers(0, 256, (side, side, 3), np.uint8)
    box = np.array([[10, 10, side - 10, side - 10]], np.float32)
    five = np.array([[[40, 60], [80, 60], [60, 80], [50, 90], [70, 90]]], np.float32)
    finder = DenseLandmarks(network)
    found = finder.find(image, box, five)
    mirrored = finder.find(np.ascontiguousarray(image[:, ::-1]), box, five)
    order = finder.dense.mirrored.numpy()
    np.testing.assert_allclose(mirrored.points_px[0, order] * (-1, 1) + (side, 0), found.points_px[0], atol=0.1)
    np.testing.assert_allclose(mirrored.deviations_px[0, order], found.deviations_px[0], rtol=1e-2)
