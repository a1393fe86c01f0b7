"""The skin of a face in its crop: what pixels are compared and learned from."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.landmark_parts import BROWS, LEFT_JAW_END, NOSE_TIP, RIGHT_JAW_END
from ops.face.landmark_points import JAW

FOREHEAD = 0.35
"""How far above the brows the compared skin reaches, in distances from brows to nose tip: below most fringes."""
SUPERSAMPLING = 4
"""Samples a pixel and axis of the outline."""
SOFT_EDGE = 0.012
"""Standard deviation of the soft edge of the compared skin, crop sides."""


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
        brows = points[BROWS]
        up = brows.mean(0) - points[NOSE_TIP]
        jaw = points[:JAW]
        temples = (points[LEFT_JAW_END] + 0.25 * up, points[RIGHT_JAW_END] + 0.25 * up)
        forehead = brows[::-1] + FOREHEAD * up
        # The raised brow line is drawn in towards the middle, as a forehead is narrower at the top.
        forehead = forehead.mean(0) + 0.95 * (forehead - forehead.mean(0))
        outline = np.concatenate((jaw, temples[:1], forehead, temples[1:]))
        fine = np.zeros((SUPERSAMPLING * side_px, SUPERSAMPLING * side_px), np.float32)
        cv2.fillPoly(fine, [np.round(outline * SUPERSAMPLING - 0.5).astype(np.int32)], 1.0)
        mask = cv2.resize(fine, (side_px, side_px), interpolation=cv2.INTER_AREA)
        masks.append(cv2.GaussianBlur(mask, (0, 0), SOFT_EDGE * side_px))
    return torch.from_numpy(np.stack(masks)).to(landmarks_px.device)
