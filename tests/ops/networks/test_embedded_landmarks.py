import numpy as np
import pytest
import torch

from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import sample_person
from ops.faceworld.scenes import FacePlace, SceneSettings, render_scene
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.networks.embedded_landmarks import (
    CROP_PX,
    MAP_SIDE,
    EmbeddedLandmarks,
    StackedHourglass,
    crop_from_box,
    cut_crop,
    expected_points,
    eye_roll,
)
from ops.networks.face_crop import MIRRORED_68
from ops.training.landmarks import normalised_error
from ops.weights.bundle import load_landmarks, resolve_bundle


def test_expected_point_of_a_single_peak_is_its_cell() -> None:
    maps = torch.full((1, 2, MAP_SIDE, MAP_SIDE), -50.0)
    maps[0, 0, 4, 10] = 50.0
    maps[0, 1, 7, 20] = maps[0, 1, 7, 21] = 50.0
    found = expected_points(maps) * MAP_SIDE
    torch.testing.assert_close(found[0], torch.tensor([[10.5, 4.5], [21.0, 7.5]]), atol=1e-4, rtol=0)


def test_expected_points_pass_gradients() -> None:
    maps = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(expected_points, (maps,))


def test_crop_stands_a_rolled_face_upright() -> None:
    eyes = np.array([[40.0, 40.0], [60.0, 60.0]], np.float32)
    points = np.concatenate([eyes, np.zeros((3, 2), np.float32)])
    matrix = crop_from_box(np.array([20, 20, 80, 80], np.float32), eye_roll(points), scale=1.0)
    mapped = eyes @ matrix[:, :2].T + matrix[:, 2]
    assert mapped[0, 1] == pytest.approx(mapped[1, 1], abs=1e-4)
    assert mapped[0, 0] < mapped[1, 0]
    np.testing.assert_allclose(matrix[:, :2] @ (50, 50) + matrix[:, 2], [CROP_PX / 2] * 2, atol=1e-4)
    assert np.linalg.norm(mapped[1] - mapped[0]) == pytest.approx(np.hypot(20, 20) * CROP_PX / 60, rel=1e-4)


@pytest.mark.parametrize("zoom", [1.0, 0.5, 0.21])
def test_crop_samples_where_the_matrix_says(zoom: float) -> None:
    side = 320
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    image = np.stack([x * 0.75, y * 0.75, np.zeros_like(x)], -1).astype(np.uint8)
    matrix = np.array([[zoom, 0, -20 * zoom], [0, zoom, -10 * zoom]], np.float32)
    crop = cut_crop(image, matrix, 32)
    expected = 0.75 * ((np.arange(32) + 0.5) / zoom - 0.5)
    np.testing.assert_allclose(crop[16, :, 0], expected + 0.75 * 20, atol=2.0)
    np.testing.assert_allclose(crop[:, 16, 1], expected + 0.75 * 10, atol=2.0)


def test_faces_do_not_influence_each_other() -> None:
    torch.manual_seed(0)
    network = EmbeddedLandmarks(StackedHourglass().eval())
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    boxes = np.array([[10, 10, 50, 60], [40, 20, 90, 70]], np.float32)
    points = np.array([[[20, 30], [40, 30], [30, 40], [22, 50], [38, 50]]] * 2, np.float32)
    both = network(image, boxes, points)
    alone = network(image, boxes[1:], points[1:])
    assert both.shape == (2, 68, 2)
    np.testing.assert_allclose(both[1], alone[0], atol=1e-3)
    assert network(image, boxes[:0], points[:0]).shape == (0, 68, 2)


def test_a_mirrored_picture_has_mirrored_landmarks() -> None:
    torch.manual_seed(1)
    network = EmbeddedLandmarks(StackedHourglass().eval())
    image = np.random.default_rng(2).integers(0, 256, (CROP_PX, CROP_PX, 3), np.uint8)
    box = np.array([[10, 10, 110, 110]], np.float32) + (CROP_PX - 120) / 2
    points = np.array([[[40, 60], [88, 60], [64, 80], [50, 90], [78, 90]]], np.float32)
    found = network(image, box, points)[0]
    mirrored = network(np.ascontiguousarray(image[:, ::-1]), box, points)[0]
    np.testing.assert_allclose(mirrored[MIRRORED_68] * (-1, 1) + (CROP_PX, 0), found, atol=0.02)


def test_finds_the_landmarks_of_the_face_world() -> None:
    network = load_landmarks(resolve_bundle("embedded").landmarks)
    model, painter = faceworld_model(), AlbedoPainter(faceworld_canonical_map(96))
    settings = SceneSettings(side_px=160, yaw_deg=15.0, occlusion=0.0, degradation=0.3)
    errors: list[float] = []
    for seed in range(4):
        person = sample_person(model, painter, (79, seed))
        scene = render_scene(model, [(person, FacePlace(0.5, 0.5, 0.6))], (80, seed), settings)
        true = scene.landmarks_px[0]
        parts = (true[36:42].mean(0), true[42:48].mean(0), true[30], true[48], true[54])
        found = network(scene.image_rgb, scene.boxes_xyxy_px, np.stack(parts)[None])
        errors.append(normalised_error(found[0], true))
    assert np.mean(errors) < 0.06
