import math

import pytest
import torch

from ops.geometry.topology import Topology
from ops.render.lighting import Light
from ops.render.shading import PhongMaterial, Scene, phong, sample_texture, shade_plain

DULL = PhongMaterial(specular=0.0)
GLOSSY = PhongMaterial(specular=0.5, shininess=20.0)


def colour(*rgb: float) -> torch.Tensor:
    return torch.tensor([rgb], dtype=torch.float64)


def shade_point(normal: torch.Tensor, light: Light, eye_mm: torch.Tensor, material: PhongMaterial) -> list[float]:
    """The colour of a surface at the origin with albedo (0.2, 0.4, 0.8)."""
    point = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    albedo = torch.tensor([0.2, 0.4, 0.8], dtype=torch.float64).expand(1, 1, 1, 3)
    return phong(point, normal.expand(1, 1, 1, 3), albedo, Scene(eye_mm, light), material).flatten().tolist()


def test_ambient_light_scales_the_albedo() -> None:
    light = Light(colour(0, 0, 500), colour(0, 0, 0), colour(0.5, 1, 2))
    found = shade_point(colour(0, 0, 1), light, colour(0, 0, 900), GLOSSY)
    assert found == pytest.approx([0.1, 0.4, 1.6])


@pytest.mark.parametrize("degrees", [0, 60, 85])
def test_diffuse_light_falls_with_the_cosine_and_not_with_distance(degrees: float) -> None:
    angle = math.radians(degrees)
    for distance in (10, 1000):
        position = distance * colour(math.sin(angle), 0, math.cos(angle))
        light = Light(position, colour(1, 0.5, 2), colour(0, 0, 0))
        expected = [0.2 * math.cos(angle), 0.2 * math.cos(angle), 1.6 * math.cos(angle)]
        assert shade_point(colour(0, 0, 1), light, colour(0, 0, 900), DULL) == pytest.approx(expected)


def test_the_highlight_is_where_the_mirrored_light_meets_the_eye() -> None:
    light = Light(colour(300, 0, 400), colour(1, 0.5, 0), colour(0, 0, 0))
    diffuse = shade_point(colour(0, 0, 1), light, colour(-300, 0, 400), DULL)
    full = shade_point(colour(0, 0, 1), light, colour(-300, 0, 400), GLOSSY)
    assert [a - b for a, b in zip(full, diffuse, strict=True)] == pytest.approx([0.5, 0.25, 0.0])
    turned = math.atan2(3, 4) + math.radians(20)
    aside = shade_point(colour(0, 0, 1), light, 500 * colour(-math.sin(turned), 0, math.cos(turned)), GLOSSY)
    assert aside[0] - diffuse[0] == pytest.approx(0.5 * math.cos(math.radians(20)) ** 20)


def test_a_surface_turned_from_the_light_has_ambient_light_only() -> None:
    light = Light(colour(100, 0, -20), colour(1, 1, 1), colour(0.5, 0.5, 0.5))
    # The mirrored light would meet this eye.
    found = shade_point(colour(0, 0, 1), light, colour(-100, 0, 20), GLOSSY)
    assert found == pytest.approx([0.1, 0.2, 0.4])


def test_texture_row_zero_is_v_one_and_texel_centres_are_exact(rng: torch.Generator) -> None:
    texture = torch.rand(1, 3, 2, 4, generator=rng)
    u, v = (torch.arange(4) + 0.5) / 4, torch.tensor([0.75, 0.25])
    uv = torch.stack(torch.meshgrid(u, v, indexing="xy"), -1)[None]
    torch.testing.assert_close(sample_texture(texture, uv), texture)
    between = torch.tensor([[[[0.25, 0.75], [0.125, 0.5], [-3.0, 9.0], [1.5, -0.1]]]])
    expected = (
        (texture[..., 0, 0] + texture[..., 0, 1]) / 2,
        texture[..., 0].mean(-1),
        texture[..., 0, 0],
        texture[..., 1, 3],
    )
    torch.testing.assert_close(sample_texture(texture, between)[..., 0, :], torch.stack(expected, -1))


def test_a_texture_of_one_texel_colours_everything() -> None:
    texture = torch.tensor([0.2, 0.4, 0.6]).reshape(1, 3, 1, 1)
    found = sample_texture(texture, torch.tensor([[[[0.0, 0.0], [0.3, 0.9]]]]))
    torch.testing.assert_close(found, texture.expand(1, 3, 1, 2))


def test_gradients_of_every_input(rng: torch.Generator) -> None:
    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    triangles = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
    topology = Topology(triangles=triangles, uv=random(4, 2), uv_triangles=triangles)
    ids = torch.tensor([[0.0, 1, 2], [2, 2, 1]], dtype=torch.float64).expand(2, 2, 3)
    inputs = (
        0.5 * random(2, 2, 3, 2),
        50 * random(2, 4, 3),
        random(2, 4, 3) + torch.tensor([0, 0, 2.0]),
        random(2, 3, 3, 5),
        random(2, 3) * 100 + torch.tensor([0, 0, 300]),
        random(2, 3) * 100 + torch.tensor([0, 0, 300]),
        random(2, 3),
        random(2, 3),
    )

    def shaded(uv: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        pixels = torch.cat((uv, torch.zeros_like(uv[..., :1]), ids[..., None]), -1)
        vertices, normals, texture, eye, position, light, ambient = rest
        scene = Scene(eye, Light(position, light, ambient))
        return shade_plain(pixels, topology, vertices, normals, texture, scene, GLOSSY)

    assert (shaded(*inputs)[:, :, 0, 0] == 0).all()
    assert (shaded(*inputs)[:, :, 0, 1:] > 0).all()
    assert torch.autograd.gradcheck(shaded, tuple(tensor.requires_grad_() for tensor in inputs))
