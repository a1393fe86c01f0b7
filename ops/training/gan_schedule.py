"""When a progressively grown network is where: a pure function of how many images it has been shown."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from ops.errors import ConfigurationError
from ops.texture.progressive_gan import SMALLEST_SIDE, GanSize, gan_size
from ops.training.adversarial.augmentation import AugmentationSettings
from ops.training.texture_start import StartSettings


@dataclass(frozen=True, kw_only=True)
class LevelPlan:
    """One level of the networks: it fades in, then trains on."""

    side: int
    minibatch: int
    """Images of one step, over all workers."""
    fade_images: int
    """Real images shown while the level fades in; 0 for the first level."""
    stable_images: int
    """Real images shown after that."""
    learning_rate: float = 1e-3


class Position(NamedTuple):
    """Where a training is."""

    level: int
    """Index into the schedule's levels."""
    share: float
    """Share of the level's own layers in images and scores, 1 once it has faded in."""


@dataclass(frozen=True, kw_only=True)
class GanSchedule:
    """Sizes, order and rates of a training (Karras et al. 2018, appendix A.1)."""

    size: GanSize
    levels: tuple[LevelPlan, ...]
    penalty_weight: float = 10.0
    """Of the squared deviation of the critic's slope from 1 (WGAN-GP)."""
    penalty_every: int = 1
    """Steps between two penalties, each then weighted by as much (lazy regularisation); 1 is the published training."""
    drift_weight: float = 1e-3
    """Of the squared scores of real images."""
    average_decay: float = 0.999
    """Of the generator's running mean, a step."""
    mixed_precision: bool = True
    """Convolutions in bfloat16 on a GPU; never on the CPU, and never in the penalty."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    report_every: int = 100
    """Steps between lines in the log and values for TensorBoard."""
    sample_every: int = 2000
    """Steps between sample grids and sliced Wasserstein distances."""
    seed: int = 0
    metrics_images: int = 512
    """Real and generated images that the sliced Wasserstein distance compares."""
    start: StartSettings = StartSettings(detail_weight=0.5)  # noqa: RUF009 - frozen
    """Of a supervised start, and of what keeps the generator at it."""
    anchor_weight: float = 10.0
    """Of the loss of maps drawn from their codes, after a supervised start."""
    anchor_detail: float = 0.5
    """The weight of detail in it, as in `start`."""
    random_share: float = 0.0
    """Share of a minibatch's textures that are drawn from random latent vectors, after a supervised start; the others
    from the maps' codes, which are few where maps are, and leave what lies between them to no critic."""
    critic_first: int = 0
    """Steps at the beginning in which the critic trains alone: after a supervised start the generator can draw and the
    critic knows nothing, so that what it says at first would be noise."""
    augmentation: AugmentationSettings | None = None
    """Of what the critic sees; None: none."""

    def __post_init__(self) -> None:
        sides = tuple(level.side for level in self.levels)
        if not sides or sides != self.size.generator_sides[-len(sides) :]:
            raise ConfigurationError(
                f"expected the schedule's levels to double up to {self.size.resolution}, got {sides}"
            )
        if min(min(level.minibatch, level.stable_images + level.fade_images) for level in self.levels) < 1:
            raise ConfigurationError("expected at least one image in every level and minibatch")
        if not 0 <= self.random_share < 1:
            raise ConfigurationError(f"expected a random_share in [0, 1), got {self.random_share}")
        if self.critic_first < 0:
            raise ConfigurationError(f"expected critic_first of at least 0 steps, got {self.critic_first}")
        if min(self.penalty_every, self.checkpoint_every, self.report_every, self.sample_every) < 1:
            raise ConfigurationError("expected intervals of at least one step")

    @property
    def total_images(self) -> int:
        """Real images shown in the whole training."""
        return sum(level.fade_images + level.stable_images for level in self.levels)

    def position(self, shown: int) -> Position:
        """Where the training is after so many real images; at and after the end, at the end of the last level."""
        for index, level in enumerate(self.levels):
            if shown < level.fade_images:
                return Position(index, shown / level.fade_images)
            shown -= level.fade_images
            if shown < level.stable_images:
                return Position(index, 1.0)
            shown -= level.stable_images
        return Position(len(self.levels) - 1, 1.0)


