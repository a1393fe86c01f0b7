"""Which surface points the 68 landmarks stand for, given where the camera is."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.face.morphable_model import MorphableModel
from ops.geometry.camera import Camera, project_points

JAW = 17
NOSE_TIP = 30
CHIN = 8


def landmark_vertices(shape: MorphableModel) -> Int64[Tensor, " candidate"]:
    """Vertices `choose_landmarks` needs, in its order: landmarks 17..67, then the jaw's candidates row by row."""
    return torch.cat((shape.landmarks[JAW:], shape.jaw_candidates.flatten()))


def choose_landmarks(points_mm: Float[Tensor, "image candidate 3"], camera: Camera) -> Float[Tensor, "image 68 3"]:
    """The 68 points as this camera sees them.

    The jaw line people annotate is the outline, so among the candidates of a jaw landmark the one that lies
    outermost in the picture is taken: to the left of the nose for rows 0..7, to its right for rows 9..16. The chin
    keeps its vertex. The choice itself carries no gradient.
    """
    inner = points_mm[:, : 68 - JAW]
    candidates = points_mm[:, 68 - JAW :].unflatten(1, (JAW, -1))
    with torch.no_grad():
        x = project_points(camera, points_mm[:, 68 - JAW :])[..., 0].unflatten(1, (JAW, -1))
        outward = torch.ones(JAW, dtype=x.dtype, device=x.device)
        outward[:CHIN].fill_(-1)
        outward[CHIN].fill_(0)
        chosen = (x * outward.unsqueeze(-1)).argmax(-1)
    index = chosen[..., None, None].expand(-1, -1, 1, 3)
    jaw = candidates.gather(2, index).squeeze(2)
    return torch.cat((jaw, inner), 1)
