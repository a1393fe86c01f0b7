import torch

from ops.geometry.camera import Camera
from ops.geometry.projection import clip_from_world, transform_points_plain
from ops.geometry.topology import Topology
from ops.render.rasterize.cpu import rasterize_cpu
from ops.render.rasterize.plain import interpolation_weights, rasterize_plain

Mesh = tuple[torch.Tensor, Topology]


def test_agrees_with_the_compiled_rasteriser(sphere_mesh: Mesh, cameras: Camera) -> None:
    vertices, topology = sphere_mesh
    clip = transform_points_plain(clip_from_world(cameras), vertices.expand(3, -1, -1)).float()
    expected = rasterize_cpu(clip, topology.triangles, 60, 50)
    found = rasterize_plain(clip.double(), topology.triangles, 60, 50)
    assert found.dtype == torch.float64
    assert (expected[..., 3] > 0).any()
    torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=0)


def test_gradients_of_the_weights(rng: torch.Generator) -> None:
    xy = torch.tensor([[-2.0, -2], [1.2, -1], [-1, 1.2], [2, 3]], dtype=torch.float64)
    depth = 1 + torch.rand(2, 4, 1, generator=rng, dtype=torch.float64)
    clip = torch.cat((xy * depth, torch.zeros_like(depth), depth), -1).requires_grad_()
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
    seen = rasterize_plain(clip.detach(), triangles, 3, 4)[..., 3].long() - 1
    seen[0, 0, 0] = -1
    assert set(seen.unique().tolist()) == {-1, 0, 1}
    assert torch.autograd.gradcheck(lambda c: interpolation_weights(c, triangles, seen), clip)


def test_a_pixel_that_sees_nothing_passes_no_gradient() -> None:
    clip = torch.zeros(1, 3, 4, dtype=torch.float64, requires_grad=True)
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    pixels = rasterize_plain(clip, triangles, 4, 4)
    assert not pixels.any()
    pixels.sum().backward()
    assert clip.grad is not None
    assert not clip.grad.any()
