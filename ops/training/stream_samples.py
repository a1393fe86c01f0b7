"""Samples of the regressor's training from the stream of photo-like portraits, of whom everything is known."""

import numpy as np
import torch
from jaxtyping import Float32

from ops.face.alignment import apply_affine, crop_from_image
from ops.face.landmark_points import choose_landmarks
from ops.face.morphable_model import MorphableModel, MorphablePoints
from ops.faceworld.portraits.stream import Portrait, PortraitStream
from ops.fit.landmark_bias import LandmarkBias, head_angles
from ops.fit.parameters import LIGHT_UNITS
from ops.geometry.camera import camera_from_vector, project_points
from ops.training.regressor_samples import RegressorSamples, crop_sample

SIDE_PX = 176
"""Of the portraits: their faces are about as large as in the crops."""


class TrueLandmarks:
    """The 68 points of portraits as a network without errors of its own would find them.

    Not those of the bundle's network: trained with the true ones and displaced ones, a regressor does better with the
    network's too, see docs/experiments/regressor.md.
    """

    def __init__(self, shape: MorphableModel, points: MorphablePoints, bias: LandmarkBias | None) -> None:
        """For a shape model whose candidates (`ops.face.landmark_points`) lie at `points`."""
        self._shape, self._points, self._bias = shape, points, bias

    def __call__(self, portrait: Portrait) -> Float32[np.ndarray, "68 2"]:
        """In pixels of the portrait, as its camera sees them; with the bias, which fits take off again."""
        camera = camera_from_vector(torch.from_numpy(portrait.camera).unsqueeze(0))
        known = (torch.from_numpy(values).unsqueeze(0) for values in (portrait.identity, portrait.expression))
        seen = project_points(camera, choose_landmarks(self._points.vertices_mm(*known), camera))
        affine = torch.from_numpy(portrait.crop * len(portrait.image_rgb)).double()
        true = apply_affine(affine.unsqueeze(0), seen.double())
        if self._bias is not None:
            to_crop = crop_from_image(true, 1)
            aligned = apply_affine(to_crop, true)
            moved = self._bias.at(head_angles(self._shape, aligned))
            true = true + torch.linalg.solve(to_crop[..., :2], moved.mT).mT
        return true[0].numpy().astype(np.float32)


def stream_samples(stream: PortraitStream, landmarks: TrueLandmarks, numbers: range) -> RegressorSamples:
    """The portraits of `SIDE_PX` with these numbers, their seeds, with the truth about them."""
    rows: list[RegressorSamples] = []
    for number, portrait in zip(numbers, stream.portraits(numbers.start, numbers.stop), strict=True):
        crop, points = crop_sample(portrait.image_rgb, landmarks(portrait))
        light = (portrait.light / np.array(LIGHT_UNITS)).astype(np.float32)
        known = portrait.identity, portrait.expression, light, portrait.albedo
        rows.append(RegressorSamples(crop, points, np.array(number), *known))
    return RegressorSamples(*(np.stack(column) for column in zip(*rows, strict=True)))
