import numpy as np
import pytest
from scipy.interpolate import make_smoothing_spline

from ops.geometry.smoothing import smooth_over_time

UNEVEN = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.3, 40))
NOISE = np.random.default_rng(2).normal(size=(40, 2))


def test_another_smoothing_spline_gives_the_same() -> None:
    strength = 0.2**4 / np.diff(UNEVEN).mean()
    expected = [make_smoothing_spline(UNEVEN, column, lam=strength)(UNEVEN) for column in NOISE.T]
    np.testing.assert_allclose(smooth_over_time(UNEVEN, NOISE, 0.2), np.stack(expected, -1), atol=1e-8)


@pytest.mark.parametrize("seconds", [0.05, 5.0])
def test_uniform_motion_stays(seconds: float) -> None:
    line = UNEVEN[:, None] * (2.0, -3.0) + (5.0, 7.0)
    np.testing.assert_allclose(smooth_over_time(UNEVEN, line, seconds), line, atol=1e-7)


@pytest.mark.parametrize("slowness", [0.5, 1.0, 2.0])
def test_vibrations_keep_the_stated_part(slowness: float) -> None:
    times, seconds = np.arange(0, 40, 0.05), 0.5
    wave = np.cos(times / (slowness * seconds))[:, None]
    middle = slice(300, 500)
    kept = smooth_over_time(times, wave, seconds)[middle] / wave[middle]
    assert np.median(kept) == pytest.approx(1 / (1 + slowness**-4), rel=0.01)


def test_what_cannot_be_smoothed_stays_as_it_is() -> None:
    np.testing.assert_array_equal(smooth_over_time(UNEVEN, NOISE, 0.0), NOISE)
    np.testing.assert_array_equal(smooth_over_time(UNEVEN[:2], NOISE[:2], 1.0), NOISE[:2])
    three = smooth_over_time(np.arange(3.0), np.array([[0.0], [1], [0]]), 100.0)
    np.testing.assert_allclose(three, 1 / 3, atol=1e-6)
