"""The Warp kernels on the CPU against the compiled kernels of the CPU, which have plain twins of their own."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ops.geometry.camera import Camera
from ops.geometry.mesh_normals import vertex_normals
from ops.geometry.projection import clip_from_world, transform_points_cpu
from ops.geometry.topology import Topology
from ops.render.lighting import Light
from ops.render.rasterize.cpu import rasterize_cpu
from ops.render.shading import PhongMaterial, Scene
from ops.render.shading_cpu import shade_cpu
from ops.render.warp.differentiable import rasterize_warp, shade_warp, transform_points_warp, vertex_normals_warp

Mesh = tuple[torch.Tensor, Topology]
HEIGHT, WIDTH = 48, 64
MESHES = pytest.mark.parametrize("mesh", ["bumpy_mesh", "sphere_mesh"])


@pytest.fixture
def surface(mesh: str, request: pytest.FixtureRequest) -> Mesh:
    vertices, topology = request.getfixturevalue(mesh)
    return vertices.float().expand(3, -1, -1).clone(), topology.to("cpu", torch.float32)


@pytest.fixture
def matrix() -> Tensor:
    """Three views: from the front, from the side and above, and so near that the surface crosses the near plane."""
    eye = torch.tensor([[30.0, -20, 900], [-500, 190, 600], [0, 0, 40]])
    target = torch.tensor([[5.0, 3, 10], [0, 8, 0], [30, 0, 0]])
    return clip_from_world(Camera(eye, target, torch.tensor([3.0, 3.1, 0.8]), torch.tensor([0.2, -0.4, 0.0])))


def outputs_and_gradients(
    function: Callable[..., Tensor], leaves: Sequence[Tensor], weights: Tensor
) -> tuple[Tensor, Sequence[Tensor]]:
    inputs = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    output = function(*inputs)
    return output.detach(), torch.autograd.grad((output * weights).sum(), inputs)


def assert_same_gradients(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0
        assert cosine_similarity(ours.flatten().double(), theirs.flatten().double(), 0) > 0.9999
        torch.testing.assert_close(ours.norm(), theirs.norm(), rtol=1e-3, atol=0)


@MESHES
def test_projection(surface: Mesh, matrix: Tensor, rng: torch.Generator) -> None:
    weights = torch.randn(*surface[0].shape[:2], 4, generator=rng)
    expected, gradients = outputs_and_gradients(transform_points_cpu, (matrix, surface[0]), weights)
    found, others = outputs_and_gradients(transform_points_warp, (matrix, surface[0]), weights)
    assert torch.equal(found, expected)
    assert_same_gradients(others, gradients)


@MESHES
def test_triangles_seen_and_weights_are_the_same_to_the_last_bit(
    surface: Mesh, matrix: Tensor, rng: torch.Generator
) -> None:
    clip = transform_points_cpu(matrix, surface[0])
    weights = torch.randn(3, HEIGHT, WIDTH, 4, generator=rng)

    def drawn(rasterize: Callable[..., Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        return outputs_and_gradients(
            lambda c: rasterize(c, surface[1].triangles, HEIGHT, WIDTH)[..., :2], (clip,), weights[..., :2]
        )

    found, expected = (draw(clip, surface[1].triangles, HEIGHT, WIDTH) for draw in (rasterize_warp, rasterize_cpu))
    assert torch.equal(found, expected)
    assert all((image[..., 3] > 0).float().mean() > 0.1 for image in expected)
    assert_same_gradients(drawn(rasterize_warp)[1], drawn(rasterize_cpu)[1])


def test_a_corner_that_is_not_finite_hides_its_triangle_and_of_two_equal_triangles_the_first_is_seen() -> None:
    corners = torch.tensor([[-1.0, 1, 0, 1], [3, 1, 0, 1], [-1, -3, 0, 1], [torch.nan, 1, -0.5, 1]])
    triangles = torch.tensor([[3, 1, 2], [0, 1, 2], [0, 1, 2]], dtype=torch.int32)
    pixels = rasterize_warp(corners[None], triangles, 8, 8)
    assert (pixels[..., 3] == 2).all()


@MESHES
def test_normals(surface: Mesh, rng: torch.Generator) -> None:
    vertices, topology = surface
    # A vertex of no triangle has no normal, and one that is not finite harms its triangles alone.
    vertices = torch.cat((vertices, torch.zeros(3, 1, 3)), 1)
    vertices[2, 40, 1] = torch.inf
    weights = torch.randn(vertices.shape, generator=rng)
    expected, gradients = outputs_and_gradients(lambda v: vertex_normals(v, topology.triangles), (vertices,), weights)
    found, others = outputs_and_gradients(lambda v: vertex_normals_warp(v, topology.triangles), (vertices,), weights)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    assert not found[:, -1].any()
    assert_same_gradients(others, gradients)


@MESHES
@pytest.mark.parametrize("texture_shape", [(1, 1), (40, 24)])
def test_shading(surface: Mesh, matrix: Tensor, rng: torch.Generator, texture_shape: tuple[int, int]) -> None:
    vertices, topology = surface
    # Coordinates beyond the unit square are clamped.
    topology = Topology(triangles=topology.triangles, uv=1.2 * topology.uv - 0.1, uv_triangles=topology.uv_triangles)
    pixels = rasterize_cpu(transform_points_cpu(matrix, vertices), topology.triangles, HEIGHT, WIDTH)
    light = (torch.tensor([[-200.0, 300, 500]] * 3), torch.full((3, 3), 0.7), torch.full((3, 3), 0.4))
    eye = torch.tensor([[30.0, -20, 900], [-500, 190, 600], [0, 0, 300]])
    texture = torch.rand(3, 3, *texture_shape, generator=rng)
    leaves = (pixels, vertices, vertex_normals(vertices, topology.triangles), texture, eye, *light)
    weights = torch.randn(3, 3, HEIGHT, WIDTH, generator=rng)
    glossy = PhongMaterial(specular=0.6, shininess=9.0)

    def shaded(shade: Callable[..., Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        def run(p: Tensor, v: Tensor, n: Tensor, t: Tensor, e: Tensor, *lamp: Tensor) -> Tensor:
            return shade(p, topology, v, n, t, Scene(e, Light(*lamp)), glossy)

        return outputs_and_gradients(run, leaves, weights)

    (found, others), (expected, gradients) = shaded(shade_warp), shaded(shade_cpu)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert_same_gradients(others, gradients)


def test_background_adds_to_no_gradient(rng: torch.Generator) -> None:
    """A triangle that nobody sees has no part in the gradient, though pixels of the background look at nothing."""
    topology = Topology(
        triangles=torch.tensor([[0, 1, 2]], dtype=torch.int32),
        uv=torch.rand(3, 2, generator=rng),
        uv_triangles=torch.tensor([[0, 1, 2]], dtype=torch.int32),
    )
    vertices = torch.full((1, 3, 3), torch.nan, requires_grad=True)
    texture = torch.rand(1, 3, 4, 4, generator=rng).requires_grad_()
    scene = Scene(torch.zeros(1, 3), Light(torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1, 3)))
    image = shade_warp(torch.zeros(1, 8, 8, 4), topology, vertices, vertices, texture, scene, PhongMaterial())
    assert not image.any()
    assert not any(grad.any() for grad in torch.autograd.grad(image.sum(), (vertices, texture)))
