from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ops.geometry.camera import Camera, camera_from_vector, project_points
from ops.geometry.mesh_normals import vertex_normals_plain
from ops.geometry.projection import clip_from_world, transform_points_plain
from ops.render.lighting import Light, light_from_vector
from ops.render.rasterize.plain import interpolation_weights
from ops.render.render import PhongMaterial, Topology, render, view_surface
from ops.render.shading import Scene, shade_plain

Mesh = tuple[Tensor, Topology]
Leaves = dict[str, Tensor]
SIDE = 96
GLOSSY = PhongMaterial(specular=0.4, shininess=12.0)
CAMERAS = torch.tensor([[30, -20, 900, 5, 3, 10, 3.0, 0.2], [-300, 190, 700, 0, 8, 0, 3.1, -0.4]], dtype=torch.float64)
LIGHTS = torch.tensor(
    [[-200, 300, 500, 0.7, 0.6, 0.5, 0.3, 0.4, 0.5], [400, 100, 300, 0.5, 0.6, 0.7, 0.5, 0.4, 0.3]], dtype=torch.float64
)


@pytest.fixture
def leaves(bumpy_mesh: Mesh, rng: torch.Generator) -> Leaves:
    """Everything an image depends on, for two images, in values that float32 holds exactly."""

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    vertices = bumpy_mesh[0]
    steps = torch.linspace(0, 1, 32, dtype=torch.float64)
    waves = torch.sin(9 * steps + 4 * steps[:, None])
    parts = {
        "vertices": vertices.expand(2, -1, -1) + 0.2 * random(2, *vertices.shape),
        "coefficients": random(2, 4),
        "texture": 0.5 + 0.2 * waves + 0.05 * random(2, 3, 32, 32),
        "eye": CAMERAS[:, :3],
        "target": CAMERAS[:, 3:6],
        "focal": CAMERAS[:, 6],
        "roll": CAMERAS[:, 7],
        "light_position": LIGHTS[:, :3],
        "light_colour": LIGHTS[:, 3:6],
        "light_ambient": LIGHTS[:, 6:],
        "image_from_normalised": torch.tensor([[1.05, 0.03, -0.04], [-0.02, 0.97, 0.01]]) + 0.01 * random(2, 2, 3),
    }
    return {name: part.float().double() for name, part in parts.items()}


@pytest.fixture
def basis(bumpy_mesh: Mesh) -> Tensor:
    """Four smooth deformations of the mesh: a small shape or expression model."""
    x, y, _ = (bumpy_mesh[0] / 80).unbind(-1)
    zero = torch.zeros_like(x)
    fields = ((zero, zero, x * y), (x**2, zero, y), (zero, torch.sin(2 * x), zero), (y, -x, torch.cos(3 * y)))
    return torch.stack([2 * torch.stack(field, -1) for field in fields]).float().double()


def shape_of(leaves: Leaves, basis: Tensor) -> Tensor:
    return leaves["vertices"] + torch.einsum("ic,cva->iva", leaves["coefficients"], basis.to(leaves["vertices"]))


def view_of(leaves: Leaves) -> tuple[Camera, Light]:
    camera = Camera(leaves["eye"], leaves["target"], leaves["focal"], leaves["roll"])
    return camera, Light(leaves["light_position"], leaves["light_colour"], leaves["light_ambient"])


def rendered(leaves: Leaves, basis: Tensor, topology: Topology) -> tuple[Tensor, Tensor]:
    camera, light = view_of(leaves)
    result = render(
        topology,
        shape_of(leaves, basis),
        leaves["texture"],
        camera,
        light,
        SIDE,
        image_from_normalised=leaves["image_from_normalised"],
        material=GLOSSY,
    )
    return result.image, result.triangle


