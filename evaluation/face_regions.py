"""The parts of a face that errors are told apart by, on any shape model with the 68 landmarks."""

from enum import StrEnum

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from ops.face.landmark_parts import (
    BELOW_JAW_ENDS,
    BROWS,
    EYES,
    LOWER_JAW,
    MOUTH,
    MOUTH_CORNERS,
    NOSE,
    NOSE_WINGS,
    NUMBERS,
    OUTER_EYES,
)


class Region(StrEnum):
    """A part of the face."""

    NOSE = "nose"
    MOUTH = "mouth"
    EYES = "eyes"
    CHEEKS = "cheeks"
    FOREHEAD = "forehead"
    JAW = "jaw"


_PARTS = {
    Region.NOSE: NUMBERS[NOSE],
    Region.EYES: NUMBERS[EYES],
    Region.MOUTH: NUMBERS[MOUTH],
    Region.JAW: NUMBERS[LOWER_JAW],
}
FOREHEAD_STEPS = (0.1, 0.25, 0.4, 0.6)
"""How far above the brows the forehead's anchors lie, in distances of the brows from the mouth."""


def label_regions(
    vertices_mm: Float[np.ndarray, "vertex 3"], landmarks_mm: Float[np.ndarray, "68 3"]
) -> Int[np.ndarray, " vertex"]:
    """The region of every vertex as its place in `Region`: that of the nearest anchor.

    Anchors of nose, eyes, mouth and jaw are landmarks; those of the forehead lie above the brows, those of the cheeks
    between the outer eye corner, the wing of the nose, the mouth corner and the upper end of the jaw line.
    """
    anchors = [landmarks_mm[list(part)] for part in _PARTS.values()]
    names = [region for region, part in _PARTS.items() for _ in part]
    brows = landmarks_mm[list(NUMBERS[BROWS])]
    up = brows.mean(0) - landmarks_mm[list(_PARTS[Region.MOUTH])].mean(0)
    forehead = [brows + step * up for step in FOREHEAD_STEPS]
    names += [Region.FOREHEAD] * (len(forehead) * len(brows))
    cheeks = [
        share * landmarks_mm[end] + (1 - share) * landmarks_mm[middle]
        for end, *inner in zip(BELOW_JAW_ENDS, OUTER_EYES, NOSE_WINGS, MOUTH_CORNERS, strict=True)
        for middle in inner
        for share in (0.35, 0.5, 0.7)
    ]
    names += [Region.CHEEKS] * len(cheeks)
    order = list(Region)
    labels = np.array([order.index(name) for name in names])
    return labels[KDTree(np.concatenate((*anchors, *forehead, np.stack(cheeks)))).query(vertices_mm)[1]]
