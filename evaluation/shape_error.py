"""How far a reconstructed identity is from a known one, in one model's topology."""

import torch
from jaxtyping import Float
from torch import Tensor

from ops.morphable_model import MorphableModel
from ops.similarity import fit_similarity, transform_points


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
