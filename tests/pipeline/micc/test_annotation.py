from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import UnreadableInputError, UnsupportedInputError
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import sample_person
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.geometry.mesh import Mesh, write_obj
from ops.reconstruction.mesh import face_mesh
from ops.registration.textured_scan import read_textured_scan
from ops.weights.bundle import resolve_bundle
from pipeline.micc.annotation import Annotator


@pytest.mark.slow
def test_landmarks_of_a_textured_scan_are_found_where_they_are(tmp_path: Path) -> None:
    model = faceworld_model()
    person = sample_person(model, AlbedoPainter(faceworld_canonical_map(256)), (5, 1))
    albedo = (person.texture.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    face_mesh(model, person.identity.numpy(), None, albedo).write(tmp_path / "scan.obj")
    found = Annotator(bundle=resolve_bundle("embedded"))(tmp_path / "scan.obj")
    vertices = model.vertices_mm(person.identity, torch.zeros(model.expression_size)).double().numpy()
    wanted = vertices[model.landmarks.numpy()]
    assert np.isnan(found[:17]).all()
    distance_mm = np.linalg.norm(found[17:] - wanted[17:], axis=1)
    assert np.median(distance_mm) < 3.0
    assert distance_mm.max() < 10.0


def test_a_scan_without_a_picture_or_without_a_mesh_is_refused(tmp_path: Path) -> None:
    write_obj(tmp_path / "bare.obj", Mesh(np.eye(3), np.array([[0, 1, 2]], dtype=np.int32)))
    with pytest.raises(UnsupportedInputError, match="expected a textured mesh"):
        read_textured_scan(tmp_path / "bare.obj")
    (tmp_path / "broken.glb").write_bytes(b"no mesh")
    with pytest.raises(UnreadableInputError, match="not a readable mesh"):
        read_textured_scan(tmp_path / "broken.glb")
