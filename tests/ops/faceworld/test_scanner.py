import numpy as np
import pytest

from ops.face.morphable_model import MorphableModel
from ops.faceworld.people import Person
from ops.faceworld.scanner import Scan, ScannerSettings, on_grid, scan_head
from ops.geometry.mesh import Mesh
from ops.registration.closest_point import ClosestPointIndex
from ops.registration.surface import border_edges, vertex_normals

COARSE = ScannerSettings(spacing_mm=3.5)
NOSE_TIP = 30


@pytest.fixture(scope="module")
def head(world_model: MorphableModel, people: list[Person]) -> np.ndarray:
    neutral = world_model.expression_basis_mm.new_zeros(world_model.expression_size)
    return world_model.vertices_mm(people[0].identity, neutral).numpy().astype(np.float64)


@pytest.fixture(scope="module")
def scan(world_model: MorphableModel, head: np.ndarray) -> Scan:
    return scan_head(world_model, head, 3, COARSE)


def in_head_frame(scan: Scan, points: np.ndarray) -> np.ndarray:
    return (points - scan.translation_mm) @ scan.rotation


def distance_to_head(world_model: MorphableModel, head: np.ndarray, points: np.ndarray) -> np.ndarray:
    surface = ClosestPointIndex(Mesh(head, world_model.triangles.numpy()))
    return np.linalg.norm(surface.query(points).points - points, axis=1)


def test_points_lie_within_noise_of_the_true_surface(world_model: MorphableModel, head: np.ndarray, scan: Scan) -> None:
    distance = distance_to_head(world_model, head, in_head_frame(scan, scan.mesh.vertices))
    assert distance.max() < 6 * COARSE.noise_mm
    assert np.sqrt((distance**2).mean()) == pytest.approx(COARSE.noise_mm, rel=0.1)


def test_without_noise_points_lie_on_the_surface(world_model: MorphableModel, head: np.ndarray) -> None:
    exact = scan_head(world_model, head, 3, ScannerSettings(spacing_mm=6.0, noise_mm=0.0))
    assert distance_to_head(world_model, head, in_head_frame(exact, exact.mesh.vertices)).max() < 1e-4


def test_grid_places_meet_vertices_and_midpoints(head: np.ndarray) -> None:
    places = np.array([[3.0, 5.0], [127.0, 127.0], [3.5, 5.5]])
    corner = head.reshape(128, 128, 3)
    expected = np.stack([corner[3, 5], corner[127, 127], (corner[3, 5] + corner[4, 6]) / 2])
    np.testing.assert_allclose(on_grid(head, places), expected, atol=1e-9)


def test_the_crop_round_the_nose_is_covered_but_for_holes(
    world_model: MorphableModel, head: np.ndarray, scan: Scan
) -> None:
    """Where the head faces forward, every vertex within 95 mm has scan nearby, save in a few holes."""
    facing = vertex_normals(Mesh(head, world_model.triangles.numpy()))[:, 2] > 0.5
    near = np.linalg.norm(head - head[world_model.landmarks[NOSE_TIP]], axis=1) < 95
    scanned = in_head_frame(scan, scan.mesh.vertices)
    gap = np.linalg.norm(head[facing & near][::7, None] - scanned[None], axis=-1).min(1)
    assert (gap < COARSE.spacing_mm).mean() > 0.95


def test_the_scan_ends_where_a_scanner_does(world_model: MorphableModel, head: np.ndarray, scan: Scan) -> None:
    scanned = in_head_frame(scan, scan.mesh.vertices)
    nose_tip = head[world_model.landmarks[NOSE_TIP]]
    reach, whole = (np.linalg.norm(points - nose_tip, axis=1).max() for points in (scanned, head))
    assert 110 < reach < 0.9 * whole
    edges = border_edges(scan.mesh)
    assert 0.01 < edges.any(1).mean() < 0.2
    assert set(np.unique(scan.mesh.triangles)) == set(range(len(scan.mesh.vertices)))


def test_triangles_face_outwards(scan: Scan) -> None:
    mesh = Mesh(in_head_frame(scan, scan.mesh.vertices), scan.mesh.triangles)
    towards_axis = mesh.vertices - (0, 0, -92.0)
    outward = (vertex_normals(mesh) * towards_axis)[:, [0, 2]].sum(1)
    assert (outward > 0).mean() > 0.97


def test_annotations_are_vertices_near_the_truth(world_model: MorphableModel, head: np.ndarray, scan: Scan) -> None:
    to_vertex = np.linalg.norm(scan.landmarks_mm[:, None] - scan.mesh.vertices[None], axis=-1).min(1)
    assert to_vertex.max() == 0
    error = np.linalg.norm(in_head_frame(scan, scan.landmarks_mm) - head[world_model.landmarks.numpy()], axis=1)
    assert 0.3 < np.median(error) < 2.5
    assert error.max() < 9


def test_seeds_decide_everything(world_model: MorphableModel, head: np.ndarray, scan: Scan) -> None:
    again, other = (scan_head(world_model, head, seed, COARSE) for seed in (3, 4))
    for ours, theirs in ((scan.mesh.vertices, again.mesh.vertices), (scan.mesh.triangles, again.mesh.triangles)):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(scan.landmarks_mm, again.landmarks_mm)
    assert len(other.mesh.vertices) != len(scan.mesh.vertices)
    assert not np.array_equal(scan.rotation, other.rotation)
