import pickle
from pathlib import Path

import numpy as np
import pytest

from ops.networks.face_crop import MIRRORED_68
from ops.networks.mediapipe_landmarks import (
    MESH_POINTS_68,
    MediapipeLandmarks,
    box_about,
    landmarks_68,
    load_mediapipe_landmarks,
)

BOX = np.array([[180, 61, 271, 179]], np.float32)
FIVE = np.array([[(206, 106), (247, 109), (228, 134), (207, 147), (246, 150)]], np.float32)


@pytest.fixture(scope="module")
def landmarks(model_dir: Path) -> MediapipeLandmarks:
    path = model_dir / "mediapipe_face_landmark.tflite"
    if not path.is_file():
        pytest.skip(f"needs {path.name} among the model files")
    return load_mediapipe_landmarks(path)


def test_landmarks_lie_between_their_two_points() -> None:
    mesh = np.arange(2 * 468, dtype=np.float32).reshape(1, 468, 2)
    found = landmarks_68(mesh)
    assert found.shape == (1, 68, 2)
    assert found.dtype == np.float32
    first, second, share = MESH_POINTS_68[0]
    np.testing.assert_allclose(found[0, 0], mesh[0, first] + share * (mesh[0, second] - mesh[0, first]), rtol=1e-6)
    np.testing.assert_array_equal(found[0, 8], mesh[0, 152])


def test_both_sides_of_the_face_are_alike() -> None:
    """Each pair of mirrored landmarks is at the same share of its way, and no point of the mesh serves both sides."""
    shares = np.array([share for *_, share in MESH_POINTS_68])
    np.testing.assert_array_equal(shares, shares[MIRRORED_68])
    middle = {152, 168, 6, 197, 195, 5, 4, 2, 164, 0, 17, 13, 14}
    for index, other in enumerate(MIRRORED_68.tolist()):
        if index != other:
            assert set(MESH_POINTS_68[index][:2]) & set(MESH_POINTS_68[other][:2]) <= middle


def test_the_box_about_a_turned_mesh_is_square_and_knows_its_turn() -> None:
    mesh = np.random.default_rng(0).uniform(-1, 1, (468, 2)) * (30, 40)
    mesh[33], mesh[263] = (-20, -10), (20, -10)
    mesh[:2] = ((-30, -40), (30, 40))
    turn = np.array(((np.cos(0.5), np.sin(0.5)), (-np.sin(0.5), np.cos(0.5))))
    box, five = box_about((mesh @ turn + (300, 200)).astype(np.float32))
    np.testing.assert_allclose(box, (260, 160, 340, 240), atol=1e-3)
    along = five[1] - five[0]
    assert np.arctan2(along[1], along[0]) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.models
def test_eyes_and_mouth_are_found(landmarks: MediapipeLandmarks, astronaut: np.ndarray) -> None:
    points = landmarks(astronaut, BOX, FIVE)[0]
    centres = [points[part].mean(0) for part in (slice(36, 42), slice(42, 48))]
    np.testing.assert_allclose(centres, FIVE[0, :2], atol=6)
    np.testing.assert_allclose(points[30], FIVE[0, 2], atol=8)
    np.testing.assert_allclose(points[[48, 54]], FIVE[0, 3:], atol=10)
    assert points[0, 0] < points[8, 0] < points[16, 0]
    assert points[8, 1] == points[:, 1].max()


@pytest.mark.models
@pytest.mark.parametrize("change", [(12, -10, 12, -10), (-15, -15, 15, 15), (10, 12, -10, -12)])
def test_the_detectors_box_hardly_matters(
    change: tuple[int, ...], landmarks: MediapipeLandmarks, astronaut: np.ndarray
) -> None:
    plain = landmarks(astronaut, BOX, FIVE)[0]
    moved = landmarks(astronaut, BOX + np.array(change, np.float32), FIVE)[0]
    outer = np.linalg.norm(plain[36] - plain[45])
    assert np.linalg.norm(plain - moved, axis=-1).mean() < 0.02 * outer


@pytest.mark.models
def test_a_turned_picture_gives_turned_points(landmarks: MediapipeLandmarks, astronaut: np.ndarray) -> None:
    side = astronaut.shape[1]
    turned = np.ascontiguousarray(np.rot90(astronaut))
    box = np.array([[BOX[0, 1], side - BOX[0, 2], BOX[0, 3], side - BOX[0, 0]]], np.float32)
    five = np.stack((FIVE[..., 1], side - FIVE[..., 0]), -1)
    found = landmarks(turned, box, five)[0]
    plain = landmarks(astronaut, BOX, FIVE)[0]
    back = np.stack((side - found[:, 1], found[:, 0]), -1)
    assert np.linalg.norm(plain - back, axis=-1).mean() < 0.02 * np.linalg.norm(plain[36] - plain[45])


@pytest.mark.models
def test_what_is_no_face_gives_no_points(landmarks: MediapipeLandmarks, astronaut: np.ndarray) -> None:
    blank = np.full((300, 300, 3), 127, np.uint8)
    assert np.isnan(landmarks(blank, BOX, FIVE)).all()
    mesh = landmarks.mesh(blank, BOX, FIVE)
    assert mesh.scores[0] < 0.1
    assert mesh.points_px.shape == (1, 468, 2)
    assert landmarks.mesh(astronaut, BOX, FIVE).scores[0] > 0.9
    assert landmarks(astronaut, BOX[:0], FIVE[:0]).shape == (0, 68, 2)


@pytest.mark.models
def test_a_copy_from_another_process_answers_the_same(landmarks: MediapipeLandmarks, astronaut: np.ndarray) -> None:
    copy = pickle.loads(pickle.dumps(landmarks))  # noqa: S301 - our own
    np.testing.assert_array_equal(landmarks(astronaut, BOX, FIVE), copy(astronaut, BOX, FIVE))
