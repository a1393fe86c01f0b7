"""The supervised start of a texture generator: regress maps from codes before any critic judges them.

Codes begin as the whitened principal components of the maps and are trained along with the generator (generative latent
optimisation, Bojanowski et al. 2018), first on small levels, then on larger ones. What remains for the adversarial
phase is the detail no regression finds. This is a short cut for small machines, and no part of the published training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ops.texture.pca import fit_pca_texture
from ops.texture.progressive_gan import Generator, fade_images
from ops.training.loop import Schedule, run_training
from ops.training.texture_maps import TextureMaps

CODE_SIDE = 64
CODE_MAPS = 1500
"""Maps whose principal components the first codes are."""
CHUNK = 200
FADE_SHARE = 0.25
"""Part of a level's time in which it fades in."""
DETAIL_WINDOW = 8


@dataclass(frozen=True, kw_only=True)
class StartSettings:
    """What the supervised phase minimises, and when it goes to the next level."""

    level_ends: tuple[float, ...] = (0.04, 0.12, 0.35)
    """Progress at which the generator leaves each of its levels below the largest; the largest four train."""
    gradient_weight: float = 1.0
    """Of the mean absolute difference of neighbouring texels' differences."""
    detail_weight: float = 0.0
    """Of the mean difference of the local strength of detail: how much there is, wherever it lies."""


class _Coded(nn.Module):
    """A generator and one code for every map."""

    def __init__(self, generator: Generator, codes: Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.codes = nn.Parameter(codes)


def train_start(
    generator: Generator,
    maps: TextureMaps,
    schedule: Schedule,
    checkpoint: Path,
    report: Callable[[str], None],
    *,
    settings: StartSettings | None = None,
    resume: bool,
) -> Float[Tensor, "map latent"]:
    """Train a generator to draw every map from its code; returns the codes."""
    settings = settings or StartSettings()
    sides = generator.size.sides
    first = 0.05 * torch.randn(maps.count, generator.size.latent_size)
    coded = _Coded(generator, first if resume and checkpoint.is_file() else principal_codes(maps, first))

    def step_loss(step: int, progress: float) -> Tensor:
        side, share = start_level(sides, progress, settings)
        numbers = np.random.default_rng((schedule.seed, step)).integers(0, maps.count, schedule.batch)
        target = fade_images(maps.batch(side, numbers), share)
        found = generator(coded.codes[torch.from_numpy(numbers)], side, share)
        return drawing_loss(found, target, settings)

    run_training(coded, step_loss, schedule, checkpoint, report, resume=resume)
    return coded.codes.detach()


def start_level(sides: tuple[int, ...], progress: float, settings: StartSettings) -> tuple[int, float]:
    """Side and share of the level that trains at this progress."""
    ends = (*settings.level_ends, 1.0)
    trained = sides[-len(ends) :]
    ends = ends[-len(trained) :]
    level = min(sum(progress >= end for end in ends), len(trained) - 1)
    start = ends[level - 1] if level else 0.0
    if level == 0:
        return trained[0], 1.0
    return trained[level], min((progress - start) / (FADE_SHARE * (ends[level] - start)), 1.0)


def drawing_loss(
    found: Float[Tensor, "image 3 side side"], target: Float[Tensor, "image 3 side side"], settings: StartSettings
) -> Float[Tensor, ""]:
    """Mean absolute difference of texels and of their neighbour differences, and of the local strength of detail."""
    difference = found - target
    loss = difference.abs().mean()
    if settings.gradient_weight:
        across, down = difference.diff(dim=3).abs().mean(), difference.diff(dim=2).abs().mean()
        loss = loss + settings.gradient_weight * (across + down)
    if settings.detail_weight:
        strength = (detail_strength(found) - detail_strength(target)).abs().mean()
        loss = loss + settings.detail_weight * strength
    return loss


def detail_strength(images: Float[Tensor, "image 3 side side"]) -> Float[Tensor, "image 3 h w"]:
    """Local root mean square of what a 3 x 3 mean removes."""
    detail = images - functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    window = min(DETAIL_WINDOW, images.shape[-1])
    return (functional.avg_pool2d(detail.square(), window, window // 2) + 1e-5).sqrt()


def principal_codes(maps: TextureMaps, spare: Float[Tensor, "map latent"]) -> Float[Tensor, "map latent"]:
    """Whitened principal components of the maps; columns beyond what the maps can fill keep the values of `spare`."""
    side = min(CODE_SIDE, maps.sides[-1])
    step = -(-maps.count // CODE_MAPS)
    numbers = np.arange(0, maps.count, step)
    modes = min(spare.shape[1], len(numbers) - 1)
    samples = maps.batch(side, numbers)
    pca = fit_pca_texture(samples, torch.ones(side, side), mode_count=modes, uv_layout="", gram_level=side)
    basis = pca.basis.flatten(1)
    solve = torch.linalg.pinv(basis.mT.double()).float()
    codes = spare.clone()
    for start in range(0, maps.count, CHUNK):
        chosen = np.arange(start, min(start + CHUNK, maps.count))
        offsets = (maps.batch(side, chosen) - pca.mean).flatten(1)
        codes[start : start + CHUNK, :modes] = offsets @ solve.mT
    return codes
