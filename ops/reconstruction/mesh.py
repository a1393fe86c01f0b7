"""Meshes of reconstructed people."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.face.morphable_model import MorphableModel
from ops.geometry.camera import camera_from_vector
from ops.geometry.gltf import MorphTargets
from ops.geometry.mesh_io import TexturedMesh

Coefficients = Sequence[float] | Float[np.ndarray, " _"]


def face_mesh(
    shape: MorphableModel,
    identity: Coefficients,
    expression: Coefficients | None,
    texture_rgb: UInt8[np.ndarray, "row column 3"],
) -> TexturedMesh:
    """The mesh of some coefficients, in the model's frame; None is the neutral face."""
    vertices, triangles, uv, uv_triangles = (
        array.detach().cpu().numpy()
        for array in (_vertices(shape, identity, expression), shape.triangles, shape.uv, shape.uv_triangles)
    )
    return TexturedMesh(vertices, triangles, uv, uv_triangles, texture_rgb)


def expression_morphs(shape: MorphableModel, modes: Sequence[int], weights: Coefficients) -> MorphTargets:
    """Some expression modes as morph targets of the neutral mesh, opened with their weights."""
    kind = shape.metadata.expression_kind
    unit = {"gaussian": "standard deviations", "blendshape": "weights, 0 to 1"}[kind]
    return MorphTargets(
        tuple(f"expression_{number:03d}" for number in modes),
        shape.expression_basis_mm[list(modes)].cpu().numpy(),
        tuple(float(weight) for weight in weights),
        {"model": shape.metadata.name, "expression_kind": kind, "weights_unit": unit},
    )


def visible_landmarks(
    shape: MorphableModel, identity: Coefficients, expression: Coefficients, camera: Float[np.ndarray, "8"]
) -> Float[np.ndarray, "68 3"]:
    """The 68 landmarks of a face as a camera sees them, millimetres in the model's frame."""
    points = _vertices(shape, identity, expression)[landmark_vertices(shape)].unsqueeze(0)
    seen_by = camera_from_vector(points.new_tensor(camera).unsqueeze(0))
    return choose_landmarks(points, seen_by)[0].cpu().numpy()


def _vertices(
    shape: MorphableModel, identity: Coefficients, expression: Coefficients | None
) -> Float[torch.Tensor, "vertex 3"]:
    coefficients = shape.mean_mm.new_tensor(np.asarray(identity))
    if expression is None:
        posed = coefficients.new_zeros(shape.expression_size)
    else:
        posed = coefficients.new_tensor(np.asarray(expression))
    return shape.vertices_mm(coefficients, posed)
