"""Faces to aligned crops: what a fit sees of an image."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from ops.face.alignment import crop_from_image, warp_image
from ops.files.photo import Photo


class AlignedCrop(NamedTuple):
    """An aligned crop and how it lies in the image."""

    image_rgba: UInt8[np.ndarray, "side side 4"]
    """Opaque where the image covers the crop; the image's border is repeated elsewhere."""
    crop_from_image: Float[np.ndarray, "2 3"]
    """Takes pixels of the image at full resolution, as (x, y, 1), to pixels of the crop."""


def align_face(photo: Photo, landmarks_px: Float[np.ndarray, "68 2"], side_px: int) -> AlignedCrop:
    """The crop of a face; landmarks in pixels of the image at full resolution.

    Raises:
        DegeneratePointsError: landmarks without extent.
    """
    matrix = crop_from_image(torch.from_numpy(landmarks_px.astype(np.float64)), side_px).numpy()
    # The matrix is for full-resolution pixels; the decoded image may be a reduced one.
    from_decoded = np.concatenate((matrix[:, :2] * photo.scale, matrix[:, 2:]), 1)
    crop, covered = warp_image(photo.image_rgb, from_decoded, side_px)
    return AlignedCrop(np.concatenate((crop, covered[..., None].astype(np.uint8) * 255), -1), matrix)


def is_too_coarse(photo: Photo, box_xyxy_px: Float[np.ndarray, "4"], side_px: int) -> bool:
    """Whether a reduced photo shows a face with less than two pixels to a pixel of its crop, where the whole has more.

    The box is in pixels of the image at full resolution.
    """
    return photo.scale > 1 and float((box_xyxy_px[2:] - box_xyxy_px[:2]).max()) < 2 * side_px * photo.scale


def miniature(image_rgb: UInt8[np.ndarray, "height width 3"], side_px: int) -> UInt8[np.ndarray, "side side 4"]:
    """The whole image, reduced to fit a square; transparent around it."""
    height, width = image_rgb.shape[:2]
    zoom = side_px / max(height, width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    small = cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)
    rgba = np.zeros((side_px, side_px, 4), np.uint8)
    top, left = (side_px - size[1]) // 2, (side_px - size[0]) // 2
    rgba[top : top + size[1], left : left + size[0], :3] = small
    rgba[top : top + size[1], left : left + size[0], 3] = 255
    return rgba
