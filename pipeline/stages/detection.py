"""Images to faces: one box and 68 landmarks a row, in pixels of the upright image at full resolution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ops.errors import ConfigurationError
from ops.files.photo import Photo, decode_photo
from ops.networks.detector import FaceDetector
from ops.networks.landmarks import LandmarkNetwork
from ops.networks.recognition import RecognitionNetwork
from ops.weights.bundle import load_detector, load_landmarks, load_recognition
from ops.weights.models import ModelRef
from pipeline.stages.face_choice import FaceCrop, choose_faces, face_crop
from pipeline.stages.stage import naming
from pipeline.tables.schema import DECODED, DETECTED, Frame, Reason, Status, frames_from_table, table_from_frames

MAX_CANDIDATES = 8
"""Faces of one image that are looked at."""
LARGEST_LANDMARK_DISTANCE = 2.0
"""Landmarks further than so many box sides from the box centre are nonsense."""


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
    """What the stage keeps in memory."""

    detector: FaceDetector
    landmarks: LandmarkNetwork
    recognition: RecognitionNetwork


class Candidate(NamedTuple):
    """A face that could be the person's, in pixels of the image at full resolution."""

    box_xyxy_px: np.ndarray
    score: float
    landmarks_px: np.ndarray
    crop: FaceCrop


@dataclass(frozen=True, kw_only=True)
class DetectFaces:
    """Adds box, score and landmarks to every row; a row without a usable face leaves as rejected, saying why.

    Of several faces the one most like the person's other images is taken, where those show a single face; otherwise
    the largest, weighted by its score.
    """

    detector: ModelRef
    landmarks: ModelRef
    recognition: ModelRef
    config: DetectionConfig

    @property
    def inputs(self) -> pa.Schema:
        """Encoded images."""
        return DECODED

    @property
    def outputs(self) -> pa.Schema:
        """The same with faces."""
        return DETECTED

    def load(self) -> DetectionNetworks:
        """The three networks, on the CPU."""
        return DetectionNetworks(
            load_detector(self.detector), load_landmarks(self.landmarks), load_recognition(self.recognition, ())
        )

    def __call__(self, loaded: DetectionNetworks, table: pa.Table) -> pa.Table:
        """Detect in every image of a block, then choose among several faces."""
        rows = frames_from_table(table)
        candidates: list[Sequence[Candidate]] = []
        for position, row in enumerate(rows):
            with naming(self, row.image_id):
                rows[position], found = self._look(loaded, row)
                candidates.append(found)
        chosen = choose_faces(
            [row.identity_id for row in rows],
            [[face.crop for face in found] for found in candidates],
            loaded.recognition,
        )
        for position, (row, found, choice) in enumerate(zip(rows, candidates, chosen, strict=True)):
            if found:
                rows[position] = _with_face(row, found[choice.face], choice.remark)
        return table_from_frames(rows, DETECTED)

    def _look(self, loaded: DetectionNetworks, row: Frame) -> tuple[Frame, Sequence[Candidate]]:
        """The usable faces of a row, most prominent first; the row says why where there are none."""
        if not row.ok:
            return row, ()
        assert row.image is not None
        photo = decode_photo(row.image)
        found = loaded.detector(photo.image_rgb)
        if not len(found.scores):
            return _rejected(row, Reason.NO_FACE, "no face was found"), ()
        confident = np.flatnonzero(found.scores >= self.config.min_score)
        if not len(confident):
            message = f"best detection score {found.scores.max():.2f}, expected {self.config.min_score:.2f}"
            return _rejected(row, Reason.LOW_SCORE, message), ()
        sides = found.boxes_xyxy_px[:, 2:] - found.boxes_xyxy_px[:, :2]
        large = confident[sides[confident].min(1) >= self.config.min_face_px]
        if not len(large):
            message = f"largest face {sides[confident].min(1).max():.0f} px, expected {self.config.min_face_px:.0f} px"
            return _rejected(row, Reason.TOO_SMALL, message), ()
        prominence = sides[large].prod(1) * found.scores[large]
        kept = large[np.argsort(-prominence, kind="stable")[:MAX_CANDIDATES]]
        landmarks = loaded.landmarks(photo.image_rgb, found.boxes_xyxy_px[kept], found.points_px[kept])
        faces = [
            _candidate(photo, found.boxes_xyxy_px[index], float(found.scores[index]), points)
            for index, points in zip(kept.tolist(), landmarks, strict=True)
            if _plausible(found.boxes_xyxy_px[index], points)
        ]
        if not faces:
            return _rejected(row, Reason.BAD_LANDMARKS, "the landmarks found do not form a face"), ()
        return row, faces


def _candidate(photo: Photo, box: np.ndarray, score: float, landmarks: np.ndarray) -> Candidate:
    return Candidate(box * photo.scale, score, landmarks * photo.scale, face_crop(photo.image_rgb, landmarks))


def _plausible(box: np.ndarray, landmarks: np.ndarray) -> bool:
    """Whether landmarks are finite, near the box and spread over a good part of it."""
    if not np.isfinite(landmarks).all():
        return False
    side = float((box[2:] - box[:2]).max())
    centre = (box[2:] + box[:2]) / 2
    near = float(np.abs(landmarks - centre).max()) <= LARGEST_LANDMARK_DISTANCE * side
    return near and float(np.ptp(landmarks, axis=0).min()) >= 0.2 * side


def _with_face(row: Frame, face: Candidate, remark: str) -> Frame:
    return replace(
        row,
        box_xyxy_px=face.box_xyxy_px.tolist(),
        detection_score=face.score,
        landmarks_px=face.landmarks_px.reshape(-1).tolist(),
        message="; ".join(part for part in (row.message, remark) if part),
    )


def _rejected(row: Frame, reason: Reason, message: str) -> Frame:
    return replace(row, status=Status.REJECTED, reason=reason, message=message)
