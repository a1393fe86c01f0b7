"""Procedural backgrounds and occluders: colours, gradients, noise, stripes and blobs that are not faces."""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32

from ops.faceworld.appearance import HAIR_COLOURS, SKIN_TONES, blend_colours
from ops.faceworld.noise import FractalNoise

Picture = Float32[np.ndarray, "3 side side"]


@lru_cache(maxsize=16)
def _coordinates(side: int) -> tuple[Float32[np.ndarray, "side side"], Float32[np.ndarray, "side side"]]:
    ticks = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(ticks, ticks)
    return x, y


@lru_cache(maxsize=64)
def _noise(side: int, cells: int) -> FractalNoise:
    x, y = _coordinates(side)
    return FractalNoise(x * cells, y * cells, (1.0, 0.5, 0.25))


def paint_background(rng: np.random.Generator, side: int) -> Picture:
    """A picture without a face, RGB in [0, 1]."""
    x, y = _coordinates(side)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + 0.5
    ends = rng.uniform(0, 1, (2, 3, 1, 1)).astype(np.float32)
    picture = ends[0] * (1 - ramp) + ends[1] * ramp
    if rng.random() < 0.7:
        field = _noise(side, int(rng.integers(2, 12)))(rng)
        tint = rng.normal(0, 0.15, (3, 1, 1)).astype(np.float32) + rng.uniform(-0.2, 0.2)
        picture = picture + field * tint
    if rng.random() < 0.3:
        stripes = np.sin(ramp * rng.uniform(10, 120)) * rng.uniform(0.05, 0.3)
        picture = picture + stripes * rng.uniform(-1, 1, (3, 1, 1))
    for _ in range(int(rng.integers(0, 9))):
        cover = random_blob(rng, side)
        picture = np.where(cover, _blob_colour(rng, side), picture)
    return np.clip(picture, 0, 1).astype(np.float32)


def random_blob(
    rng: np.random.Generator, side: int, centre: tuple[float, float] | None = None, size: float | None = None
) -> Bool[np.ndarray, "side side"]:
    """An ellipse, box or half plane; centre and size in image sides are drawn where not given."""
    x, y = _coordinates(side)
    cx, cy = centre or (rng.uniform(), rng.uniform())
    radius = size or rng.uniform(0.03, 0.35)
    angle, aspect = rng.uniform(0, np.pi), rng.uniform(0.3, 1.0)
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)) / aspect
    kind = rng.integers(3)
    if kind == 0:
        return along**2 + across**2 < radius**2
    if kind == 1:
        return np.maximum(np.abs(along), np.abs(across)) < radius
    return (np.abs(across) < radius * 0.3) & (np.abs(along) < 1)


def _blob_colour(rng: np.random.Generator, side: int) -> Picture:
    """Plain or noisy; often skin- or hair-coloured, so that colour alone does not make a face."""
    choice = rng.random()
    if choice < 0.35:
        colour = np.array(blend_colours(SKIN_TONES, rng.uniform()))
    elif choice < 0.55:
        colour = np.array(blend_colours(HAIR_COLOURS, rng.uniform()))
    else:
        colour = rng.uniform(0, 1, 3)
    shade = _noise(side, int(rng.integers(2, 20)))(rng) * rng.uniform(0, 0.25) + rng.uniform(0.6, 1.2)
    return (colour.astype(np.float32)[:, None, None] * shade).astype(np.float32)


def paint_occluder(rng: np.random.Generator, picture: Picture, centre: tuple[float, float], size: float) -> None:
    """Cover a part of the picture in place, near a point; `size` in image sides bounds its radius."""
    side = picture.shape[-1]
    offset = rng.normal(0, 0.6 * size, 2)
    cover = random_blob(rng, side, (centre[0] + offset[0], centre[1] + offset[1]), size * rng.uniform(0.15, 0.45))
    picture[:] = np.where(cover, _blob_colour(rng, side), picture)
