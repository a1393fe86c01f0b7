import cv2
import numpy as np

from ops.face.signal import FaceSignal, face_signal, shows_something, without_signal


def texture() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.integers(60, 220, (14, 14, 3)).astype(np.uint8), (112, 112), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)


def test_brightness_and_contrast_of_known_crops() -> None:
    halves = np.zeros((112, 112, 3), np.uint8)
    halves[:, 60:] = 204
    signal = face_signal(halves)
    assert abs(signal.brightness - 0.8) < 1e-5
    assert abs(signal.contrast - 0.4) < 1e-3


def test_a_blurred_crop_is_less_sharp_and_a_dark_one_is_not() -> None:
    sharp = face_signal(texture()).sharpness
    blurred = [face_signal(cv2.GaussianBlur(texture(), (0, 0), sigma)).sharpness for sigma in (1, 2, 4, 8)]
    assert sharp > blurred[0] > blurred[1] > blurred[2] > blurred[3]
    assert abs(face_signal(texture() // 4).sharpness - sharp) < 0.05


LIMITS = FaceSignal(brightness=0.12, contrast=0.03, sharpness=0.04)


def test_what_shows_nothing_is_named() -> None:
    crop = texture()
    assert without_signal(face_signal(crop), LIMITS) is None
    assert without_signal(face_signal((crop * 0.05).astype(np.uint8)), LIMITS) == "too_dark"
    assert without_signal(face_signal(np.full_like(crop, 130)), LIMITS) == "too_blurred"
    assert without_signal(face_signal(cv2.GaussianBlur(crop, (0, 0), 12)), LIMITS) == "too_blurred"


def test_a_black_or_a_flat_crop_shows_nothing() -> None:
    assert shows_something(texture())
    assert not shows_something((texture() * 0.03).astype(np.uint8))
    assert not shows_something(np.full((128, 128, 3), 130, np.uint8))