def grown(
    size: GanSize,
    *,
    images: int,
    minibatches: dict[int, int],
    first_side: int = SMALLEST_SIDE,
    learning_rates: dict[int, float] | None = None,
) -> tuple[LevelPlan, ...]:
    """Levels from `first_side` to the networks' resolution, each `images` fading (but the first) and as many stable."""
    rates = learning_rates or {}
    return tuple(
        LevelPlan(
            side=side,
            minibatch=minibatches[side],
            fade_images=0 if side == max(first_side, size.start_side) else images,
            stable_images=images,
            learning_rate=rates.get(side, 1e-3),
        )
        for side in size.generator_sides
        if side >= first_side
    )


GAN_PRESETS = ("cpu-small", "cpu-128", "cpu-128-detail", "1gpu-256", "8gpu-512")


def gan_preset(
    name: str, *, latent_size: int, images: int | None = None, first_side: int = SMALLEST_SIDE
) -> GanSchedule:
    """The schedule called `name`.

    `images` replaces the number of images of every phase; `first_side` leaves out the levels below it, for a generator
    that has had a supervised start.

    cpu-small: 64 px, narrow, for two cores. cpu-128: 128 px for one core, far from the published networks: a linear
    image of 128 px from the supervised start, to which four narrow levels with biases for every texel add.
    cpu-128-detail: the same with a linear image of 64 px, so that its levels draw what is finer, and trained to draw as
    much detail as there is rather than none where its place is not known; half the file. 1gpu-256: 256 px, at most 192
    channels, so that a generator with 100 latent values takes under 8 MB. 8gpu-512: the published networks and schedule
    at 512 px.

    Raises:
        ConfigurationError: no such preset.
    """
    if name == "cpu-small":
        size = GanSize(resolution=64, latent_size=latent_size, channel_base=1024, channel_limit=128)
        minibatches = {4: 32, 8: 32, 16: 16, 32: 16, 64: 8}
        return GanSchedule(
            size=size,
            levels=grown(size, images=images or 40_000, minibatches=minibatches, first_side=first_side),
            penalty_every=4,
            checkpoint_every=200,
            sample_every=500,
        )
    if name == "cpu-128":
        size = GanSize(
            resolution=128,
            latent_size=latent_size,
            channel_base=1024,
            channel_limit=64,
            start_side=16,
            place_bias=True,
            linear_side=128,
        )
        minibatches = {16: 16, 32: 16, 64: 8, 128: 8}
        return GanSchedule(
            size=size,
            levels=grown(size, images=images or 800, minibatches=minibatches, first_side=first_side),
            penalty_every=2,
            average_decay=0.99,
            checkpoint_every=50,
            report_every=20,
            sample_every=250,
            metrics_images=128,
            start=StartSettings(level_ends=(0.1,), detail_weight=0.3),
            anchor_weight=40.0,
            anchor_detail=0.6,
        )
    if name == "cpu-128-detail":
        plain = gan_preset("cpu-128", latent_size=latent_size, images=images, first_side=first_side)
        return replace(
            plain,
            size=replace(plain.size, linear_side=64),
            start=replace(plain.start, gradient_weight=0.5, detail_weight=1.0),
            anchor_detail=1.0,
        )
    if name == "1gpu-256":
        size = GanSize(resolution=256, latent_size=latent_size, channel_base=4096, channel_limit=192)
        minibatches = {4: 256, 8: 256, 16: 128, 32: 64, 64: 64, 128: 32, 256: 32}
        return GanSchedule(
            size=size,
            levels=grown(size, images=images or 100_000, minibatches=minibatches, first_side=first_side),
            penalty_every=4,
        )
    if name == "8gpu-512":
        size = gan_size(512, 1.0, latent_size)
        minibatches = {4: 512, 8: 256, 16: 128, 32: 64, 64: 64, 128: 64, 256: 32, 512: 32}
        rates = {128: 1.5e-3, 256: 2e-3, 512: 3e-3}
        return GanSchedule(
            size=size,
            levels=grown(
                size, images=images or 600_000, minibatches=minibatches, first_side=first_side, learning_rates=rates
            ),
            checkpoint_every=5000,
            sample_every=5000,
        )
    raise ConfigurationError(f"expected a preset out of {', '.join(GAN_PRESETS)}, got {name!r}")
