from collections.abc import Callable

import numpy as np
import pytest

from evaluation.result import PairResult
from evaluation.scan_protocols import DENG, NOW, PAPER, AnnotatedMesh, ScanProtocol, evaluate_scan
from ops.errors import DegeneratePointsError, UnitsError, UnsupportedInputError
from ops.geometry.mesh import Mesh

Faces = Callable[..., Mesh]
PROTOCOLS = {"paper": PAPER, "deng": DENG, "now": NOW}


def disturbed(mesh: Mesh) -> Mesh:
    """Another person: broader, with another nose."""
    x, y, z = mesh.vertices.T
    return Mesh(np.stack((1.03 * x, y, z + 4 * np.exp(-((x - 8) ** 2 + y**2) / 500)), 1), mesh.triangles)


def turn() -> np.ndarray:
    a, b = 0.7, -0.3
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_y @ about_x


@pytest.fixture
def reconstruction(make_face: Faces, face_landmarks: np.ndarray) -> AnnotatedMesh:
    mesh = disturbed(make_face(81, 75, 260.0))
    return AnnotatedMesh(mesh, disturbed(Mesh(face_landmarks, np.zeros((0, 3), dtype=np.int32))).vertices)


@pytest.fixture
def base(make_face: Faces, face_landmarks: np.ndarray, reconstruction: AnnotatedMesh) -> PairResult:
    return evaluate_scan(PAPER, AnnotatedMesh(make_face(121, 121), face_landmarks), reconstruction)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_the_same_surface_is_at_no_distance(
    make_face: Faces, face_landmarks: np.ndarray, protocol: ScanProtocol
) -> None:
    truth = AnnotatedMesh(make_face(121, 121), face_landmarks)
    other = AnnotatedMesh(
        Mesh((make_face(140, 135, 260.0).vertices + 40) @ turn().T, make_face(140, 135, 260.0).triangles),
        (face_landmarks + 40) @ turn().T,
    )
    found = evaluate_scan(protocol, truth, other)
    assert found.distance_mm < 0.05
    assert found.scale == pytest.approx(1.0, abs=1e-3)


def test_a_shell_at_known_distance(face_landmarks: np.ndarray) -> None:
    """A ball of 84 mm inside one of 86 mm: rigid motion balances the two, a scale removes the gap."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=5, radius=1.0)
    directions = face_landmarks - np.array([0.0, 0.0, 20.0])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    triangles = np.asarray(ball.faces, dtype=np.int32)
    truth = AnnotatedMesh(Mesh(np.asarray(ball.vertices) * 84.0, triangles), directions * 84)
    shell = AnnotatedMesh(Mesh(np.asarray(ball.vertices) * 86.0, triangles), directions * 86)
    found = evaluate_scan(PAPER, truth, shell)
    # Rigid motion shifts the cap of cosines u in [c, 1] by t, leaving |2 - t u|; least squares gives t = 2 <u> / <u^2>.
    lowest = 1 - 95.0**2 / (2 * 84.0**2)
    cosine = np.linspace(lowest, 1, 1000)
    shift = 2 * cosine.mean() / np.square(cosine).mean()
    assert found.distance_mm == pytest.approx(np.abs(2 - shift * cosine).mean(), rel=0.1)
    assert evaluate_scan(DENG, truth, shell).distance_mm < 0.02


def test_rotation_translation_and_order_do_not_matter(
    make_face: Faces, face_landmarks: np.ndarray, reconstruction: AnnotatedMesh, base: PairResult
) -> None:
    scan = make_face(121, 121)
    moved = Mesh(scan.vertices @ turn().T + np.array([100.0, -50.0, 900.0]), scan.triangles)
    landmarks = face_landmarks @ turn().T + np.array([100.0, -50.0, 900.0])
    assert evaluate_scan(PAPER, AnnotatedMesh(moved, landmarks), reconstruction).distance_mm == pytest.approx(
        base.distance_mm, rel=1e-3
    )
    order = np.random.default_rng(0).permutation(len(scan.vertices))
    new_from_old = np.argsort(order).astype(np.int32)
    shuffled = Mesh(scan.vertices[order], new_from_old[scan.triangles])
    assert evaluate_scan(PAPER, AnnotatedMesh(shuffled, face_landmarks), reconstruction).distance_mm == pytest.approx(
        base.distance_mm, rel=1e-6
    )


@pytest.mark.parametrize(("columns", "rows"), [(90, 97), (170, 150), (121, 80)])
def test_tessellation_does_not_matter(
    make_face: Faces,
    face_landmarks: np.ndarray,
    reconstruction: AnnotatedMesh,
    base: PairResult,
    columns: int,
    rows: int,
) -> None:
    found = evaluate_scan(PAPER, AnnotatedMesh(make_face(columns, rows), face_landmarks), reconstruction)
    assert found.distance_mm == pytest.approx(base.distance_mm, rel=0.01)


def test_the_paper_protocol_is_metric_and_deng_s_and_now_s_are_not(
    make_face: Faces, face_landmarks: np.ndarray, reconstruction: AnnotatedMesh, base: PairResult
) -> None:
    truth = AnnotatedMesh(make_face(121, 121), face_landmarks)
    larger = AnnotatedMesh(
        Mesh(reconstruction.mesh.vertices * 1.05, reconstruction.mesh.triangles), reconstruction.landmarks_mm * 1.05
    )
    found = evaluate_scan(PAPER, truth, larger)
    assert abs(found.distance_mm - base.distance_mm) > 0.1 * base.distance_mm
    assert base.scale == found.scale == 1.0
    for protocol in (DENG, NOW):
        own_scale, same = evaluate_scan(protocol, truth, larger), evaluate_scan(protocol, truth, reconstruction)
        assert own_scale.distance_mm == pytest.approx(same.distance_mm, rel=1e-3)
        assert own_scale.scale == pytest.approx(same.scale / 1.05, rel=1e-3)


def test_crops_are_in_real_millimetres(base: PairResult, make_face: Faces, face_landmarks: np.ndarray) -> None:
    assert base.crop_radius_mm == 95.0
    truth = AnnotatedMesh(make_face(121, 121), face_landmarks)
    deng, now = (evaluate_scan(protocol, truth, truth) for protocol in (DENG, NOW))
    assert deng.masked1 < base.masked1
    assert deng.pass2_mm is None
    eyes = np.linalg.norm(face_landmarks[36] - face_landmarks[45])
    nose = np.linalg.norm(face_landmarks[[39, 42]].mean(0) - face_landmarks[33])
    assert now.crop_radius_mm == pytest.approx(0.7 * (eyes + nose))


def test_what_cannot_be_measured_is_refused(
    make_face: Faces, face_landmarks: np.ndarray, reconstruction: AnnotatedMesh
) -> None:
    scan = make_face(61, 61)
    truth = AnnotatedMesh(scan, face_landmarks)
    huge = AnnotatedMesh(Mesh(scan.vertices * 1000, scan.triangles), face_landmarks * 1000)
    with pytest.raises(UnitsError, match="1000 times as large"):
        evaluate_scan(PAPER, truth, huge)
    unknown = np.full((68, 3), np.nan)
    with pytest.raises(DegeneratePointsError, match="landmarks known on both"):
        evaluate_scan(PAPER, truth, AnnotatedMesh(scan, unknown))
    with pytest.raises(UnsupportedInputError, match="landmark 30"):
        evaluate_scan(PAPER, AnnotatedMesh(scan, unknown), reconstruction)
    with pytest.raises(DegeneratePointsError, match="no surface"):
        evaluate_scan(PAPER, AnnotatedMesh(scan, face_landmarks + 400), reconstruction)
