"""Texture and light read off pixels, on faces whose texture and light are known."""

import pytest
import torch

from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.files.photo import LUMA
from ops.geometry.camera import Camera
from ops.render.lighting import Light, light_to_vector
from ops.render.render import Topology, render
from ops.texture.appearance import AppearanceConfig, AppearanceSolver, PosedFaces
from ops.texture.pca import PcaTexture
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_texture

SIDE, FOCAL, DISTANCE_MM = 160, 4.0, 1000.0
START = (0.0, 300.0, 1200.0, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6)


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def texture(shape: MorphableModel) -> PcaTexture:
    model = load_texture(resolve_bundle("embedded").texture, shape)
    assert isinstance(model, PcaTexture)
    return model


def photographed(shape: MorphableModel, texture: PcaTexture, latent: torch.Tensor, *, grey: bool = False) -> PosedFaces:
    """Photos of one neutral face under another light each, seen from the left and from the right."""
    count = len(latent)
    vertices = shape.mean_mm.expand(count, -1, -1).contiguous()
    centre = shape.mean_mm[shape.landmarks].mean(0)
    yaw = torch.linspace(-0.3, 0.3, count)
    ahead = torch.stack((yaw.sin(), torch.zeros(count), yaw.cos()), 1)
    camera = Camera(
        centre + DISTANCE_MM * ahead, centre.expand(count, 3), torch.full((count,), FOCAL), torch.zeros(count)
    )
    topology = Topology(triangles=shape.triangles, uv=shape.uv, uv_triangles=shape.uv_triangles)
    rendered = render(topology, vertices, texture(latent), camera, lights(count), SIDE)
    images = rendered.image.mean(1, keepdim=True).expand(-1, 3, -1, -1) if grey else rendered.image
    return PosedFaces(
        vertices,
        camera,
        images,
        rendered.mask.float(),
        torch.full((count,), grey),
        torch.zeros(count, dtype=torch.int64),
    )


def lights(count: int) -> Light:
    side = torch.linspace(-1, 1, count).unsqueeze(1)
    position = torch.tensor((0.0, 350.0, 1000.0)) + side * torch.tensor((500.0, 0.0, 0.0))
    return Light(position, torch.full((count, 3), 0.6), torch.full((count, 3), 0.5))


def shown_alike(texture: PcaTexture, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Correlation of what two latents add to the mean, over all texels."""
    added = torch.stack((texture(first), texture(second))).flatten(1) - texture.mean.flatten()
    return torch.nn.functional.cosine_similarity(added[0], added[1], dim=0)


def test_a_known_texture_and_its_light_are_found(
    shape: MorphableModel, texture: PcaTexture, rng: torch.Generator
) -> None:
    latent = 0.8 * torch.randn(1, texture.latent_size, generator=rng).expand(2, -1)
    faces = photographed(shape, texture, latent)
    solver = AppearanceSolver(shape, texture, AppearanceConfig(iterations=12))
    start = torch.tensor(START).expand(2, -1)
    found = solver(faces, torch.zeros_like(latent), start)
    torch.testing.assert_close(found.texture[0], found.texture[1])
    assert shown_alike(texture, found.texture[:1], latent[:1]) > 0.9
    true = light_to_vector(lights(2))
    assert (found.light - true)[:, 0].abs().max() < 0.5 * (start - true)[:, 0].abs().max()


def test_a_grey_photo_tells_no_colour(shape: MorphableModel, texture: PcaTexture, rng: torch.Generator) -> None:
    latent = 0.8 * torch.randn(1, texture.latent_size, generator=rng)
    solver, none, start = AppearanceSolver(shape, texture), torch.zeros_like(latent), torch.tensor(START).unsqueeze(0)
    faces = photographed(shape, texture, latent, grey=True)
    colour = torch.tensor((0.1, 0.1, 0.1)) - 0.1 * torch.tensor((1.0, 0.0, 0.0)) / LUMA[0]
    tinted = faces._replace(images=faces.images + colour.view(1, 3, 1, 1))
    first, second = solver(faces, none, start), solver(tinted, none, start)
    torch.testing.assert_close(first.texture, second.texture, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(first.light, second.light, atol=1e-3, rtol=1e-3)


def test_what_is_not_skin_does_not_count(shape: MorphableModel, texture: PcaTexture, rng: torch.Generator) -> None:
    latent = 0.8 * torch.randn(1, texture.latent_size, generator=rng)
    faces = photographed(shape, texture, latent)
    solver, none, start = AppearanceSolver(shape, texture), torch.zeros_like(latent), torch.tensor(START).unsqueeze(0)
    mask = faces.weight.clone()
    mask[:, : SIDE // 2] = 0
    painted = faces.images.clone()
    painted[:, :, : SIDE // 2 - 8] = 0.0
    first = solver(faces._replace(weight=mask), none, start)
    second = solver(faces._replace(weight=mask, images=painted), none, start)
    torch.testing.assert_close(first.texture, second.texture)
    nothing = solver(faces._replace(weight=torch.zeros_like(mask)), none, start)
    torch.testing.assert_close(nothing.texture, none)
    torch.testing.assert_close(nothing.light, start)


def test_people_do_not_depend_on_each_other(shape: MorphableModel, texture: PcaTexture, rng: torch.Generator) -> None:
    latent = 0.8 * torch.randn(2, texture.latent_size, generator=rng)
    faces = photographed(shape, texture, latent)._replace(group=torch.tensor([0, 1]))
    solver, start = AppearanceSolver(shape, texture), torch.tensor(START).expand(2, -1)
    both = solver(faces, torch.zeros_like(latent), start)
    rows = [value[:1] for value in faces]
    camera = Camera(*(value[:1] for value in faces.camera))
    alone = solver(PosedFaces(rows[0], camera, *rows[2:]), torch.zeros(1, texture.latent_size), start[:1])
    torch.testing.assert_close(both.texture[:1], alone.texture, atol=2e-3, rtol=2e-3)
    assert (both.texture[0] - both.texture[1]).norm() > 1
