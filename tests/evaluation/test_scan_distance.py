from pathlib import Path

import numpy as np
import pytest

from evaluation.scan_distance import EYE_DISTANCE_MM, at_face_size, measure_distances, sample_face
from evaluation.scan_protocols import AnnotatedMesh
from evaluation.template import StoredTemplate, template_from_model
from ops.errors import DegeneratePointsError, UnsupportedInputError
from ops.face.landmark_parts import SEVEN_POINTS
from ops.faceworld.shape import faceworld_model
from ops.geometry.mesh import Mesh
from ops.registration.surface import vertex_normals
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_shape
from pipeline.scans.scan_folder import find_scan_folders

TURN = np.array([[0.96, 0, 0.28], [0, 1, 0], [-0.28, 0, 0.96]])


def annotated(stored: StoredTemplate, vertices: np.ndarray | None = None) -> AnnotatedMesh:
    places = stored.template.mesh.vertices if vertices is None else vertices
    return AnnotatedMesh(Mesh(places, stored.template.mesh.triangles), places[stored.template.landmarks])


@pytest.fixture(scope="module")
def stored() -> StoredTemplate:
    return template_from_model(faceworld_model())


def test_a_scan_comes_to_face_size_whatever_its_unit(stored: StoredTemplate) -> None:
    metres = annotated(stored, stored.template.mesh.vertices / 1000)
    found = at_face_size(metres)
    assert np.linalg.norm(found.landmarks_mm[36] - found.landmarks_mm[45]) == pytest.approx(EYE_DISTANCE_MM)
    unknown = metres.landmarks_mm.copy()
    unknown[54] = np.nan
    with pytest.raises(UnsupportedInputError, match="at least the landmarks 36"):
        at_face_size(AnnotatedMesh(metres.mesh, unknown))


def test_a_face_lies_on_itself_wherever_it_stands_and_however_large(stored: StoredTemplate) -> None:
    scan = at_face_size(annotated(stored))
    samples = sample_face(scan)
    moved = annotated(stored, 1.3 * stored.template.mesh.vertices @ TURN.T + np.array([50.0, -20.0, 400.0]))
    found = measure_distances(samples, moved)
    assert found.counted.all()
    assert found.mean_mm < 1e-6
    np.testing.assert_allclose(found.mesh.vertices, scan.mesh.vertices, atol=1e-5)


def test_the_sign_says_on_which_side_a_scan_lies(stored: StoredTemplate) -> None:
    mesh = stored.template.mesh
    height = 3 * np.exp(-np.square(mesh.vertices - stored.template.landmarks_mm[30]).sum(1) / 2 / 15**2)
    grown = annotated(stored, mesh.vertices + height[:, None] * vertex_normals(mesh))
    samples = sample_face(at_face_size(grown))
    found = measure_distances(samples, annotated(stored))
    near = np.linalg.norm(samples.points_mm - samples.landmarks_mm[30], axis=1) < 10
    assert found.signed_mm[near].mean() > 1.0
    assert found.signed_mm[~near].mean() < 0.1
    assert found.median_mm < found.mean_mm < 1.0


def test_samples_look_forward_and_a_beard_is_left_out(stored: StoredTemplate) -> None:
    scan = at_face_size(annotated(stored))
    samples = sample_face(scan)
    shaven = sample_face(scan, bearded=True)
    np.testing.assert_allclose(samples.frame @ samples.frame.T, np.eye(3), atol=1e-12)
    up = samples.frame[1]
    assert (shaven.points_mm @ up).min() > scan.landmarks_mm[33] @ up - 2.1
    assert (samples.points_mm @ up).min() < scan.landmarks_mm[57] @ up
    seven = np.full((68, 3), np.nan)
    seven[list(SEVEN_POINTS)] = scan.landmarks_mm[list(SEVEN_POINTS)]
    fewer = sample_face(AnnotatedMesh(scan.mesh, seven))
    assert len(fewer.points_mm) > 0.8 * len(samples.points_mm)
    away = AnnotatedMesh(scan.mesh, scan.landmarks_mm + 500)
    with pytest.raises(DegeneratePointsError, match="hardly any surface"):
        sample_face(away)


@pytest.mark.models
@pytest.mark.parametrize(("name", "mean_face_mm"), [("james", 1.15), ("kinect_a", 1.09)])
def test_the_mean_face_lies_as_far_from_real_scans_as_others_measured(
    model_dir: Path, name: str, mean_face_mm: float
) -> None:
    folder = model_dir.parent / "scans"
    if not (folder / name).is_dir():
        pytest.skip(f"needs the scans in {folder}")
    stored = template_from_model(load_shape(resolve_bundle("ict", model_dir).shape))
    (scan,) = (found for found in find_scan_folders(folder) if found.name == name)
    samples = sample_face(at_face_size(scan.read()), bearded=name == "kinect_a")
    assert measure_distances(samples, annotated(stored)).mean_mm == pytest.approx(mean_face_mm, abs=0.01)
