"""Points all over a shape model's face: its landmarks, what may carry its jaw line, and vertices spread in between."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from scipy.spatial import KDTree
from torch import Tensor

from ops.errors import ConfigurationError
from ops.face.landmark_parts import CHIN, NASION
from ops.face.landmark_points import JAW
from ops.face.morphable_model import LANDMARK_COUNT, MorphableModel
from ops.geometry.mesh_normals import vertex_normals

DENSE_POINT_COUNT = 320
SMALLEST_FRONT = 0.2
"""z of the unit normal from which a vertex of the mean face counts as front."""
FOREHEAD_MM = 50.0
"""How far above the nasion points lie at most: hair covers what is higher."""
MIDLINE_MM = 0.5
"""A vertex so near to the plane of symmetry is its own partner."""
MIRROR = torch.tensor((-1.0, 1.0, 1.0), dtype=torch.float64)


class DensePoints(NamedTuple):
    """Which vertices the points are.

    The first 68 are the landmarks in iBUG order, then come the jaw's other candidates, then vertices of the front of
    the face by farthest-point sampling, in pairs of a right and a left one.
    """

    vertices: Int64[Tensor, " point"]
    mirrored: Int64[Tensor, " point"]
    """Which point each becomes in a mirrored picture."""
    jaw: Int64[Tensor, "17 candidate"]
    """Row i: the points that may carry jaw landmark i as the head turns; the first is i itself."""


class DenseSight(NamedTuple):
    """What a network sees of dense points in some aligned crops.

    They are vertices of the shape model, so nothing has to be known of what an annotator means by them (Wood et al.,
    ECCV 2022).
    """

    points: Float[Tensor, "image point 2"]
    """Crop sides."""
    deviations: Float[Tensor, "image point"]
    """Standard deviation of each coordinate by the network's own account, crop sides."""
    vertices: Int64[Tensor, " point"]
    """Of the shape model."""

    def rows(self, images: slice | Int64[Tensor, " row"]) -> "DenseSight":
        """Those of some images."""
        return DenseSight(self.points[images], self.deviations[images], self.vertices)

    def to(self, device: torch.device | str) -> "DenseSight":
        """The same on another device."""
        return DenseSight(*(value.to(device) for value in self))


def choose_dense_points(model: MorphableModel, count: int = DENSE_POINT_COUNT) -> DensePoints:
    """Spread `count` points over a symmetric shape model's face; a function of the model alone.

    Every point after the landmarks and the jaw's candidates is the vertex of the mean face farthest from those chosen
    before and from their mirror images (Gonzalez 1985), so that no part of the front stays empty.

    Raises:
        ConfigurationError: fewer points than landmarks and candidates, or more than the front has vertices.
    """
    mean = model.mean_mm.double()
    partner = _nearest(mean, mean * MIRROR)
    chosen: list[int] = model.landmarks.tolist()
    place = {vertex: index for index, vertex in reversed(list(enumerate(chosen)))}
    jaw = model.jaw_candidates.clone()
    for row, candidates in enumerate(model.jaw_candidates.tolist()):
        jaw[row, 0] = row
        for column, vertex in enumerate(candidates[1:], start=1):
            if vertex not in place:
                place[vertex] = len(chosen)
                chosen.append(vertex)
            jaw[row, column] = place[vertex]
    mirrored = _nearest(mean[chosen], mean[chosen] * MIRROR).tolist()
    if count < len(chosen):
        raise ConfigurationError(
            f"expected at least {len(chosen)} points, the landmarks and jaw candidates, got {count}"
        )
    front = _front(model)
    distance = torch.full((len(mean),), torch.inf, dtype=mean.dtype)
    for vertex in [*chosen, *partner[torch.tensor(chosen)].tolist()]:
        distance = torch.minimum(distance, (mean - mean[vertex]).norm(dim=-1))
    distance[~front] = -1
    while len(chosen) < count:
        single = mean[:, 0].abs() <= MIDLINE_MM
        ranked = distance.where(single, distance.new_tensor(-1)) if count - len(chosen) == 1 else distance
        vertex = int(ranked.argmax())
        if float(ranked[vertex]) <= 0:
            raise ConfigurationError(f"expected at most {len(chosen)} points on {model.metadata.name}, got {count}")
        pair = [vertex] if bool(single[vertex]) else [vertex, int(partner[vertex])]
        first = len(chosen)
        mirrored += [first] if len(pair) == 1 else [first + 1, first]
        for new in pair:
            chosen.append(new)
            distance = torch.minimum(distance, (mean - mean[new]).norm(dim=-1))
    return DensePoints(torch.tensor(chosen), torch.tensor(mirrored), jaw)


def outline_landmarks(
    points: Float[Tensor, "*batch point 2"], jaw: Int64[Tensor, "17 candidate"]
) -> Float[Tensor, "*batch 68 2"]:
    """The 68 landmarks as people annotate them: jaw points on the outline of the face.

    Of a jaw landmark's candidates the outermost is taken, to the left of the nose for rows 0..7 and to its right for
    rows 9..16, as `ops.face.landmark_points.choose_candidates` does with a camera; x runs across an upright face.
    """
    return points.gather(-2, outline_choice(points, jaw).unsqueeze(-1).expand(*points.shape[:-2], -1, 2))


def outline_choice(
    points: Float[Tensor, "*batch point 2"], jaw: Int64[Tensor, "17 candidate"]
) -> Int64[Tensor, "*batch 68"]:
    """Which points are the 68 landmarks; see `outline_landmarks`."""
    x = points[..., jaw, 0]
    outward = torch.ones(JAW, dtype=x.dtype, device=x.device)
    outward[:CHIN] = -1
    outward[CHIN] = 0
    best = (x * outward.unsqueeze(-1)).argmax(-1, keepdim=True)
    carried = jaw.to(x.device).expand(*best.shape[:-2], *jaw.shape).gather(-1, best).squeeze(-1)
    inner = torch.arange(JAW, LANDMARK_COUNT, device=x.device).expand(*carried.shape[:-1], -1)
    return torch.cat((carried, inner), -1)


def _nearest(points: Float[Tensor, "point 3"], places: Float[Tensor, "place 3"]) -> Int64[Tensor, " place"]:
    """The point nearest to every place."""
    return torch.from_numpy(KDTree(points.numpy()).query(places.numpy())[1])


def _front(model: MorphableModel) -> Tensor:
    """The vertices points may be taken from: skin that faces forwards, from the chin to the forehead."""
    mean = model.mean_mm.float()
    normals = vertex_normals(mean.unsqueeze(0), model.triangles)[0]
    region = model.regions.get("narrow_face", model.regions["face"]) & model.regions["skin"]
    height = mean[:, 1] - mean[model.landmarks[NASION], 1]
    chin = float(mean[model.landmarks[CHIN], 1] - mean[model.landmarks[NASION], 1])
    return region & (normals[:, 2] > SMALLEST_FRONT) & (height < FOREHEAD_MM) & (height > chin - 5.0)
