"""The camera of a reconstructed photo: from millimetres of the model to pixels of the input image."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from ops.geometry.camera import Camera, camera_from_vector, project_points, view_points


@dataclass(frozen=True, eq=False)
class PhotoCamera:
    """The fitted camera, which is one of the aligned crop, and how that crop lies in the photo.

    A point is projected into the crop by the pinhole camera of `ops.geometry.camera`, scaled to the crop's pixels, and
    taken to the photo by the inverse of `crop_from_image`.
    """

    vector: Float[np.ndarray, "8"]
    """(eye x y z mm, target x y z mm, focal length in crop sides, roll in radians)."""
    crop_from_image: Float[np.ndarray, "2 3"]
    """Takes (x, y, 1) in pixels of the upright photo at full resolution to pixels of the crop."""
    crop_side_px: int

    def project(self, points_mm: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 2"]:
        """Pixels (x right, y down; the centre of the first pixel is (0.5, 0.5)) of the upright photo."""
        crop_px = project_points(self._camera, torch.from_numpy(points_mm).double()).numpy() * self.crop_side_px
        matrix = self.crop_from_image.astype(np.float64)
        return (crop_px - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T

    def view(self, points_mm: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 3"]:
        """The points in the camera's frame: millimetres, x right, y up, z backwards, so that seen points have z < 0."""
        return view_points(self._camera, torch.from_numpy(points_mm).double()).numpy()

    @property
    def _camera(self) -> Camera:
        return camera_from_vector(torch.from_numpy(self.vector.astype(np.float64)))
