from collections.abc import Callable

import pytest
import torch

from ops.geometry.mesh_normals import vertex_normals, vertex_normals_plain
from ops.geometry.topology import Topology

Mesh = tuple[torch.Tensor, Topology]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_of_a_sphere_point_outwards(sphere_mesh: Mesh, dtype: torch.dtype) -> None:
    vertices, topology = sphere_mesh
    normals = vertex_normals(vertices[None].to(dtype), topology.triangles)
    cosine = (normals[0].double() * vertices / 100).sum(-1)
    assert cosine.min() > 0.9995
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones_like(normals[..., 0]))


def test_large_triangles_weigh_more() -> None:
    # Around the corner at the origin: area 2 in the plane z = 0, area 1 / 2 in the plane x = 0.
    vertices = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 0.5]]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    expected = torch.nn.functional.normalize(torch.tensor([1.0, 0, 4]), dim=0)
    torch.testing.assert_close(vertex_normals(vertices, triangles)[0, 0], expected)


def test_fused_and_plain_agree_in_values_and_gradients(bumpy_mesh: Mesh, rng: torch.Generator) -> None:
    vertices = bumpy_mesh[0] + torch.randn(3, *bumpy_mesh[0].shape, generator=rng, dtype=torch.float64)
    weights = torch.randn(vertices.shape, generator=rng, dtype=torch.float64)
    exact, fused = vertices.clone().requires_grad_(), vertices.float().requires_grad_()
    expected = vertex_normals_plain(exact, bumpy_mesh[1].triangles)
    found = vertex_normals(fused, bumpy_mesh[1].triangles)
    torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=0)
    (expected * weights).sum().backward()
    (found * weights.float()).sum().backward()
    assert exact.grad is not None
    assert fused.grad is not None
    torch.testing.assert_close(fused.grad.double(), exact.grad, atol=2e-5 * float(exact.grad.abs().max()), rtol=0)


def test_gradients_of_the_plain_form(rng: torch.Generator) -> None:
    vertices = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64).requires_grad_()
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3], [3, 4, 2]], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda v: vertex_normals_plain(v, triangles), vertices)


@pytest.mark.parametrize("normals_of", [vertex_normals, vertex_normals_plain])
def test_what_has_no_area_has_no_normal(normals_of: Callable[..., torch.Tensor]) -> None:
    nan = float("nan")
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [3, 0, 0], [nan, 0, 0], [9, 9, 9]]])
    triangles = torch.tensor([[0, 1, 2], [1, 3, 4], [0, 2, 5]], dtype=torch.int32)
    vertices.requires_grad_()
    normals = normals_of(vertices, triangles)
    torch.testing.assert_close(normals[0, :3], torch.tensor([[0.0, 0, 1]]).expand(3, 3))
    assert (normals[0, 3:] == 0).all()
    normals[:, :, :2].sum().backward()
    assert vertices.grad is not None
    assert vertices.grad.isfinite().all()
    assert (vertices.grad[0, 5:] == 0).all()
    assert vertices.grad[0, :3].abs().sum() > 0


def test_an_image_does_not_depend_on_its_batch(bumpy_mesh: Mesh, rng: torch.Generator) -> None:
    vertices = bumpy_mesh[0].float() + torch.randn(5, *bumpy_mesh[0].shape, generator=rng)
    together = vertex_normals(vertices, bumpy_mesh[1].triangles)
    for image in range(5):
        alone = vertex_normals(vertices[image : image + 1], bumpy_mesh[1].triangles)
        assert torch.equal(alone[0], together[image])
