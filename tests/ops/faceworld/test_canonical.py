import numpy as np

from ops.faceworld.canonical import bump, canonical_landmarks, eye_lower, eye_upper, lip_lower, lip_upper, smoothstep
from ops.networks.face_crop import MIRRORED_68


def test_landmarks_are_symmetric() -> None:
    points = canonical_landmarks()
    np.testing.assert_allclose(points[MIRRORED_68] * (-1, 1), points, atol=1e-9)


def test_landmarks_follow_the_features() -> None:
    points = canonical_landmarks()
    assert points[36, 0] < points[39, 0] < 0 < points[42, 0] < points[45, 0]
    assert (
        points[17:27, 1].min() > points[36:48, 1].max() > points[30, 1] > points[51, 1] > points[57, 1] > points[8, 1]
    )
    assert points[62, 1] > points[66, 1]


def test_openings_close_at_their_corners() -> None:
    ends = np.array([-1.0, 1.0])
    middle = np.zeros(1)
    for upper, lower in ((eye_upper, eye_lower), (lip_upper, lip_lower)):
        assert (upper(middle) > 2).all()
        assert (lower(middle) < -2).all()
        assert np.abs(upper(ends) - lower(ends)).max() < 0.1


def test_smoothstep_and_bump_have_their_known_values() -> None:
    np.testing.assert_allclose(smoothstep(2, 4, np.array([1.0, 2, 3, 4, 5])), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(4, 2, np.array([2.0, 3, 4])), [1, 0.5, 0])
    np.testing.assert_allclose(bump(np.array([1.0, 3.0]), np.zeros(2), (1, 0), (2, 1)), [1, np.exp(-0.5)])
