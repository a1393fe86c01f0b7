"""How much a face crop shows: brightness, contrast and sharpness, and what is too little of them to fit a face to."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ops.files.photo import LUMA

MIDDLE = slice(20, 100)
"""Rows and columns of the recognition crop that the face itself covers."""

Lack = Literal["too_dark", "too_blurred"]

FAINTEST = 0.06
"""Crops whose brightest twentieth is darker than this part of white show nothing."""
FLATTEST = 0.015
"""Nor do crops with a lower standard deviation of the luma."""
GREY_SPREAD = 0.012
"""A photo whose colours spread less than this about grey, on average, is a grey one."""


class FaceSignal(NamedTuple):
    """Measures of a face crop, all over its middle."""

    brightness: float
    """95th percentile of the luma, in [0, 1]: bright spots count, a dark ground does not."""
    contrast: float
    """Standard deviation of the luma, in [0, 1]."""
    sharpness: float
    """What of the contrast between neighbouring pixels a slight blur takes away, over the contrast; in [0, 1]."""


def face_signal(crop_rgb: UInt8[np.ndarray, "112 112 3"]) -> FaceSignal:
    """Measure a crop aligned to the recognition template."""
    import cv2

    luma = (crop_rgb[MIDDLE, MIDDLE].astype(np.float32) @ np.array(LUMA, np.float32)) / 255
    contrast = float(luma.std())
    fine = luma - np.asarray(cv2.GaussianBlur(luma, (0, 0), 1.5))
    return FaceSignal(float(np.quantile(luma, 0.95)), contrast, float(fine.std()) / max(contrast, 1e-6))


def without_signal(signal: FaceSignal, limits: FaceSignal) -> Lack | None:
    """Why a crop shows too little to fit a face to, given the least of each measure; None where it shows enough."""
    if signal.brightness < limits.brightness:
        return "too_dark"
    return "too_blurred" if signal.contrast < limits.contrast or signal.sharpness < limits.sharpness else None


def shows_something(crop_rgb: UInt8[np.ndarray, "side side 3"]) -> bool:
    """Whether an aligned crop of any size shows anything in its middle half; on a black one any render matches."""
    quarter = len(crop_rgb) // 4
    middle = slice(quarter, len(crop_rgb) - quarter)
    luma = (crop_rgb[middle, middle].astype(np.float32) @ np.array(LUMA, np.float32)) / 255
    return float(np.quantile(luma, 0.95)) >= FAINTEST and float(luma.std()) >= FLATTEST


def are_grey(crops: Float[Tensor, "image 3 side side"]) -> Bool[Tensor, " image"]:
    """Which photos are black and white, or toned so faintly that they tell no colour; RGB in [0, 1]."""
    return (crops - crops.mean(1, keepdim=True)).abs().mean((1, 2, 3)) < GREY_SPREAD
