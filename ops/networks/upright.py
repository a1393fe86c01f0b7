"""Which way up a detected face is: detectors and landmark networks answer for turned faces too, and are wrong.

A detector learned upright faces, so of all turns of a face it is surest of the upright one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from ops.networks.detector import SURE_SCORE, Detections, FaceDetector, QuickScrfd
from ops.networks.face_crop import compose_affines, invert_affine, reduced_surroundings, sample_crop

LOOK_SIDE_PX = 256
"""Side of the square in which a face is looked at again."""
LOOK_REACH = 2.0
"""That side in longer sides of the face's box."""
QUARTERS_DEG = (0.0, 90.0, 180.0, 270.0)
"""Turns in which every face is looked at."""
BETWEEN_DEG = (45.0, 135.0, 225.0, 315.0)
"""Turns that are tried too where these do not decide."""
CLEAR_MARGIN, MARGIN, PHOTOGRAPHED_MARGIN = 0.1, 0.05, 0.02
"""By how much the score of the upright turn exceeds that of every contrary one: at a glance, after the search, and
of a face that is level as photographed, as most are, over those turned by more than an eighth."""
CONTRARY_DEG = 100.0
"""Turns of the search that differ by more are contrary to one another."""
TRUSTED_ROLL_DEG = 40.0
"""Eyes that are tilted by more, in the turn in which the face scores best, are looked at again with level eyes."""
LEVEL_ROLL_DEG = 25.0
"""Eyes tilted by more after they were levelled contradict themselves."""


class UprightFace(NamedTuple):
    """A face as the detector sees it the right way up, in pixels of the image as it is."""

    box_xyxy_px: Float32[np.ndarray, "4"]
    """About the face's centre, as wide and high as the upright box; a quarter turn swaps the two."""
    score: float
    points_px: Float32[np.ndarray, "5 2"]
    """The subject's right eye first, as in an upright image."""
    roll_deg: float
    """Tilt of the line from the first eye to the second, clockwise in the image, in (-180, 180]."""


def detect_turned(
    detector: FaceDetector, image_rgb: UInt8[np.ndarray, "height width 3"], min_score: float
) -> Detections:
    """The faces of an image as it is or, where none scores `min_score`, of the quarter turn with the best score."""
    best = detector(image_rgb)
    if len(best.scores) and best.scores[0] >= min_score:
        return best
    for quarters in (1, 2, 3):
        found = detector(np.ascontiguousarray(np.rot90(image_rgb, quarters)))
        if len(found.scores) and (not len(best.scores) or found.scores[0] > best.scores[0]):
            best = _turned_back(found, quarters, image_rgb.shape[0], image_rgb.shape[1])
    return best


def _turned_back(found: Detections, quarters: int, height: int, width: int) -> Detections:
    """Faces of an image that was turned anticlockwise, in the image as it was."""

    def back(points: Float32[np.ndarray, "*batch 2"]) -> Float32[np.ndarray, "*batch 2"]:
        x, y = points[..., 0], points[..., 1]
        return np.stack(((width - y, x), (width - x, height - y), (y, height - x))[quarters - 1], -1)

    corners = back(found.boxes_xyxy_px.reshape(-1, 2, 2))
    boxes = np.concatenate((corners.min(1), corners.max(1)), 1)
    return Detections(boxes, found.scores, back(found.points_px))


class _Look(NamedTuple):
    score: float
    box_xyxy_px: Float[np.ndarray, "4"]
    points_px: Float[np.ndarray, "5 2"]
    image_from_look: Float[np.ndarray, "2 3"]

    @property
    def roll_deg(self) -> float:
        """In the look itself, not in the image."""
        return roll_deg(self.points_px)


def surely_upright(detector: FaceDetector, score: float, points_px: Float32[np.ndarray, "5 2"]) -> bool:
    """Whether a face need not be looked at in other turns; never of a detector of which that is not known."""
    return isinstance(detector, QuickScrfd) and score >= SURE_SCORE and abs(roll_deg(points_px)) <= TRUSTED_ROLL_DEG