def reference(leaves: Leaves, basis: Tensor, topology: Topology, triangle: Tensor) -> Tensor:
    """The same image in plain torch with the visible triangles given."""
    camera, light = view_of(leaves)
    vertices = shape_of(leaves, basis)
    clip = transform_points_plain(clip_from_world(camera, leaves["image_from_normalised"]), vertices)
    weights = interpolation_weights(clip, topology.triangles, triangle.long())
    pixels = torch.cat((weights, torch.zeros_like(weights[..., :1]), (triangle[..., None] + 1).to(weights)), -1)
    normals = vertex_normals_plain(vertices, topology.triangles)
    return shade_plain(pixels, topology, vertices, normals, leaves["texture"], Scene(camera.eye_mm, light), GLOSSY)


def central_differences(
    objective: Callable[[Leaves], Tensor], leaves: Leaves, name: str, directions: Tensor, step: float
) -> Tensor:
    """Derivatives of the objective along directions [n, *leaf] of one leaf."""
    found = []
    for direction in directions:
        ends = [objective({**leaves, name: leaves[name] + sign * step * direction}) for sign in (1, -1)]
        found.append((ends[0] - ends[1]) / (2 * step))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("vertices", 1e-5),
        ("coefficients", 1e-5),
        ("texture", 1e-4),
        ("eye", 1e-4),
        ("target", 1e-5),
        ("focal", 1e-7),
        ("roll", 1e-7),
        ("light_position", 1e-2),
        ("light_colour", 1e-4),
        ("light_ambient", 1e-4),
        ("image_from_normalised", 1e-7),
    ],
)
def test_gradients_match_finite_differences_of_a_reference(
    name: str, step: float, leaves: Leaves, basis: Tensor, bumpy_mesh: Mesh, rng: torch.Generator
) -> None:
    """Few parameters one by one; vertices and texels along random directions and one by one for a sample of them."""
    topology = bumpy_mesh[1].to("cpu", torch.float32)
    fused = {key: leaf.float().requires_grad_() for key, leaf in leaves.items()}
    image, triangle = rendered(fused, basis, topology)
    weights = torch.randn(image.shape, generator=rng, dtype=torch.float64) + 0.5
    (image * weights.float()).sum().backward()
    grad = fused[name].grad
    assert grad is not None
    leaf = leaves[name]
    if leaf.numel() <= 16:
        directions = torch.eye(leaf.numel(), dtype=torch.float64).reshape(-1, *leaf.shape)
    else:
        # The largest gradients stand for single components: most vertices and texels are hidden.
        largest = torch.zeros(24, leaf.numel(), dtype=torch.float64)
        largest[torch.arange(24), grad.double().abs().flatten().topk(24).indices] = 1
        random = torch.randn(16, *leaf.shape, generator=rng, dtype=torch.float64)
        directions = torch.cat((random, largest.reshape(-1, *leaf.shape)))

    def objective(moved: Leaves) -> Tensor:
        return (reference(moved, basis, topology, triangle) * weights).sum()

    with torch.no_grad():
        expected = central_differences(objective, leaves, name, directions, step)
    found = (directions * grad.double()).flatten(1).sum(-1)
    assert cosine_similarity(found, expected, 0) > 0.9999
    torch.testing.assert_close(found, expected, atol=2e-3 * float(expected.abs().max()), rtol=0)


def test_fused_and_plain_give_the_same_image(leaves: Leaves, basis: Tensor, bumpy_mesh: Mesh) -> None:
    single = {name: leaf.float() for name, leaf in leaves.items()}
    found, triangle = rendered(single, basis, bumpy_mesh[1].to("cpu", torch.float32))
    expected, expected_triangle = rendered(leaves, basis, bumpy_mesh[1])
    same = triangle == expected_triangle
    assert same.float().mean() > 0.999
    assert 0.3 < (triangle >= 0).float().mean() < 0.9
    difference = (found - expected).abs().amax(1)
    assert difference[same].max() < 1e-4


