"""Training a texture generator against a critic: WGAN-GP on progressively grown networks (Karras et al. 2018).

Everything random (order of the maps, latent vectors, mixing shares) is a function of the seed, the step and the worker,
so a checkpoint holds the networks, the optimisers and two counters, and a resumed training on the CPU equals an
uninterrupted one to the last bit.
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
from ops.training.gan_schedule import GanSchedule, LevelPlan, Position
from ops.training.peers import Peers
from ops.training.texture_maps import TextureMaps
from ops.training.texture_start import drawing_loss

BETAS = (0.0, 0.99)
LATENT_STREAM, CRITIC_LATENT_STREAM, MIX_STREAM = 1, 2, 3


class StepReport(NamedTuple):
    """Losses of one step, of this worker."""

    critic_estimate: Float[Tensor, ""]
    """Mean score of real minus of generated images: the Wasserstein distance the critic sees."""
    slope: Float[Tensor, ""]
    """Mean norm of the critic's gradient between them; nan in steps without penalty."""
    generator_loss: Float[Tensor, ""]
    anchor_loss: Float[Tensor, ""]
    """Of the maps drawn from their codes; 0 without codes."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """Codes of the maps from a supervised start: the critic compares each map with what the generator draws from it."""

    codes: Float[Tensor, "map latent"]


class GanTraining:
    """The networks, optimisers and counters of a training; one in every worker, all equal."""

    def __init__(
        self, schedule: GanSchedule, *, device: str = "cpu", peers: Peers | None = None, anchor: Anchor | None = None
    ) -> None:
        self.schedule = schedule
        self.device = torch.device(device)
        self.peers = peers or Peers()
        self.anchor = anchor
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
        numbers = map_order(self.schedule.seed, maps.count, self.shown, plan.minibatch)[
            self.peers.rank :: self.peers.count
        ]
        real = fade_images(maps.batch(plan.side, numbers).to(self.device), share)
        estimate, slope = self._critic_step(real, numbers, plan, share)
        generator_loss, anchor_loss = self._generator_step(real, numbers, plan, share)
        average_into(self.average, self.generator, self.schedule.average_decay)
        for value in (estimate, generator_loss, anchor_loss):
            self.sound &= torch.isfinite(value)
        self.shown += plan.minibatch
        self.step_number += 1
        return StepReport(estimate, slope, generator_loss, anchor_loss)

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
        """Latent vectors of this step on this worker: on the sphere, or the codes of the maps of these numbers."""
        if self.anchor is not None:
            return self.anchor.codes[torch.from_numpy(numbers)].to(self.device)
        random = self._random(stream)
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

    def _critic_step(
        self,
        real: Float[Tensor, "image channel side side"],
        numbers: Int64[np.ndarray, " image"],
        plan: LevelPlan,
        share: float,
    ) -> tuple[Tensor, Tensor]:
        """Returns the critic's estimate of the distance and its slope."""
        every = self.schedule.penalty_every
        self.critic.requires_grad_()
        self.critic_optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            with torch.no_grad():
                fake = self.generator(self.latents(numbers, CRITIC_LATENT_STREAM), plan.side, share).float()
            real_score, fake_score = self.critic(real, share).float(), self.critic(fake, share).float()
        estimate = real_score.mean() - fake_score.mean()
        loss = self.schedule.drift_weight * real_score.square().mean() - estimate
        slope = torch.full_like(estimate, torch.nan)
        if self.step_number % every == 0:
            mix = torch.rand(len(real), 1, 1, 1, generator=self._random(MIX_STREAM)).to(self.device)
            norms = critic_slope(self.critic, torch.lerp(real, fake, mix), share)
            loss = loss + self.schedule.penalty_weight * every * (norms - 1).square().mean()
            slope = norms.detach().mean()
        loss.backward()
        self.peers.mean_gradients(self.critic)
        self.critic_optimiser.step()
        return estimate.detach(), slope

    def _generator_step(
        self,
        real: Float[Tensor, "image channel side side"],
        numbers: Int64[np.ndarray, " image"],
        plan: LevelPlan,
        share: float,
    ) -> tuple[Tensor, Tensor]:
        self.critic.requires_grad_(requires_grad=False)
        self.generator_optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            fake = self.generator(self.latents(numbers, LATENT_STREAM), plan.side, share)
            adversarial = -self.critic(fake, share).float().mean()
        anchor_loss = torch.zeros_like(adversarial)
        if self.anchor is not None:
            settings = replace(self.schedule.start, detail_weight=self.schedule.anchor_detail)
            anchor_loss = drawing_loss(fake.float(), real, settings)
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
