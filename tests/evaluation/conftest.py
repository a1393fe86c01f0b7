"""A small face with known geometry, and the reference cases where their files are at hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ops.geometry.mesh import Mesh
from ops.registration.register import Template


def sheet(columns: int, rows: int, side_mm: float) -> Mesh:
    """A grid over a square of the plane z = 0, centred, facing +z."""
    x, y = np.meshgrid(np.linspace(-side_mm / 2, side_mm / 2, columns), np.linspace(-side_mm / 2, side_mm / 2, rows))
    vertices = np.stack((x, y, np.zeros_like(x)), -1).reshape(-1, 3)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + columns, corner + columns + 1
    triangles = np.concatenate((np.stack((a, b, d), 1), np.stack((a, d, c), 1)))
    return Mesh(vertices, triangles.astype(np.int32))


def height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A head-like dome with a nose and eye hollows, millimetres."""
    dome = 90 * np.exp(-(x**2 + y**2) / (2 * 75.0**2))
    nose = 22 * np.exp(-(x**2 / 120 + (y + 5) ** 2 / 300))
    eyes = -7 * np.exp(-((np.abs(x) - 32) ** 2 + (y - 32) ** 2) / 160)
    return dome + nose + eyes


def face(columns: int, rows: int, side_mm: float = 230.0) -> Mesh:
    flat = sheet(columns, rows, side_mm)
    x, y, _ = flat.vertices.T
    return Mesh(np.stack((x, y, height(x, y)), 1), flat.triangles)


def landmark_positions() -> np.ndarray:
    """68 points in the plane, about where iBUG's lie on a face of 90 mm between the outer eye corners."""
    jaw = [(-70 * np.cos(t), 20 - 85 * np.sin(t)) for t in np.linspace(0, np.pi, 17)]
    brows = [(s * (55 - 10 * k) * 1.0, 45 + 3 * np.sin(k)) for s in (-1, 1) for k in range(5)]
    nose = [(0, 30 - 10 * k) for k in range(4)] + [(6.0 * (k - 2), -14) for k in range(5)]
    eyes = [(s * 30 + 15 * np.cos(t), 32 + 5 * np.sin(t)) for s in (-1, 1) for t in np.linspace(np.pi, -np.pi, 7)[:-1]]
    mouth = [(25 * np.cos(t), -40 + 9 * np.sin(t)) for t in np.linspace(np.pi, -np.pi, 13)[:-1]]
    lips = [(15 * np.cos(t), -40 + 3 * np.sin(t)) for t in np.linspace(np.pi, -np.pi, 9)[:-1]]
    return np.array([*jaw, *brows, *nose, *eyes, *mouth, *lips])


def landmarks_on_face() -> np.ndarray:
    x, y = landmark_positions().T
    return np.stack((x, y, height(x, y)), 1)


@pytest.fixture
def make_face() -> Callable[..., Mesh]:
    return face


@pytest.fixture
def face_landmarks() -> np.ndarray:
    return landmarks_on_face()


@pytest.fixture(scope="session")
def template() -> Template:
    mesh = face(71, 71)
    wanted = landmark_positions()
    nearest = np.linalg.norm(mesh.vertices[None, :, :2] - wanted[:, None], axis=2).argmin(1)
    return Template(mesh=mesh, landmarks=nearest.astype(np.int64))


@pytest.fixture(scope="session")
def oracle_dir(model_dir: Path) -> Path:
    folder = model_dir.parents[1] / "oracle" / "micc"
    if not (folder / "expected.json").is_file():
        pytest.skip(f"needs the reference cases in {folder}")
    return folder
