"""What a texture model can express: the latent vector whose texture is nearest to a known one (Gecer et al. 2019, 3.1).

Minimises the mean absolute difference over the latent vector by Adam, kept where the fit to photos keeps it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from evaluation.texture_error import TextureError, texture_error
from ops.texture.interface import TextureModel

BETAS = (0.9, 0.99)
START_DEVIATION = 0.1
LAST_RATE = 0.02
"""Learning rate at the end, relative to that at the start."""


class FittedTextures(NamedTuple):
    """The nearest textures a model offers."""

    latent: Float[Tensor, "image latent"]
    texture: Float[Tensor, "image 3 side side"]
    """RGB, not clamped."""


def fit_textures(
    model: TextureModel,
    truth: Float[Tensor, "image 3 side side"],
    *,
    steps: int = 300,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> FittedTextures:
    """Fit all images at the level of their side, the step size falling along half a cosine.

    Every image has its own loss, start and optimiser state: results do not depend on the others but for rounding.

    Raises:
        ConfigurationError: the model has no level of this side.
    """
    count, side = len(truth), truth.shape[-1]
    random = torch.Generator().manual_seed(seed)
    start = START_DEVIATION * torch.randn(1, model.latent_size, generator=random)
    latent = start.expand(count, -1).to(truth).contiguous().requires_grad_()
    optimiser = torch.optim.Adam([latent], learning_rate, BETAS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, LAST_RATE * learning_rate)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        (model(latent, side) - truth).abs().mean((1, 2, 3)).sum().backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            latent.copy_(model.constrain(latent))
    with torch.no_grad():
        return FittedTextures(latent.detach(), model(latent, side))


def measure_model(
    model: TextureModel,
    truth: Float[Tensor, "image 3 side side"],
    *,
    steps: int,
    batch: int,
    report: Callable[[int], None],
) -> tuple[TextureError, Float[Tensor, "image 3 side side"]]:
    """Errors and textures of the nearest a model offers; `report` receives the number of finished images."""
    errors: list[TextureError] = []
    textures: list[Tensor] = []
    for part in truth.split(batch):
        fitted = fit_textures(model, part, steps=steps)
        errors.append(texture_error(fitted.texture, part))
        textures.append(fitted.texture)
        report(sum(len(done) for done in textures))
    return TextureError(*(torch.cat(column) for column in zip(*errors, strict=True))), torch.cat(textures)
