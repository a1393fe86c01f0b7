from pathlib import Path

import cv2
import numpy as np
import pytest

from ops.files.photo import decode_photo
from ops.networks.detector import Detections
from ops.networks.embedded_detector import intersection_over_union
from ops.networks.tiles import TILE_PX, search_tiles
from ops.weights.bundle import ModelBundle, load_detector


class RedSquares:
    """Finds red squares of 16 to 120 px, as a detector of a fixed input finds faces."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image_rgb: np.ndarray) -> Detections:
        self.calls += 1
        assert max(image_rgb.shape) <= TILE_PX
        mask = ((image_rgb[..., 0] > 200) & (image_rgb[..., 1] < 60)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist() if min(w, h) >= 16]
        found = np.array(boxes, np.float32).reshape(-1, 4)
        score = np.minimum((found[:, 2:] - found[:, :2]).min(1, initial=999) / 40, 0.9).astype(np.float32)
        return Detections(found, score, np.repeat(found[:, None, :2], 5, 1))


@pytest.mark.parametrize("corner", [(0, 0), (630, 470), (1900, 1300), (2930, 1930)])
def test_a_small_face_is_found_where_it_lies(corner: tuple[int, int]) -> None:
    x, y = corner
    picture = np.full((2000, 3000, 3), 90, np.uint8)
    picture[y : y + 64, x : x + 64] = (255, 0, 0)
    found = search_tiles(RedSquares(), picture, 0.5)
    assert len(found.scores) == 1
    np.testing.assert_allclose(found.boxes_xyxy_px[0], (x, y, x + 64, y + 64), atol=4)


def test_the_search_ends_at_the_first_size_that_shows_a_face() -> None:
    picture = np.full((2560, 2560, 3), 90, np.uint8)
    detector = RedSquares()
    search_tiles(detector, picture, 0.5)
    whole = detector.calls
    picture[600:850, 600:850] = (255, 0, 0)
    detector = RedSquares()
    search_tiles(detector, picture, 0.5)
    assert detector.calls < whole / 10


def test_a_small_face_in_a_large_picture_is_found_in_tiles_alone(embedded: ModelBundle, album: Path) -> None:
    detector = load_detector(embedded.detector)
    face = decode_photo((album / "person_00" / "photo_0.jpg").read_bytes()).image_rgb
    small = cv2.resize(face, (120, 120), interpolation=cv2.INTER_AREA)
    box = detector(face).boxes_xyxy_px[0] / 2
    picture = np.full((2600, 4000, 3), face[0, 0], np.uint8)
    picture[1000:1120, 1700:1820] = small
    place = box + np.array((1700, 1000, 1700, 1000), np.float32)
    before = [intersection_over_union(found, place) for found in detector(picture).boxes_xyxy_px]
    assert max(before, default=0.0) < 0.3
    assert intersection_over_union(search_tiles(detector, picture, 0.5).boxes_xyxy_px[0], place) > 0.5
