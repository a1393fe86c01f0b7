import pickle
from pathlib import Path

import numpy as np
import pytest

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.detector import FaceDetector
from ops.networks.mediapipe_detector import (
    FULL_RANGE_FILE,
    FULL_SIDE_PX,
    FULL_STRIDES,
    SHORT_SIDE_PX,
    SHORT_STRIDES,
    anchor_centres,
    decode,
    five_of_six,
    load_mediapipe_detector,
    weighted_suppression,
)

SHORT_RANGE_FILE = "mediapipe_face_detection_short.tflite"


@pytest.fixture(scope="module")
def short_range(model_dir: Path) -> Path:
    for name in (SHORT_RANGE_FILE, FULL_RANGE_FILE):
        if not (model_dir / name).is_file():
            pytest.skip(f"needs {name} among the model files")
    return model_dir / SHORT_RANGE_FILE


@pytest.fixture(scope="module")
def detector(short_range: Path) -> FaceDetector:
    return load_mediapipe_detector(short_range)


def test_anchors_lie_in_the_middle_of_their_cells() -> None:
    near, far = anchor_centres(SHORT_SIDE_PX, SHORT_STRIDES), anchor_centres(FULL_SIDE_PX, FULL_STRIDES)
    assert len(near) == 896
    assert len(far) == 2304
    np.testing.assert_allclose(near[:3], [[0.03125, 0.03125], [0.03125, 0.03125], [0.09375, 0.03125]])
    np.testing.assert_allclose(near[512:519], [*([[0.0625, 0.0625]] * 6), [0.1875, 0.0625]])
    np.testing.assert_allclose(far[[0, 49]], [[0.5 / 48, 0.5 / 48], [1.5 / 48, 1.5 / 48]])


def test_a_box_is_decoded_from_its_anchor() -> None:
    anchors = anchor_centres(FULL_SIDE_PX, FULL_STRIDES)
    raw, logits = np.zeros((2304, 16), np.float32), np.full(2304, -9.0, np.float32)
    chosen = 24 * 48 + 12
    raw[chosen, :4] = (2, -3, 20, 30)
    raw[chosen, 4:6] = (-5, -4)
    logits[chosen] = np.log(3)
    found = decode(raw, logits, anchors, FULL_SIDE_PX)
    np.testing.assert_allclose(found.scores, [0.75])
    np.testing.assert_allclose(found.boxes_xyxy_px, [[42, 80, 62, 110]])
    np.testing.assert_allclose(found.points_px[0, 0], (45, 94))


