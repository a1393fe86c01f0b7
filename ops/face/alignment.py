"""Aligned crops: the frame in which faces are fitted, and the recognition template inside it.

A photo is warped once, by a similarity of its 68 landmarks, into a square crop. The crop is the ArcFace template
(Deng et al. 2019; 112 x 112 pixels) with a margin that keeps chin and forehead; so recognition sees an axis-aligned
window of the crop, and input and render are resampled into it by the same matrix.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ops.face.landmark_parts import LEFT_EYE, MOUTH_CORNERS, NOSE_TIP, RIGHT_EYE
from ops.geometry.similarity import fit_similarity

ARCFACE_SIDE_PX = 112
ARCFACE_TEMPLATE_PX = torch.tensor(
    ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)),
    dtype=torch.float64,
)
"""Eye centres, nose tip and mouth corners (image left first) in the 112 x 112 template, pixels."""

CROP_CENTRE_TEMPLATE_PX = (56.0, 65.0)
"""Centre of the crop in template pixels: between nose root and nose tip."""
CROP_SIDE_TEMPLATE_PX = 150.0
"""Side of the crop in template pixels: 1.34 templates, from above the forehead to below the chin."""
_FIVE_PARTS = (RIGHT_EYE, LEFT_EYE, *(slice(point, point + 1) for point in (NOSE_TIP, *MOUTH_CORNERS)))


def five_points(landmarks_px: Float[Tensor, "*batch 68 2"]) -> Float[Tensor, "*batch 5 2"]:
    """Eye centres, nose tip and mouth corners of iBUG-68 points, in the order of `ARCFACE_TEMPLATE_PX`."""
    return torch.stack([landmarks_px[..., part, :].mean(-2) for part in _FIVE_PARTS], -2)


def crop_from_image(landmarks_px: Float[Tensor, "*batch 68 2"], side_px: int) -> Float[Tensor, "*batch 2 3"]:
    """The similarity that takes image pixels to pixels of the aligned crop of side `side_px`."""
    points = five_points(landmarks_px)
    centre = points.new_tensor(CROP_CENTRE_TEMPLATE_PX)
    scale = side_px / CROP_SIDE_TEMPLATE_PX
    target = (ARCFACE_TEMPLATE_PX.to(points) - centre) * scale + side_px / 2
    similarity = fit_similarity(points, target.expand_as(points), with_scale=True)
    linear = similarity.scale[..., None, None] * similarity.rotation
    return torch.cat((linear, similarity.translation.unsqueeze(-1)), -1)


def apply_affine(
    affine: Float[Tensor, "*batch 2 3"], points: Float[Tensor, "*batch point 2"]
) -> Float[Tensor, "*batch point 2"]:
    """Map points by a 2 x 3 matrix acting on (x, y, 1)."""
    return points @ affine[..., :2].mT + affine[..., 2].unsqueeze(-2)


def warp_image(
    image_rgb: UInt8[np.ndarray, "height width 3"], affine: Float[np.ndarray, "2 3"], side_px: int
) -> tuple[UInt8[np.ndarray, "side side 3"], Bool[np.ndarray, "side side"]]:
    """Warp an image into a square crop, anti-aliased, and say which crop pixels the image covers.

    `affine` maps image pixels to crop pixels. Where the crop is coarser than the image, the image is first reduced by
    area averaging to at most twice the crop's resolution. Uncovered pixels repeat the image's border.
    """
    import cv2

    image: Any = image_rgb
    matrix = affine.astype(np.float64)
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if zoom < 0.5:
        height, width = image.shape[:2]
        reduced = (max(1, round(width * zoom * 2)), max(1, round(height * zoom * 2)))
        image = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
        matrix[:, 0] *= width / reduced[0]
        matrix[:, 1] *= height / reduced[1]
    # cv2 puts pixel centres at integers, we put them at +0.5.
    shifted = matrix.copy()
    shifted[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
    size = (side_px, side_px)
    crop = cv2.warpAffine(image, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpAffine(np.ones(image.shape[:2], np.uint8), shifted, size, flags=cv2.INTER_NEAREST)
    return np.asarray(crop), np.asarray(covered) > 0


def window_matrix(
    side_px: int, *, start: float = 0.0, stop: float = ARCFACE_SIDE_PX, count: int = ARCFACE_SIDE_PX, centre: float
) -> Float[Tensor, "count side"]:
    """Weights that resample one axis of a crop into `count` pixels spanning [start, stop] of the template.

    `centre` is the crop's centre on that axis in template pixels. A triangle filter as wide as the larger of the two
    pixel pitches, normalised, so that reduction does not alias; start > stop mirrors.
    """
    pitch = (stop - start) / count
    template = start + (torch.arange(count, dtype=torch.float64) + 0.5) * pitch
    per_template = side_px / CROP_SIDE_TEMPLATE_PX
    position = (template - centre) * per_template + side_px / 2
    width = max(1.0, abs(pitch) * per_template)
    distance = (position.unsqueeze(-1) - (torch.arange(side_px, dtype=torch.float64) + 0.5)) / width
    weight = (1 - distance.abs()).clamp_min(0)
    return (weight / weight.sum(-1, keepdim=True).clamp_min(1e-12)).float()


def resample_window(
    images: Float[Tensor, "image channel side side"],
    vertical: Float[Tensor, "count side"],
    horizontal: Float[Tensor, "count side"],
) -> Float[Tensor, "image channel count count"]:
    """Apply one `window_matrix` to the rows and one to the columns of a batch of crops; linear, differentiable."""
    return vertical @ images @ horizontal.mT
