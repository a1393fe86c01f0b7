"""The usable faces of an image: box, score and 68 landmarks, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from ops.errors import ConfigurationError
from ops.files.photo import Photo
from ops.networks.detector import FaceDetector
from ops.networks.landmarks import LandmarkNetwork
from ops.networks.recognition import RecognitionNetwork
from ops.reconstruction.face_choice import Choice, FaceCrop, choose_faces, face_crop

MAX_CANDIDATES = 8
"""Faces of one image that are considered."""
LARGEST_LANDMARK_DISTANCE = 2.0
"""Landmarks further than this many box sides from the box centre are not those of a face."""
Reason = Literal["no_face", "low_score", "too_small", "bad_landmarks"]


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """Which faces are accepted."""

    min_score: float = 0.5
    """Detections below this are rejected as low_score."""
    min_face_px: float = 32.0
    """Faces whose box has a shorter side, in pixels of the decoded image, are rejected as too_small."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1 or self.min_face_px <= 0:
            raise ConfigurationError(
                f"expected min_score in [0, 1] and min_face_px > 0, got {self.min_score} and {self.min_face_px}"
            )


class DetectionNetworks(NamedTuple):
    """The networks that find faces, their landmarks, and tell people apart."""

    detector: FaceDetector
    landmarks: LandmarkNetwork
    recognition: RecognitionNetwork


class Candidate(NamedTuple):
    """A face that could be the person's, in pixels of the image at full resolution."""

    box_xyxy_px: Float32[np.ndarray, "4"]
    score: float
    landmarks_px: Float32[np.ndarray, "68 2"]
    crop: FaceCrop


class Rejection(NamedTuple):
    """Why an image has no usable face."""

    reason: Reason
    message: str


def find_faces(networks: DetectionNetworks, photo: Photo, config: DetectionConfig) -> list[Candidate] | Rejection:
    """The usable faces of an image, the most prominent (largest, weighted by score) first; never an empty list."""
    found = networks.detector(photo.image_rgb)
    if not len(found.scores):
        return Rejection("no_face", "no face was found")
    confident = np.flatnonzero(found.scores >= config.min_score)
    if not len(confident):
        return Rejection("low_score", f"best detection score {found.scores.max():.2f}, expected {config.min_score:.2f}")
    sides = found.boxes_xyxy_px[:, 2:] - found.boxes_xyxy_px[:, :2]
    large = confident[sides[confident].min(1) >= config.min_face_px]
    if not len(large):
        message = f"largest face {sides[confident].min(1).max():.0f} px, expected {config.min_face_px:.0f} px"
        return Rejection("too_small", message)
    prominence = sides[large].prod(1) * found.scores[large]
    kept = large[np.argsort(-prominence, kind="stable")[:MAX_CANDIDATES]]
    landmarks = networks.landmarks(photo.image_rgb, found.boxes_xyxy_px[kept], found.points_px[kept])
    faces = [
        Candidate(
            found.boxes_xyxy_px[index] * photo.scale,
            float(found.scores[index]),
            points * photo.scale,
            face_crop(photo.image_rgb, points),
        )
        for index, points in zip(kept.tolist(), landmarks, strict=True)
        if _plausible(found.boxes_xyxy_px[index], points)
    ]
    return faces or Rejection("bad_landmarks", "the landmarks found do not form a face")


def choose_candidates(
    networks: DetectionNetworks, people: Sequence[str], candidates: Sequence[Sequence[Candidate]]
) -> list[Choice]:
    """The face of each image that is its person's; images without candidates are given a choice without meaning."""
    crops = [[face.crop for face in found] for found in candidates]
    return choose_faces(people, crops, networks.recognition)


def _plausible(box: Float32[np.ndarray, "4"], landmarks: Float32[np.ndarray, "68 2"]) -> bool:
    """Whether landmarks are finite, near the box and spread over a good part of it."""
    if not np.isfinite(landmarks).all():
        return False
    side = float((box[2:] - box[:2]).max())
    centre = (box[2:] + box[:2]) / 2
    near = float(np.abs(landmarks - centre).max()) <= LARGEST_LANDMARK_DISTANCE * side
    return near and float(np.ptp(landmarks, axis=0).min()) >= 0.2 * side
