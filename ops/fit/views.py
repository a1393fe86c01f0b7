"""The fixed crops recognition looks at during a fit, and the skin it is compared on."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.alignment import ARCFACE_SIDE_PX, CROP_CENTRE_TEMPLATE_PX, window_matrix

SHIFT_TEMPLATE_PX = 4.0
"""Largest shift of a view, template pixels: about a tenth of the eye distance."""
ZOOM = 0.06
"""Largest relative change of a view's extent."""
FOREHEAD = 0.35
"""How far above the brows the compared skin reaches, in distances from brows to nose tip: below most fringes."""
SUPERSAMPLING = 4
"""Samples a pixel and axis of the outline."""
SOFT_EDGE = 0.012
"""Standard deviation of the soft edge of the compared skin, crop sides."""


class View(NamedTuple):
    """Matrices that resample a crop's rows and columns into the recognition network's input."""

    vertical: Float[Tensor, "112 side"]
    horizontal: Float[Tensor, "112 side"]


def make_views(count: int, side_px: int) -> list[View]:
    """The exact template first, then shifted and scaled crops, every second one mirrored.

    Shifts follow a golden-angle spiral: evenly spread for any count, and no random numbers.
    """
    views: list[View] = []
    for index in range(count):
        radius = 0.0 if index == 0 else math.sqrt(index / count)
        angle = index * math.pi * (3 - math.sqrt(5))
        shift = (SHIFT_TEMPLATE_PX * radius * math.cos(angle), SHIFT_TEMPLATE_PX * radius * math.sin(angle))
        half = ARCFACE_SIDE_PX / 2 * (1 + ZOOM * radius * math.cos(2.4 * index))
        middle = (ARCFACE_SIDE_PX / 2 + shift[0], ARCFACE_SIDE_PX / 2 + shift[1])
        left, right = middle[0] - half, middle[0] + half
        if index % 2 == 1:
            left, right = right, left
        views.append(
            View(
                window_matrix(
                    side_px, start=middle[1] - half, stop=middle[1] + half, centre=CROP_CENTRE_TEMPLATE_PX[1]
                ),
                window_matrix(side_px, start=left, stop=right, centre=CROP_CENTRE_TEMPLATE_PX[0]),
            )
        )
    return views


def skin_weight(landmarks_px: Float[Tensor, "image 68 2"], side_px: int) -> Float[Tensor, "image side side"]:
    """1 inside the outline of jaw, temples and forehead, 0 outside, soft in between.

    The forehead is the brow line moved up the face's own vertical by `FOREHEAD`; hair, background and neck stay out.
    An image whose landmarks are not finite has no skin.
    """
    import cv2

    masks: list[Any] = []
    for points in landmarks_px.detach().cpu().double().numpy():
        if not np.isfinite(points).all():
            masks.append(np.zeros((side_px, side_px), np.float32))
            continue
        brows = points[17:27]
        up = brows.mean(0) - points[30]
        jaw = points[0:17]
        temples = (points[16] + 0.25 * up, points[0] + 0.25 * up)
        forehead = brows[::-1] + FOREHEAD * up
        # The raised brow line is drawn in towards the middle, as a forehead is narrower at the top.
        forehead = forehead.mean(0) + 0.95 * (forehead - forehead.mean(0))
        outline = np.concatenate((jaw, temples[:1], forehead, temples[1:]))
        fine = np.zeros((SUPERSAMPLING * side_px, SUPERSAMPLING * side_px), np.float32)
        cv2.fillPoly(fine, [np.round(outline * SUPERSAMPLING - 0.5).astype(np.int32)], 1.0)
        mask = cv2.resize(fine, (side_px, side_px), interpolation=cv2.INTER_AREA)
        masks.append(cv2.GaussianBlur(mask, (0, 0), SOFT_EDGE * side_px))
    return torch.from_numpy(np.stack(masks)).to(landmarks_px.device)
