"""The supervised start of a texture generator: regress maps from codes before any critic judges them.

Codes are the whitened principal components of the maps, under the weight of texels that lies beside them, or count the
modes of a PCA texture that comes with the maps: what is regressed from them holds for maps not seen, too, whose codes
are found the same way. Small levels come first, then
larger ones; a generator's linear image begins as the principal components themselves. What remains for the adversarial
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

from ops.texture.pca import PcaTexture, fit_pca_texture, load_pca_texture
from ops.texture.progressive_gan import Generator, fade_images
from ops.training.loop import Schedule, run_training
from ops.training.texture_maps import TextureMaps

CODE_SIDE = 64
CODE_MAPS = 4000
"""Maps whose principal components the codes are, at most."""
CODE_DEVIATION = 0.7
"""Of every code's values: most codes lie inside the ball that latent vectors are kept in."""
CHUNK = 200
FADE_SHARE = 0.25
"""Part of a level's time in which it fades in."""
DETAIL_WINDOW = 8


@dataclass(frozen=True, kw_only=True)
class StartSettings:
    """What the supervised phase minimises, and when it goes to the next level."""

    level_ends: tuple[float, ...] = (0.04, 0.12, 0.35)
    """Progress at which the generator leaves each of its levels below the largest; no smaller ones train."""
    gradient_weight: float = 1.0
    """Of the mean absolute difference of neighbouring texels' differences."""
    detail_weight: float = 0.0
    """Of the mean difference of the local strength of detail: how much there is, wherever it lies."""
    batch: int = 16
    """Maps of a step."""
    learning_rate: float = 1e-2
    """At most."""


class _Coded(nn.Module):
    """A generator and one code for every map."""

    codes: Tensor

    def __init__(self, generator: Generator, codes: Float[Tensor, "map latent"]) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("codes", codes)


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
    sides = generator.size.generator_sides
    if resume and checkpoint.is_file():
        codes = torch.empty(maps.count, generator.size.latent_size)
    else:
        codes = start_from_components(generator, maps)
    coded = _Coded(generator, codes)

    def step_loss(step: int, progress: float) -> Tensor:
        side, share = start_level(sides, progress, settings)
        numbers = np.random.default_rng((schedule.seed, step)).integers(0, maps.count, schedule.batch)
        target = fade_images(maps.batch(side, numbers), share)
        found = generator(coded.codes[torch.from_numpy(numbers)], side, share)
        return drawing_loss(found, target, settings, lambda images: maps.as_seen(images, numbers))

    run_training(coded, step_loss, schedule, checkpoint, report, resume=resume)
    return coded.codes


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
    found: Float[Tensor, "image 3 side side"],
    target: Float[Tensor, "image 3 side side"],
    settings: StartSettings,
    as_seen: Callable[[Tensor], Tensor] = lambda images: images,
) -> Float[Tensor, ""]:
    """Mean absolute difference of texels and of their neighbour differences, and of the local strength of detail.

    Of maps that are guessed in part, `as_seen` takes away the detail that is: guesses are smooth, and how much detail
    there is must not be learned from them. Where it lies is learned from all of a map, as nothing better is known.
    """
    difference = found - target
    loss = difference.abs().mean()
    if settings.gradient_weight:
        across, down = difference.diff(dim=3).abs().mean(), difference.diff(dim=2).abs().mean()
        loss = loss + settings.gradient_weight * (across + down)
    if settings.detail_weight:
        strength = (detail_strength(as_seen(found)) - detail_strength(as_seen(target))).abs().mean()
        loss = loss + settings.detail_weight * strength
    return loss


def detail_strength(images: Float[Tensor, "image 3 side side"]) -> Float[Tensor, "image 3 h w"]:
    """Local root mean square of what a 3 x 3 mean removes."""
    detail = images - functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    window = min(DETAIL_WINDOW, images.shape[-1])
    return (functional.avg_pool2d(detail.square(), window, window // 2) + 1e-5).sqrt()


def start_from_components(generator: Generator, maps: TextureMaps) -> Float[Tensor, "map latent"]:
    """The codes of all maps; a linear image of the generator becomes their principal components."""
    latent_size, linear = generator.size.latent_size, generator.linear
    pca = principal_components(maps, generator.size.linear_side or CODE_SIDE, latent_size)
    if linear is not None:
        basis = torch.zeros_like(linear.basis)
        basis[: pca.latent_size] = pca.basis / CODE_DEVIATION
        linear.assign(pca.mean, basis)
    return CODE_DEVIATION * principal_codes(maps, pca, 0.05 * torch.randn(maps.count, latent_size))


def principal_components(maps: TextureMaps, side: int, modes: int) -> PcaTexture:
    """Of the maps in [-1, 1], averaged to at most `side` and weighted; no more modes than the maps can fill.

    Where a PCA texture comes with the maps, its first modes.
    """
    side = min(side, maps.sides[-1])
    if maps.components is not None:
        mean, basis = load_pca_texture(maps.components).at_level(side)
        return PcaTexture(mean=2 * mean - 1, basis=2 * basis[:modes], uv_layout="")
    numbers = np.arange(0, maps.count, -(-maps.count // CODE_MAPS))
    return fit_pca_texture(
        maps.batch(side, numbers),
        maps.weight(side),
        mode_count=min(modes, len(numbers) - 1),
        uv_layout="",
        gram_level=side,
    )


def principal_codes(
    maps: TextureMaps, pca: PcaTexture, spare: Float[Tensor, "map latent"]
) -> Float[Tensor, "map latent"]:
    """Whitened principal components of the maps; columns beyond the modes keep the values of `spare`."""
    root = maps.weight(pca.resolution).sqrt()
    solve = torch.linalg.pinv((root * pca.basis).flatten(1).mT.double()).float()
    codes = spare.clone()
    for start in range(0, maps.count, CHUNK):
        chosen = np.arange(start, min(start + CHUNK, maps.count))
        offsets = (root * (maps.batch(pca.resolution, chosen) - pca.mean)).flatten(1)
        codes[start : start + CHUNK, : pca.latent_size] = offsets @ solve.mT
    return codes
