"""The point light and ambient that come nearest to a portrait's light."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ops.render.lighting import Light, light_to_vector

PLACES = 96
"""Places of the point light that are tried, about evenly over the half sphere before the face."""
FACING = 0.15
"""Cosine of normal and ray to the eye from which on a vertex counts as seen."""
USUAL_PLACE_MM, USUAL_COLOUR, USUAL_AMBIENT = (0.0, 300.0, 1200.0), 0.5, 0.6
"""Towards what is drawn what a light leaves open."""
STRENGTH_PULL, PLACE_PULL = 0.02, 0.002
"""How strongly; a place a metre away costs as much as the latter in squared light."""


def seen_vertices(
    vertices_mm: Float[Tensor, "vertex 3"], normals: Float[Tensor, "vertex 3"], eye_mm: Float[Tensor, "3"]
) -> Bool[Tensor, " vertex"]:
    """Which vertices are turned to the eye."""
    to_eye = torch.nn.functional.normalize(eye_mm - vertices_mm, dim=-1)
    return (normals * to_eye).sum(-1) > FACING


def nearest_light(
    received: Float[Tensor, " vertex"],
    vertices_mm: Float[Tensor, "vertex 3"],
    normals: Float[Tensor, "vertex 3"],
) -> Float[Tensor, "9"]:
    """The white light (`ops.render.lighting`) under which some vertices receive about as much.

    Minimises the mean of (ambient + colour max(n.l, 0) - received)^2 over strengths >= 0 and a choice of places.
    """
    usual = torch.tensor(USUAL_PLACE_MM).to(received)
    places = _places_mm(float(usual.norm())).to(received)
    rays = torch.nn.functional.normalize(places[:, None] - vertices_mm, dim=-1)
    cosine = (rays * normals).sum(-1).clamp_min(0)
    before = received.new_tensor((USUAL_COLOUR, USUAL_AMBIENT))
    columns = torch.stack((cosine, torch.ones_like(cosine)), -1)
    # The normal equations of every place at once, about the usual strengths.
    left = (received - columns @ before).unsqueeze(-1)
    normal = columns.mT @ columns / len(received) + STRENGTH_PULL * torch.eye(2).to(received)
    strengths = torch.linalg.solve(normal, columns.mT @ left / len(received)).squeeze(-1)
    strengths = (before + strengths).clamp_min(0)
    missed = ((columns @ strengths.unsqueeze(-1)).squeeze(-1) - received).square().mean(1)
    away_m = (places - usual) / 1000
    best = (missed + PLACE_PULL * away_m.square().sum(-1)).argmin()
    colour, ambient = strengths[best]
    return light_to_vector(Light(places[best], colour.expand(3), ambient.expand(3)))


def _places_mm(distance: float) -> Float[Tensor, "place 3"]:
    """A spiral over the half sphere before the face."""
    number = torch.arange(PLACES) + 0.5
    z = 1 - number / PLACES
    around = number * math.pi * (3 - math.sqrt(5))
    rim = (1 - z * z).sqrt()
    return distance * torch.stack((rim * around.cos(), rim * around.sin(), z), -1)
