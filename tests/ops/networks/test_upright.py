from pathlib import Path

import cv2
import numpy as np
import pytest

from ops.files.photo import decode_photo
from ops.networks.detector import Detections, FaceDetector, no_detections
from ops.networks.upright import upright_face
from ops.weights.bundle import ModelBundle, load_detector


def turned(image_rgb: np.ndarray, degrees: float) -> np.ndarray:
    """The picture turned anticlockwise, nothing cut off."""
    height, width = image_rgb.shape[:2]
    side = int(np.ceil(np.hypot(height, width)))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    matrix[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
    return cv2.warpAffine(image_rgb, matrix, (side, side))


@pytest.fixture(scope="module")
def detector(embedded: ModelBundle) -> FaceDetector:
    return load_detector(embedded.detector)


def roll_deg(points_px: np.ndarray) -> float:
    across = points_px[1] - points_px[0]
    return float(np.degrees(np.arctan2(across[1], across[0])))


@pytest.mark.parametrize("degrees", [0, 90, 120, 180, 330])
def test_a_turned_face_is_found_the_right_way_up_or_not_at_all(
    detector: FaceDetector, album: Path, degrees: int
) -> None:
    found = 0
    for person in sorted(album.iterdir()):
        image = decode_photo((person / "photo_0.jpg").read_bytes()).image_rgb
        roll = roll_deg(detector(image).points_px[0])
        picture = turned(image, degrees)
        seen = detector(picture)
        face = upright_face(detector, picture, seen.boxes_xyxy_px[0]) if len(seen.scores) else None
        if face is not None:
            found += 1
            assert abs((face.roll_deg - (roll - degrees) + 180) % 360 - 180) < 15
            assert roll_deg(face.points_px) == pytest.approx(face.roll_deg, abs=0.01)
    assert found >= 2


class Ambiguous:
    """A detector that is as sure of a face upside down as of one upright."""

    def __call__(self, image_rgb: np.ndarray) -> Detections:
        points = np.array([[[90, 100], [160, 100], [128, 128], [100, 160], [150, 160]]], np.float32)
        return Detections(np.array([[64, 64, 192, 192]], np.float32), np.array([0.9], np.float32), points)


class Blind:
    def __call__(self, image_rgb: np.ndarray) -> Detections:
        return no_detections()


@pytest.mark.parametrize("detector_class", [Ambiguous, Blind])
def test_a_face_whose_upright_turn_cannot_be_told_is_none(detector_class: type[FaceDetector]) -> None:
    box = np.array([50, 50, 150, 150], np.float32)
    assert upright_face(detector_class(), np.zeros((200, 200, 3), np.uint8), box) is None