def test_an_image_does_not_depend_on_its_batch(leaves: Leaves, bumpy_mesh: Mesh) -> None:
    topology = bumpy_mesh[1].to("cpu", torch.float32)

    def run(images: list[int]) -> list[Tensor]:
        chosen = {name: leaf[images].float().requires_grad_() for name, leaf in leaves.items()}
        camera, light = view_of(chosen)
        image, mask, triangle = render(
            topology,
            chosen["vertices"],
            chosen["texture"],
            camera,
            light,
            SIDE,
            image_from_normalised=chosen["image_from_normalised"],
        )
        image.square().sum().backward()
        grads = [leaf.grad for leaf in chosen.values()]
        return [image.detach(), mask, triangle, *(grad for grad in grads if grad is not None)]

    alone = [run([image]) for image in range(2)]
    assert len(alone[0]) == 3 + 10
    for images in ([0, 1], [1, 0, 1, 1, 0], [0] * 9):
        for together, *singles in zip(run(images), *alone, strict=True):
            for place, image in enumerate(images):
                assert torch.equal(together[place], singles[image][0])


def front(distance_mm: float = 800.0, focal: float = 3.0) -> Camera:
    return camera_from_vector(torch.tensor([[0.0, 0, distance_mm, 0, 0, 0, focal, 0]]))


def lamp(x: float, y: float, z: float) -> Light:
    return light_from_vector(torch.tensor([[x, y, z, 1.0, 1, 1, 0, 0, 0]]))


def test_a_sphere_is_brightest_towards_the_light(sphere_mesh: Mesh) -> None:
    vertices, topology = sphere_mesh[0].float()[None], sphere_mesh[1].to("cpu", torch.float32)
    white = torch.ones(1, 3, 1, 1)
    matt = PhongMaterial(specular=0.0)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        image, mask, _ = render(topology, vertices, white, front(), lamp(2000 * x, 2000 * y, 2000), 64, material=matt)
        assert image[0, :, ~mask[0]].abs().max() == 0
        row, column = divmod(int(image[0, 0].argmax()), 64)
        radius = 32 * 2 * 3.0 * 100 / 800
        assert (column + 0.5 - 32) / radius == pytest.approx(x * 0.707, abs=0.1)
        assert (32 - row - 0.5) / radius == pytest.approx(y * 0.707, abs=0.1)
        assert image.max() == pytest.approx(1, abs=0.01)
    assert mask.float().mean() == pytest.approx(np.pi * (radius / 64) ** 2, rel=0.05)


def test_a_map_that_doubles_about_the_centre_is_a_double_focal_length(bumpy_mesh: Mesh, rng: torch.Generator) -> None:
    vertices, topology = bumpy_mesh[0].float()[None], bumpy_mesh[1].to("cpu", torch.float32)
    texture = torch.rand(1, 3, 8, 8, generator=rng)
    double = torch.tensor([[[2.0, 0, -0.5], [0, 2, -0.5]]])
    found = render(topology, vertices, texture, front(), lamp(0, 0, 500), 64, image_from_normalised=double)
    expected = render(topology, vertices, texture, front(focal=6.0), lamp(0, 0, 500), 64)
    torch.testing.assert_close(found.image, expected.image, atol=1e-5, rtol=0)


def test_a_view_shaded_twice_gives_the_renders_of_both(bumpy_mesh: Mesh, rng: torch.Generator) -> None:
    vertices, topology = bumpy_mesh[0].float()[None], bumpy_mesh[1].to("cpu", torch.float32)
    view = view_surface(topology, vertices, front(), 64)
    for light in (lamp(0, 0, 500), lamp(300, 200, 400)):
        texture = torch.rand(1, 3, 8, 8, generator=rng)
        expected, found = render(topology, vertices, texture, front(), light, 64), view.shade(texture, light)
        assert torch.equal(found.image, expected.image)
        assert torch.equal(found.triangle, expected.triangle)


def test_a_map_by_whole_pixels_moves_the_image(bumpy_mesh: Mesh, rng: torch.Generator) -> None:
    vertices, topology = bumpy_mesh[0].float()[None], bumpy_mesh[1].to("cpu", torch.float32)
    texture = torch.rand(1, 3, 8, 8, generator=rng)
    move = torch.tensor([[[1.0, 0, 8 / 64], [0, 1, -4 / 64]]])
    moved = render(topology, vertices, texture, front(), lamp(0, 0, 500), 64, image_from_normalised=move)
    still = render(topology, vertices, texture, front(), lamp(0, 0, 500), 64)
    torch.testing.assert_close(moved.image[..., :-4, 8:], still.image[..., 4:, :-8], atol=1e-4, rtol=0)


