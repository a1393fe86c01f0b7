import numpy as np
import pytest
import torch
from torch import nn

from ops.networks.detector import Detections, no_detections
from ops.networks.recognition import RecognitionNetwork
from ops.training.comparison import (
    ReferenceFace,
    check_with_reference,
    compare_detector,
    compare_landmarks,
    compare_recognition,
    reference_faces,
)
from ops.training.datasets import Pictures

BOX = np.array([10, 20, 50, 70], np.float32)
POINTS = np.array([[22, 40], [38, 40], [30, 50], [24, 60], [36, 60]], np.float32)


def _detections(*boxes: np.ndarray, scores: tuple[float, ...]) -> Detections:
    count = len(boxes)
    return Detections(np.stack(boxes), np.array(scores, np.float32), np.stack([POINTS] * count))


def _face(person: int, level: int = 0) -> ReferenceFace:
    return ReferenceFace(person, np.full((80, 60, 3), level, np.uint8), BOX, POINTS)


def test_photos_without_a_sure_face_are_left_out() -> None:
    answers = iter([_detections(BOX, BOX + 30, scores=(0.9, 0.8)), no_detections(), _detections(BOX, scores=(0.4,))])
    photos = [(person, np.zeros((80, 60, 3), np.uint8)) for person in (4, 5, 6)]
    faces = list(reference_faces(photos, lambda image_rgb: next(answers)))
    assert [face.person for face in faces] == [4]
    np.testing.assert_array_equal(faces[0].box_xyxy_px, BOX)


def test_detector_is_counted_against_the_reference() -> None:
    answers = iter(
        [_detections(BOX + 2, BOX + 300, scores=(0.6, 0.9)), _detections(BOX, scores=(0.3,)), no_detections()]
    )
    found = compare_detector(lambda image_rgb: next(answers), [_face(0), _face(0), _face(1)])
    assert (found.photos, found.found, found.others) == (3, pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_landmarks_differ_by_what_was_added() -> None:
    true = np.random.default_rng(0).uniform(10, 50, (68, 2)).astype(np.float32)
    true[36], true[45] = (10, 30), (40, 70)
    moved = compare_landmarks(
        lambda image_rgb, boxes_xyxy_px, points_px: true[None] + np.array([3, 4], np.float32),
        lambda image_rgb, boxes_xyxy_px, points_px: true[None],
        [_face(0), _face(1)],
    )
    assert (moved.photos, moved.mean, moved.median) == (2, pytest.approx(0.1, abs=1e-6), pytest.approx(0.1, abs=1e-6))


def test_people_of_different_brightness_are_told_apart() -> None:
    class Brightness(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[tuple[torch.Tensor], tuple[()]]:
            level = images.mean((1, 2, 3))
            return (torch.stack([level.cos(), level.sin()], 1),), ()

    faces = [_face(0, 0), _face(1, 200), _face(0, 3), _face(1, 190)]
    score = compare_recognition(RecognitionNetwork(Brightness(), ()), faces)
    assert (score.people, score.pictures, score.accuracy) == (2, 4, 1.0)


def test_the_reference_sees_one_picture_of_everybody() -> None:
    count = 6
    boxes = np.stack([[BOX + index] for index in range(count)])
    pictures = Pictures(
        np.zeros((count, 80, 80, 3), np.uint8),
        np.zeros((count, 1, 68, 2), np.float32),
        boxes.astype(np.float32),
        np.array([7, 7, 8, 8, 9, 9], np.int32),
    )
    check = check_with_reference(lambda image_rgb: _detections(BOX, scores=(0.9,)), pictures, people=2)
    assert (check.pictures, check.found) == (2, 1.0)
    missed = check_with_reference(lambda image_rgb: no_detections(), pictures, people=5)
    assert (missed.pictures, missed.found) == (3, 0.0)
