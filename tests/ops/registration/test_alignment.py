import numpy as np
import pytest

from ops.errors import DegeneratePointsError
from ops.registration.alignment import (
    Alignment,
    ScaleRule,
    align_points,
    compose_alignments,
    fit_alignment,
    invert_alignment,
)

TRUTH = Alignment(
    np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    np.array([5.0, -3.0, 2.0]),
    1.7,
)


def points(count: int = 30) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3))


@pytest.mark.parametrize("rule", [ScaleRule.LEAST_SQUARES, ScaleRule.NORM_RATIO])
def test_recovers_a_known_similarity(rule: ScaleRule) -> None:
    found = fit_alignment(points(), align_points(TRUTH, points()), scale=rule)
    for got, expected in zip(found, TRUTH, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_the_norm_ratio_exceeds_the_least_squares_scale_under_noise() -> None:
    target = points() + np.random.default_rng(1).normal(0, 0.3, (30, 3))
    least = fit_alignment(points(), target, scale=ScaleRule.LEAST_SQUARES).scale
    ratio = fit_alignment(points(), target, scale=ScaleRule.NORM_RATIO).scale
    centred = [p - p.mean(0) for p in (points(), target)]
    assert ratio == pytest.approx(np.linalg.norm(centred[1]) / np.linalg.norm(centred[0]))
    assert ratio > least


def test_a_weight_of_zero_removes_a_point() -> None:
    target = align_points(TRUTH, points())
    target[0] += 100
    weights = np.ones(30)
    weights[0] = 0
    found = fit_alignment(points(), target, scale=ScaleRule.LEAST_SQUARES, weights=weights)
    np.testing.assert_allclose(found.translation, TRUTH.translation, atol=1e-12)


def test_a_mirror_image_is_met_by_a_rotation() -> None:
    found = fit_alignment(points(), points() * np.array([-1.0, 1, 1]), scale=ScaleRule.RIGID)
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)
    assert found.scale == 1.0


def test_inverse_and_composition() -> None:
    moved = align_points(TRUTH, points())
    np.testing.assert_allclose(align_points(invert_alignment(TRUTH), moved), points(), atol=1e-12)
    np.testing.assert_allclose(
        align_points(compose_alignments(TRUTH, TRUTH), points()), align_points(TRUTH, moved), atol=1e-12
    )


@pytest.mark.parametrize(("source", "words"), [(np.zeros((2, 3)), "at least 3"), (np.ones((5, 3)), "coincide")])
def test_degenerate_points_are_refused(source: np.ndarray, words: str) -> None:
    with pytest.raises(DegeneratePointsError, match=words):
        fit_alignment(source, source, scale=ScaleRule.RIGID)
