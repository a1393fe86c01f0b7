"""Samples of the regressor's training from the stream of photo-like portraits, of whom everything is known."""

from collections.abc import Iterator

import numpy as np
import torch

from ops.face.alignment import apply_affine, crop_from_image
from ops.face.landmark_points import choose_landmarks
from ops.face.morphable_model import MorphablePoints
from ops.faceworld.portraits.stream import Portrait, PortraitStream
from ops.fit.parameters import LIGHT_UNITS
from ops.geometry.camera import camera_from_vector, project_points
from ops.training.regressor_samples import CROP_PX, FaceFinder, RegressorSamples, crop_sample, is_near

SIDE_PX = 176
"""Of the portraits: their faces are about as large as in the crops."""


def stream_samples(
    stream: PortraitStream, finder: FaceFinder, points: MorphablePoints, numbers: range
) -> RegressorSamples | None:
    """The portraits with these numbers, with their truth.

    Landmarks are those that are found, and crops follow them. Portraits whose face is not found are left out; None
    where no face was found at all.

    Args:
        stream: portraits of `SIDE_PX`.
        finder: finds faces as the pipeline does.
        points: the stream's shape model at the candidates for landmarks, in the order of
            `ops.face.landmark_points.landmark_vertices`.
        numbers: of the portraits; the samples' seeds.
    """
    rows = list(_rows(stream, finder, points, numbers))
    return RegressorSamples(*(np.stack(column) for column in zip(*rows, strict=True))) if rows else None


def _rows(
    stream: PortraitStream, finder: FaceFinder, points: MorphablePoints, numbers: range
) -> Iterator[RegressorSamples]:
    for number, portrait in zip(numbers, stream.portraits(numbers.start, numbers.stop), strict=True):
        found = finder(portrait.image_rgb)
        truth = true_landmarks(portrait, points)
        if found is None or not is_near(found, truth):
            continue
        crop, landmarks = crop_sample(portrait.image_rgb, found)
        to_crop = crop_from_image(torch.from_numpy(found).double(), CROP_PX)
        yield RegressorSamples(
            crop,
            landmarks,
            np.array(number),
            portrait.identity,
            portrait.expression,
            (portrait.light / np.array(LIGHT_UNITS)).astype(np.float32),
            portrait.albedo,
            (apply_affine(to_crop, torch.from_numpy(truth).double()) / CROP_PX).numpy().astype(np.float32),
        )


def true_landmarks(portrait: Portrait, points: MorphablePoints) -> np.ndarray:
    """The 68 points in pixels of the portrait, as its camera sees them."""
    camera = camera_from_vector(torch.from_numpy(portrait.camera).unsqueeze(0))
    vertices = points.vertices_mm(*(torch.from_numpy(c).unsqueeze(0) for c in (portrait.identity, portrait.expression)))
    seen = project_points(camera, choose_landmarks(vertices, camera))[0].numpy()
    side = len(portrait.image_rgb)
    return ((seen @ portrait.crop[:, :2].T + portrait.crop[:, 2]) * side).astype(np.float32)
