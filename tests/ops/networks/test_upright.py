from pathlib import Path

import cv2
import numpy as np
import pytest

from ops.files.photo import decode_photo
from ops.networks.detector import (
    SURE_SCORE,
    Detections,
    FaceDetector,
    QuickScrfd,
    ScrfdDetector,
    load_quick_scrfd,
    no_detections,
)
from ops.networks.upright import surely_upright, upright_face
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


def test_only_a_level_face_of_a_high_score_is_surely_upright() -> None:
    quick = QuickScrfd(ScrfdDetector(None))
    level, steep = (np.array([(0, 0), across, (0, 0), (0, 0), (0, 0)], np.float32) for across in ((9, 2), (2, 9)))
    assert surely_upright(quick, SURE_SCORE, level)
    assert not surely_upright(quick, SURE_SCORE - 0.01, level)
    assert not surely_upright(quick, SURE_SCORE, steep)
    assert not surely_upright(Blind(), 1.0, level)


@pytest.mark.models
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_is_not_surely_upright(model_dir: Path, quarters: int) -> None:
    path = model_dir.parent / "photos" / "astronaut.png"
    if not path.is_file():
        pytest.skip(f"needs the photo {path}")
    detector, image = load_quick_scrfd(model_dir / "scrfd_500m.onnx"), decode_photo(path.read_bytes()).image_rgb
    upright, found = detector(image), detector(np.ascontiguousarray(np.rot90(image, quarters)))
    assert surely_upright(detector, float(upright.scores[0]), upright.points_px[0])
    for score, points in zip(found.scores.tolist(), found.points_px, strict=True):
        assert not surely_upright(detector, score, points)
