"""Landmarks looked for a second time: whether they can be believed, and where they are if not."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32

from ops.face.alignment import apply_affine, five_points
from ops.face.landmark_parts import outer_eye_distance
from ops.files.photo import Photo
from ops.networks.face_crop import invert_affine
from ops.networks.landmarks import LandmarkNetwork
from ops.reconstruction.alignment import AlignedCrop, align_face
from ops.reconstruction.quality import QualityRange

NOWHERE = 1.0
"""The shift of landmarks where a second look sees no face at all."""
HOLDS = 2 / 3
"""The least place in its range of a second attempt's shift: nearer to the typical value than to the limit, as landmarks
that are found again on a covered face shift by about the limit, and those that found back to a face as they all do."""


class SecondLook(NamedTuple):
    """What a landmark network says of a crop that was aligned by its own landmarks."""

    landmarks_px: Float32[np.ndarray, "68 2"]
    """Found again, pixels of the image; nan where no face is seen there."""
    shift: float
    """Their mean distance from the first ones over the outer eye distance; `NOWHERE` where no face is seen.

    It is small where the network looks at a face it understands, and large where it guesses: on faces that are covered,
    blurred or turned, or at landmarks that are another face's."""


def look_again(network: LandmarkNetwork, crop: AlignedCrop, landmarks_px: Float[np.ndarray, "68 2"]) -> SecondLook:
    """Look for landmarks a second time, on the crop that was aligned by them.

    Args:
        network: that found the landmarks.
        crop: aligned by them.
        landmarks_px: in pixels of the image.
    """
    places = apply_affine(torch.from_numpy(crop.crop_from_image), torch.from_numpy(landmarks_px.astype(np.float64)))
    used = places.numpy().astype(np.float32)
    box = np.concatenate((used.min(0), used.max(0)))
    again = network(
        np.ascontiguousarray(crop.image_rgba[..., :3]), box[None], five_points(places).float().numpy()[None]
    )[0]
    back = invert_affine(crop.crop_from_image)
    found = (again @ back[:, :2].T + back[:, 2]).astype(np.float32)
    if not np.isfinite(again).all():
        return SecondLook(found, NOWHERE)
    shift = float(np.linalg.norm(again - used, axis=-1).mean())
    return SecondLook(found, shift / max(outer_eye_distance(used), 1e-6))


class SettledFace(NamedTuple):
    """A face aligned by landmarks that were looked at twice."""

    crop: AlignedCrop
    landmarks_px: Float[np.ndarray, "68 2"]
    """The given ones, or those found again where these hold better."""
    shift: float
    """See `SecondLook`."""


def settle_face(
    network: LandmarkNetwork,
    photo: Photo,
    landmarks_px: Float[np.ndarray, "68 2"],
    side_px: int,
    within: QualityRange | None,
) -> SettledFace:
    """The crop of a face, by landmarks that hold when they are looked for again.

    Where the shift is not `within` its range, a second attempt starts from the landmarks found again; it is taken where
    those hold (`HOLDS`). Without a range there is one attempt.

    Raises:
        DegeneratePointsError: landmarks without extent.
    """
    crop = align_face(photo, landmarks_px, side_px)
    look = look_again(network, crop, landmarks_px)
    first = SettledFace(crop, landmarks_px, look.shift)
    if within is None or within.place(look.shift) >= 0 or not np.isfinite(look.landmarks_px).all():
        return first
    crop = align_face(photo, look.landmarks_px, side_px)
    second = SettledFace(crop, look.landmarks_px, look_again(network, crop, look.landmarks_px).shift)
    return second if within.place(second.shift) >= HOLDS else first
