"""People of known shape, texture, pose and light, photographed by our own renderer into aligned crops."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

from ops.face.alignment import CROP_CENTRE_TEMPLATE_PX, CROP_SIDE_TEMPLATE_PX
from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.fit import FitInput, FitModels
from ops.fit.second_render import alignment_of
from ops.geometry.camera import Camera, project_points
from ops.geometry.rotation import rotation_from_euler
from ops.render.lighting import Light
from ops.render.render import Topology, render
from ops.weights.bundle import ModelBundle, resolve_bundle
from ops.weights.models import load_prior, load_recognition, load_shape, load_texture

SIDE = 224


@dataclass(frozen=True)
class KnownPeople:
    """What was photographed, and the photographs."""

    identity: torch.Tensor
    inputs: FitInput


@pytest.fixture(scope="session")
def models(embedded: ModelBundle) -> FitModels:
    """The models that ship with the project, without a judge and a regressor."""
    return load_models(embedded)


@pytest.fixture(scope="session")
def ict(model_dir: Path) -> FitModels:
    """Those of ICT-FaceKit, where the model files are."""
    return load_models(resolve_bundle("ict", model_dir))


def load_models(bundle: ModelBundle) -> FitModels:
    shape = load_shape(bundle.shape)
    return FitModels(
        shape=shape,
        texture=load_texture(bundle.texture, shape),
        recognition=load_recognition(bundle.recognition),
        prior=load_prior(bundle.prior),
    )


def photograph(models: FitModels, people: int, views: int, seed: int, noise_px: float = 1.0) -> KnownPeople:
    """`views` photographs of each of `people` random people; landmarks carry Gaussian noise as a detector's do."""
    shape = models.shape
    rng = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=rng)

    identity = normal(people, shape.identity_size)
    latent = normal(people, models.texture.latent_size) * 0.7
    count = people * views
    group = torch.arange(people).repeat_interleave(views)
    expression = torch.zeros(count, shape.expression_size)
    expression[torch.arange(count), torch.randint(shape.expression_size, (count,), generator=rng)] = 0.4
    vertices = shape.vertices_mm(identity[group], expression)
    yaw = (torch.arange(count) % views - (views - 1) / 2) * 0.35 + normal(count) * 0.1
    face = rotation_from_euler(yaw, normal(count) * 0.1, torch.zeros(count))
    centre = shape.mean_mm[shape.landmarks].mean(0)
    eye = centre + (face.mT @ torch.tensor((0.0, 0.0, 1000.0))) * (1 + 0.1 * normal(count, 1))
    camera = Camera(eye, centre.expand_as(eye), torch.full((count,), 4.0), torch.zeros(count))
    light = Light(
        centre + torch.tensor((200.0, 400.0, 1000.0)) + 200 * normal(count, 3),
        torch.full((count, 3), 0.5),
        torch.full((count, 3), 0.6),
    )
    points = vertices[:, landmark_vertices(shape)]
    template = torch.tensor(CROP_CENTRE_TEMPLATE_PX) - CROP_SIDE_TEMPLATE_PX / 2
    affine = alignment_of(points, camera) * (112 / CROP_SIDE_TEMPLATE_PX)
    affine[:, :, 2] -= template / CROP_SIDE_TEMPLATE_PX
    topology = Topology(triangles=shape.triangles, uv=shape.uv, uv_triangles=shape.uv_triangles)
    rendered = render(
        topology, vertices, models.texture(latent)[group], camera, light, SIDE, image_from_normalised=affine
    )
    images = torch.where(rendered.mask.unsqueeze(1), rendered.image, 0.35).clamp(0, 1)
    seen = project_points(camera, choose_landmarks(points, camera))
    seen = (seen @ affine[:, :, :2].mT + affine[:, None, :, 2]) * SIDE
    inputs = FitInput(
        images=images,
        valid=torch.ones(count, SIDE, SIDE, dtype=torch.bool),
        landmarks_px=seen + noise_px * normal(count, 68, 2),
        group=group,
        seeds=torch.arange(count),
    )
    return KnownPeople(identity, inputs)


@pytest.fixture(scope="session")
def ict_photographs(ict: FitModels) -> Callable[..., KnownPeople]:
    return partial(photograph, ict)


@pytest.fixture(scope="session")
def photographs(models: FitModels) -> Callable[..., KnownPeople]:
    return partial(photograph, models)
