import pytest
import torch

from ops.render.interpolation import interpolate_attributes
from ops.render.rasterize import select_rasterizer
from tests.ops.conftest import Mesh


def test_positions_are_interpolated_where_a_plain_sum_puts_them(bumpy_mesh: Mesh) -> None:
    vertices, topology = bumpy_mesh
    points = vertices.float()
    clip = torch.cat((points / 90, torch.ones(len(points), 1)), -1).unsqueeze(0) * torch.tensor([1, 1, -0.5, 1.0])
    pixels = select_rasterizer(clip.device, clip.dtype)(clip, topology.triangles, 24, 24)
    found = interpolate_attributes(pixels, topology.triangles, points.unsqueeze(0))
    seen = pixels[..., 3] > 0
    assert bool(seen.any())
    assert not bool(seen.all())
    weights = torch.cat((pixels[..., :2], 1 - pixels[..., :2].sum(-1, keepdim=True)), -1)[seen]
    corners = topology.triangles.long()[pixels[..., 3].long()[seen] - 1]
    torch.testing.assert_close(found[seen], (points[corners] * weights.unsqueeze(-1)).sum(-2), atol=1e-4, rtol=1e-5)
    assert not bool(found[~seen].any())


def test_triangles_beyond_the_attributes_are_refused() -> None:
    pixels = torch.zeros(1, 2, 2, 4)
    with pytest.raises(ValueError, match="triangles"):
        interpolate_attributes(pixels, torch.tensor([[0, 1, 5]], dtype=torch.int32), torch.zeros(1, 3, 2))
