"""Which frames of a clip are worth fitting: good ones that differ in pose and in time.

A frame's score is the product of five factors in [0, 1]:

- sharpness of the face (`ops.face.signal`) over that of the clip's sharper frames (its 90th percentile), at most 1;
- openness of the eyes over the clip's median, at most 1, squared: blinks are short, and a person's eyes are as open as
  they are;
- 1 / (1 + mouth / 0.15), where mouth is how far the lips are apart;
- the side of the face's box over 200 px, at most 1;
- the score of the detection.

Lengths are measured along the face: openings over the distance from between the eyes to below the nose, which a turn of
the head shortens little. The yaw follows from how far the tip of the nose is off the middle of the outer eye corners,
as these are about as far apart from the middle as they lie behind the tip.

The frame with the highest score is taken first; then, again and again, the one with the largest

    score min(1, d),  d^2 = min over taken frames of (yaw difference / 25 degrees)^2 + (time difference)^2

with times in parts of the clip. Of equals the earliest is taken. So poses 25 degrees apart are different enough, a
still head gives frames spread over the clip, and a bad frame is taken only where it shows much that no other one does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ops.face.landmark_parts import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE,
    LOWER_LIDS,
    NOSE_TIP,
    NOSTRILS,
    OUTER_EYES,
    RIGHT_EYE,
    UPPER_LIDS,
)
from ops.face.signal import face_signal
from ops.reconstruction.detection import Candidate

SHARP_QUANTILE = 0.9
"""Sharpness counts in parts of that of the clip's sharper frames."""
EYE_POWER = 2.0
MOUTH_OPEN = 0.15
"""Lips as far apart as this, over the length of the nose, halve a frame's score."""
LARGE_PX = 200.0
"""Faces larger than this are no better: a fit sees fewer pixels."""
YAW_STEP_DEG = 25.0
"""Poses this far apart are different enough."""


class FrameView(NamedTuple):
    """What is measured of the face in a frame."""

    sharpness: float
    eyes: float
    """Distance of the lids over the length of the nose."""
    mouth: float
    """Distance of the lips over the length of the nose."""
    side_px: float
    detection_score: float
    yaw_deg: float
    """Positive where the nose points to the right of the image."""


def view_of(face: Candidate) -> FrameView:
    """Measure a face."""
    points = face.landmarks_px.astype(np.float64)
    between_eyes = (points[RIGHT_EYE].mean(0) + points[LEFT_EYE].mean(0)) / 2
    nose = max(float(np.linalg.norm(points[NOSTRILS].mean(0) - between_eyes)), 1e-6)
    right, left = points[list(OUTER_EYES)]
    half = (left - right) / 2
    aside = float((points[NOSE_TIP] - (right + left) / 2) @ half / max(half @ half, 1e-6))
    return FrameView(
        face_signal(face.crop).sharpness,
        _gap(points, UPPER_LIDS, LOWER_LIDS) / nose,
        _gap(points, INNER_UPPER_LIP, INNER_LOWER_LIP) / nose,
        float((face.box_xyxy_px[2:] - face.box_xyxy_px[:2]).max()),
        face.score,
        float(np.degrees(np.arctan(aside))),
    )


def frame_scores(views: Sequence[FrameView]) -> Float[np.ndarray, " frame"]:
    """How well each frame of a clip shows its face, in [0, 1]."""
    if not views:
        return np.zeros(0)
    sharpness, eyes, mouth, side, detection, _ = np.array(views, np.float64).T
    open_eyes = _at_most_one(eyes, float(np.median(eyes))) ** EYE_POWER
    sharp = _at_most_one(sharpness, float(np.quantile(sharpness, SHARP_QUANTILE)))
    return sharp * open_eyes / (1 + mouth / MOUTH_OPEN) * _at_most_one(side, LARGE_PX) * detection


def choose_frames(
    scores: Float[np.ndarray, " frame"],
    yaw_deg: Float[np.ndarray, " frame"],
    time: Float[np.ndarray, " frame"],
    count: int,
) -> list[int]:
    """At most `count` frames of a clip, ascending; `time` is in parts of the clip."""
    if not len(scores):
        return []
    chosen = [int(scores.argmax())]
    distance = np.full(len(scores), np.inf)
    while len(chosen) < min(count, len(scores)):
        newest = chosen[-1]
        apart = np.hypot((yaw_deg - yaw_deg[newest]) / YAW_STEP_DEG, time - time[newest])
        distance = np.minimum(distance, apart)
        gain = scores * np.minimum(distance, 1)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
    return sorted(chosen)


def _gap(points: Float[np.ndarray, "68 2"], upper: Sequence[int], lower: Sequence[int]) -> float:
    return float(np.linalg.norm(points[list(upper)] - points[list(lower)], axis=1).mean())


def _at_most_one(values: Float[np.ndarray, " frame"], reference: float) -> Float[np.ndarray, " frame"]:
    return np.minimum(1, values / max(reference, 1e-6))
