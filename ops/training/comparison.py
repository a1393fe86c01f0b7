"""How the embedded networks do on photographs, where nobody knows the truth: against networks trained on such.

The reference detector's best face of every photo is what counts; its box and points are given to the networks that
need some.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

from ops.face.alignment import ARCFACE_TEMPLATE_PX
from ops.networks.detector import FaceDetector
from ops.networks.embedded_detector import intersection_over_union
from ops.networks.embedded_landmarks import cut_crop
from ops.networks.landmarks import LandmarkNetwork
from ops.networks.recognition import CROP_PX, RecognitionNetwork
from ops.training.augmentation import as_batch
from ops.training.datasets import Pictures
from ops.training.detector import ACCEPT_OVERLAP, ACCEPT_SCORE
from ops.training.landmarks import normalised_error
from ops.training.recognition import VerificationScore, plane_similarity, verify


class ReferenceFace(NamedTuple):
    """A photo, whom it shows, and its best face as the reference detector sees it."""

    person: int
    image_rgb: UInt8[np.ndarray, "height width 3"]
    box_xyxy_px: Float32[np.ndarray, "4"]
    points_px: Float32[np.ndarray, "5 2"]


class ReferenceCheck(NamedTuple):
    """Whether the reference detector takes our pictures for faces: one picture each of some people."""

    pictures: int
    found: float
    """Share whose true box it finds."""


class PhotoDetection(NamedTuple):
    """The reference's faces in photographs."""

    photos: int
    found: float
    """Share found at a score and an intersection over union of 0.5."""
    others: float
    """Detections of that score that are none of these faces, a photo."""


class PhotoLandmarks(NamedTuple):
    """Distance from the reference's 68 points over its outer-eye distance, from the same box."""

    photos: int
    mean: float
    median: float
    p95: float


def reference_faces(
    photos: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]], detector: FaceDetector
) -> Iterator[ReferenceFace]:
    """The best face of every photo in which the detector finds one of sufficient score."""
    for person, image in photos:
        found = detector(image)
        if len(found.scores) and found.scores[0] >= ACCEPT_SCORE:
            yield ReferenceFace(person, image, found.boxes_xyxy_px[0], found.points_px[0])


def check_with_reference(detector: FaceDetector, pictures: Pictures, people: int) -> ReferenceCheck:
    """Show the reference detector the first picture of each of the first people of a portrait set."""
    _, first = np.unique(pictures.person, return_index=True)
    chosen = first[:people]
    found = sum(
        _overlap(detector, np.asarray(pictures.images_rgb[index]), pictures.boxes_xyxy_px[index, 0])[0]
        for index in chosen
    )
    return ReferenceCheck(len(chosen), found / len(chosen))


def compare_detector(detector: FaceDetector, faces: Iterable[ReferenceFace]) -> PhotoDetection:
    """How many of the reference's faces a detector finds."""
    results = [_overlap(detector, face.image_rgb, face.box_xyxy_px) for face in faces]
    found, others = np.array(results, float).reshape(-1, 2).mean(0)
    return PhotoDetection(len(results), float(found), float(others))


def compare_landmarks(
    network: LandmarkNetwork, reference: LandmarkNetwork, faces: Iterable[ReferenceFace]
) -> PhotoLandmarks:
    """How far a network's points lie from another's."""
    errors: list[float] = []
    for face in faces:
        place = (face.image_rgb, face.box_xyxy_px[None], face.points_px[None])
        errors.append(normalised_error(network(*place)[0], reference(*place)[0]))
    median, high = np.quantile(errors, [0.5, 0.95])
    return PhotoLandmarks(len(errors), float(np.mean(errors)), float(median), float(high))


def compare_recognition(network: RecognitionNetwork, faces: Iterable[ReferenceFace]) -> VerificationScore:
    """Verification over all pairs of photos."""
    embeddings: list[torch.Tensor] = []
    people: list[int] = []
    for face in faces:
        matrix = plane_similarity(face.points_px, ARCFACE_TEMPLATE_PX.numpy())
        crop = cut_crop(face.image_rgb, matrix, CROP_PX)
        with torch.no_grad():
            embeddings.append(nn.functional.normalize(network(as_batch(crop[None])).embedding))
        people.append(face.person)
    return verify(torch.cat(embeddings).numpy(), np.array(people))


def _overlap(
    detector: FaceDetector, image_rgb: UInt8[np.ndarray, "height width 3"], box_xyxy_px: Float32[np.ndarray, "4"]
) -> tuple[bool, int]:
    """Whether a face is found, and the number of other detections."""
    found = detector(image_rgb)
    boxes = found.boxes_xyxy_px[found.scores >= ACCEPT_SCORE]
    hit = any(intersection_over_union(box, box_xyxy_px) >= ACCEPT_OVERLAP for box in boxes)
    return hit, len(boxes) - int(hit)
