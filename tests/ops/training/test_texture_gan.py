from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError, DivergedTrainingError, FingerprintMismatchError
from ops.texture.gan_texture import load_gan_texture
from ops.texture.progressive_gan import Discriminator, GanSize, Generator
from ops.training.adversarial.augmentation import AugmentationSettings
from ops.training.gan_run import GanRun, finished_texture, run_gan_training
from ops.training.gan_schedule import GanSchedule, grown
from ops.training.peers import Peers
from ops.training.texture_gan import Anchor, GanTraining, critic_slope, map_order
from ops.training.texture_maps import TextureMaps

SIZE = GanSize(resolution=16, latent_size=8, channel_base=64, channel_limit=8)
SCHEDULE = GanSchedule(
    size=SIZE,
    levels=grown(SIZE, images=40, minibatches={4: 8, 8: 8, 16: 8}),
    penalty_every=2,
    checkpoint_every=4,
    report_every=5,
    sample_every=100,
    metrics_images=8,
)


def run_in(folder: Path, **changes: Any) -> GanRun:
    run = GanRun(folder=folder, uv_layout="test-v1", maps_description="discs", licence="CC0", tensorboard=False)
    return replace(run, **changes)


def same(first: Any, second: Any) -> bool:
    """Whether two checkpoints are equal to the last bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(*pair) for pair in zip(first, second, strict=True))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def test_every_epoch_shows_every_map_once() -> None:
    order = np.concatenate([map_order(3, 10, shown, 4) for shown in range(0, 40, 4)])
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in order.reshape(4, 10))
    assert not np.array_equal(order[:10], order[10:20])


def test_slope_of_the_critic_is_its_directional_derivative() -> None:
    torch.manual_seed(0)
    critic = Discriminator(replace(SIZE, resolution=4)).double()
    images = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    found = critic_slope(critic, images, 1.0)
    moved = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(moved, 1.0).sum(), moved)
    direction, step = gradient / gradient.norm(), 1e-5
    with torch.no_grad():
        slope = (critic(images + step * direction, 1.0) - critic(images - step * direction, 1.0)) / (2 * step)
    torch.testing.assert_close(found.detach(), slope, rtol=1e-5, atol=0)
    found.sum().backward()
    assert critic.end.conv.weight.grad is not None


def test_a_step_changes_what_the_level_uses(maps: TextureMaps) -> None:
    training = GanTraining(SCHEDULE)
    training.shown = 60
    before = {name: value.clone() for name, value in training.generator.state_dict().items()}
    training.step(maps)
    changed = {name for name, value in training.generator.state_dict().items() if not torch.equal(value, before[name])}
    assert {"to_colour.0.weight", "to_colour.1.weight", "blocks.0.conv0.weight"} <= changed
    assert not {"to_colour.2.weight", "blocks.1.conv0.weight"} & changed
    assert (training.shown, training.step_number) == (68, 1)


def test_interrupted_in_a_fade_and_resumed_equals_uninterrupted(
    maps: TextureMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    run_gan_training(GanTraining(SCHEDULE), maps, run_in(tmp_path / "whole"), lines.append)
    broken = GanTraining(SCHEDULE)
    step = GanTraining.step

    def failing(self: GanTraining, maps: TextureMaps) -> Any:
        if self is broken and self.step_number == 17:
            raise KeyboardInterrupt
        return step(self, maps)

    monkeypatch.setattr(GanTraining, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        run_gan_training(broken, maps, run_in(tmp_path / "broken"), lines.append)
    run_gan_training(GanTraining(SCHEDULE), maps, run_in(tmp_path / "broken"), lines.append)
    assert "resumed at step 16, 128 of 200 images, 16 px fading in (0.20)" in lines
    whole, resumed = (torch.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "broken"))
    assert whole["shown"] == 200
    assert same(whole, resumed)
    texture = load_gan_texture(tmp_path / "whole" / "generator.safetensors")
    assert (texture.resolution, texture.uv_layout) == (16, "test-v1")
    assert "200 real images shown (100% of the schedule)" in texture.training


def test_a_time_limit_ends_a_run_and_the_next_one_continues(maps: TextureMaps, tmp_path: Path) -> None:
    lines: list[str] = []
    run_gan_training(GanTraining(SCHEDULE), maps, run_in(tmp_path, minutes=0.0), lines.append)
    assert "time limit reached" in lines
    assert torch.load(tmp_path / "checkpoint.pt")["step"] == 5
    run_gan_training(GanTraining(SCHEDULE), maps, run_in(tmp_path), lines.append)
    assert torch.load(tmp_path / "checkpoint.pt")["shown"] == 200


def test_numbers_that_are_not_finite_stop_it(
    maps: TextureMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = GanTraining(SCHEDULE)
    for _ in range(2):
        training.step(maps)
    training.save(tmp_path / "checkpoint.pt")
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    wild = GanTraining(replace(SCHEDULE, checkpoint_every=1))
    wild.generator.start.dense.bias.data[0] = torch.nan
    monkeypatch.setattr(wild, "load", lambda path: None)
    with pytest.raises(DivergedTrainingError, match=r"stopped being finite by step 1 .*last good checkpoint is"):
        run_gan_training(wild, maps, run_in(tmp_path), lambda line: None)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


def test_a_checkpoint_of_another_schedule_is_refused(maps: TextureMaps, tmp_path: Path) -> None:
    training = GanTraining(SCHEDULE)
    training.step(maps)
    training.save(tmp_path / "checkpoint.pt")
    with pytest.raises(FingerprintMismatchError, match="another schedule"):
        GanTraining(replace(SCHEDULE, seed=1)).load(tmp_path / "checkpoint.pt")


def test_workers_must_be_able_to_share_minibatches() -> None:
    with pytest.raises(ConfigurationError, match="3 workers can share, got 8"):
        GanTraining(SCHEDULE, peers=Peers(count=3))


def test_an_anchored_generator_learns_its_codes(maps: TextureMaps) -> None:
    codes = torch.randn(maps.count, 8, generator=torch.Generator().manual_seed(0))
    training = GanTraining(SCHEDULE, anchor=Anchor(codes=codes))
    training.start_from(Generator(SIZE))
    losses = [float(training.step(maps).anchor_loss) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_a_finished_texture_counts_in_deviations_of_the_codes(maps: TextureMaps, tmp_path: Path) -> None:
    codes = 0.6 * torch.randn(maps.count, 8, generator=torch.Generator().manual_seed(0))
    anchored = finished_texture(GanTraining(SCHEDULE, anchor=Anchor(codes=codes)), maps, run_in(tmp_path))
    assert anchored.latent_deviation == pytest.approx(float(codes.std()), rel=0.05)
    assert finished_texture(GanTraining(SCHEDULE), maps, run_in(tmp_path)).latent_deviation == 1


FEW_SIZE = replace(SIZE, resolution=32)
FEW = replace(
    SCHEDULE,
    size=FEW_SIZE,
    levels=grown(FEW_SIZE, images=24, minibatches={16: 8, 32: 8}, first_side=16),
    random_share=0.5,
    augmentation=AugmentationSettings(target=-1e9, adjust_every=2, images_to_one=80),
)
"""Partly seen maps, augmented ever more."""


def few_training() -> GanTraining:
    codes = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    return GanTraining(FEW, anchor=Anchor(codes=codes))


def test_augmented_and_masked_it_resumes_to_the_last_bit_and_repeats(partly_seen: TextureMaps, tmp_path: Path) -> None:
    runs = [few_training() for _ in range(3)]
    for training in runs[:2]:
        while not training.done:
            report = training.step(partly_seen)
            assert report.augmented <= 0.8
        training.save(tmp_path / f"{runs.index(training)}.pt")
    for _ in range(5):
        runs[2].step(partly_seen)
    runs[2].save(tmp_path / "part.pt")
    resumed = few_training()
    resumed.load(tmp_path / "part.pt")
    assert resumed.adaptive is not None
    assert 0.3 < resumed.adaptive.value < 0.8
    while not resumed.done:
        resumed.step(partly_seen)
    resumed.save(tmp_path / "resumed.pt")
    whole, again, continued = (torch.load(tmp_path / f"{name}.pt") for name in ("0", "1", "resumed"))
    assert whole["augmentation"]["value"] == 0.8
    assert same(whole, again)
    assert same(whole, continued)


def test_held_back_maps_are_no_training_maps(partly_seen: TextureMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last person of six is scored, and never stepped on."""
    stepped: list[int] = []
    scored: list[int] = []
    batch = TextureMaps.batch

    def noted(self: TextureMaps, side: int, numbers: np.ndarray) -> torch.Tensor:
        (stepped if len(stepped) == len(scored) else scored).extend(numbers.tolist())
        return batch(self, side, numbers)

    monkeypatch.setattr(TextureMaps, "batch", noted)
    training = few_training()
    for _ in range(4):
        training.step(partly_seen)
    assert set(stepped) == set(range(10))
    assert set(scored) == {10, 11}


