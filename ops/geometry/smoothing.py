"""Smoothing of values over time by a cubic smoothing spline (Whittaker 1923, Reinsch 1967).

The smoothed values are those of the function g that makes

    sum_i |y_i - g(t_i)|^2 + s^4 / D * integral |g''(t)|^2 dt

least, where D is the mean interval between the times. In between many equal intervals a vibration of angular frequency
w keeps 1 / (1 + (s w)^4) of its amplitude: half of it where its period is 2 pi s. There is no lag, times may be uneven,
and uniform motion stays as it is, at the ends, too.
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded


def smooth_over_time(
    times_s: Float[np.ndarray, " time"], values: Float[np.ndarray, "time channel"], seconds: float
) -> Float[np.ndarray, "time channel"]:
    """The values, smoothed; as they are for fewer than three times or 0 seconds.

    Args:
        times_s: ascending, no two the same.
        values: at these times.
        seconds: s of the equation, >= 0.
    """
    if len(times_s) < 3 or seconds == 0:
        return values.astype(np.float64)
    steps = np.diff(times_s.astype(np.float64))
    strength = seconds**4 / steps.mean()
    # Columns of Q give second divided differences, R their integral's weights (Green and Silverman 1994, section 2.1).
    before, after = 1 / steps[:-1], 1 / steps[1:]
    middle = -(before + after)
    bands = np.zeros((3, len(steps) - 1))
    bands[2] = (steps[:-1] + steps[1:]) / 3 + strength * (before**2 + middle**2 + after**2)
    bands[1, 1:] = steps[1:-1] / 6 + strength * (middle[:-1] * before[1:] + after[:-1] * middle[1:])
    bands[0, 2:] = strength * after[:-2] * before[2:]
    bent = before[:, None] * values[:-2] + middle[:, None] * values[1:-1] + after[:, None] * values[2:]
    curvature = solveh_banded(bands, bent)
    smoothed = values.astype(np.float64)
    for start, part in enumerate((before, middle, after)):
        smoothed[start : start + len(part)] -= strength * part[:, None] * curvature
    return smoothed
