"""Photos in memory to aligned faces, ready to be fitted: what a run's workers do to rows of tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ops.errors import ConfigurationError, UnreadableInputError, UnsupportedInputError
from ops.files.photo import MAX_PIXELS, Photo, decode_photo
from ops.reconstruction.alignment import align_face, is_too_coarse
from ops.reconstruction.detection import (
    Candidate,
    DetectionConfig,
    DetectionNetworks,
    Rejection,
    choose_candidates,
    search_faces,
)
from ops.reconstruction.fitting import AlignedFace
from ops.reconstruction.second_look import settle_face
from ops.reconstruction.strangers import find_strangers, stranger_text
from ops.weights.bundle import ModelBundle
from pipeline.input.locations import read_location
from pipeline.stages.gate import QualityGate

PhotoInput = str | Path | np.ndarray
"""A path or URI, or an RGB array: uint8 [height, width, 3], upright."""


@dataclass(frozen=True)
class Opened:
    """A decoded photo."""

    photo: Photo
    encoded: bytes | None = None
    """The file; None for pixels."""

    def whole(self) -> Photo:
        """At full resolution."""
        if self.encoded is None or self.photo.scale == 1:
            return self.photo
        return decode_photo(self.encoded, max_side_px=MAX_PIXELS)


@dataclass(frozen=True)
class Rejected:
    """Why a photo has no face."""

    reason: str
    message: str
    quality: float | None = None


@dataclass(frozen=True)
class Chosen:
    """A photo and the face in it that is its person's."""

    opened: Opened
    person: str
    face: Candidate
    remark: str


@dataclass(frozen=True)
class Settled:
    """An aligned face, ready to be fitted."""

    face: AlignedFace
    remark: str
    shift: float | None
    """See `ops.reconstruction.second_look`."""


def find_people(
    networks: DetectionNetworks,
    photos: Sequence[PhotoInput],
    names: Sequence[str],
    bundle: ModelBundle,
    config: DetectionConfig,
) -> list[Chosen | Rejected]:
    """The face of every photo that is its person's; strangers to the person's other photos are rejected."""
    opened = [open_photo(photo) for photo in photos]
    found = [look if isinstance(look, Rejected) else _look(networks, look, config) for look in opened]
    candidates = [() if isinstance(faces, Rejected) else faces for faces in found]
    choices = choose_candidates(networks, names, candidates)
    crops = [some[choice.face].crop if some else None for some, choice in zip(candidates, choices, strict=True)]
    strange: Sequence[float | None] = [None] * len(photos)
    if bundle.people is not None:
        strange = find_strangers(networks.recognition, names, crops, bundle.people.same_person)
    chosen: list[Chosen | Rejected] = []
    for look, faces, name, choice, similarity in zip(opened, found, names, choices, strange, strict=True):
        if isinstance(look, Rejected):
            chosen.append(look)
        elif isinstance(faces, Rejected):
            chosen.append(faces)
        elif similarity is not None and bundle.people is not None:
            chosen.append(Rejected("other_person", stranger_text(similarity, bundle.people.same_person)))
        else:
            chosen.append(Chosen(look, name, faces[choice.face], choice.remark))
    return chosen


def open_photo(photo: PhotoInput) -> Opened | Rejected:
    """Decode a photo, reduced where it is very large.

    Raises:
        ConfigurationError: an array of another type or shape.
    """
    encoded = None
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
            raise ConfigurationError(
                f"expected RGB arrays, uint8 [height, width, 3], got {photo.dtype} {list(photo.shape)}"
            )
        decoded = Photo(photo, photo.shape[1], photo.shape[0])
    else:
        try:
            encoded = read_location(str(photo))
            decoded = decode_photo(encoded)
        except UnsupportedInputError as error:
            return Rejected("too_large", f"{photo}: {error}")
        except UnreadableInputError as error:
            return Rejected("unreadable", f"{photo}: {error}")
    return Opened(decoded, encoded)


def _look(networks: DetectionNetworks, opened: Opened, config: DetectionConfig) -> list[Candidate] | Rejected:
    faces = search_faces(networks, opened.photo, config, opened.whole)
    return Rejected(*faces) if isinstance(faces, Rejection) else faces


def align_person(
    networks: DetectionNetworks, chosen: Chosen, gate: QualityGate, side_px: int, texture_side_px: int
) -> Settled | Rejected:
    """The crops of a face, by landmarks that hold; a rejection where they do not and the gate says so."""
    photo, landmarks = chosen.opened.photo, chosen.face.landmarks_px
    if is_too_coarse(photo, chosen.face.box_xyxy_px, texture_side_px):
        photo = chosen.opened.whole()
    within = gate.ranges and gate.ranges.landmark_shift
    shift = None
    if within:
        crop, landmarks, shift = settle_face(networks.landmarks, photo, landmarks, side_px, within)
    else:
        crop = align_face(photo, landmarks, side_px)
    verdict = gate.verdict({"landmark_shift": shift}, chosen.remark)
    if "reason" in verdict:
        return Rejected(verdict["reason"], verdict["message"], verdict["quality"])
    finer = align_face(photo, landmarks, texture_side_px).image_rgba if texture_side_px > side_px else None
    face = AlignedFace(chosen.person, crop.image_rgba, crop.crop_from_image, landmarks, finer)
    return Settled(face, chosen.remark, shift)
