"""A photo's camera as other programs describe one: focal length and principal point in pixels, rotation, position."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from ops.geometry.camera import camera_from_vector, camera_from_world
from ops.geometry.gltf import PerspectiveCamera
from ops.reconstruction.photo_camera import PhotoCamera


class Pinhole(NamedTuple):
    """Takes points of the model to pixels of the upright photo, exactly as `PhotoCamera.project` does.

    v = camera_from_model (p - eye); pixel = centre + focal (v_x, -v_y) / -v_z.
    """

    camera_from_model: Float[np.ndarray, "3 3"]
    """Rows: right, up and backward."""
    eye_mm: Float[np.ndarray, "3"]
    focal_px: float
    centre_px: Float[np.ndarray, "2"]
    """The centre of the first pixel is (0.5, 0.5)."""

    def project(self, points_mm: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 2"]:
        """Pixels of the photo."""
        viewed = (points_mm - self.eye_mm) @ self.camera_from_model.T
        return self.centre_px + self.focal_px * viewed[:, :2] * (1, -1) / -viewed[:, 2:]

    def described(self, width_px: int, height_px: int) -> dict[str, Any]:
        """For a JSON file, in OpenCV's convention (x right, y down, z forward): pixel = K (R p + t), in millimetres."""
        rotation = self.camera_from_model * np.array([[1.0], [-1.0], [-1.0]])
        x, y = self.centre_px.tolist()
        return {
            "image_size_px": [width_px, height_px],
            "intrinsics": [[self.focal_px, 0.0, x], [0.0, self.focal_px, y], [0.0, 0.0, 1.0]],
            "rotation": rotation.tolist(),
            "translation_mm": (-rotation @ self.eye_mm).tolist(),
        }

    def perspective(self, width_px: int, height_px: int) -> PerspectiveCamera:
        """The camera of a glTF scene.

        glTF knows no principal point but the centre. So this one sees the smallest frame around the principal point
        that holds the photo; `extras` says where in it the photo lies.
        """
        x, y = self.centre_px.tolist()
        half = max(abs(x), abs(width_px - x)), max(abs(y), abs(height_px - y))
        matrix = np.eye(4)
        matrix[:3, :3] = self.camera_from_model.T
        matrix[:3, 3] = self.eye_mm
        extras = self.described(width_px, height_px) | {
            "frame_px": [2 * half[0], 2 * half[1]],
            "photo_in_frame_px": [half[0] - x, half[1] - y, width_px, height_px],
        }
        return PerspectiveCamera(matrix, 2 * half[0], 2 * half[1], self.focal_px, extras)


def pinhole_of(camera: PhotoCamera) -> Pinhole:
    """The pinhole camera of a photo: the one of its crop, turned and scaled as the crop lies in the photo."""
    crop = camera_from_vector(torch.from_numpy(camera.vector.astype(np.float64)))
    right, up, backward = camera_from_world(crop).numpy()
    matrix = camera.crop_from_image.astype(np.float64)
    image_from_crop = np.linalg.inv(matrix[:, :2])
    scale = float(np.sqrt(np.linalg.det(image_from_crop)))
    cos, sin = image_from_crop[0, 0] / scale, image_from_crop[1, 0] / scale
    side = camera.crop_side_px
    return Pinhole(
        np.stack((cos * right + sin * up, cos * up - sin * right, backward)),
        crop.eye_mm.numpy(),
        float(crop.focal) * side * scale,
        image_from_crop @ (np.full(2, side / 2) - matrix[:, 2]),
    )
