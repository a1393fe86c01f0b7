from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.geometry.camera import NEAR_MM, Camera, camera_from_world, project_points
from ops.geometry.projection import clip_from_world, transform_points_plain
from ops.geometry.topology import Topology
from ops.render.rasterize.cpu import rasterize_cpu
from ops.render.rasterize.plain import interpolation_weights

Mesh = tuple[torch.Tensor, Topology]
ClipOf = Callable[[np.ndarray], torch.Tensor]
BruteForce = Callable[[torch.Tensor, torch.Tensor, int, int], tuple[np.ndarray, np.ndarray, np.ndarray]]
ONE = torch.tensor([[0, 1, 2]], dtype=torch.int32)
FLAT = torch.tensor([1.0, 1, 0, 1])


def flat_clip(points: list[list[float]], width: int, height: int) -> torch.Tensor:
    """Clip coordinates of points given in pixels, all at one depth."""
    xy = torch.tensor(points) / torch.tensor([width, height]) * 2 - 1
    return torch.cat((xy * torch.tensor([1, -1]), torch.zeros(len(xy), 1), torch.ones(len(xy), 1)), -1)[None]


def cast_rays(vertices: torch.Tensor, triangles: torch.Tensor, camera: Camera, side: int) -> tuple[np.ndarray, ...]:
    """Triangle ids (-1: none) and (u, v) of corners 0 and 1 that open3d's ray casting sees at the pixel centres."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(vertices.float().numpy()), o3d.core.Tensor(triangles.numpy().astype(np.uint32)))
    centre = (np.arange(side) + 0.5) / side - 0.5
    x, y = np.meshgrid(centre / float(camera.focal), -centre / float(camera.focal))
    directions = np.stack((x, y, -np.ones_like(x)), -1) @ camera_from_world(camera).numpy()
    rays = np.concatenate((np.broadcast_to(camera.eye_mm.numpy(), directions.shape), directions), -1)
    hits = scene.cast_rays(o3d.core.Tensor(rays.astype(np.float32)))
    ids = hits["primitive_ids"].numpy().astype(np.int64)
    ids[ids == scene.INVALID_ID] = -1
    uv = hits["primitive_uvs"].numpy()
    return ids, np.stack((1 - uv.sum(-1), uv[..., 0]), -1)


def edge_distance_px(corners_px: np.ndarray, side: int) -> np.ndarray:
    """Distance of each pixel centre to the nearest side of its own triangle; corners [side, side, 3, 2]."""
    centre = np.arange(side) + 0.5
    p = np.stack(np.meshgrid(centre, centre), -1)
    distances = []
    for i in range(3):
        a, edge = corners_px[..., i, :], corners_px[..., (i + 1) % 3, :] - corners_px[..., i, :]
        along = ((p - a) * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-12)
        distances.append(np.linalg.norm(p - a - np.clip(along, 0, 1)[..., None] * edge, axis=-1))
    return np.min(distances, 0)


def compare_with_ray_casting(vertices: torch.Tensor, triangles: torch.Tensor, camera: Camera, side: int) -> float:
    """Assert agreement away from edges; the share of seen pixels that was compared."""
    clip = transform_points_plain(clip_from_world(camera)[None], vertices[None]).float()
    pixels = rasterize_cpu(clip, triangles, side, side)[0].numpy()
    ids, expected = pixels[..., 3].astype(np.int64) - 1, cast_rays(vertices, triangles, camera, side)
    corners_px = project_points(camera, vertices).numpy()[triangles.numpy()] * side
    compared = np.ones((side, side), bool)
    for found in (ids, expected[0]):
        compared &= (found < 0) | (edge_distance_px(corners_px[np.maximum(found, 0)], side) > 1 / 8)
    np.testing.assert_array_equal(ids[compared], expected[0][compared])
    seen = compared & (ids >= 0)
    np.testing.assert_allclose(pixels[seen][:, :2], expected[1][seen], atol=1e-3)
    return seen.sum() / (ids >= 0).sum()


@pytest.mark.parametrize("view", range(3))
@pytest.mark.parametrize("mesh", ["bumpy_mesh", "sphere_mesh"])
def test_sees_what_ray_casting_sees(mesh: str, view: int, cameras: Camera, request: pytest.FixtureRequest) -> None:
    vertices, topology = request.getfixturevalue(mesh)
    camera = Camera(*(part[view] for part in cameras))
    assert compare_with_ray_casting(vertices, topology.triangles, camera, 224) > 0.8


@pytest.mark.models
def test_sees_what_ray_casting_sees_on_a_face(model_dir: Path, cameras: Camera) -> None:
    with np.load(model_dir / "ict_facekit_face.npz") as model:
        vertices = torch.from_numpy(10 * model["mean"].astype(np.float64))
        triangles = torch.from_numpy(model["tri"].astype(np.int32))
    assert compare_with_ray_casting(vertices, triangles, Camera(*(part[1] for part in cameras)), 512) > 0.6


def test_rows_run_down_and_columns_right() -> None:
    clip = torch.tensor([[[-1.0, 1, 0, 1], [0, 1, 0, 1], [-1, 0, 0, 1]]])
    pixels = rasterize_cpu(clip, ONE, 6, 10)[0]
    seen = pixels[..., 3] == 1
    # The longest row lies 1 / 6 below the top of a triangle 5 pixels wide: 4.17 pixels of it.
    assert seen.sum(1).tolist() == [4, 2, 1, 0, 0, 0]
    assert seen.sum(0).tolist() == [3, 2, 1, 1, 0, 0, 0, 0, 0, 0]
    assert ((pixels == 0).all(-1) == ~seen).all()


def test_weights_are_perspective_correct() -> None:
    # The pixel at the image centre sees the midpoint of the screen segment between corners at depths 1 and 3.
    clip = torch.tensor([[[-0.5, -1e-3, 0, 1], [1.5, -3e-3, 0, 3], [0.0, 20, 0, 10]]])
    u, v, _, triangle = rasterize_cpu(clip, ONE, 1, 1)[0, 0, 0].tolist()
    assert triangle == 1
    assert u == pytest.approx(3 / 4, abs=2e-3)
    assert v == pytest.approx(1 / 4, abs=2e-3)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_nearest_triangle_is_seen_in_any_order(reverse: bool) -> None:
    near = FLAT * torch.tensor([[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]) + torch.tensor([0, 0, 0.1, 0])
    far = near + torch.tensor([0, 0, 0.5, 0])
    beyond = near + torch.tensor([0, 0, 0.95, 0])
    triangles = torch.arange(9, dtype=torch.int32).reshape(3, 3)
    order = triangles.flip(0) if reverse else triangles
    pixels = rasterize_cpu(torch.cat((far, near, beyond))[None], order, 4, 4)
    assert (pixels[..., 3] == 2).all()
    torch.testing.assert_close(pixels[..., 2], torch.full((1, 4, 4), 0.1))
    assert (rasterize_cpu(beyond[None], ONE, 4, 4) == 0).all()


def test_of_equally_near_triangles_the_first_is_seen() -> None:
    clip = FLAT * torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
    pixels = rasterize_cpu(clip, torch.tensor([[0, 1, 2], [1, 2, 0]], dtype=torch.int32), 4, 4)
    assert (pixels[..., 3] == 1).all()


@pytest.mark.parametrize("side", [7, 8])
def test_triangles_at_an_edge_neither_overlap_nor_leave_gaps(side: int, rng: torch.Generator) -> None:
    # Corners on pixel centres put edges, diagonals and corners through pixel centres; the others are random.
    steps = torch.arange(side) + 0.5
    exact = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    moved = exact + 0.4 * (torch.rand(side, side, 2, generator=rng) - 0.5)
    moved[0], moved[-1], moved[:, 0], moved[:, -1] = exact[0], exact[-1], exact[:, 0], exact[:, -1]
    index = torch.arange(side * side).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    halves = torch.cat((torch.stack((a, b, c), -1).reshape(-1, 3), torch.stack((d, b, c), -1).reshape(-1, 3))).int()
    for points in (exact, moved):
        clip = flat_clip(points.reshape(-1, 2).tolist(), side, side)
        drawn = sum(
            (rasterize_cpu(clip, half[None], side, side)[0, ..., 3] for half in halves), torch.zeros(side, side)
        )
        assert (drawn[1:-1, 1:-1] == 1).all()
        assert drawn.max() == 1


def test_triangles_of_a_fifth_of_a_pixel_do_not_vanish() -> None:
    here = flat_clip([[3.4, 2.45], [3.6, 2.45], [3.5, 2.6]], 8, 8)
    seen = rasterize_cpu(here, ONE, 8, 8)[0, ..., 3].nonzero()
    assert seen.tolist() == [[2, 3]]
    assert not rasterize_cpu(here + torch.tensor([0.3 / 4, 0, 0, 0]), ONE, 8, 8).any()


def test_a_dense_mesh_of_tiny_triangles_has_no_holes() -> None:
    count = 81
    steps = torch.linspace(0, 16, count)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)
    index = torch.arange(count * count, dtype=torch.int32).reshape(count, count)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = torch.cat((torch.stack((a, b, c), -1).reshape(-1, 3), torch.stack((d, b, c), -1).reshape(-1, 3)))
    pixels = rasterize_cpu(flat_clip(grid.tolist(), 16, 16), triangles, 16, 16)[0]
    assert (pixels[..., 3] > 0).all()
    corners = grid[triangles[pixels[..., 3].long() - 1].long()]
    weights = torch.cat((pixels[..., :2], 1 - pixels[..., :2].sum(-1, keepdim=True)), -1)
    centres = torch.stack(torch.meshgrid(torch.arange(16) + 0.5, torch.arange(16) + 0.5, indexing="xy"), -1)
    torch.testing.assert_close((corners * weights[..., None]).sum(-2), centres, atol=1e-4, rtol=0)


def test_triangles_across_the_near_plane_match_brute_force(clip_of: ClipOf, brute_force: BruteForce) -> None:
    random = np.random.default_rng(0)
    view = random.normal(size=(60, 3, 3)) * (300, 300, 200) + (0, 0, 100)
    clip = clip_of(view.reshape(-1, 3))
    triangles = torch.arange(180, dtype=torch.int32).reshape(60, 3)
    crossing = ((view[..., 2] < NEAR_MM).any(-1) & (view[..., 2] > NEAR_MM).any(-1)).sum()
    assert crossing > 20
    ids, weights, margin = brute_force(clip, triangles, 40, 48)
    pixels = rasterize_cpu(clip[None], triangles, 40, 48)[0].numpy()
    clear = margin > 1e-4
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(pixels[..., 3][clear] - 1, ids[clear])
    seen = clear & (ids >= 0)
    assert seen.mean() > 0.5
    np.testing.assert_allclose(pixels[seen][:, :2], weights[seen][:, :2], atol=1e-5)


def test_corners_of_any_sign_match_brute_force(brute_force: BruteForce) -> None:
    clip = torch.from_numpy(np.random.default_rng(1).normal(size=(180, 4))).float()
    triangles = torch.arange(180, dtype=torch.int32).reshape(60, 3)
    assert ((clip[:, 2] > -clip[:, 3]) & (clip[:, 3] < 0)).sum() > 10
    ids, _, margin = brute_force(clip, triangles, 24, 24)
    pixels = rasterize_cpu(clip[None], triangles, 24, 24)[0].numpy()
    clear = margin > 1e-3
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(pixels[..., 3][clear] - 1, ids[clear])


def test_ground_below_a_camera_that_stands_on_it(clip_of: ClipOf) -> None:
    # A plane 50 below the eye, from far behind the camera to its horizon: depth at row y is -50 / y.
    clip = clip_of(np.array([[-1e5, -50, -1e3], [1e5, -50, -1e3], [0, -50, 1e4]]))
    pixels = rasterize_cpu(clip[None], ONE, 20, 20)[0]
    y = 1 - (2 * torch.arange(20) + 1) / 20
    expected = (-50 / y > NEAR_MM) & (y < -0.0051)
    assert ((pixels[..., 3] > 0).all(-1) == expected).all()
    assert not pixels[~expected].any()


def test_what_is_behind_the_camera_is_not_seen(clip_of: ClipOf) -> None:
    clip = clip_of(np.array([[[-900, -900, -20], [900, -900, -20], [0, 900, -20.0]]]))
    assert not rasterize_cpu(clip, ONE, 16, 16).any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("axis", range(4))
def test_a_triangle_with_a_broken_corner_is_skipped(bumpy_mesh: Mesh, cameras: Camera, value: float, axis: int) -> None:
    vertices, topology = bumpy_mesh
    clip = transform_points_plain(clip_from_world(cameras), vertices.expand(3, -1, -1)).float()
    broken = clip.clone()
    broken[:, 300, axis] = value
    whole = topology.triangles[(topology.triangles != 300).all(-1)]
    found = rasterize_cpu(broken.requires_grad_(), topology.triangles, 64, 64)
    expected = rasterize_cpu(clip, whole, 64, 64)
    assert torch.equal(found[..., :3], expected[..., :3])
    found[..., :2].sum().backward()
    assert broken.grad is not None
    assert broken.grad.isfinite().all()


def test_nothing_to_see_is_all_zero() -> None:
    outside = FLAT * torch.tensor([[[2.0, 2, 0, 1], [3, 2, 0, 1], [2, 3, 0, 1]]])
    assert not rasterize_cpu(outside, ONE, 8, 8).any()
    assert not rasterize_cpu(outside, ONE[:0], 8, 8).any()
    assert not rasterize_cpu(torch.zeros(1, 3, 4), ONE, 8, 8).any()
    assert rasterize_cpu(outside[:0], ONE, 8, 8).shape == (0, 8, 8, 4)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="over 2 vertices, got indices from 0 to 2"):
        rasterize_cpu(torch.zeros(1, 2, 4), ONE, 8, 8)
    with pytest.raises(ValueError, match="got indices from -1 to 1"):
        rasterize_cpu(torch.zeros(1, 4, 4), ONE - 1, 8, 8)
    with pytest.raises(TypeError, match=r"expected a float32 tensor on the cpu, got torch\.float64"):
        rasterize_cpu(torch.zeros(1, 3, 4, dtype=torch.float64), ONE, 8, 8)


def test_gradients_match_the_plain_form(bumpy_mesh: Mesh, cameras: Camera, rng: torch.Generator) -> None:
    vertices, topology = bumpy_mesh
    exact = transform_points_plain(clip_from_world(cameras), vertices.expand(3, -1, -1)).float().double()
    fused = exact.float().requires_grad_()
    exact.requires_grad_()
    pixels = rasterize_cpu(fused, topology.triangles, 96, 80)
    expected = interpolation_weights(exact, topology.triangles, pixels[..., 3].long() - 1)
    torch.testing.assert_close(pixels[..., :2].double(), expected, atol=1e-5, rtol=0)
    weights = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    (pixels[..., :2] * weights.float()).sum().backward()
    (expected * weights).sum().backward()
    assert exact.grad is not None
    assert fused.grad is not None
    torch.testing.assert_close(fused.grad.double(), exact.grad, atol=1e-5 * float(exact.grad.abs().max()), rtol=0)
    assert (fused.grad[..., 2] == 0).all()


def test_depth_and_id_pass_no_gradient(bumpy_mesh: Mesh, cameras: Camera) -> None:
    clip = transform_points_plain(clip_from_world(cameras), bumpy_mesh[0].expand(3, -1, -1)).float().requires_grad_()
    rasterize_cpu(clip, bumpy_mesh[1].triangles, 32, 32)[..., 2:].sum().backward()
    assert clip.grad is not None
    assert not clip.grad.any()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_image_does_not_depend_on_its_batch(bumpy_mesh: Mesh, cameras: Camera, threads: int) -> None:
    clip = transform_points_plain(clip_from_world(cameras), bumpy_mesh[0].expand(3, -1, -1)).float()
    torch.set_num_threads(threads)
    try:
        together = clip.clone().requires_grad_()
        pixels = rasterize_cpu(together, bumpy_mesh[1].triangles, 64, 64)
        pixels.square().sum().backward()
    finally:
        torch.set_num_threads(1)
    assert together.grad is not None
    for image in range(3):
        alone = clip[image : image + 1].clone().requires_grad_()
        pixels_alone = rasterize_cpu(alone, bumpy_mesh[1].triangles, 64, 64)
        pixels_alone.square().sum().backward()
        assert alone.grad is not None
        assert torch.equal(pixels_alone[0], pixels[image])
        assert torch.equal(alone.grad[0], together.grad[image])
