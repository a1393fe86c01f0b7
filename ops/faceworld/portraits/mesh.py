"""What of a shape model is drawn in portraits: no more triangles and vertices than can be seen."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.face.dense_points import DensePoints
from ops.face.morphable_model import MorphableModel, MorphablePoints
from ops.geometry.mesh_normals import vertex_normals
from ops.geometry.topology import Topology

EYEBALLS = ("eyeball_l", "eyeball_r")
TURNED_AWAY = {"teeth": 0.3, "eyeball_l": 0.4, "eyeball_r": 0.4}
"""z of the normal below which a part's vertices are never seen."""


class PortraitMesh(NamedTuple):
    """A model cut to what is drawn."""

    points: MorphablePoints
    """The vertices that are left."""
    topology: Topology
    dense: Int64[Tensor, " point"]
    """Where the dense points are among them."""
    landmarks: Int64[Tensor, "68"]
    eyeballs: tuple[Int64[Tensor, " vertex"], ...]
    """Vertices of every eyeball, none for a model without."""
    recessed: Int64[Tensor, " vertex"]
    """Vertices of eyeballs, teeth and sockets, on which less light falls."""


def portrait_mesh(model: MorphableModel, dense: DensePoints) -> PortraitMesh:
    """Leave out the backs of eyeballs and teeth and renumber what stays."""
    normals = vertex_normals(model.mean_mm.float().unsqueeze(0), model.triangles)[0]
    hidden = torch.zeros(len(model.mean_mm), dtype=torch.bool)
    for part, least in TURNED_AWAY.items():
        if part in model.regions:
            hidden |= model.regions[part] & (normals[:, 2] < least)
    drawn = ~hidden[model.triangles.long()].any(1)
    used = torch.zeros_like(hidden)
    used[model.triangles[drawn].long().flatten()] = True
    used[dense.vertices] = True
    kept = torch.nonzero(used).flatten()
    number = torch.full((len(used),), -1, dtype=torch.int64)
    number[kept] = torch.arange(len(kept))
    return PortraitMesh(
        points=model.at_vertices(kept),
        topology=Topology(
            triangles=number[model.triangles[drawn].long()].int(), uv=model.uv, uv_triangles=model.uv_triangles[drawn]
        ),
        dense=number[dense.vertices],
        landmarks=number[model.landmarks],
        eyeballs=tuple(
            number[torch.nonzero(model.regions[n] & used).flatten()] for n in EYEBALLS if n in model.regions
        ),
        recessed=number[torch.nonzero(used & ~model.regions["skin"]).flatten()],
    )


def turn_eyes(
    vertices_mm: Float[Tensor, "vertex 3"], eyeballs: tuple[Int64[Tensor, " vertex"], ...], gaze: tuple[float, float]
) -> None:
    """Turn every eyeball about its middle, in place; yaw > 0 looks to the subject's left, pitch > 0 up, radians."""
    yaw, pitch = torch.tensor(gaze)
    cy, sy, cp, sp = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin()
    zero, one = torch.zeros(()), torch.ones(())
    about_y = torch.stack((cy, zero, sy, zero, one, zero, -sy, zero, cy)).view(3, 3)
    about_x = torch.stack((one, zero, zero, zero, cp, sp, zero, -sp, cp)).view(3, 3)
    turn = about_y @ about_x
    for ball in eyeballs:
        corner = vertices_mm[ball]
        # Only the front half is left of the ball, so its centre is its radius behind the foremost vertex.
        middle = (corner.amax(0) + corner.amin(0)) / 2
        radius = (corner[:, :2].amax(0) - corner[:, :2].amin(0)).max() / 2
        middle[2] = corner[:, 2].max() - radius
        vertices_mm[ball] = (corner - middle) @ turn.T + middle