def upright_face(
    detector: FaceDetector,
    image_rgb: UInt8[np.ndarray, "height width 3"],
    box_xyxy_px: Float[np.ndarray, "4"],
) -> UprightFace | None:
    """The face in a box, the right way up; None where the detector cannot tell, or sees no face there.

    A face that is found nearly upright and scores worse in the other quarter turns costs four calls of the detector on
    a small crop, any other ten.
    """
    looks = {turn: _look(detector, image_rgb, box_xyxy_px, turn) for turn in QUARTERS_DEG}
    found, *others = looks.values()
    if found and abs(found.roll_deg) <= TRUSTED_ROLL_DEG and _exceeds(found, others, CLEAR_MARGIN):
        return _in_image(found)
    looks |= {turn: _look(detector, image_rgb, box_xyxy_px, turn) for turn in BETWEEN_DEG}
    seen = [(turn, look) for turn, look in looks.items() if look]
    if not seen:
        return None
    turned = (look for turn, look in looks.items() if abs(wrapped_deg(turn)) > BETWEEN_DEG[0])
    if found and abs(found.roll_deg) <= LEVEL_ROLL_DEG and _exceeds(found, turned, PHOTOGRAPHED_MARGIN):
        return _in_image(found)
    turn, best = max(seen, key=lambda pair: pair[1].score)
    upright_deg = turn + best.roll_deg
    box = _in_image(best).box_xyxy_px
    level = _look(detector, image_rgb, box, upright_deg)
    if level is None or abs(level.roll_deg) > LEVEL_ROLL_DEG:
        return None
    looks[upright_deg + 180.0] = _look(detector, image_rgb, box, upright_deg + 180.0)
    contrary = (look for turn, look in looks.items() if abs(wrapped_deg(turn - upright_deg)) > CONTRARY_DEG)
    return _in_image(level) if _exceeds(level, contrary, MARGIN) else None


def _look(
    detector: FaceDetector,
    image_rgb: UInt8[np.ndarray, "height width 3"],
    box_xyxy_px: Float[np.ndarray, "4"],
    turn_deg: float,
) -> _Look | None:
    """The face nearest the middle of the box's surroundings, turned back by an angle (clockwise in the image)."""
    left, top, right, bottom = (float(edge) for edge in box_xyxy_px)
    longer = max(right - left, bottom - top, 1.0)
    part, part_from_image = reduced_surroundings(
        image_rgb, box_xyxy_px, LOOK_REACH / np.sqrt(2), 2 * LOOK_SIDE_PX / LOOK_REACH
    )
    angle = np.radians(turn_deg)
    turn = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
    linear = turn * LOOK_SIDE_PX / (LOOK_REACH * longer)
    offset = LOOK_SIDE_PX / 2 - linear @ np.array(((left + right) / 2, (top + bottom) / 2))
    look_from_image = np.concatenate((linear, offset[:, None]), 1)
    look_from_part = compose_affines(look_from_image, invert_affine(part_from_image))
    found = detector(sample_crop(part, look_from_part, LOOK_SIDE_PX))
    index = _central(found)
    if index is None:
        return None
    box, points = found.boxes_xyxy_px[index].astype(np.float64), found.points_px[index].astype(np.float64)
    return _Look(float(found.scores[index]), box, points, invert_affine(look_from_image))


def _central(found: Detections) -> int | None:
    """The best detection whose box covers the middle."""
    middle = LOOK_SIDE_PX / 2
    for index, (left, top, right, bottom) in enumerate(found.boxes_xyxy_px.tolist()):
        if left <= middle <= right and top <= middle <= bottom:
            return index
    return None


def _exceeds(upright: _Look, contrary: Iterable[_Look | None], margin: float) -> bool:
    return all(look is None or upright.score - look.score >= margin for look in contrary)


def wrapped_deg(angle: float) -> float:
    """The same angle in [-180, 180) degrees."""
    return (angle + 180.0) % 360.0 - 180.0


def _in_image(look: _Look) -> UprightFace:
    linear, offset = look.image_from_look[:, :2], look.image_from_look[:, 2]
    points = look.points_px @ linear.T + offset
    left, top, right, bottom = look.box_xyxy_px
    centre = np.array(((left + right) / 2, (top + bottom) / 2)) @ linear.T + offset
    half = np.array((right - left, bottom - top)) / 2 * np.sqrt(abs(np.linalg.det(linear)))
    roll = roll_deg(points)
    if abs(np.sin(np.radians(roll))) > np.sqrt(0.5):
        half = half[::-1]
    box = np.concatenate((centre - half, centre + half))
    return UprightFace(box.astype(np.float32), look.score, points.astype(np.float32), roll)


def roll_deg(points_px: Float[np.ndarray, "5 2"]) -> float:
    """Tilt of the line from the first eye to the second, clockwise in the image, degrees."""
    across = points_px[1] - points_px[0]
    return float(np.degrees(np.arctan2(across[1], across[0])))
