"""Adaptive augmentation of what a critic sees, so that it cannot learn few maps by heart (Karras et al. 2020).

"Training generative adversarial networks with limited data": real and generated textures go through the same random
mirroring, shifts and changes of colour before the critic, each with probability p, and gradients go back through them.
As long as p stays below about 0.8, generated textures do not take them over. The critic overfits as far as it tells
training maps from held-back ones,

    r = (E[D(training)] - E[D(held back)]) / (E[D(training)] - E[D(generated)]),

which is 0 where it does not, and 1 where it takes held-back maps for generated ones. This is the paper's r_v: it does
not change when scores are moved or scaled, where the r_t of its experiments reads the sign of a score, which means
nothing to the critic of WGAN-GP. p rises while r is above its target and falls below. Shifts are small, since UV maps
are aligned and a texture is not seen elsewhere, and there are no rotations or cut-outs: masks cut out enough.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ops.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """How strong augmentations are, and how their probability follows overfitting."""

    target: float = 0.5
    """Overfitting r at which the probability stays."""
    adjust_every: int = 4
    """Steps between two adjustments."""
    images_to_one: int = 500_000
    """Real images over which the probability may rise from 0 to 1, as published; a short training needs fewer."""
    most: float = 0.8
    """The largest probability: more of it would leak into generated textures."""
    held_back: float = 0.1
    """Share of the maps that measures overfitting; the critic never sees it as real."""
    shift: float = 1 / 32
    """Largest shift along each axis, sides."""
    brightness: float = 0.2
    """Standard deviation of what is added to colours in [-1, 1]."""
    contrast: float = 0.5
    """Standard deviation of the contrast's logarithm to base 2."""
    saturation: float = 1.0
    """The same of the saturation."""
    hue: float = 0.5
    """Largest turn about the grey axis, half turns."""

    def __post_init__(self) -> None:
        if not 0 < self.held_back < 1 or not 0 <= self.most <= 1:
            raise ConfigurationError("expected a share of maps held back in (0, 1) and probabilities in [0, 1]")
        if min(self.adjust_every, self.images_to_one) < 1:
            raise ConfigurationError("expected adjust_every and images_to_one of at least 1")

    def held_back_maps(self, count: int, together: int = 1) -> int:
        """How many of so many maps are held back, `together` at a time.

        Raises:
            ConfigurationError: none would be left.
        """
        held_back = together * max(1, round(self.held_back * count / together))
        if held_back >= count:
            raise ConfigurationError(f"expected maps of two people or more to hold one back, got {count}")
        return held_back


