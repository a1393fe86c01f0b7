"""How a head moves before the one camera of a clip.

Each frame of a clip is fitted with a camera of its own, which looks straight at the face and has a focal length of its
own. Here the camera stays, with the median focal length and its principal point in the centre of the picture, and the
head moves so that it is seen as before: it is turned with the line of sight to its middle, and brought to the distance
at which it covers as many pixels. With focal length f and an angle a between the line of sight and the axis of the
camera, a small thing at distance d is shown f / (d cos(a)^1.5) as large (the root of its area), which stays the same.
What remains is a difference in perspective.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ops.geometry.smoothing import smooth_over_time
from ops.reconstruction.pinhole import Pinhole


class ClipMotion(NamedTuple):
    """Pose and expression over time.

    A point p of the head is at c + R (p - m) in the camera's frame: x right, y up, z backwards.
    """

    times_s: Float[np.ndarray, " frame"]
    """Ascending."""
    rotations_xyzw: Float[np.ndarray, "frame 4"]
    """Unit quaternions of R; neighbours have a dot product >= 0."""
    places_mm: Float[np.ndarray, "frame 3"]
    """c: where the middle of the face is."""
    expressions: Float[np.ndarray, "frame mode"]
    focal_px: float
    face_mm: Float[np.ndarray, "3"]
    """m: the middle of the face in the model's frame."""

    @property
    def translations_mm(self) -> Float[np.ndarray, "frame 3"]:
        """Where the origin of the model's frame is: c - R m."""
        return self.places_mm - Rotation.from_quat(self.rotations_xyzw).apply(self.face_mm)

    def smoothed(self, seconds: float) -> "ClipMotion":
        """The same motion without what vibrates faster, see `ops.geometry.smoothing`.

        Expressions stay between the least and the largest coefficient of their mode.
        """
        rotations, places, expressions = (
            smooth_over_time(self.times_s, values, seconds)
            for values in (self.rotations_xyzw, self.places_mm, self.expressions)
        )
        return self._replace(
            rotations_xyzw=rotations / np.linalg.norm(rotations, axis=1, keepdims=True),
            places_mm=places,
            expressions=np.clip(expressions, self.expressions.min(0), self.expressions.max(0)),
        )


def clip_motion(
    cameras: Sequence[Pinhole],
    times_s: Float[np.ndarray, " frame"],
    expressions: Float[np.ndarray, "frame mode"],
    centre_px: Float[np.ndarray, "2"],
    face_mm: Float[np.ndarray, "3"],
) -> ClipMotion:
    """The motion of a head that was fitted in every frame.

    Args:
        cameras: of the frames.
        times_s: of the frames, ascending.
        expressions: of the frames.
        centre_px: of the picture.
        face_mm: the middle of the face in the model's frame, which keeps its place in the picture exactly.
    """
    focal_px = float(np.median([camera.focal_px for camera in cameras]))
    poses = [_pose(camera, focal_px, centre_px, face_mm) for camera in cameras]
    rotations = Rotation.from_matrix(np.stack([rotation for rotation, _ in poses])).as_quat()
    turns = np.sign((rotations[1:] * rotations[:-1]).sum(1))
    rotations[1:] *= np.cumprod(np.where(turns < 0, -1, 1))[:, None]
    places = np.stack([place for _, place in poses])
    return ClipMotion(times_s, rotations, places, expressions, focal_px, face_mm)


def _pose(
    camera: Pinhole, focal_px: float, centre_px: Float[np.ndarray, "2"], face_mm: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Rotation of the head before the clip's camera, and where the middle of its face is."""
    before = camera.camera_from_model @ (face_mm - camera.eye_mm)
    x, y = camera.project(face_mm[None])[0] - centre_px
    was, sight = before / np.linalg.norm(before), np.array((x, -y, -focal_px))
    sight /= np.linalg.norm(sight)
    distance = np.linalg.norm(before) * focal_px / camera.focal_px * (was[2] / sight[2]) ** 1.5
    return _shortest_turn(was, sight) @ camera.camera_from_model, distance * sight


def _shortest_turn(start: Float[np.ndarray, "3"], end: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation of one unit vector to another one, not its opposite, about an axis perpendicular to both."""
    axis = np.cross(start, end)
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + cross + cross @ cross / (1 + start @ end)
