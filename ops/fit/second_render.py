"""The second image of the same person: random expression, pose and light, aligned like every other face."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.face.alignment import ARCFACE_SIDE_PX, ARCFACE_TEMPLATE_PX, five_points
from ops.face.landmark_points import choose_landmarks
from ops.face.prior import CameraLightPrior, sample_prior
from ops.fit.initial_camera import PORTRAIT_DISTANCE_MM
from ops.geometry.camera import Camera, project_points
from ops.geometry.constants import constant_like
from ops.geometry.rotation import rotation_from_euler
from ops.geometry.similarity import fit_similarity, fit_similarity_2d
from ops.render.lighting import Light

SECOND_FOCAL = 4.0
"""Focal length of the second camera in sides; the alignment rescales the picture, so only perspective is set here."""
BLENDSHAPE_SCALE = 0.3
"""Factor from Gaussian draws to blendshape weights: an expression of 0.5 standard deviations moves a shape by 0.15."""
_TEMPLATE = tuple((ARCFACE_TEMPLATE_PX / ARCFACE_SIDE_PX).flatten().tolist())


class SecondDraws(NamedTuple):
    """Everything random about the second render, for every step and image in advance."""

    camera: Camera
    """Fields of shape [step, image, ...]; the world's origin lies at the face's centre of the mean face."""
    light: Light
    expression: Float[Tensor, "step image expression"]


def draw_second_renders(
    prior: CameraLightPrior,
    seeds: Int64[Tensor, " image"],
    steps: int,
    *,
    expression_size: int,
    blendshapes: bool,
    centre_mm: Float[Tensor, " 3"],
) -> SecondDraws:
    """Draw cameras, lights and expressions from the prior, image by image from the image's own seed.

    An image's draws depend on its seed, the prior and `steps`, not on the batch.
    """
    cameras: list[Tensor] = []
    lights: list[Tensor] = []
    expressions: list[Tensor] = []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(int(seed) % (1 << 63))
        expression = torch.randn(steps, expression_size, generator=generator) * prior.expression_sd
        sample = sample_prior(prior, [generator] * steps)
        angles = sample.angles.to(torch.float32)
        face = rotation_from_euler(angles[:, 0], angles[:, 1], torch.zeros_like(angles[:, 2]))
        cameras.append(face.mT @ torch.tensor((0.0, 0.0, PORTRAIT_DISTANCE_MM)) + centre_mm.cpu())
        lights.append(
            torch.cat((sample.direction * 1000.0 + centre_mm.cpu(), sample.colour, sample.ambient), -1).float()
        )
        expressions.append((expression * BLENDSHAPE_SCALE).clamp(0, 1) if blendshapes else expression)
    eye = torch.stack(cameras, 1)
    light = torch.stack(lights, 1)
    target = centre_mm.cpu().expand_as(eye)
    focal = torch.full(eye.shape[:2], SECOND_FOCAL)
    return SecondDraws(
        Camera(eye, target, focal, torch.zeros_like(focal)),
        Light(light[..., :3], light[..., 3:6], light[..., 6:]),
        torch.stack(expressions, 1),
    )


def alignment_of(points_mm: Float[Tensor, "image candidate 3"], camera: Camera) -> Float[Tensor, "image 2 3"]:
    """The affine in normalised coordinates that puts the projected five points on the recognition template.

    Carries no gradient: a face does not get more like another by moving its frame.
    """
    with torch.no_grad():
        points = five_points(project_points(camera, choose_landmarks(points_mm, camera)))
        template = constant_like(_TEMPLATE, points).unflatten(0, (5, 2)).expand_as(points)
        # Both are the same up to rounding; singular values make the host wait for a GPU.
        fit = fit_similarity if points.device.type == "cpu" else fit_similarity_2d
        similarity = fit(points, template, with_scale=True)
        linear = similarity.scale[..., None, None] * similarity.rotation
        return torch.cat((linear, similarity.translation.unsqueeze(-1)), -1)


def choose(draws: SecondDraws, images: slice | Tensor) -> SecondDraws:
    """All draws for some images."""
    camera = Camera(*(value[:, images] for value in draws.camera))
    light = Light(*(value[:, images] for value in draws.light))
    return SecondDraws(camera, light, draws.expression[:, images])


def at_step(draws: SecondDraws, step: int) -> tuple[Camera, Light, Float[Tensor, "image expression"]]:
    """The draws of one step."""
    camera, light = Camera(*(value[step] for value in draws.camera)), Light(*(value[step] for value in draws.light))
    return camera, light, draws.expression[step]
