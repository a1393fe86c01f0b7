"""Where the texels of a shape model's textures lie on its surface, and which of them mirror each other."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ops.face.morphable_model import MorphableModel
from ops.render.rasterize import select_rasterizer
from ops.texture.layout import ATLAS_LAYOUT, EYEBALL_PARTS, spot_of_texels, spot_of_triangles

MIRROR_TOLERANCE_MM = 2.0
"""Texels mirror each other where the mean face's points there do so up to this distance."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """The texels of textures of one side on one layout; row 0 lies at v = 1."""

    corners: Int64[Tensor, "side side 3"]
    """Vertices of the triangle that covers a texel's centre; of any one where none does."""
    weights: Float[Tensor, "side side 3"]
    """Barycentric coordinates of the centre."""
    covered: Bool[Tensor, "side side"]
    """Texels on a triangle of the face or of an eyeball."""
    eyeballs: Bool[Tensor, "side side"]
    """Texels of eyeballs, where the model has them as parts of their own."""
    mirrored: Bool[Tensor, "side side"]
    """Texels whose mirror image in the layout (column i and side - 1 - i) is that on the face."""
    spots: Int64[Tensor, "side side"]
    """The spot, counted from 1, from which teeth or the inside of the mouth have their one colour; 0 elsewhere."""
    spot_of_triangles: Int64[Tensor, " triangle"]
    """The spot that a triangle of the shape model has its colour from; 0 for the others."""

    @property
    def side(self) -> int:
        """Texels along an edge."""
        return self.covered.shape[0]

    @property
    def face(self) -> Bool[Tensor, "side side"]:
        """Texels of the face: skin, lips, brows; not eyeballs, teeth or the inside of the mouth."""
        return self.covered & ~self.eyeballs

    def to(self, device: torch.device | str) -> "Atlas":
        """The same texels on another device."""
        return Atlas(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def at(self, values: Float[Tensor, "vertex channel"]) -> Float[Tensor, "side side channel"]:
        """Values of vertices at the texels' centres."""
        return (values[self.corners] * self.weights.unsqueeze(-1)).sum(-2)


def make_atlas(shape: MorphableModel, side: int) -> Atlas:
    """The texels of a shape model's layout.

    Where the model names parts of itself as ICT-FaceKit does, the face is its part `face` and eyeballs are parts of
    their own; else all of it is face.
    """
    names = shape.region_names
    part = torch.zeros(len(shape.triangles), dtype=torch.int64)
    facial, eyes = torch.ones_like(part, dtype=torch.bool), torch.zeros_like(part, dtype=torch.bool)
    if shape.triangle_regions is not None and "face" in names:
        part = shape.triangle_regions.cpu().long()
        facial = part == names.index("face")
        eyes = torch.tensor([name.startswith(EYEBALL_PARTS) for name in names])[part]
    drawn = torch.nonzero(facial | eyes).squeeze(1)
    uv = shape.uv.cpu().float()
    clip = torch.zeros(1, len(uv), 4)
    clip[0, :, :2], clip[0, :, 3] = 2 * uv - 1, 1
    rasterize = select_rasterizer(clip.device, clip.dtype)
    pixels = rasterize(clip, shape.uv_triangles.cpu()[drawn].contiguous(), side, side)[0]
    covered = pixels[..., 3] > 0
    triangle = drawn[(pixels[..., 3].long() - 1).clamp_min(0)]
    corners = shape.triangles.cpu().long()[triangle]
    weights = torch.cat((pixels[..., :2], 1 - pixels[..., :2].sum(-1, keepdim=True)), -1)
    point = (shape.mean_mm.cpu().float()[corners] * weights.unsqueeze(-1)).sum(-2)
    distance = (point.flip(1) * torch.tensor((-1.0, 1.0, 1.0)) - point).norm(dim=-1)
    on_layout = shape.metadata.uv_layout == ATLAS_LAYOUT
    near = covered & covered.flip(1) & (distance < MIRROR_TOLERANCE_MM)
    return Atlas(
        corners=corners,
        weights=weights,
        covered=covered,
        eyeballs=eyes[triangle] & covered,
        mirrored=near & near.flip(1),
        spots=spot_of_texels(side) if on_layout else torch.zeros(side, side, dtype=torch.int64),
        spot_of_triangles=spot_of_triangles(shape) if on_layout else torch.zeros_like(part),
    )
