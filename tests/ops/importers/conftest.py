"""A toy face that every importer's test writes in its own format."""

import numpy as np
import pytest

from ops.importers.assembly import RawModel
from ops.importers.landmark_file import LandmarkVertices

SIDE = 25
PLACES_MM = {8: (0, -80), 19: (-20, 60), 28: (0, 20), 30: (0, 0), 36: (-45, 30), 45: (45, 30)}


@pytest.fixture
def toy_face() -> RawModel:
    """A grid bent to half an ellipsoid with a nose, and a separate small square for an eye; in millimetres."""
    rng = np.random.default_rng(0)
    angle = np.linspace(-1.3, 1.3, SIDE)
    across, up = np.meshgrid(angle, angle, indexing="xy")
    x, y = 75 * np.sin(across), 105 * np.sin(up)
    z = 90 * np.cos(across) * np.cos(up) + 25 * np.exp(-(x**2 + y**2) / 300)
    skin = np.stack((x, y, z), -1).reshape(-1, 3)
    eye = np.array([[30.0, 30, 60], [40, 30, 60], [40, 35, 60], [30, 35, 60]])
    mean = np.concatenate((skin, eye))
    corner = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
    lower = np.stack((corner, corner + 1, corner + SIDE + 1), -1)
    upper = np.stack((corner, corner + SIDE + 1, corner + SIDE), -1)
    first = len(skin)
    eye_triangles = np.array([[first, first + 1, first + 2], [first, first + 2, first + 3]])
    landmarks = rng.choice(len(skin), 68, replace=False)
    for index, place in PLACES_MM.items():
        landmarks[index] = np.linalg.norm(skin[:, :2] - np.array(place), axis=1).argmin()
    return RawModel(
        mean_mm=mean,
        identity_basis_mm=rng.normal(size=(4, len(mean), 3)) * np.array([2.0, 1, 0.5, 0.2])[:, None, None],
        expression_basis_mm=rng.normal(size=(3, len(mean), 3)),
        triangles=np.concatenate((lower, upper, eye_triangles)).astype(np.int32),
        landmarks=LandmarkVertices(landmarks.astype(np.int64), landmarks[:17, None].astype(np.int64)),
    )