def test_half_of_the_latent_vectors_are_random_and_the_others_codes(partly_seen: TextureMaps) -> None:
    training = few_training()
    assert training.anchor is not None
    numbers = np.arange(8)
    found = training.latents(numbers, 1)
    assert torch.equal(found[:4], training.anchor.codes[:4])
    assert not torch.isclose(found[4:], training.anchor.codes[4:8]).any()
    assert torch.equal(found, training.latents(numbers, 1))
    assert float(training.anchor.between(4000, torch.Generator().manual_seed(0)).std(0)[3]) == pytest.approx(
        float(training.anchor.codes[:, 3].square().mean().sqrt()), rel=0.05
    )


def test_a_generator_learns_nothing_of_detail_that_is_guessed(partly_seen: TextureMaps) -> None:
    """Maps that differ in guessed detail alone teach the critic the same."""
    changed = np.load(partly_seen.folder / "32.npy", mmap_mode="r+")
    untouched = few_training(), few_training()
    untouched[0].shown = untouched[1].shown = 48
    untouched[0].step(partly_seen)
    right = changed[:, :, ::2, 16::2].copy()
    # Exchange neighbours within a cell: its mean stays.
    changed[:, :, ::2, 16::2] = changed[:, :, 1::2, 17::2]
    changed[:, :, 1::2, 17::2] = right
    changed.flush()
    untouched[1].step(partly_seen)
    for first, second in zip(*(training.critic.parameters() for training in untouched), strict=True):
        torch.testing.assert_close(first, second, atol=2e-5, rtol=0)


def test_the_critic_may_begin_alone(partly_seen: TextureMaps) -> None:
    codes = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    training = GanTraining(replace(FEW, critic_first=1), anchor=Anchor(codes=codes))
    networks = training.generator, training.critic
    before = [[value.clone() for value in network.parameters()] for network in networks]

    def changed() -> list[bool]:
        return [
            any(not torch.equal(*pair) for pair in zip(old, network.parameters(), strict=True))
            for old, network in zip(before, networks, strict=True)
        ]

    training.step(partly_seen)
    assert changed() == [False, True]
    training.step(partly_seen)
    assert changed() == [True, True]
