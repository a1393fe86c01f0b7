"""Clip coordinates and a brute-force answer to compare rasterisers with."""

import numpy as np
import pytest
import torch

from ops.geometry.camera import FAR_MM, NEAR_MM, Camera, camera_from_vector

CAMERAS = torch.tensor(
    [[30, -20, 900, 5, 3, 10, 3.0, 0.2], [-500, 190, 600, 0, 8, 0, 3.1, -0.4], [0, 40, 420, 0, 0, 0, 1.4, 0]],
    dtype=torch.float64,
)


@pytest.fixture
def cameras() -> Camera:
    """Three views of what lies about the origin: frontal, from the side, close and wide."""
    return camera_from_vector(CAMERAS)


def clip_of(view: np.ndarray) -> torch.Tensor:
    """Clip coordinates of points (x, y, depth) before a camera whose focal length is half an image side."""
    depth = view[..., 2:]
    z = (depth * (FAR_MM + NEAR_MM) - 2 * FAR_MM * NEAR_MM) / (FAR_MM - NEAR_MM)
    return torch.from_numpy(np.concatenate((view[..., :2], z, depth), -1)).float()


def brute_force(
    clip: torch.Tensor, triangles: torch.Tensor, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(triangle id or -1, weights of its corners, smallest |weight| of any triangle) of each pixel, in float64."""
    corners = clip.double().numpy()[triangles.numpy()]
    x = (2 * np.arange(width) + 1) / width - 1
    y = 1 - (2 * np.arange(height) + 1) / height
    pixels = np.stack((*np.meshgrid(x, y), np.ones((height, width))), -1)
    nearest = np.full((height, width), np.inf)
    ids, weights, margin = np.full((height, width), -1), np.zeros((height, width, 3)), np.full((height, width), np.inf)
    for t, corner in enumerate(corners):
        if not np.isfinite(corner).all():
            continue
        scaled = pixels @ np.linalg.inv(corner[:, [0, 1, 3]])
        inverse_depth = scaled.sum(-1)
        with np.errstate(all="ignore"):
            b = scaled / inverse_depth[..., None]
            z = (b @ corner[:, 2]) / (b @ corner[:, 3])
        inside = (scaled >= 0).all(-1) & (inverse_depth > 0) & (z >= -1) & (z <= 1) & (z < nearest)
        margin = np.minimum(margin, np.where(np.isfinite(b).all(-1), np.abs(b).min(-1), 0))
        ids[inside], nearest[inside], weights[inside] = t, z[inside], b[inside]
    return ids, weights, margin


@pytest.fixture(name="clip_of")
def _clip_of():
    return clip_of


@pytest.fixture(name="brute_force")
def _brute_force():
    return brute_force
