import numpy as np

from ops.reconstruction.photo_camera import PhotoCamera
from ops.reconstruction.pinhole import Pinhole, pinhole_of

POINTS = np.random.default_rng(0).normal(0, 60, (40, 3))


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def camera(angle: float = 0.4) -> PhotoCamera:
    vector = np.array([40.0, 90, 620, 3, -5, 10, 2.1, 0.2])
    return PhotoCamera(vector, turned(angle, 0.31, (-40.0, 12.0)), 128)


def test_it_projects_as_the_fitted_camera_and_its_crop_do() -> None:
    for angle in (0.0, 0.4, -2.5):
        fitted = camera(angle)
        np.testing.assert_allclose(pinhole_of(fitted).project(POINTS), fitted.project(POINTS), atol=1e-8)


def test_a_crop_that_is_the_photo_keeps_the_camera() -> None:
    found = pinhole_of(PhotoCamera(np.array([0.0, 0, 500, 0, 0, 0, 2, 0]), turned(0, 1, (0, 0)), 100))
    assert found.focal_px == 200
    np.testing.assert_array_equal(found.centre_px, [50, 50])
    np.testing.assert_array_equal(found.camera_from_model, np.eye(3))


def test_the_description_for_other_programs_projects_alike() -> None:
    fitted = camera()
    found = pinhole_of(fitted).described(640, 480)
    rotation = np.array(found["rotation"])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0
    pixels = (POINTS @ rotation.T + found["translation_mm"]) @ np.array(found["intrinsics"]).T
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], fitted.project(POINTS), atol=1e-8)


def project_as_gltf(pinhole: Pinhole, width: int, height: int) -> np.ndarray:
    """By glTF's own rule: the camera looks along -z, y spans the field of view, then into the photo."""
    seen = pinhole.perspective(width, height)
    viewed = np.c_[POINTS, np.ones(len(POINTS))] @ np.linalg.inv(seen.world_from_camera).T
    half = np.array([seen.width_px, seen.height_px]) / 2
    ndc = viewed[:, :2] / -viewed[:, 2:3] * seen.focal_px / half
    left, top, *_ = seen.extras["photo_in_frame_px"]
    return (1 + ndc * (1, -1)) * half - (left, top)


def test_the_camera_of_a_gltf_scene_projects_alike() -> None:
    fitted = camera()
    np.testing.assert_allclose(project_as_gltf(pinhole_of(fitted), 640, 480), fitted.project(POINTS), atol=1e-8)
