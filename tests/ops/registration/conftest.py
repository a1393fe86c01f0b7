"""Meshes with known geometry, and the reference scan where its files are at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from ops.geometry.mesh import Mesh
from ops.registration.register import Template


class ReferenceScan(NamedTuple):
    """A raw scan whose true vertex positions in the template's topology are known."""

    template: Template
    scan: Mesh
    landmarks_mm: np.ndarray
    truth_mm: np.ndarray


def grid(columns: int, rows: int, spacing: float) -> Mesh:
    """A flat grid in the plane z = 0, centred, facing +z."""
    x, y = np.meshgrid(np.arange(columns) * spacing, np.arange(rows) * spacing)
    vertices = np.stack((x - x.mean(), y - y.mean(), np.zeros_like(x)), -1).reshape(-1, 3)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + columns, corner + columns + 1
    triangles = np.concatenate((np.stack((a, b, d), 1), np.stack((a, d, c), 1)))
    return Mesh(vertices, triangles.astype(np.int32))


def bulge(mesh: Mesh, height: float, radius: float) -> Mesh:
    """The grid with a smooth hill and a small bump beside it: a face of sorts."""
    x, y, z = mesh.vertices.T
    hill = height * np.exp(-(x**2 + y**2) / (2 * radius**2))
    nose = 0.3 * height * np.exp(-(x**2 + (y + 0.1 * radius) ** 2) / (2 * (0.2 * radius) ** 2))
    eye = -0.1 * height * np.exp(-((np.abs(x) - 0.5 * radius) ** 2 + (y - 0.4 * radius) ** 2) / (0.03 * radius**2))
    return Mesh(np.stack((x, y, z + hill + nose + eye), 1), mesh.triangles)


def sphere(radius: float, subdivisions: int) -> Mesh:
    import trimesh

    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.asarray(made.vertices, dtype=np.float64), np.asarray(made.faces, dtype=np.int32))


@pytest.fixture
def make_grid() -> Callable[[int, int, float], Mesh]:
    return grid


@pytest.fixture
def make_sphere() -> Callable[[float, int], Mesh]:
    return sphere


@pytest.fixture(scope="session")
def face_template() -> Template:
    """A bulged sheet of face size with 68 landmarks spread over it."""
    mesh = bulge(grid(61, 61, 3.0), 60.0, 45.0)
    rng = np.random.default_rng(7)
    inner = np.flatnonzero(np.linalg.norm(mesh.vertices[:, :2], axis=1) < 60)
    landmarks = rng.choice(inner, 68, replace=False)
    landmarks[30] = int(mesh.vertices[:, 2].argmax())
    return Template(mesh=mesh, landmarks=landmarks)


@pytest.fixture(scope="session")
def face_scan(face_template: Template) -> ReferenceScan:
    """The same surface deformed by a known smooth field, moved, and tessellated differently."""

    def deform(points: np.ndarray) -> np.ndarray:
        x, y, z = points.T
        moved = np.stack((x * 1.04 + 2 * np.sin(y / 30), y * 0.98, z + 3 * np.sin(x / 25) * np.cos(y / 40)), 1)
        angle = 0.15
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        return moved @ turn.T + np.array([12.0, -30.0, 900.0])

    fine = bulge(grid(97, 89, 2.03), 60.0, 45.0)
    truth = deform(face_template.mesh.vertices)
    jitter = np.random.default_rng(3).normal(0, 1.0, (68, 3))
    return ReferenceScan(
        face_template, Mesh(deform(fine.vertices), fine.triangles), truth[face_template.landmarks] + jitter, truth
    )


@pytest.fixture(scope="session")
def reference_scan(model_dir: Path) -> ReferenceScan:
    folder = model_dir.parents[1] / "oracle"
    if not (folder / "registration" / "raw_scan.npz").is_file():
        pytest.skip(f"needs the reference scan in {folder}")
    topology = np.load(folder / "micc" / "topology_ict.npz")
    scan = np.load(folder / "registration" / "raw_scan.npz")
    template = Template(
        mesh=Mesh(topology["template"].astype(np.float64) * 100, topology["trilist"]),
        landmarks=topology["landmark_ids"].astype(np.int64),
    )
    return ReferenceScan(
        template,
        Mesh(scan["scan_v"].astype(np.float64), scan["scan_f"]),
        scan["raw_landmarks"],
        scan["true_template_topology"],
    )