def augmentation_for(images: int) -> AugmentationSettings:
    """Settings with which the probability can rise within half of a training that shows so many real images."""
    return AugmentationSettings(images_to_one=max(1, min(AugmentationSettings.images_to_one, images // 2)))


class AdaptiveProbability:
    """The probability of augmentations and the scores since it was last adjusted; the same in every worker."""

    def __init__(self, settings: AugmentationSettings) -> None:
        self.settings = settings
        self.value = 0.0
        self.overfitting = 0.0
        """r at the last adjustment."""
        self._scores = torch.zeros(3, dtype=torch.float64)
        self._steps = self._images = 0

    def observe(self, scores: Float[Tensor, "3"], images: int) -> None:
        """Take in the critic's mean scores of training maps, held-back maps and generated ones in a step.

        Args:
            scores: in this order, means over all workers.
            images: training maps of the step, over all workers.
        """
        self._scores += scores.detach().double().cpu()
        self._steps, self._images = self._steps + 1, self._images + images
        if self._steps < self.settings.adjust_every:
            return
        training, held_back, generated = self._scores.tolist()
        gap = training - generated
        # A critic that prefers generated maps has learned nothing by heart.
        self.overfitting = (training - held_back) / gap if gap > 0 else 0.0
        step = self._images / self.settings.images_to_one
        step = step if self.overfitting > self.settings.target else -step
        self.value = min(max(self.value + step, 0.0), self.settings.most)
        self._scores.zero_()
        self._steps = self._images = 0

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "value": self.value,
            "overfitting": self.overfitting,
            "scores": self._scores.clone(),
            "steps": self._steps,
            "images": self._images,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.value, self.overfitting = float(state["value"]), float(state["overfitting"])
        self._scores = state["scores"].double().cpu().clone()
        self._steps, self._images = int(state["steps"]), int(state["images"])


def augment(
    images: Float[Tensor, "image 3 side side"],
    probability: float,
    random: torch.Generator,
    settings: AugmentationSettings,
) -> Float[Tensor, "image 3 side side"]:
    """Images in [-1, 1], each augmentation drawn for every image by itself; differentiable, the identity at 0.

    Args:
        images: on any device.
        probability: of each augmentation.
        random: on the CPU; what is drawn depends on it and the number of images alone.
        settings: strengths.
    """
    if probability <= 0:
        return images
    count, side = len(images), images.shape[-1]
    drawn = torch.rand(count, 6, generator=random) < probability
    uniform = torch.rand(count, 4, generator=random)
    normal = torch.randn(count, 3, generator=random)
    mirrored = drawn[:, 0] & (uniform[:, 0] < 0.5)
    reach = round(settings.shift * side)
    shifts = ((2 * reach + 1) * uniform[:, 1:3]).floor().long() - reach
    shifts = torch.where(drawn[:, 1:2], shifts, 0)
    matrix, offset = _colour_change(drawn[:, 2:], normal, 2 * uniform[:, 3] - 1, settings)
    moved = _moved(images, shifts, mirrored)
    coloured = matrix.to(images) @ moved.flatten(2) + offset.to(images)
    return coloured.unflatten(2, (side, side))


def _moved(
    images: Float[Tensor, "image 3 side side"], shifts: Tensor, mirrored: Tensor
) -> Float[Tensor, "image 3 side side"]:
    """Shifted by whole texels, the edge repeated, and mirrored left to right."""
    side = images.shape[-1]
    places = torch.arange(side)
    rows = (places - shifts[:, :1]).clamp(0, side - 1)
    columns = (places - shifts[:, 1:]).clamp(0, side - 1)
    columns = torch.where(mirrored[:, None], side - 1 - columns, columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    taken = images.gather(2, rows[:, None, :, None].expand_as(images))
    return taken.gather(3, columns[:, None, None, :].expand_as(images))


def _colour_change(
    drawn: Tensor, normal: Tensor, turn: Tensor, settings: AugmentationSettings
) -> tuple[Float[Tensor, "image 3 3"], Float[Tensor, "image 3 1"]]:
    """Matrix and offset of every image's colours: brightness, contrast, saturation and hue in this order."""
    one = torch.ones(())
    brightness = torch.where(drawn[:, 0], settings.brightness * normal[:, 0], 0 * one)
    contrast = torch.where(drawn[:, 1], (settings.contrast * normal[:, 1]).exp2(), one)
    saturation = torch.where(drawn[:, 2], (settings.saturation * normal[:, 2]).exp2(), one)
    angle = torch.where(drawn[:, 3], torch.pi * settings.hue * turn, 0 * one)
    grey = torch.full((3, 3), 1 / 3)
    axis = 3**-0.5
    cross = axis * torch.tensor(((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0)))
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    # Rodrigues' rotation about the grey axis, of chroma alone: the identity stays exact where nothing is drawn.
    chroma = cosine * (torch.eye(3) - grey) + sine * cross
    changed = contrast[:, None, None] * (grey + saturation[:, None, None] * chroma)
    touched = drawn[:, 1:].any(1)[:, None, None]
    matrix = torch.where(touched, changed, torch.eye(3))
    offset = matrix @ brightness[:, None, None].expand(-1, 3, 1)
    return matrix, offset
