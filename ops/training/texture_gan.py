"""Training a texture generator against a critic: WGAN-GP on progressively grown networks (Karras et al. 2018).

Everything random (order of the maps, latent vectors, mixing shares) is a function of the seed, the step and the worker,
so a checkpoint holds the networks, the optimisers, two counters and the probability of augmentations, and a resumed
training on the CPU equals an uninterrupted one to the last bit.

What the critic and the anchor are shown of maps that are guessed in part is in `ops.training.adversarial.seen_texels`.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.errors import ConfigurationError, DivergedTrainingError, FingerprintMismatchError
from ops.texture.progressive_gan import Discriminator, Generator, average_into, fade_images, pixel_norm
from ops.training.adversarial.augmentation import AdaptiveProbability, augment
from ops.training.adversarial.seen_texels import DETAIL_SCALE, GUESSED_SIDE
from ops.training.gan_schedule import GanSchedule, LevelPlan, Position
from ops.training.peers import Peers
from ops.training.texture_maps import TextureMaps
from ops.training.texture_start import drawing_loss

BETAS = (0.0, 0.99)
LATENT_STREAM, CRITIC_LATENT_STREAM, MIX_STREAM = 1, 2, 3
REAL_STREAM, FAKE_STREAM, HELD_BACK_STREAM, GENERATED_STREAM = 4, 5, 6, 7
"""Of the augmentations of these images."""
CHOICE_STREAM = 8
"""Which maps are taken of those held back."""


class StepReport(NamedTuple):
    """Losses of one step, of this worker; those of the generator are 0 while the critic trains alone."""

    critic_estimate: Float[Tensor, ""]
    """Mean score of real minus of generated images: the Wasserstein distance the critic sees."""
    slope: Float[Tensor, ""]
    """Mean norm of the critic's gradient between them; nan in steps without penalty."""
    generator_loss: Float[Tensor, ""]
    anchor_loss: Float[Tensor, ""]
    """Of the maps drawn from their codes; 0 without codes."""
    augmented: float
    """Probability of augmentations."""
    overfitting: float
    """How far the critic tells training maps from held-back ones, see `ops.training.adversarial.augmentation`; nan
    without augmentation."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """Codes of the maps from a supervised start: the critic compares each map with what the generator draws from it."""

    codes: Float[Tensor, "map latent"]

    @property
    def deviation(self) -> float:
        """Root mean square of their values."""
        return float(self.codes.square().mean().sqrt())

    def between(self, count: int, random: torch.Generator) -> Float[Tensor, "image latent"]:
        """Random vectors, normally distributed, every value with the codes' root mean square."""
        drawn = torch.randn(count, self.codes.shape[1], generator=random)
        return drawn * self.codes.square().mean(0).sqrt()


@dataclass(frozen=True)
class _Minibatch:
    """The maps of a step on this worker."""

    maps: TextureMaps
    numbers: Int64[np.ndarray, " image"]
    plan: LevelPlan
    share: float
    tones: bool
    """Whether the critic sees tones of maps that are guessed in part."""

    def as_seen(self, images: Float[Tensor, "image 3 side side"]) -> Float[Tensor, "image 3 side side"]:
        """Images as the critic sees the minibatch's maps."""
        return self.maps.as_seen(images, self.numbers, tones=self.tones)

    @property
    def scale(self) -> float:
        """How much larger a difference of images is to the critic than it is."""
        detail_alone = self.maps.partly_seen and not self.tones and self.plan.side > GUESSED_SIDE
        return DETAIL_SCALE if detail_alone else 1.0


