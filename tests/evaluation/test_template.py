from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.template import (
    StoredTemplate,
    load_template,
    save_template,
    template_from_model,
    template_from_obj,
    whole_template,
)
from ops.errors import ConfigurationError, UnitsError
from ops.faceworld.shape import faceworld_model
from ops.geometry.mesh import Mesh, write_obj
from ops.registration.register import Template


@pytest.fixture
def part(template: Template) -> StoredTemplate:
    """The template as every vertex but the last two rows of a larger model."""
    count = len(template.mesh.vertices)
    return StoredTemplate(template=template, model_vertex_count=count + 10, model_vertices=np.arange(count) + 5)


def test_what_is_stored_comes_back(part: StoredTemplate, tmp_path: Path) -> None:
    save_template(part, tmp_path / "t.npz")
    found = load_template(tmp_path / "t.npz")
    np.testing.assert_array_equal(found.template.mesh.vertices, part.template.mesh.vertices)
    np.testing.assert_array_equal(found.template.landmarks, part.template.landmarks)
    np.testing.assert_array_equal(found.model_vertices, part.model_vertices)
    assert found.template.modes_mm is None
    (tmp_path / "bad.npz").write_text("no")
    for name in ("bad.npz", "gone.npz"):
        with pytest.raises(ConfigurationError, match="ganfit register-micc"):
            load_template(tmp_path / name)


def test_meshes_of_the_whole_model_are_cut_down_and_others_left_alone(part: StoredTemplate) -> None:
    own = part.template.mesh
    whole = np.concatenate((np.zeros((5, 3)), own.vertices, np.ones((5, 3))))
    triangles = own.triangles + 5
    np.testing.assert_array_equal(part.adopt(Mesh(whole, triangles)).vertices, own.vertices)
    with_seams = np.concatenate((whole, whole[[7, 8]]))
    np.testing.assert_array_equal(part.adopt(Mesh(with_seams, triangles)).triangles, own.triangles)
    foreign = Mesh(np.concatenate((whole, whole[[7, 8]] + 100)), triangles)
    assert part.adopt(foreign) is foreign
    small = Mesh(own.vertices[:50], own.triangles[:0])
    assert part.adopt(small) is small
    assert part.adopt(own) is own


def test_an_obj_in_either_unit(template: Template, tmp_path: Path) -> None:
    (tmp_path / "lm.txt").write_text(", ".join(map(str, template.landmarks.tolist())))
    for factor in (1.0, 0.01):
        write_obj(tmp_path / "t.obj", Mesh(template.mesh.vertices * factor, template.mesh.triangles))
        found = template_from_obj(tmp_path / "t.obj", tmp_path / "lm.txt")
        np.testing.assert_allclose(found.mesh.vertices, template.mesh.vertices, atol=1e-3)
    write_obj(tmp_path / "t.obj", Mesh(template.mesh.vertices / 1000, template.mesh.triangles))
    with pytest.raises(UnitsError, match="outer eye corners"):
        template_from_obj(tmp_path / "t.obj", tmp_path / "lm.txt")
    (tmp_path / "lm.txt").write_text("1 2 3")
    with pytest.raises(ConfigurationError, match="got 3"):
        template_from_obj(tmp_path / "t.obj", tmp_path / "lm.txt")


@pytest.mark.models
def test_the_face_of_a_shape_model(model_dir: Path) -> None:
    from ops.importers.ict import import_ict

    model = import_ict(model_dir / "ict_facekit_face.npz")
    stored = template_from_model(model)
    assert len(stored.template.mesh.vertices) == int(model.regions["face"].sum()) == 9409
    landmarks = model.mean_mm[model.landmarks].double().numpy()
    np.testing.assert_allclose(stored.template.landmarks_mm, landmarks)
    whole = whole_template(stored.template)
    assert whole.model_vertex_count == 9409


def test_a_models_modes_come_along_one_standard_deviation_each(tmp_path: Path) -> None:
    model = faceworld_model()
    made = template_from_model(model)
    save_template(made, tmp_path / "t.npz")
    modes = load_template(tmp_path / "t.npz").template.modes_mm
    assert modes is not None
    assert modes.shape == (model.identity_size + model.expression_size, len(made.model_vertices), 3)
    identity = torch.zeros(model.identity_size)
    identity[3] = -2.0
    vertices = model.vertices_mm(identity, torch.zeros(model.expression_size)).numpy()[made.model_vertices]
    np.testing.assert_allclose(made.template.mesh.vertices - 2 * modes[3], vertices, atol=1e-4)
