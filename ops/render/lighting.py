"""One point light plus ambient, the light of the Phong model (Phong 1975)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LIGHT_SIZE = 9


class Light(NamedTuple):
    """A point light and an ambient term; colours are linear factors >= 0, 1 leaves an albedo as it is."""

    position_mm: Float[Tensor, "*batch 3"]
    colour: Float[Tensor, "*batch 3"]
    ambient: Float[Tensor, "*batch 3"]


def light_to_vector(light: Light) -> Float[Tensor, "*batch 9"]:
    """Pack as (position, colour, ambient)."""
    return torch.cat((light.position_mm, light.colour, light.ambient), -1)


def light_from_vector(vector: Float[Tensor, "*batch 9"]) -> Light:
    """Unpack (position, colour, ambient)."""
    return Light(vector[..., :3], vector[..., 3:6], vector[..., 6:9])
