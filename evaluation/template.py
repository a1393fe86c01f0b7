"""The template that is registered to scans: made from a shape model or an OBJ, stored beside the registrations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int

from ops.errors import ConfigurationError, GanfitError, UnitsError
from ops.face.landmark_parts import outer_eye_distance
from ops.face.morphable_model import MorphableModel
from ops.geometry.mesh import Mesh, read_mesh, submesh
from ops.registration.register import Template

LANDMARK_COUNT = 68
EXPRESSION_DEVIATION = {"gaussian": 0.5, "blendshape": 0.15}
"""Of the expression coefficients of people who sit for a scan."""
EYE_DISTANCE_MM = (60.0, 130.0)


@dataclass(frozen=True, kw_only=True)
class StoredTemplate:
    """A template and, where it is a part of a model, which vertices of the whole model it is made of."""

    template: Template
    model_vertex_count: int
    model_vertices: Int[np.ndarray, " vertex"]

    def adopt(self, mesh: Mesh) -> Mesh:
        """A mesh of the whole model cut down to the template; any other mesh as it is.

        Vertices beyond the model's, as files that repeat vertices on texture seams have them, are dropped.
        """
        count = len(mesh.vertices)
        if count == len(self.template.mesh.vertices) or count < self.model_vertex_count:
            return mesh
        seams = count > self.model_vertex_count
        if (
            seams
            and not np.isin(mesh.vertices[self.model_vertex_count :], mesh.vertices[: self.model_vertex_count]).all()
        ):
            return mesh
        return Mesh(mesh.vertices[self.model_vertices], self.template.mesh.triangles)


def whole_template(template: Template) -> StoredTemplate:
    """A template that is all of its model."""
    count = len(template.mesh.vertices)
    return StoredTemplate(template=template, model_vertex_count=count, model_vertices=np.arange(count))


def template_from_model(model: MorphableModel) -> StoredTemplate:
    """The mean face of a shape model, its `face` region only."""
    whole = Mesh(model.mean_mm.double().cpu().numpy(), model.triangles.int().cpu().numpy())
    mesh, index = submesh(whole, model.regions["face"].cpu().numpy())
    new_from_old = np.full(len(whole.vertices), -1, dtype=np.int64)
    new_from_old[index] = np.arange(len(index))
    landmarks = new_from_old[model.landmarks.cpu().numpy()]
    if (landmarks < 0).any():
        raise ConfigurationError(
            f"expected all 68 landmarks inside the model's face region, landmark {int(landmarks.argmin())} is outside"
        )
    return StoredTemplate(
        template=Template(mesh=mesh, landmarks=landmarks, modes_mm=_modes(model, index)),
        model_vertex_count=len(whole.vertices),
        model_vertices=index,
    )


def _modes(model: MorphableModel, vertices: Int[np.ndarray, " vertex"]) -> Float32[np.ndarray, "mode vertex 3"]:
    """Identity and expression at some vertices, one standard deviation a mode."""
    expression = EXPRESSION_DEVIATION[model.metadata.expression_kind] * model.expression_basis_mm
    modes = torch.cat((model.identity_basis_mm, expression))[:, torch.from_numpy(vertices)]
    return np.ascontiguousarray(modes.float().cpu().numpy())


def template_from_obj(mesh_path: Path, landmarks_path: Path) -> Template:
    """A mesh in millimetres, or in units of 100 mm, with a text file of its 68 landmark vertices (from 0, iBUG order).

    Raises:
        ConfigurationError: not 68 vertex numbers.
        UnitsError: an outer-eye distance that neither unit explains.
    """
    mesh = read_mesh(mesh_path)
    try:
        landmarks = np.array(landmarks_path.read_text().replace(",", " ").split(), dtype=np.int64)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{landmarks_path}: expected {LANDMARK_COUNT} vertex numbers ({error})") from error
    if landmarks.shape != (LANDMARK_COUNT,):
        raise ConfigurationError(f"{landmarks_path}: expected {LANDMARK_COUNT} vertex numbers, got {landmarks.size}")
    template = Template(mesh=mesh, landmarks=landmarks)
    eyes = outer_eye_distance(template.landmarks_mm)
    for factor in (1.0, 100.0):
        if EYE_DISTANCE_MM[0] <= eyes * factor <= EYE_DISTANCE_MM[1]:
            return Template(mesh=Mesh(mesh.vertices * factor, mesh.triangles), landmarks=landmarks)
    raise UnitsError(
        f"{mesh_path}: the outer eye corners are {eyes:.4g} apart; expected about 90 (mm) or 0.9 (units of 100 mm)"
    )


def save_template(stored: StoredTemplate, path: Path) -> None:
    """Write vertices and modes (mm), triangles, landmarks and the place in the model as .npz."""
    arrays: dict[str, Any] = {
        "vertices_mm": stored.template.mesh.vertices,
        "triangles": stored.template.mesh.triangles,
        "landmarks": stored.template.landmarks,
        "model_vertex_count": stored.model_vertex_count,
        "model_vertices": stored.model_vertices,
    }
    if stored.template.modes_mm is not None:
        arrays["modes_mm"] = stored.template.modes_mm
    np.savez(path, **arrays)


def load_template(path: Path) -> StoredTemplate:
    """Read what `save_template` wrote.

    Raises:
        ConfigurationError: missing or another kind of file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            mesh = Mesh(stored["vertices_mm"].astype(np.float64), stored["triangles"].astype(np.int32))
            modes = stored["modes_mm"] if "modes_mm" in stored.files else None
            return StoredTemplate(
                template=Template(mesh=mesh, landmarks=stored["landmarks"].astype(np.int64), modes_mm=modes),
                model_vertex_count=int(stored["model_vertex_count"]),
                model_vertices=stored["model_vertices"].astype(np.int64),
            )
    except (OSError, ValueError, KeyError, GanfitError) as error:
        raise ConfigurationError(f"{path}: expected a template written by ganfit register-micc ({error})") from error
