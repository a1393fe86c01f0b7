"""The fixed crops recognition looks at during a fit."""

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from ops.face.alignment import ARCFACE_SIDE_PX, CROP_CENTRE_TEMPLATE_PX, window_matrix

SHIFT_TEMPLATE_PX = 4.0
"""Largest shift of a view, template pixels: about a tenth of the eye distance."""
ZOOM = 0.06
"""Largest relative change of a view's extent."""


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
