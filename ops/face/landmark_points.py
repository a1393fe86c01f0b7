"""Which surface points the 68 landmarks stand for, given where the camera is."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.face.landmark_parts import CHIN
from ops.face.morphable_model import MorphableModel, MorphablePoints
from ops.geometry.camera import Camera, project_points

JAW = 17


class LandmarkSurface(NamedTuple):
    """Points on the surface of a morphable model: each a weighted mean of a few vertices.

    They are candidates in the order of `landmark_vertices`.
    """

    corners: Int64[Tensor, "candidate corner"]
    """Vertex indices."""
    weights: Float[Tensor, "candidate corner"]
    """One row sums to 1."""

    def points_mm(self, vertices_mm: Float[Tensor, "*batch vertex 3"]) -> Float[Tensor, "*batch candidate 3"]:
        """The points of every face; differentiable."""
        return (vertices_mm[..., self.corners, :] * self.weights.unsqueeze(-1)).sum(-2)

    def of(self, shape: MorphableModel) -> MorphablePoints:
        """The model restricted to these points."""
        return MorphablePoints(
            mean_mm=self.points_mm(shape.mean_mm),
            identity_basis_mm=self.points_mm(shape.identity_basis_mm).contiguous(),
            expression_basis_mm=self.points_mm(shape.expression_basis_mm).contiguous(),
        )


def landmark_surface(shape: MorphableModel) -> LandmarkSurface:
    """The candidates at the model's own vertices."""
    vertices = landmark_vertices(shape).unsqueeze(1)
    return LandmarkSurface(vertices, torch.ones_like(vertices, dtype=shape.mean_mm.dtype))


def landmark_vertices(shape: MorphableModel) -> Int64[Tensor, " candidate"]:
    """Vertices `choose_landmarks` needs, in its order: landmarks 17..67, then the jaw's candidates row by row."""
    return torch.cat((shape.landmarks[JAW:], shape.jaw_candidates.flatten()))


def landmark_of_candidate(candidates: int) -> Int64[Tensor, " candidate"]:
    """Which of the 68 landmarks every candidate, in the order of `landmark_vertices`, belongs to."""
    rows = (candidates - (68 - JAW)) // JAW
    return torch.cat((torch.arange(JAW, 68), torch.arange(JAW).repeat_interleave(rows)))


def choose_candidates(points_mm: Float[Tensor, "image candidate 3"], camera: Camera) -> Int64[Tensor, "image 68"]:
    """Which candidates are the 68 points as this camera sees them.

    The jaw line people annotate is the outline, so among the candidates of a jaw landmark the one that lies
    outermost in the picture is taken: to the left of the nose for rows 0..7, to its right for rows 9..16. The chin
    keeps its vertex.
    """
    inner = 68 - JAW
    with torch.no_grad():
        x = project_points(camera, points_mm[:, inner:])[..., 0].unflatten(1, (JAW, -1))
        outward = torch.ones(JAW, dtype=x.dtype, device=x.device)
        outward[:CHIN].fill_(-1)
        outward[CHIN].fill_(0)
        chosen = (x * outward.unsqueeze(-1)).argmax(-1)
        row = inner + x.shape[-1] * torch.arange(JAW, device=x.device)
        fixed = torch.arange(inner, device=x.device).expand(len(x), -1)
    return torch.cat((row + chosen, fixed), 1)


def choose_landmarks(points_mm: Float[Tensor, "image candidate 3"], camera: Camera) -> Float[Tensor, "image 68 3"]:
    """The 68 points as this camera sees them; the choice itself carries no gradient."""
    index = choose_candidates(points_mm, camera).unsqueeze(-1).expand(-1, -1, 3)
    return points_mm.gather(1, index)
