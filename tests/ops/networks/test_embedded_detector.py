import numpy as np
import pytest
import torch

from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import Person, sample_person
from ops.faceworld.scenes import FacePlace, Scene, SceneSettings, render_scene
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.networks.detector import Detections, FaceDetector
from ops.networks.embedded_detector import (
    STRIDE,
    CentreNetwork,
    DetectorMaps,
    EmbeddedDetector,
    decode_maps,
    intersection_over_union,
    suppress,
)
from ops.weights.bundle import load_detector, resolve_bundle


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return load_detector(resolve_bundle("embedded").detector)


@pytest.fixture(scope="module")
def person() -> Person:
    return sample_person(faceworld_model(), AlbedoPainter(faceworld_canonical_map(96)), (77, 1))


def _scene(person: Person, places: list[FacePlace], seed: int) -> Scene:
    settings = SceneSettings(side_px=240, yaw_deg=15.0, occlusion=0.0, degradation=0.3)
    return render_scene(faceworld_model(), [(person, place) for place in places], (78, seed), settings)


def test_maps_decode_to_the_face_they_say() -> None:
    centre = torch.full((1, 6, 8), -9.0)
    centre[0, 2, 3], centre[0, 2, 4], centre[0, 5, 7] = 4.0, 2.0, 0.0
    box = torch.zeros(1, 4, 6, 8)
    box[0, :, 2, 3] = torch.tensor([1.0, 2.0, 3.0, 4.0]).log()
    points = torch.zeros(1, 10, 6, 8)
    points[0, :2, 2, 3] = torch.tensor([0.25, -0.5])
    found = decode_maps(DetectorMaps(centre, box, points), 0.4)
    x, y = 3.5 * STRIDE, 2.5 * STRIDE
    assert len(found.scores) == 2
    np.testing.assert_allclose(found.boxes_xyxy_px[0], [x - 8, y - 16, x + 24, y + 32], rtol=1e-5)
    np.testing.assert_allclose(found.points_px[0, :2], [[x + 8, y - 16], [x, y]], rtol=1e-5)
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-4)), rel=1e-5)


def test_intersection_over_union_of_known_boxes() -> None:
    a = np.array([0, 0, 2, 2], np.float32)
    assert intersection_over_union(a, np.array([1, 0, 3, 2], np.float32)) == pytest.approx(1 / 3)
    assert intersection_over_union(a, a) == 1.0
    assert intersection_over_union(a, a + 5) == 0.0


def test_suppression_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]], np.float32)
    found = Detections(boxes, np.array([0.6, 0.9, 0.7], np.float32), np.zeros((3, 5, 2), np.float32))
    kept = suppress(found)
    np.testing.assert_allclose(kept.scores, [0.9, 0.7])
    np.testing.assert_allclose(kept.boxes_xyxy_px[:, 0], [1, 30])


def test_untrained_network_answers_in_the_agreed_form() -> None:
    torch.manual_seed(0)
    found = EmbeddedDetector(CentreNetwork().eval())(np.zeros((37, 91, 3), np.uint8))
    assert found.boxes_xyxy_px.shape[1:] == (4,)
    assert found.points_px.shape[1:] == (5, 2)
    assert (np.diff(found.scores) <= 0).all()


def test_extreme_shapes_hold_no_face() -> None:
    found = EmbeddedDetector(CentreNetwork().eval())(np.zeros((2, 400, 3), np.uint8))
    assert len(found.scores) == 0


def test_finds_the_faces_of_a_scene(detector: FaceDetector, person: Person) -> None:
    places = [FacePlace(0.27, 0.5, 0.35), FacePlace(0.75, 0.5, 0.25)]
    for seed in range(3):
        scene = _scene(person, places, seed)
        found = detector(scene.image_rgb)
        best = found.boxes_xyxy_px[:2]
        for box in scene.boxes_xyxy_px:
            assert max(intersection_over_union(box, other) for other in best) > 0.5


def test_finds_a_face_that_fills_a_large_picture(detector: FaceDetector, person: Person) -> None:
    scene = _scene(person, [FacePlace(0.5, 0.5, 0.75)], 9)
    enlarged = np.repeat(np.repeat(scene.image_rgb, 4, 0), 4, 1)
    found = detector(enlarged)
    assert intersection_over_union(found.boxes_xyxy_px[0], 4 * scene.boxes_xyxy_px[0]) > 0.5
    eyes = found.points_px[0, :2]
    true = 4 * np.stack([scene.landmarks_px[0, 36:42].mean(0), scene.landmarks_px[0, 42:48].mean(0)])
    assert np.abs(eyes - true).max() < 0.1 * np.ptp(scene.landmarks_px[0, :, 0]) * 4
