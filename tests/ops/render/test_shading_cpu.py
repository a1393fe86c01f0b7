from collections.abc import Callable

import pytest
import torch

from ops.geometry.camera import camera_from_vector
from ops.geometry.mesh_normals import vertex_normals_plain
from ops.geometry.projection import clip_from_world, transform_points_plain
from ops.geometry.topology import Topology
from ops.render.lighting import Light
from ops.render.rasterize.plain import rasterize_plain
from ops.render.shading import PhongMaterial, Scene, shade_plain
from ops.render.shading_cpu import shade_cpu

Mesh = tuple[torch.Tensor, Topology]
GLOSSY = PhongMaterial(specular=0.6, shininess=9.0)
CAMERAS = camera_from_vector(
    torch.tensor([[30, -20, 900, 5, 3, 10, 3.0, 0.2], [-500, 190, 600, 0, 8, 0, 3.1, -0.4]], dtype=torch.float64)
)


def inputs(mesh: Mesh, texture_shape: tuple[int, int], rng: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Pixels, vertices, normals, texture, eye and light of two views, one of them lit from behind."""
    vertices = mesh[0].float().double().expand(2, -1, -1)
    clip = transform_points_plain(clip_from_world(CAMERAS), vertices)
    texture = torch.rand(2, 3, *texture_shape, generator=rng, dtype=torch.float64)
    light = (
        torch.tensor([[-200.0, 300, 500], [400, 100, -200]], dtype=torch.float64),
        torch.rand(2, 3, generator=rng, dtype=torch.float64) + 0.2,
        torch.rand(2, 3, generator=rng, dtype=torch.float64),
    )
    pixels = rasterize_plain(clip, mesh[1].triangles, 72, 64)
    normals = vertex_normals_plain(vertices, mesh[1].triangles)
    return tuple(part.float() for part in (pixels, vertices, normals, texture, CAMERAS.eye_mm, *light))


def shaded(
    shade: Callable[..., torch.Tensor], topology: Topology, parts: tuple[torch.Tensor, ...], dtype: torch.dtype
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The image, and the inputs as leaves of the given type."""
    leaves = [part.to(dtype, copy=True).requires_grad_() for part in parts]
    pixels, vertices, normals, texture, eye, *light = leaves
    image = shade(pixels, topology.to("cpu", dtype), vertices, normals, texture, Scene(eye, Light(*light)), GLOSSY)
    return image, leaves


@pytest.mark.parametrize("mesh", ["bumpy_mesh", "sphere_mesh"])
@pytest.mark.parametrize("texture_shape", [(1, 1), (2, 2), (40, 24)])
def test_fused_and_plain_agree_in_values_and_gradients(
    mesh: str, texture_shape: tuple[int, int], rng: torch.Generator, request: pytest.FixtureRequest
) -> None:
    vertices, topology = request.getfixturevalue(mesh)
    # Coordinates beyond the unit square are clamped.
    topology = Topology(
        triangles=topology.triangles, uv=(1.2 * topology.uv - 0.1).float(), uv_triangles=topology.uv_triangles
    )
    parts = inputs((vertices, topology), texture_shape, rng)
    expected, exact = shaded(shade_plain, topology, parts, torch.float64)
    found, fused = shaded(shade_cpu, topology, parts, torch.float32)
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)
    weights = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    (expected * weights).sum().backward()
    (found * weights.float()).sum().backward()
    for exact_leaf, fused_leaf in zip(exact, fused, strict=True):
        assert exact_leaf.grad is not None
        assert fused_leaf.grad is not None
        scale = float(exact_leaf.grad.abs().max())
        assert scale > 0
        torch.testing.assert_close(fused_leaf.grad.double(), exact_leaf.grad, atol=1e-4 * scale, rtol=0)


def test_an_image_does_not_depend_on_its_batch(bumpy_mesh: Mesh, rng: torch.Generator) -> None:
    topology = bumpy_mesh[1].to("cpu", torch.float32)
    parts = inputs(bumpy_mesh, (16, 16), rng)
    together, leaves = shaded(shade_cpu, topology, parts, torch.float32)
    together.square().sum().backward()
    for image in range(2):
        one = tuple(part[image : image + 1] for part in parts)
        alone, alone_leaves = shaded(shade_cpu, topology, one, torch.float32)
        alone.square().sum().backward()
        assert torch.equal(alone[0], together[image])
        for leaf, alone_leaf in zip(leaves, alone_leaves, strict=True):
            assert leaf.grad is not None
            assert alone_leaf.grad is not None
            assert torch.equal(alone_leaf.grad[0], leaf.grad[image])


def test_an_empty_picture_is_black_and_passes_no_gradient(bumpy_mesh: Mesh, rng: torch.Generator) -> None:
    parts = inputs(bumpy_mesh, (4, 4), rng)
    empty = (torch.zeros_like(parts[0]), *parts[1:])
    image, leaves = shaded(shade_cpu, bumpy_mesh[1], empty, torch.float32)
    assert not image.any()
    image.sum().backward()
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in leaves)


def test_other_types_are_refused(bumpy_mesh: Mesh, rng: torch.Generator) -> None:
    parts = inputs(bumpy_mesh, (4, 4), rng)
    with pytest.raises(TypeError, match=r"expected a float32 tensor on the cpu, got torch\.float64"):
        shaded(shade_cpu, bumpy_mesh[1], parts, torch.float64)
