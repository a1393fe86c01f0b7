from pathlib import Path

import numpy as np
import pytest
import torch

from ops.face.alignment import crop_from_image
from ops.files.photo import decode_photo
from ops.networks.landmarks import LandmarkNetwork
from ops.reconstruction.alignment import AlignedCrop
from ops.reconstruction.detection import Candidate, DetectionConfig, DetectionNetworks, Rejection, find_faces
from ops.reconstruction.quality import QualityRange
from ops.reconstruction.second_look import HOLDS, look_again, settle_face
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition

WITHIN = QualityRange(limit=0.08, typical=0.03)


def test_landmarks_found_again_elsewhere_have_shifted() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(100, 300, (68, 2))
    points[36], points[45] = (100.0, 200.0), (200.0, 200.0)
    matrix = crop_from_image(torch.from_numpy(points), 224).numpy()
    crop = AlignedCrop(np.zeros((224, 224, 4), np.uint8), matrix)
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    places = points @ matrix[:, :2].T + matrix[:, 2]

    def finds(offset_px: float) -> float:
        def network(image_rgb: np.ndarray, boxes_xyxy_px: np.ndarray, points_px: np.ndarray) -> np.ndarray:
            assert image_rgb.shape == (224, 224, 3)
            np.testing.assert_allclose(boxes_xyxy_px[0], [*places.min(0), *places.max(0)], rtol=1e-5)
            return (places + np.array([0.0, offset_px * scale]))[None].astype(np.float32)

        look = look_again(network, crop, points)
        expected = points + np.linalg.solve(matrix[:, :2], [0.0, offset_px * scale])
        np.testing.assert_allclose(look.landmarks_px, expected, rtol=1e-4)
        return look.shift

    assert finds(0.0) == pytest.approx(0, abs=1e-6)
    assert finds(7.0) == pytest.approx(0.07, rel=1e-4)


def test_where_no_face_is_seen_landmarks_have_shifted_by_all_there_is() -> None:
    points = np.random.default_rng(0).uniform(100, 300, (68, 2))
    crop = AlignedCrop(np.zeros((224, 224, 4), np.uint8), crop_from_image(torch.from_numpy(points), 224).numpy())

    def blind(image_rgb: np.ndarray, boxes_xyxy_px: np.ndarray, points_px: np.ndarray) -> np.ndarray:
        return np.full((1, 68, 2), np.nan, np.float32)

    assert look_again(blind, crop, points).shift == 1.0


@pytest.fixture(scope="module")
def networks(embedded: ModelBundle) -> DetectionNetworks:
    return DetectionNetworks(
        load_detector(embedded.detector),
        load_landmarks(embedded.landmarks),
        load_recognition(embedded.recognition, ()),
    )


def face_of(networks: DetectionNetworks, path: Path) -> Candidate:
    found = find_faces(networks, decode_photo(path.read_bytes()), DetectionConfig())
    assert not isinstance(found, Rejection)
    return found[0]


def displaced(face: Candidate, share: float) -> np.ndarray:
    """The landmarks beside the face, by a share of its box."""
    return face.landmarks_px.astype(np.float64) + share * float((face.box_xyxy_px[2:] - face.box_xyxy_px[:2]).max())


def off(found: np.ndarray, face: Candidate) -> float:
    eyes = np.linalg.norm(face.landmarks_px[36] - face.landmarks_px[45])
    return float(np.linalg.norm(found - face.landmarks_px, axis=-1).mean() / eyes)


def test_landmarks_beside_the_face_are_mended_by_a_second_attempt(networks: DetectionNetworks, album: Path) -> None:
    for person in ("person_00", "person_01", "person_02", "person_03"):
        path = album / person / "photo_0.jpg"
        photo, face = decode_photo(path.read_bytes()), face_of(networks, path)
        wrong = displaced(face, 0.12)
        once = settle_face(networks.landmarks, photo, wrong, 224, None)
        assert once.shift > WITHIN.limit
        np.testing.assert_array_equal(once.landmarks_px, wrong)
        twice = settle_face(networks.landmarks, photo, wrong, 224, WITHIN)
        assert WITHIN.place(twice.shift) >= HOLDS
        assert off(twice.landmarks_px, face) < 0.06 < 0.15 < off(wrong, face)


def test_landmarks_that_hold_are_kept(networks: DetectionNetworks, album: Path) -> None:
    path = album / "person_00" / "photo_0.jpg"
    photo, face = decode_photo(path.read_bytes()), face_of(networks, path)
    settled = settle_face(networks.landmarks, photo, face.landmarks_px, 224, WITHIN)
    np.testing.assert_array_equal(settled.landmarks_px, face.landmarks_px)


def test_where_a_second_attempt_does_not_hold_either_the_first_is_kept(
    networks: DetectionNetworks, album: Path
) -> None:
    path = album / "person_00" / "photo_0.jpg"
    photo, face = decode_photo(path.read_bytes()), face_of(networks, path)
    noise = np.random.default_rng(0).integers(0, 256, photo.image_rgb.shape, np.uint8)

    def wanders(image_rgb: np.ndarray, boxes_xyxy_px: np.ndarray, points_px: np.ndarray) -> np.ndarray:
        side = boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]
        there: LandmarkNetwork = networks.landmarks
        return there(image_rgb, boxes_xyxy_px, points_px) + 0.3 * side.max()

    settled = settle_face(wanders, photo._replace(image_rgb=noise), face.landmarks_px, 224, WITHIN)
    np.testing.assert_array_equal(settled.landmarks_px, face.landmarks_px)
    assert settled.shift > WITHIN.limit
