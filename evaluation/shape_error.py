"""How far a reconstructed identity is from a known one, in one model's topology."""

import torch
from jaxtyping import Float
from torch import Tensor

from evaluation.scan_protocols import PAPER, AnnotatedMesh, evaluate_scan
from ops.face.morphable_model import MorphableModel
from ops.geometry.mesh import Mesh
from ops.geometry.similarity import fit_similarity, transform_points


def neutral_face_error_mm(
    shape: MorphableModel,
    found: Float[Tensor, "person identity"],
    truth: Float[Tensor, "person identity"],
    region: str = "face",
) -> Float[Tensor, " person"]:
    """Mean vertex distance of the neutral faces after the best similarity of found onto true, millimetres.

    Scale is free, as one photo does not tell a face's size. `region` is one of the model's.
    """
    neutral = torch.zeros(found.shape[0], shape.expression_size, dtype=found.dtype)
    face = shape.regions[region]
    ours = shape.vertices_mm(found, neutral)[:, face].double()
    true = shape.vertices_mm(truth, neutral)[:, face].double()
    return (transform_points(fit_similarity(ours, true, with_scale=True), ours) - true).norm(dim=-1).mean(-1)


def neutral_surface_error_mm(
    shape: MorphableModel, found: Float[Tensor, "person identity"], truth: Float[Tensor, "person identity"]
) -> Float[Tensor, " person"]:
    """Symmetric point-to-plane distance of the neutral faces within 95 mm of the true nose tip, millimetres.

    The parts of the `paper` protocol, with the true neutral surface in the place of a scan: one rigid alignment and no
    scale, so that a face of the wrong size pays for it.

    Raises:
        GanfitError: see `evaluation.scan_protocols.evaluate_scan`.
    """
    landmarks = shape.landmarks.cpu().numpy()
    triangles = shape.triangles.int().cpu().numpy()

    def neutral(identity: Float[Tensor, " identity"]) -> AnnotatedMesh:
        expression = torch.zeros(shape.expression_size, dtype=identity.dtype)
        vertices = shape.vertices_mm(identity, expression).double().cpu().numpy()
        return AnnotatedMesh(Mesh(vertices, triangles), vertices[landmarks])

    pairs = zip(map(neutral, found), map(neutral, truth), strict=True)
    return torch.tensor([evaluate_scan(PAPER, true, ours).distance_mm for ours, true in pairs], dtype=torch.float64)
