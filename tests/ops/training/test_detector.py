import numpy as np
import torch

from ops.networks.detector import Detections, no_detections
from ops.networks.embedded_detector import DetectorMaps, decode_maps
from ops.training.datasets import Pictures
from ops.training.detector import detector_loss, make_targets, score_detector

BOXES = np.full((1, 3, 4), np.nan, np.float32)
BOXES[0, 0] = (16, 24, 56, 72)
BOXES[0, 1] = (80, 80, 104, 112)
POINTS = np.full((1, 3, 5, 2), np.nan, np.float32)
POINTS[0, 0] = ((28, 44), (44, 44), (36, 52), (30, 62), (42, 62))
POINTS[0, 1] = ((88, 92), (96, 92), (92, 97), (89, 104), (95, 104))


def _perfect_maps() -> DetectorMaps:
    targets = make_targets(BOXES, POINTS, 128)
    logit = torch.logit((targets.hill == 1).float(), eps=1e-4)
    return DetectorMaps(logit, targets.box, targets.points)


def test_targets_decode_to_the_boxes_they_were_made_of() -> None:
    found = decode_maps(_perfect_maps())
    order = np.argsort(found.boxes_xyxy_px[:, 0])
    np.testing.assert_allclose(found.boxes_xyxy_px[order], BOXES[0, :2], atol=1e-3)
    np.testing.assert_allclose(found.points_px[order], POINTS[0, :2], atol=1e-3)


def test_loss_is_least_at_the_truth() -> None:
    targets, perfect = make_targets(BOXES, POINTS, 128), _perfect_maps()
    blind = perfect._replace(centre=torch.full_like(perfect.centre, -9.0))
    shifted = perfect._replace(box=perfect.box + 0.2)
    least = float(detector_loss(perfect, targets))
    assert least < 0.05
    assert float(detector_loss(blind, targets)) > least + 1
    assert float(detector_loss(shifted, targets)) > least + 0.1


def test_faces_outside_the_window_are_left_out() -> None:
    outside = np.array([[[120, 10, 150, 40]]], np.float32)
    assert float(make_targets(outside, np.zeros((1, 1, 5, 2), np.float32), 128).hill.max()) == 0


def test_score_counts_misses_and_false_alarms() -> None:
    landmarks = np.zeros((2, 3, 68, 2), np.float32)
    boxes = np.stack([BOXES[0], np.full((3, 4), np.nan, np.float32)])
    pictures = Pictures(np.zeros((2, 128, 128, 3), np.uint8), landmarks, boxes, np.full(2, -1, np.int32))
    answers = iter(
        [
            Detections(
                np.array([BOXES[0, 0] + 2, (0, 0, 9, 9), BOXES[0, 1]], np.float32),
                np.array([0.9, 0.8, 0.2], np.float32),
                np.zeros((3, 5, 2), np.float32),
            ),
            no_detections(),
        ]
    )
    score = score_detector(lambda image_rgb: next(answers), pictures)
    assert (score.pictures, score.faces, score.recall, score.precision, score.point_error) == (2, 2, 0.5, 0.5, 0.0)
