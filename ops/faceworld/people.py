"""People of the face world: a shape, an appearance and a texture from a seed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.appearance import Appearance, sample_appearance

IDENTITY_LIMIT = 2.3
"""Identity coefficients are clipped here, in standard deviations."""
EXPRESSION_SCALE = {"gaussian": 0.8, "blendshape": 0.25}


@dataclass(frozen=True, kw_only=True)
class Person:
    """What stays the same over all pictures of somebody."""

    identity: Float[Tensor, " identity"]
    appearance: Appearance
    texture: Float[Tensor, "3 side side"]


def sample_person(
    model: MorphableModel, painter: AlbedoPainter, seed: int | tuple[int, ...], *, hair: bool = True
) -> Person:
    """The person of a seed."""
    rng = np.random.default_rng(seed)
    identity = _draw_identity(model, rng)
    appearance = sample_appearance(rng, masculinity=float(rng.choice((-1.0, 1.0))), hair=hair)
    return Person(
        identity=identity,
        appearance=appearance,
        texture=torch.from_numpy(painter(appearance)),
    )


def sample_identity(model: MorphableModel, seed: int | tuple[int, ...]) -> Float[Tensor, " identity"]:
    """The identity alone of the person of a seed."""
    return _draw_identity(model, np.random.default_rng(seed))


def _draw_identity(model: MorphableModel, rng: np.random.Generator) -> Float[Tensor, " identity"]:
    drawn = rng.standard_normal(model.identity_size).clip(-IDENTITY_LIMIT, IDENTITY_LIMIT)
    return torch.from_numpy(drawn).float()


def sample_expression(model: MorphableModel, rng: np.random.Generator) -> Float[Tensor, " expression"]:
    """A random expression, often close to neutral."""
    strength = EXPRESSION_SCALE[model.metadata.expression_kind] * rng.uniform(0, 1.2)
    weights = rng.standard_normal(model.expression_size) * strength
    if model.metadata.expression_kind == "blendshape":
        weights = np.clip(weights, 0, 1) * (rng.random(model.expression_size) < 0.25)
    return torch.from_numpy(weights.clip(-2.5, 2.5)).float()
