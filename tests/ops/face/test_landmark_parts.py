import numpy as np
import pytest

from ops.face.landmark_parts import outer_eye_distance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_distance_is_that_of_the_outer_eye_corners_alone(dtype: type[np.floating]) -> None:
    points = np.random.default_rng(0).normal(size=(80, 3)).astype(dtype)
    points[36], points[45] = (1, 2, 3), (3, 5, 9)
    assert outer_eye_distance(points) == 7
