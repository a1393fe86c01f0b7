"""The usable faces of an image: box, score and 68 landmarks, or the reason why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from ops.errors import ConfigurationError
from ops.face.signal import FaceSignal, Lack, face_signal, without_signal
from ops.files.photo import MAX_SIDE_PX, Photo
from ops.networks.detector import Detections, FaceDetector
from ops.networks.landmarks import LandmarkNetwork
from ops.networks.recognition import RecognitionNetwork
from ops.networks.tiles import TILE_PX, search_tiles
from ops.networks.upright import detect_turned, roll_deg, surely_upright, upright_face, wrapped_deg
from ops.reconstruction.face_choice import Choice, FaceCrop, choose_faces, face_crop

MAX_CANDIDATES = 8
"""Faces of one image that are considered."""
LARGEST_LANDMARK_DISTANCE = 2.0
"""Landmarks further than this many box sides from the box centre are not those of a face."""
SAME_ROLL_DEG = 20.0
"""A face whose eyes are tilted as they were found keeps the box and the points it was found with."""
Effort = Literal["full", "quick"]
"""What is spent on finding a face. full: the detector at two sizes, every face in four turns, eight views of PFLD.
quick: one size for portraits, turns only where the score leaves doubt, four views. Of SCRFD and PFLD; other networks
know one way. Measured in docs/experiments/inputs.md."""
QUICK_SIDE_PX = 1024
"""To which photos are decoded for a quick search; the whole ones are searched where these show no usable face."""
Reason = Literal["no_face", "low_score", "too_small", "bad_landmarks", "too_dark", "too_blurred"]


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """Which faces are accepted, and what is spent on finding them."""

    effort: Effort | None = None
    """full or quick, where networks know a quicker way; default: quick for runs by fastganfit, full otherwise."""
    min_score: float = 0.5
    """Detections below this are rejected as low_score."""
    min_face_px: float = 32.0
    """Faces whose box has a shorter side, in pixels of the decoded image, are rejected as too_small."""

    min_brightness: float = 0.12
    """Face crops whose 95th percentile of the luma, in [0, 1], is lower are rejected as too_dark. The darkest of 400
    official portraits has 0.42."""
    min_contrast: float = 0.03
    """Face crops with a lower standard deviation of the luma are rejected as too_blurred. The flattest of 400 official
    portraits has 0.07."""
    min_sharpness: float = 0.04
    """Face crops are rejected as too_blurred where a slight blur takes less of the contrast away. The least sharp of
    400 official portraits has 0.09; a blur of 6 of 112 pixels leaves 0.03."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1 or self.min_face_px <= 0:
            raise ConfigurationError(
                f"expected min_score in [0, 1] and min_face_px > 0, got {self.min_score} and {self.min_face_px}"
            )

    @property
    def quick(self) -> bool:
        """Whether faces are found the quicker way."""
        return self.effort == "quick"

    @property
    def side_px(self) -> int:
        """Longer side, pixels, of the photos that are searched, at most."""
        return QUICK_SIDE_PX if self.quick else MAX_SIDE_PX

    @property
    def least_signal(self) -> FaceSignal:
        """What a crop shows at least."""
        return FaceSignal(self.min_brightness, self.min_contrast, self.min_sharpness)


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


def search_faces(
    networks: DetectionNetworks, photo: Photo, config: DetectionConfig, whole: Callable[[], Photo]
) -> list[Candidate] | Rejection:
    """As `find_faces`; where there is no usable face, in tiles of the photo at full resolution, which `whole` gives."""
    found = find_faces(networks, photo, config)
    if isinstance(found, Rejection) and found.reason in ("no_face", "low_score", "too_small"):
        full = photo if photo.scale == 1 else whole()
        if max(full.image_rgb.shape[:2]) > TILE_PX:
            closer = find_faces(networks, full, config, in_tiles=True)
            return found if isinstance(closer, Rejection) and closer.reason == "no_face" else closer
    return found


def find_faces(
    networks: DetectionNetworks, photo: Photo, config: DetectionConfig, *, in_tiles: bool = False
) -> list[Candidate] | Rejection:
    """The usable faces of an image, the most prominent (largest, weighted by score) first; never an empty list.

    Faces in any turn are found. `in_tiles` looks for small faces in a large image, at more cost.
    """
    image = photo.image_rgb
    if in_tiles:
        found = search_tiles(networks.detector, image, config.min_score)
    else:
        found = detect_turned(networks.detector, image, config.min_score)
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
    upright = [face for index in kept.tolist() if (face := _upright(networks, image, found, index)) is not None]
    if not upright:
        return Rejection("bad_landmarks", "it cannot be told which way up the face is")
    boxes, scores, points = (np.stack(part) for part in zip(*upright, strict=True))
    landmarks = networks.landmarks(image, boxes, points)
    faces = [
        Candidate(box * photo.scale, float(score), place * photo.scale, face_crop(image, place))
        for box, score, place in zip(boxes, scores, landmarks, strict=True)
        if _plausible(box, place)
    ]
    if not faces:
        return Rejection("bad_landmarks", "the landmarks found do not form a face")
    return _with_signal(faces, config)


def _upright(
    networks: DetectionNetworks, image_rgb: UInt8[np.ndarray, "height width 3"], found: Detections, index: int
) -> tuple[Float32[np.ndarray, "4"], np.float32, Float32[np.ndarray, "5 2"]] | None:
    """Box, score and points of a detected face the right way up; as they were found where that is so already."""
    box, score, points = found.boxes_xyxy_px[index], found.scores[index], found.points_px[index]
    if surely_upright(networks.detector, float(score), points):
        return box, score, points
    face = upright_face(networks.detector, image_rgb, box)
    if face is None:
        return None
    if abs(wrapped_deg(roll_deg(points) - face.roll_deg)) <= SAME_ROLL_DEG:
        return box, score, points
    return face.box_xyxy_px, score, face.points_px


def _with_signal(faces: list[Candidate], config: DetectionConfig) -> list[Candidate] | Rejection:
    """The faces that show something; where none does, what the most prominent one lacks."""
    signals = [face_signal(face.crop) for face in faces]
    lacks: list[Lack | None] = [without_signal(signal, config.least_signal) for signal in signals]
    showing = [face for face, lack in zip(faces, lacks, strict=True) if lack is None]
    lack = lacks[0]
    if showing or lack is None:
        return showing
    measured, least = signals[0], config.least_signal
    return Rejection(
        lack,
        f"brightness {measured.brightness:.2f}, contrast {measured.contrast:.3f}, sharpness {measured.sharpness:.3f}; "
        f"expected {least.brightness:.2f}, {least.contrast:.3f}, {least.sharpness:.3f}",
    )


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
