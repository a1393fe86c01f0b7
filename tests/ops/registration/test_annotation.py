from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ops.errors import GeometryError
from ops.geometry.mesh import Mesh
from ops.registration.annotation import TexturedScan, annotate_scan, render_view
from ops.registration.register import RegistrationConfig, Template, register_scan


def painted(template: Template) -> TexturedScan:
    """The bulged sheet, red growing to the right and green growing upwards."""
    mesh = template.mesh
    low, high = mesh.vertices[:, :2].min(0), mesh.vertices[:, :2].max(0)
    uv = (mesh.vertices[:, :2] - low) / (high - low)
    ramp = np.linspace(0, 255, 256).astype(np.uint8)
    picture = np.zeros((256, 256, 3), dtype=np.uint8)
    picture[..., 0] = ramp[None]
    picture[..., 1] = ramp[::-1, None]
    return TexturedScan(mesh, uv, picture)


def test_a_view_shows_the_texture_where_the_surface_is(face_template: Template) -> None:
    scan = painted(face_template)
    view = render_view(scan, 0.0)
    hit = np.isfinite(view.points[..., 0])
    assert 0.1 < hit.mean() < 0.9
    points, colours = view.points[hit], view.image[hit].astype(float)
    low, high = scan.mesh.vertices[:, :2].min(0), scan.mesh.vertices[:, :2].max(0)
    expected = 255 * (points[:, :2] - low) / (high - low)
    np.testing.assert_allclose(colours[:, :2], expected, atol=3)
    assert (view.image[~hit] == 128).all()
    rows, columns = np.nonzero(hit)
    assert np.corrcoef(rows, points[:, 1])[0, 1] < -0.9
    assert np.corrcoef(columns, points[:, 0])[0, 1] > 0.9


def test_landmarks_seen_in_every_view_are_lifted_to_where_they_are(face_template: Template) -> None:
    scan = painted(face_template)
    wanted = face_template.landmarks_mm

    def find(image: np.ndarray) -> np.ndarray | None:
        """Reads positions off the colours: the pixel painted most like each landmark."""
        low, high = scan.mesh.vertices[:, :2].min(0), scan.mesh.vertices[:, :2].max(0)
        colours = 255 * (wanted[:, :2] - low) / (high - low)
        face = (image != 128).any(-1)
        rows, columns = np.nonzero(face)
        pixels = image[face][:, :2].astype(float)
        best = np.array([np.abs(pixels - colour).sum(1).argmin() for colour in colours])
        return np.stack((columns[best], rows[best]), 1) + 0.5

    found = annotate_scan(scan, find, yaws_deg=(-10.0, 0.0, 10.0))
    assert np.isnan(found[:17]).all()
    assert np.linalg.norm(found[17:] - wanted[17:], axis=1).max() < 3.0


def test_a_scan_without_a_face_is_refused(face_template: Template) -> None:
    with pytest.raises(GeometryError, match="found in 0 of 2"):
        annotate_scan(painted(face_template), lambda image: None, yaws_deg=(0.0, 10.0))


@pytest.mark.models
def test_a_real_scan_registers_from_detected_landmarks(model_dir: Path) -> None:
    import trimesh

    from ops.importers.ict import import_ict
    from ops.networks.detector import load_scrfd
    from ops.networks.landmarks import load_pfld

    folder = model_dir.parent / "scans" / "lee_perry_smith"
    if not folder.is_dir():
        pytest.skip(f"needs the head scan in {folder}")
    loaded = trimesh.load(folder / "LeePerrySmith.glb", process=False)
    assert isinstance(loaded, trimesh.Scene)
    head = loaded.to_mesh()
    picture = np.asarray(Image.open(folder / "color.jpg").convert("RGB"))[::-1]
    mesh = Mesh(np.asarray(head.vertices, dtype=np.float64), np.asarray(head.faces, dtype=np.int32))
    scan = TexturedScan(mesh, np.asarray(head.visual.uv, dtype=np.float64), np.ascontiguousarray(picture))
    detector, network = load_scrfd(model_dir / "scrfd_500m.onnx"), load_pfld(model_dir / "pfld_68.onnx")

    def find(image: np.ndarray) -> np.ndarray | None:
        faces = detector(image)
        if len(faces.scores) == 0:
            return None
        return network(image, faces.boxes_xyxy_px[:1], faces.points_px[:1])[0].astype(np.float64)

    landmarks = annotate_scan(scan, find)
    # The scan's unit is arbitrary: 90 mm between the outer corners of the eyes.
    to_mm = 90.0 / np.linalg.norm(landmarks[36] - landmarks[45])
    model = import_ict(model_dir / "ict_facekit_face.npz")
    face = model.regions["face"].numpy()
    assert face[: int(face.sum())].all()
    triangles = model.triangles.int().numpy()
    template = Template(
        mesh=Mesh(model.mean_mm.double().numpy()[face], triangles[face[triangles].all(1)]),
        landmarks=model.landmarks.numpy(),
    )
    found = register_scan(
        template, Mesh(mesh.vertices * to_mm, mesh.triangles), landmarks * to_mm, RegistrationConfig()
    )
    assert found.quality.residual_mm < 0.2
    assert found.quality.matched_share > 0.9
    assert found.quality.flipped_share < 2e-3
