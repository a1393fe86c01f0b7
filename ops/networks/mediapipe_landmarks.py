"""MediaPipe's face mesh (Kartynnik et al. 2019): 468 points of a face, of which 68 are taken in iBUG order."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from ops.networks.face_crop import CropView, crop_faces, invert_affine
from ops.networks.lite import LiteNetwork

MESH_SIDE_PX = 192
MESH_POINTS = 468
MESH_VIEW = CropView(scale=1.5)
"""A square about the box, half as large again, turned so that the eyes are level."""
MIN_FACE_SCORE = 0.5
"""Below this the network does not believe in a face, and its points are nan."""
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
"""Of the mesh, at image left and image right."""
MESH_POINTS_68: tuple[tuple[int, int, float], ...] = (
    (162, 127, 0.7),
    (234, 234, 0.0),
    (93, 132, 0.3),
    (132, 58, 0.4),
    (58, 172, 0.7),
    (136, 150, 0.2),
    (150, 149, 0.7),
    (176, 148, 0.5),
    (152, 152, 0.0),
    (400, 377, 0.5),
    (379, 378, 0.7),
    (365, 379, 0.2),
    (288, 397, 0.7),
    (361, 288, 0.4),
    (323, 361, 0.3),
    (454, 454, 0.0),
    (389, 356, 0.7),
    (70, 46, 0.4),
    (63, 52, 0.3),
    (105, 65, 0.3),
    (66, 55, 0.3),
    (107, 55, 0.6),
    (336, 285, 0.6),
    (296, 285, 0.3),
    (334, 295, 0.3),
    (293, 282, 0.3),
    (300, 276, 0.4),
    (168, 6, 0.4),
    (197, 197, 0.0),
    (195, 5, 0.6),
    (4, 4, 0.0),
    (98, 97, 0.3),
    (97, 97, 0.0),
    (2, 164, 0.4),
    (326, 326, 0.0),
    (327, 326, 0.3),
    (33, 33, 0.0),
    (160, 159, 0.4),
    (158, 157, 0.2),
    (133, 155, 0.3),
    (153, 153, 0.0),
    (145, 144, 0.9),
    (362, 382, 0.3),
    (385, 384, 0.2),
    (387, 386, 0.4),
    (263, 263, 0.0),
    (374, 373, 0.9),
    (380, 380, 0.0),
    (61, 61, 0.0),
    (40, 39, 0.6),
    (37, 0, 0.1),
    (0, 0, 0.0),
    (267, 0, 0.1),
    (270, 269, 0.6),
    (291, 291, 0.0),
    (321, 405, 0.4),
    (405, 314, 0.9),
    (17, 17, 0.0),
    (181, 84, 0.9),
    (91, 181, 0.4),
    (78, 78, 0.0),
    (81, 82, 0.7),
    (13, 13, 0.0),
    (311, 312, 0.7),
    (308, 308, 0.0),
    (402, 317, 0.7),
    (14, 14, 0.0),
    (178, 87, 0.7),
)
"""Where each iBUG landmark lies on the mesh: between two neighbouring points, and how far from the first to the second.

The jaw follows the mesh's outline, a brow's points lie between its two rows. How far was fitted, both sides of the
face alike, on half of 160 rendered ICT-FaceKit heads with known landmarks and on half of 400 portraits with PFLD's. On
the other halves the mean distance in outer-eye distances is 4.7 % from the renders' landmarks and 2.6 % from PFLD's
(6.2 and 4.0 % with the nearest point of the mesh for each)."""


class MeshPoints(NamedTuple):
    """The mesh of every face."""

    points_px: Float32[np.ndarray, "face 468 2"]
    """Pixels of the image."""
    scores: Float32[np.ndarray, " face"]
    """How much the network believes in a face, in [0, 1]."""


class MediapipeLandmarks:
    """Implements `ops.networks.landmarks.LandmarkNetwork`: the mesh found twice, the second time about the first."""

    def __init__(self, path: Path) -> None:
        self._network = LiteNetwork(path, MESH_SIDE_PX, (3 * MESH_POINTS, 1))

    def __call__(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        boxes_xyxy_px: Float32[np.ndarray, "face 4"],
        points_px: Float32[np.ndarray, "face 5 2"],
    ) -> Float32[np.ndarray, "face 68 2"]:
        """The points of every detected face, pixels of the image; nan where the network does not believe in a face."""
        mesh = self.mesh(image_rgb, boxes_xyxy_px, points_px)
        points = landmarks_68(mesh.points_px)
        points[mesh.scores < MIN_FACE_SCORE] = np.nan
        return points

    def mesh(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        boxes_xyxy_px: Float32[np.ndarray, "face 4"],
        points_px: Float32[np.ndarray, "face 5 2"],
    ) -> MeshPoints:
        """All 468 points of every detected face."""
        count = len(boxes_xyxy_px)
        points, scores = np.zeros((count, MESH_POINTS, 2), np.float32), np.zeros(count, np.float32)
        for index in range(count):
            first, _ = self._look(image_rgb, boxes_xyxy_px[index], points_px[index])
            points[index], scores[index] = self._look(image_rgb, *box_about(first))
        return MeshPoints(points, scores)

    def _look(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        box: Float32[np.ndarray, "4"],
        points: Float32[np.ndarray, "5 2"],
    ) -> tuple[Float32[np.ndarray, "468 2"], float]:
        crops = crop_faces(image_rgb, box[None], points[None], (MESH_VIEW,), MESH_SIDE_PX)
        found, logit = self._network(crops.images[0].astype(np.float32) / 255)
        back = invert_affine(crops.crop_from_image[0])
        placed = found.reshape(-1, 3)[:, :2].astype(np.float64) @ back[:, :2].T + back[:, 2]
        return placed.astype(np.float32), float(1 / (1 + np.exp(-logit[0])))


def landmarks_68(mesh_px: Float32[np.ndarray, "face 468 2"]) -> Float32[np.ndarray, "face 68 2"]:
    """The 68 iBUG landmarks of meshes."""
    first, second, share = (np.array(column) for column in zip(*MESH_POINTS_68, strict=True))
    along = share.astype(np.float32)[:, None]
    return (1 - along) * mesh_px[:, first] + along * mesh_px[:, second]


def box_about(mesh_px: Float32[np.ndarray, "468 2"]) -> tuple[Float32[np.ndarray, "4"], Float32[np.ndarray, "5 2"]]:
    """Box and eye points of a mesh as a detector would give them; the box's extents are along the line of the eyes."""
    five = np.zeros((5, 2), np.float32)
    five[:2] = mesh_px[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER]]
    along = (five[1] - five[0]).astype(np.float64)
    along /= max(float(np.hypot(*along)), 1e-6)
    turn = np.array((along, (-along[1], along[0])))
    level = mesh_px.astype(np.float64) @ turn.T
    low, high = level.min(0), level.max(0)
    centre, half = (low + high) / 2 @ turn, float((high - low).max()) / 2
    return np.concatenate((centre - half, centre + half)).astype(np.float32), five


def load_mediapipe_landmarks(path: Path, device: str = "cpu") -> MediapipeLandmarks:
    """The mesh of 468 points, on the CPU always.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it is another network.
    """
    return MediapipeLandmarks(path)
