"""Square crops of detected faces and the way back, shared by the landmark networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8


@dataclass(frozen=True, kw_only=True)
class CropView:
    """One way of looking at a face: how its crop differs from the plain one."""

    flip: bool = False
    """Mirror left and right."""
    scale: float = 1.0
    """Factor on the side of the crop."""
    rotation_rad: float = 0.0
    """Turn of the crop, clockwise as seen on the image."""
    rise: float = 0.0
    """How far the crop's centre lies above the box's centre, in longer sides of the box."""


MIRRORED_68: Int[np.ndarray, " 68"] = np.concatenate(
    (
        np.arange(16, -1, -1),
        np.arange(26, 16, -1),
        np.arange(27, 31),
        np.arange(35, 30, -1),
        (45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        np.arange(54, 47, -1),
        np.arange(59, 54, -1),
        np.arange(64, 59, -1),
        np.arange(67, 64, -1),
    )
)
"""Which of the 68 points each becomes in a mirrored image."""


class FaceCrops(NamedTuple):
    """Crops of several faces, every view of the first face first."""

    images: UInt8[np.ndarray, "crop side side 3"]
    crop_from_image: Float[np.ndarray, "crop 2 3"]


def crop_faces(
    image_rgb: UInt8[np.ndarray, "height width 3"],
    boxes_xyxy_px: Float32[np.ndarray, "face 4"],
    points_px: Float32[np.ndarray, "face 5 2"],
    views: Sequence[CropView],
    side_px: int,
) -> FaceCrops:
    """Every view of every face of an image; at least one face."""
    reach = max(view.scale / math.sqrt(2) + abs(view.rise) for view in views)
    finest_px = 2 * side_px / min(view.scale for view in views)
    images: list[UInt8[np.ndarray, "side side 3"]] = []
    affines: list[Float[np.ndarray, "2 3"]] = []
    for box, points in zip(boxes_xyxy_px, points_px, strict=True):
        part, part_from_image = reduced_surroundings(image_rgb, box, reach, finest_px)
        image_from_part = invert_affine(part_from_image)
        for view in views:
            affine = upright_crop(box, points, view, side_px)
            images.append(sample_crop(part, compose_affines(affine, image_from_part), side_px))
            affines.append(affine)
    return FaceCrops(np.stack(images), np.stack(affines))


def upright_crop(
    box_xyxy_px: Float[np.ndarray, "4"], points_px: Float[np.ndarray, "5 2"], view: CropView, side_px: int
) -> Float[np.ndarray, "2 3"]:
    """The affine that takes image pixels to a square crop about a face, with the eyes level.

    The crop's side is `view.scale` times the box's longer side.
    """
    left, top, right, bottom = box_xyxy_px.astype(np.float64)
    eyes = (points_px[1] - points_px[0]).astype(np.float64)
    angle = np.arctan2(eyes[1], eyes[0]) + view.rotation_rad
    longer = max(right - left, bottom - top, 1.0)
    turn = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
    linear = turn * side_px / (longer * view.scale)
    centre = np.array(((left + right) / 2, (top + bottom) / 2)) - view.rise * longer * turn[1]
    offset = side_px / 2 - linear @ centre
    affine = np.concatenate((linear, offset[:, None]), 1)
    if view.flip:
        affine[0] *= -1
        affine[0, 2] += side_px
    return affine


def reduced_surroundings(
    image_rgb: UInt8[np.ndarray, "height width 3"],
    box_xyxy_px: Float[np.ndarray, "4"],
    reach: float,
    side_px: float,
) -> tuple[UInt8[np.ndarray, "rows columns 3"], Float[np.ndarray, "2 3"]]:
    """The image within `reach` longer sides of a box's centre, reduced so that the box is at most `side_px` long.

    Cut out and reduced by area averaging once, so that many crops of one face neither alias nor cost much. Returns the
    affine from the image as well.
    """
    import cv2

    height, width = image_rgb.shape[:2]
    left, top, right, bottom = (float(edge) for edge in box_xyxy_px)
    longer = max(right - left, bottom - top, 1.0)
    x0, x1 = _span((left + right) / 2 - reach * longer, (left + right) / 2 + reach * longer, width)
    y0, y1 = _span((top + bottom) / 2 - reach * longer, (top + bottom) / 2 + reach * longer, height)
    part = np.ascontiguousarray(image_rgb[y0:y1, x0:x1])
    zoom = min(1.0, side_px / longer)
    columns, rows = max(1, round((x1 - x0) * zoom)), max(1, round((y1 - y0) * zoom))
    if zoom < 1:
        part = np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA))
    scale_x, scale_y = columns / (x1 - x0), rows / (y1 - y0)
    return part, np.array(((scale_x, 0.0, -x0 * scale_x), (0.0, scale_y, -y0 * scale_y)))


def sample_crop(
    image_rgb: UInt8[np.ndarray, "height width 3"], affine: Float[np.ndarray, "2 3"], side_px: int
) -> UInt8[np.ndarray, "side side 3"]:
    """Sample a crop bilinearly; where it leaves the image, the image's border is repeated."""
    import cv2

    # cv2 puts pixel centres at integers, we put them at +0.5.
    shifted = affine.copy()
    shifted[:, 2] += 0.5 * (affine[:, 0] + affine[:, 1]) - 0.5
    size = (side_px, side_px)
    crop = cv2.warpAffine(image_rgb, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop)


def compose_affines(outer: Float[np.ndarray, "2 3"], inner: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The affine that applies `inner` first, then `outer`."""
    linear = outer[:, :2] @ inner[:, :2]
    return np.concatenate((linear, (outer[:, :2] @ inner[:, 2] + outer[:, 2])[:, None]), 1)


def invert_affine(affine: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The affine back."""
    linear = np.linalg.inv(affine[:, :2])
    return np.concatenate((linear, -(linear @ affine[:, 2])[:, None]), 1)


def points_in_image(
    points: Float32[np.ndarray, "68 2"], affine: Float[np.ndarray, "2 3"], view: CropView
) -> Float[np.ndarray, "68 2"]:
    """Points found in a crop, back in the image and in their order there."""
    ordered = points[MIRRORED_68] if view.flip else points
    back = invert_affine(affine)
    return ordered.astype(np.float64) @ back[:, :2].T + back[:, 2]


def _span(start: float, stop: float, size: int) -> tuple[int, int]:
    """Whole pixels between start and stop that lie in the image; at least one."""
    first = int(np.clip(np.floor(start), 0, size - 1))
    return first, int(np.clip(np.ceil(stop), first + 1, size))