def test_an_empty_picture_is_black_and_passes_zero_gradients(sphere_mesh: Mesh) -> None:
    vertices, topology = sphere_mesh[0].float()[None].requires_grad_(), sphere_mesh[1].to("cpu", torch.float32)
    texture = torch.ones(1, 3, 4, 4, requires_grad=True)
    away = camera_from_vector(torch.tensor([[0.0, 0, 800, 0, 0, 1600, 3, 0]]))
    image, mask, triangle = render(topology, vertices, texture, away, lamp(0, 0, 900), 32)
    assert not image.any()
    assert not mask.any()
    assert (triangle == -1).all()
    image.sum().backward()
    assert vertices.grad is not None
    assert texture.grad is not None
    assert not vertices.grad.any()
    assert not texture.grad.any()


def test_a_camera_inside_the_mesh_and_broken_vertices_do_no_harm(sphere_mesh: Mesh) -> None:
    vertices, topology = sphere_mesh[0].float()[None].clone(), sphere_mesh[1].to("cpu", torch.float32)
    vertices[0, 7] = float("nan")
    vertices.requires_grad_()
    image, mask, _ = render(topology, vertices, torch.ones(1, 3, 1, 1), front(5.0, 0.8), lamp(0, 0, 50), 32)
    assert mask.float().mean() > 0.9
    assert image.isfinite().all()
    image.sum().backward()
    assert vertices.grad is not None
    assert vertices.grad[0, :7].isfinite().all()


def test_a_missing_vertex_is_refused(sphere_mesh: Mesh) -> None:
    with pytest.raises(ValueError, match="expected triangles over 3 vertices"):
        render(sphere_mesh[1], torch.zeros(1, 3, 3), torch.ones(1, 3, 1, 1), front(), lamp(0, 0, 9), 8)


def test_mixed_types_are_refused(sphere_mesh: Mesh) -> None:
    texture = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    with pytest.raises(TypeError, match="expected a float32 tensor"):
        render(
            sphere_mesh[1].to("cpu", torch.float32), sphere_mesh[0].float()[None], texture, front(), lamp(0, 0, 9), 8
        )


@pytest.mark.models
def test_a_face_is_upright_and_looks_at_the_camera(model_dir: Path) -> None:
    with np.load(model_dir / "ict_facekit_face.npz") as model:
        vertices = torch.from_numpy(10 * model["mean"])[None]
        corners, uv_corners = (torch.from_numpy(model[key].astype(np.int32)) for key in ("tri", "tri_uv"))
        topology = Topology(triangles=corners, uv=torch.from_numpy(model["uv"]), uv_triangles=uv_corners)
        landmarks = torch.from_numpy(model["lmk68"].astype(np.int64))
    nose, chin, right_eye, left_eye = landmarks[30], landmarks[8], landmarks[36], landmarks[45]
    centre = vertices[:, landmarks].mean(1)
    camera = Camera(centre + torch.tensor([0.0, 0, 900]), centre, torch.tensor([2.5]), torch.zeros(1))
    above = Light(centre + torch.tensor([0.0, 800, 600]), torch.ones(1, 3), torch.full((1, 3), 0.2))
    result = render(topology, vertices, torch.full((1, 3, 1, 1), 0.5), camera, above, 224)
    column, row = (project_points(camera, vertices)[0] * 224).unbind(-1)
    assert row[chin] > row[nose] > row[left_eye]
    assert column[right_eye] < column[nose] < column[left_eye]
    at_nose = int(result.triangle[0, int(row[nose]), int(column[nose])])
    assert (vertices[0, topology.triangles[at_nose]] - vertices[0, nose]).norm(dim=-1).min() < 4
    bridge, under = result.image[0, 0, int(row[nose]) - 8, 112], result.image[0, 0, int(row[nose]) + 10, 112]
    assert bridge > 1.3 * under
