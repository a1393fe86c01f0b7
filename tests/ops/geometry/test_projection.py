import pytest
import torch

from ops.geometry.camera import Camera, camera_from_vector, clip_points, project_points
from ops.geometry.projection import clip_from_world, transform_points_cpu, transform_points_plain


@pytest.fixture
def camera() -> Camera:
    return camera_from_vector(
        torch.tensor(
            [[30, -20, 900, 5, 3, 10, 2.5, 0.2], [-400, 90, 700, 0, 8, 0, 3.1, -0.4], [0, 0, 500, 0, 0, 0, 1.2, 0]],
            dtype=torch.float64,
        )
    )


@pytest.fixture
def points(rng: torch.Generator) -> torch.Tensor:
    return 90 * torch.randn(3, 11, 3, generator=rng, dtype=torch.float64)


def test_the_matrix_is_the_cameras_projection(camera: Camera, points: torch.Tensor) -> None:
    torch.testing.assert_close(
        transform_points_plain(clip_from_world(camera), points), clip_points(camera, points), atol=1e-9, rtol=1e-9
    )


def test_an_image_map_moves_the_projected_points(camera: Camera, points: torch.Tensor, rng: torch.Generator) -> None:
    affine = torch.randn(3, 2, 3, generator=rng, dtype=torch.float64)
    clip = transform_points_plain(clip_from_world(camera, affine), points)
    found = (1 + clip[..., :2] / clip[..., 3:] * clip.new_tensor((1, -1))) / 2
    expected = project_points(camera, points) @ affine[..., :2].mT + affine[..., 2].unsqueeze(-2)
    torch.testing.assert_close(found, expected)


def test_fused_and_plain_agree_in_values_and_gradients(
    camera: Camera, points: torch.Tensor, rng: torch.Generator
) -> None:
    matrix = clip_from_world(camera).detach()
    weights = torch.randn(3, 11, 4, generator=rng, dtype=torch.float64)
    exact = matrix.clone().requires_grad_(), points.clone().requires_grad_()
    fused = matrix.float().requires_grad_(), points.float().requires_grad_()
    expected, found = transform_points_plain(*exact), transform_points_cpu(*fused)
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-6)
    (expected * weights).sum().backward()
    (found * weights.float()).sum().backward()
    for exact_leaf, fused_leaf in zip(exact, fused, strict=True):
        assert exact_leaf.grad is not None
        assert fused_leaf.grad is not None
        torch.testing.assert_close(fused_leaf.grad.double(), exact_leaf.grad, atol=1e-4, rtol=1e-5)


def test_gradients(camera: Camera, points: torch.Tensor) -> None:
    inputs = tuple(part.requires_grad_() for part in camera)
    affine = torch.tensor([[[1.1, 0.1, -0.2], [-0.1, 0.9, 0.3]]], dtype=torch.float64).repeat(3, 1, 1).requires_grad_()

    def projected(affine: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
        clip = transform_points_plain(clip_from_world(Camera(*parts), affine), points[:, :3])
        return clip[..., :2] / clip[..., 3:]

    assert torch.autograd.gradcheck(projected, (affine, *inputs))
