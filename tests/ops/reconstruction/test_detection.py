from pathlib import Path

import numpy as np
import pytest

from ops.files.photo import Photo, decode_photo
from ops.reconstruction.detection import DetectionConfig, DetectionNetworks, Rejection, find_faces
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition


class Lit:
    """A detector that sees the dark as well as the light."""

    def __init__(self, detector: object, light: float) -> None:
        self._detector, self._light = detector, light

    def __call__(self, image_rgb: np.ndarray) -> object:
        return self._detector(np.clip(image_rgb / self._light, 0, 255).astype(np.uint8))  # type: ignore[operator]


@pytest.mark.parametrize(("light", "reason"), [(1.0, None), (0.1, "too_dark")])
def test_a_face_in_the_dark_is_rejected(embedded: ModelBundle, album: Path, light: float, reason: str | None) -> None:
    photo = decode_photo((album / "person_00" / "photo_0.jpg").read_bytes())
    networks = DetectionNetworks(
        Lit(load_detector(embedded.detector), light),  # type: ignore[arg-type]
        load_landmarks(embedded.landmarks),
        load_recognition(embedded.recognition, ()),
    )
    dark = Photo((photo.image_rgb * light).astype(np.uint8), photo.width_px, photo.height_px)
    found = find_faces(networks, dark, DetectionConfig())
    assert (found.reason if isinstance(found, Rejection) else None) == reason


def test_a_blurred_face_is_rejected(embedded: ModelBundle, album: Path) -> None:
    import cv2

    photo = decode_photo((album / "person_00" / "photo_0.jpg").read_bytes())
    networks = DetectionNetworks(
        load_detector(embedded.detector),
        load_landmarks(embedded.landmarks),
        load_recognition(embedded.recognition, ()),
    )
    blurred = Photo(np.asarray(cv2.GaussianBlur(photo.image_rgb, (0, 0), 7)), photo.width_px, photo.height_px)
    found = find_faces(networks, blurred, DetectionConfig())
    assert isinstance(found, Rejection)
    assert found.reason in ("too_blurred", "low_score", "no_face", "bad_landmarks")