class GanTraining:
    """The networks, optimisers and counters of a training; one in every worker, all equal."""

    def __init__(
        self, schedule: GanSchedule, *, device: str = "cpu", peers: Peers | None = None, anchor: Anchor | None = None
    ) -> None:
        self.schedule = schedule
        self.device = torch.device(device)
        self.peers = peers or Peers()
        self.anchor = anchor
        self.adaptive = AdaptiveProbability(schedule.augmentation) if schedule.augmentation else None
        uneven = [level.minibatch for level in schedule.levels if level.minibatch % self.peers.count]
        if uneven:
            raise ConfigurationError(f"expected minibatches that {self.peers.count} workers can share, got {uneven[0]}")
        torch.manual_seed(schedule.seed)
        self.generator = Generator(schedule.size)
        self.critic = Discriminator(schedule.size)
        self._take(self.generator, self.critic)
        self.shown = 0
        self.step_number = 0
        self.level = -1
        self.sound = torch.ones((), dtype=torch.bool, device=self.device)

    def _take(self, generator: Generator, critic: Discriminator) -> None:
        self.generator, self.critic = generator.to(self.device), critic.to(self.device)
        self.average = copy.deepcopy(self.generator).requires_grad_(requires_grad=False)

    def start_from(self, generator: Generator) -> None:
        """Take over a generator from a supervised start.

        Raises:
            ConfigurationError: it has another size.
        """
        if generator.size != self.schedule.size:
            raise ConfigurationError(
                f"expected a generator of the schedule's size {self.schedule.size}, got {generator.size}"
            )
        self.generator.load_state_dict(generator.state_dict())
        self.average.load_state_dict(generator.state_dict())

    @property
    def position(self) -> Position:
        """Where the schedule is."""
        return self.schedule.position(self.shown)

    @property
    def done(self) -> bool:
        """Whether the schedule has ended."""
        return self.shown >= self.schedule.total_images

    def step(self, maps: TextureMaps) -> StepReport:
        """One step of the critic and one of the generator on the next minibatch."""
        index, share = self.position
        plan = self.schedule.levels[index]
        if index != self.level:
            self._enter(index)
        settings = self.schedule.augmentation
        known = maps.count - (settings.held_back_maps(maps.count, maps.together) if settings else 0)
        numbers = map_order(self.schedule.seed, known, self.shown, plan.minibatch)[self.peers.rank :: self.peers.count]
        minibatch = _Minibatch(maps, numbers, plan, share, tones=self.anchor is None)
        real = self._real(minibatch)
        estimate, slope = self._critic_step(minibatch.as_seen(real), minibatch)
        generator_loss = anchor_loss = torch.zeros_like(estimate)
        if self.step_number >= self.schedule.critic_first:
            generator_loss, anchor_loss = self._generator_step(real, minibatch)
            average_into(self.average, self.generator, self.schedule.average_decay)
        for value in (estimate, generator_loss, anchor_loss):
            self.sound &= torch.isfinite(value)
        self.shown += plan.minibatch
        self.step_number += 1
        augmented, overfitting = 0.0, float("nan")
        if self.adaptive is not None:
            augmented, overfitting = self.adaptive.value, self.adaptive.overfitting
        return StepReport(estimate, slope, generator_loss, anchor_loss, augmented, overfitting)

    def check(self) -> None:
        """Refuse to go on with numbers that are not finite; all workers together.

        Raises:
            DivergedTrainingError: a loss or a parameter of any worker is not finite.
        """
        for network in (self.generator, self.critic, self.average):
            for parameter in network.parameters():
                self.sound &= torch.isfinite(parameter).all()
        if not self.peers.all_agree(self.sound):
            raise DivergedTrainingError(
                f"losses or parameters stopped being finite by step {self.step_number} ({self.shown} images)"
            )

    def latents(self, numbers: Int64[np.ndarray, " image"], stream: int) -> Float[Tensor, "image latent"]:
        """Latent vectors of this step on this worker: on the sphere, or the codes of the maps of these numbers.

        After a supervised start the last `random_share` of them are random, as large as codes are.
        """
        random = self._random(stream)
        if self.anchor is not None:
            codes = self.anchor.codes[torch.from_numpy(numbers)]
            if others := len(numbers) - self._coded(len(numbers)):
                codes = torch.cat((codes[:-others], self.anchor.between(others, random)))
            return codes.to(self.device)
        return pixel_norm(torch.randn(len(numbers), self.schedule.size.latent_size, generator=random)).to(self.device)

    def save(self, path: Path) -> None:
        """Write a checkpoint; the one before it is kept beside it."""
        state = {
            "schedule": repr(self.schedule),
            "shown": self.shown,
            "step": self.step_number,
            "level": self.level,
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "average": self.average.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "augmentation": self.adaptive.state() if self.adaptive is not None else {},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        torch.save(state, partial)
        if path.is_file():
            path.replace(path.with_name(f"{path.name}.previous"))
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            FingerprintMismatchError: it was written under another schedule.
        """
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        if state["schedule"] != repr(self.schedule):
            raise FingerprintMismatchError(
                f"{path} belongs to another schedule: choose another folder, or repeat the settings it was made with\n"
                f"there {state['schedule']}\nhere  {self.schedule!r}"
            )
        self._enter(int(state["level"]))
        self.shown, self.step_number = int(state["shown"]), int(state["step"])
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.average.load_state_dict(state["average"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])
        if self.adaptive is not None:
            self.adaptive.restore(state["augmentation"])

    def _enter(self, level: int) -> None:
        """Begin a level: fresh optimisers."""
        self.level = level
        rate = self.schedule.levels[level].learning_rate
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), rate, BETAS)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), rate, BETAS)

    def _random(self, stream: int) -> torch.Generator:
        entropy = np.random.SeedSequence((self.schedule.seed, self.step_number, self.peers.rank, stream))
        return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]) >> 1)

    def _autocast(self) -> torch.autocast:
        mixed = self.schedule.mixed_precision and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)

    def _coded(self, images: int) -> int:
        """How many of a minibatch's textures are drawn from codes."""
        return 0 if self.anchor is None else images - round(self.schedule.random_share * images)

    def _real(self, minibatch: _Minibatch) -> Float[Tensor, "image 3 side side"]:
        """The maps, whole."""
        maps = minibatch.maps.batch(minibatch.plan.side, minibatch.numbers).to(self.device)
        return fade_images(maps, minibatch.share)

    def _augmented(self, images: Float[Tensor, "image 3 side side"], stream: int) -> Float[Tensor, "image 3 side side"]:
        if self.adaptive is None:
            return images
        return augment(images, self.adaptive.value, self._random(stream), self.adaptive.settings)

    def _observe(self, training: Tensor, generated: Tensor, minibatch: _Minibatch) -> None:
        """Compare the scores of a step with those of as many held-back maps, where augmentations ask for it."""
        if self.adaptive is None:
            return
        maps = minibatch.maps
        held_back = self.adaptive.settings.held_back_maps(maps.count, maps.together)
        drawn = torch.randint(held_back, (len(training),), generator=self._random(CHOICE_STREAM))
        numbers = maps.count - held_back + drawn.numpy()
        others = replace(minibatch, numbers=numbers)
        with torch.no_grad(), self._autocast():
            shown = self._augmented(others.as_seen(self._real(others)), HELD_BACK_STREAM)
            score = self.critic(shown, minibatch.share).float()
        means = torch.stack([values.detach().mean() for values in (training, score, generated)])
        self.adaptive.observe(self.peers.mean_value(means), minibatch.plan.minibatch)

    def _critic_step(
        self, real: Float[Tensor, "image channel side side"], minibatch: _Minibatch
    ) -> tuple[Tensor, Tensor]:
        """Returns the critic's estimate of the distance and its slope."""
        every, share = self.schedule.penalty_every, minibatch.share
        self.critic.requires_grad_()
        self.critic_optimiser.zero_grad(set_to_none=True)
        with torch.no_grad(), self._autocast():
            fake = self.generator(self.latents(minibatch.numbers, CRITIC_LATENT_STREAM), minibatch.plan.side, share)
        real = self._augmented(real, REAL_STREAM)
        fake = self._augmented(minibatch.as_seen(fake.float()), FAKE_STREAM)
        with self._autocast():
            real_score, fake_score = self.critic(real, share).float(), self.critic(fake, share).float()
        estimate = real_score.mean() - fake_score.mean()
        loss = self.schedule.drift_weight * real_score.square().mean() - estimate
        slope = torch.full_like(estimate, torch.nan)
        if self.step_number % every == 0:
            mix = torch.rand(len(real), 1, 1, 1, generator=self._random(MIX_STREAM)).to(self.device)
            norms = critic_slope(self.critic, torch.lerp(real, fake, mix), share)
            loss = loss + self.schedule.penalty_weight * every * (norms - 1).square().mean()
            slope = norms.detach().mean()
        self._observe(real_score, fake_score, minibatch)
        loss.backward()
        self.peers.mean_gradients(self.critic)
        self.critic_optimiser.step()
        return estimate.detach(), slope

    def _generator_step(
        self, real: Float[Tensor, "image channel side side"], minibatch: _Minibatch
    ) -> tuple[Tensor, Tensor]:
        share = minibatch.share
        self.critic.requires_grad_(requires_grad=False)
        self.generator_optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            fake = self.generator(self.latents(minibatch.numbers, LATENT_STREAM), minibatch.plan.side, share)
        fake = fake.float()
        shown = self._augmented(minibatch.as_seen(fake), GENERATED_STREAM)
        with self._autocast():
            adversarial = -self.critic(shown, share).float().mean() / minibatch.scale
        anchor_loss = torch.zeros_like(adversarial)
        if coded := self._coded(len(fake)):
            settings = replace(self.schedule.start, detail_weight=self.schedule.anchor_detail)
            numbers = minibatch.numbers[:coded]
            anchor_loss = drawing_loss(
                fake[:coded], real[:coded], settings, lambda images: minibatch.maps.as_seen(images, numbers)
            )
        (adversarial + self.schedule.anchor_weight * anchor_loss).backward()
        self.peers.mean_gradients(self.generator)
        self.generator_optimiser.step()
        return adversarial.detach(), anchor_loss.detach()


def critic_slope(
    critic: Discriminator, images: Float[Tensor, "image channel side side"], share: float
) -> Float[Tensor, " image"]:
    """Norm of the critic's gradient at every image; differentiable."""
    images = images.detach().requires_grad_()
    scores = critic(images, share)
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).add(1e-12).sqrt()


def map_order(seed: int, count: int, shown: int, minibatch: int) -> Int64[np.ndarray, " image"]:
    """Numbers of the next maps: every epoch is a permutation of all of them, by seed and epoch alone."""
    wanted = np.arange(shown, shown + minibatch)
    epochs = wanted // count
    numbers = np.empty(minibatch, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        numbers[chosen] = np.random.default_rng((seed, int(epoch))).permutation(count)[wanted[chosen] % count]
    return numbers