def test_overlapping_boxes_become_their_mean_weighted_by_score() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], np.float32)
    points = np.zeros((3, 6, 2), np.float32)
    points[:, :, 0] = [[1], [4], [7]]
    found = weighted_suppression(boxes, np.array([0.8, 0.4, 0.3], np.float32), points)
    np.testing.assert_allclose(found.boxes_xyxy_px, [[2 / 3, 0, 32 / 3, 10], [50, 50, 60, 60]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [0.8, 0.3])
    np.testing.assert_allclose(found.points_px[:, 0, 0], [2, 7], rtol=1e-6)


def test_the_mouths_corners_lie_along_the_eyes() -> None:
    six = np.array([[[0, 0], [10, 10], [3, 8], [0, 10], [9, 9], [9, 9]]], np.float32)
    np.testing.assert_allclose(five_of_six(six)[0, 3:], [[-4.14, 5.86], [4.14, 14.14]], rtol=1e-5)


@pytest.mark.models
def test_a_face_is_found_where_it_is(detector: FaceDetector, astronaut: np.ndarray) -> None:
    found = detector(astronaut)
    assert found.boxes_xyxy_px.dtype == found.scores.dtype == found.points_px.dtype == np.float32
    assert len(found.scores) == 1
    assert found.scores[0] > 0.8
    np.testing.assert_allclose(
        found.points_px[0, [0, 1, 3, 4]], [(206, 106), (247, 109), (207, 147), (246, 150)], atol=9
    )


@pytest.mark.models
@pytest.mark.parametrize("zoom", [0.3, 3.0])
def test_sizes_do_not_matter(zoom: float, detector: FaceDetector, astronaut: np.ndarray) -> None:
    import cv2

    resized = np.asarray(cv2.resize(astronaut, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA))
    found, plain = detector(resized), detector(astronaut)
    centre, expected = (item.boxes_xyxy_px[0].reshape(2, 2).mean(0) for item in (found, plain))
    np.testing.assert_allclose(centre / zoom, expected, atol=10)


@pytest.mark.models
@pytest.mark.parametrize("place", [(60, 40), (1300, 2900), (2050, 3700), (720, 1921)])
def test_a_face_of_40_px_is_found_in_a_picture_of_4k(
    place: tuple[int, int], detector: FaceDetector, astronaut: np.ndarray
) -> None:
    import cv2

    zoom = 40 / 91
    small = np.asarray(cv2.resize(astronaut[20:240, 100:340], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA))
    picture = np.full((2160, 3840, 3), 110, np.uint8)
    top, left = min(place[0], 2160 - small.shape[0]), min(place[1], 3840 - small.shape[1])
    picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    found = detector(picture)
    assert (found.scores > 0.5).tolist() == [True] + [False] * (len(found.scores) - 1)
    centre = (found.boxes_xyxy_px[0, :2] + found.boxes_xyxy_px[0, 2:]) / 2
    np.testing.assert_allclose(centre, (left + 127 * zoom, top + 105 * zoom), atol=8)


@pytest.mark.models
@pytest.mark.parametrize("margin", [0.3, 0.1, 0.0])
def test_a_face_that_fills_the_picture_is_found(margin: float, detector: FaceDetector, astronaut: np.ndarray) -> None:
    left, top, right, bottom = 180, 61, 271, 179
    grow_x, grow_y = round(margin * (right - left)), round(margin * (bottom - top))
    part = astronaut[max(top - grow_y, 0) : bottom + grow_y, left - grow_x : right + grow_x]
    found = detector(np.ascontiguousarray(part))
    assert found.scores[0] > 0.6
    assert len(found.scores) == 1


@pytest.mark.models
def test_two_faces_are_two(detector: FaceDetector, astronaut: np.ndarray) -> None:
    part = astronaut[20:260, 100:340]
    found = detector(np.ascontiguousarray(np.concatenate((part[:, ::-1], part), 1)))
    assert len(found.scores) == 2
    assert sorted((found.boxes_xyxy_px[:, 0] > 240).tolist()) == [False, True]


@pytest.mark.models
@pytest.mark.parametrize("shape", [(1, 1), (5, 900), (1, 4000), (480, 640), (1200, 900)])
def test_images_without_a_face_give_none(shape: tuple[int, int], detector: FaceDetector) -> None:
    found = detector(np.full((*shape, 3), 127, np.uint8))
    assert found.boxes_xyxy_px.shape == (0, 4)
    assert found.points_px.shape == (0, 5, 2)


@pytest.mark.models
def test_a_copy_from_another_process_answers_the_same(detector: FaceDetector, astronaut: np.ndarray) -> None:
    copy = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own
    for first, second in zip(detector(astronaut), copy(astronaut), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.models
def test_other_networks_are_refused(short_range: Path, tmp_path: Path) -> None:
    (tmp_path / SHORT_RANGE_FILE).write_bytes(short_range.read_bytes())
    with pytest.raises(MissingModelFileError, match=FULL_RANGE_FILE):
        load_mediapipe_detector(tmp_path / SHORT_RANGE_FILE)
    with pytest.raises(ModelFormatError, match="expected an input of 128 px"):
        load_mediapipe_detector(short_range.with_name(FULL_RANGE_FILE))


def test_files_that_are_no_network_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("not a network")
    with pytest.raises(ModelFormatError, match=r"text\.tflite is not a TensorFlow Lite network"):
        load_mediapipe_detector(tmp_path / "text.tflite")
