import numpy as np
import pytest
import torch

from ops.faceworld.portraits.nearest_light import nearest_light, seen_vertices
from ops.faceworld.portraits.view import light_vertices, sample_light

RADIUS_MM = 80.0


@pytest.fixture
def normals() -> torch.Tensor:
    """The front half of a sphere."""
    drawn = torch.nn.functional.normalize(torch.randn(600, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    return drawn * drawn.new_tensor((1, 1, 1)).where(drawn[:, 2:] > 0, drawn.new_tensor((1, 1, -1)))


def received(normals: torch.Tensor, place_mm: torch.Tensor, colour: float, ambient: float) -> torch.Tensor:
    rays = torch.nn.functional.normalize(place_mm - RADIUS_MM * normals, dim=1)
    return ambient + colour * (rays * normals).sum(1).clamp_min(0)


@pytest.mark.parametrize("direction", [(0.0, 0.2, 1.0), (0.8, 0.3, 0.5), (-0.6, -0.4, 0.7)])
def test_a_light_of_the_same_kind_is_found(normals: torch.Tensor, direction: tuple[float, float, float]) -> None:
    place = 1200 * torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    found = nearest_light(received(normals, place, 0.8, 0.4), RADIUS_MM * normals, normals)
    cosine = float(torch.nn.functional.normalize(found[:3], dim=0) @ place / place.norm())
    assert cosine > np.cos(np.deg2rad(20))
    torch.testing.assert_close(found[3:], torch.tensor((0.8,) * 3 + (0.4,) * 3), atol=0.12, rtol=0)


def test_the_light_of_portraits_is_explained(normals: torch.Tensor) -> None:
    vertices, eye = RADIUS_MM * normals, torch.tensor((0.0, 0.0, 900.0))
    left: list[float] = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        light = sample_light(rng, torch.zeros(3), np.array((0.0, 0.0, 1.0)))
        level = light_vertices(vertices, normals, eye, light)[0].mean(1)
        found = nearest_light(level, vertices, normals)
        assert bool((found[3:] >= 0).all())
        explained = received(normals, found[:3], float(found[3]), float(found[6]))
        left.append(float((explained - level).square().mean() / level.var()))
    assert np.median(left) < 0.25


def test_only_what_is_turned_to_the_eye_is_seen() -> None:
    normals = torch.tensor(((0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0)))
    seen = seen_vertices(RADIUS_MM * normals, normals, torch.tensor((0.0, 0.0, 900.0)))
    assert seen.tolist() == [True, False, False]
