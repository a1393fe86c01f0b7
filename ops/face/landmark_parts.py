"""Which of the 68 landmarks is what; left and right are the person's own.

The order is iBUG's: jaw, brows, nose, eyes, mouth, and in pairs the person's right one first. A slice is a part whose
points follow each other; a tuple names its points one by one.
"""

import numpy as np
from jaxtyping import Float

NUMBERS = range(68)
"""`NUMBERS[BROWS]` are the brows' numbers."""

RIGHT_JAW_END, CHIN, LEFT_JAW_END = 0, 8, 16
"""The jaw line begins and ends beside the ears."""
BELOW_JAW_ENDS = (1, 15)
LOWER_JAW = slice(4, 13)

RIGHT_BROW, LEFT_BROW, BROWS = slice(17, 22), slice(22, 27), slice(17, 27)

NASION, UPPER_BRIDGE, NOSE_TIP, NOSE_BASE = 27, 28, 30, 33
"""The bridge goes from the nasion to the tip; the base is the middle of the nostrils' row."""
NOSTRILS, NOSE_WINGS = slice(31, 36), (31, 35)
NOSE = slice(27, 36)

RIGHT_EYE, LEFT_EYE, EYES = slice(36, 42), slice(42, 48), slice(36, 48)
RIGHT_OUTER_EYE, LEFT_OUTER_EYE = OUTER_EYES = (36, 45)
INNER_EYES = (39, 42)
UPPER_LIDS, LOWER_LIDS = (37, 38, 43, 44), (41, 40, 47, 46)
"""Points above each other."""

OUTER_LIPS, INNER_LIPS, MOUTH = slice(48, 60), slice(60, 68), slice(48, 68)
MOUTH_CORNERS = (48, 54)
INNER_UPPER_LIP, INNER_LOWER_LIP = (61, 62, 63), (67, 66, 65)
"""Points above each other."""

SEVEN_POINTS = (RIGHT_OUTER_EYE, *INNER_EYES, LEFT_OUTER_EYE, NOSE_BASE, *MOUTH_CORNERS)
"""Eye corners, base of the nose, mouth corners: those of the NoW challenge."""


def outer_eye_distance(points: Float[np.ndarray, "point axis"]) -> float:
    """How far the outer eye corners are apart, in the unit of the points, whose first 68 are the landmarks."""
    return float(np.linalg.norm(points[RIGHT_OUTER_EYE] - points[LEFT_OUTER_EYE]))
