"""Two workers on the local Ray: learns, is killed, resumes, and equals an uninterrupted training to the last bit."""

import os
import re
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ops.errors import DivergedTrainingError, OutputError
from ops.texture.gan_texture import load_gan_texture
from ops.texture.progressive_gan import GanSize, Generator
from ops.training.gan_run import GanRun
from ops.training.gan_schedule import GanSchedule, LevelPlan
from ops.training.peers import Peers
from ops.training.sliced_wasserstein import sliced_wasserstein
from ops.training.texture_maps import find_maps, load_or_decode_maps
from pipeline.cluster.session import ClusterConfig
from pipeline.training.texture_training import TextureTraining, supervised_start
from pipeline.training.workers import Say, Training, train_on_workers

SIZE = GanSize(resolution=16, latent_size=8, channel_base=256, channel_limit=16)
SCHEDULE = GanSchedule(
    size=SIZE,
    levels=(
        LevelPlan(side=4, minibatch=16, fade_images=0, stable_images=2000, learning_rate=1.5e-3),
        LevelPlan(side=8, minibatch=16, fade_images=2000, stable_images=2000, learning_rate=1.5e-3),
        LevelPlan(side=16, minibatch=16, fade_images=2000, stable_images=2000, learning_rate=1.5e-3),
    ),
    average_decay=0.98,
    checkpoint_every=25,
    report_every=25,
    sample_every=300,
    metrics_images=64,
)


@pytest.fixture
def training(tmp_path: Path) -> TextureTraining:
    """Reddish discs on blue, 16 px, 96 files."""
    folder = tmp_path / "discs"
    folder.mkdir()
    y, x = np.mgrid[:16, :16] + 0.5
    for number in range(96):
        rng = np.random.default_rng(number)
        centre, radius = 8 + rng.uniform(-2, 2, 2), rng.uniform(3, 5)
        inside = np.clip(radius - np.hypot(x - centre[0], y - centre[1]) + 0.5, 0, 1)[..., None]
        image = inside * rng.uniform((150, 50, 50), (250, 150, 100)) + (1 - inside) * (30, 30, 90)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number}.png")
    maps = load_or_decode_maps(find_maps(folder), SIZE.sides, tmp_path / "maps", lambda line: None)
    run = GanRun(folder=tmp_path / "whole", uv_layout="test-v1", maps_description="discs", licence="CC0")
    return TextureTraining(schedule=SCHEDULE, maps=maps, run=run)


def into(training: TextureTraining, folder: Path) -> TextureTraining:
    return replace(training, run=replace(training.run, folder=folder))


def on_two_workers(training: Training, folder: Path) -> None:
    train_on_workers(training, folder, 2, ClusterConfig(num_gpus=0), lambda line: None)


@dataclass(frozen=True)
class KilledTraining:
    """A training whose first worker is killed, as the system would, right after it has reported a certain line."""

    training: TextureTraining
    line: str
    device: str = "cpu"

    def __call__(self, report: Say, peers: Peers) -> None:
        def report_and_die(line: str) -> None:
            report(line)
            if peers.rank == 0 and self.line in line:
                os.kill(os.getpid(), signal.SIGKILL)

        self.training(report_and_die, peers)


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(equal(*pair) for pair in zip(first, second, strict=True))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_learn_and_resume_after_a_kill(training: TextureTraining, local_ray: Any, tmp_path: Path) -> None:
    on_two_workers(training, training.run.folder)
    broken = into(training, tmp_path / "broken")
    killed = KilledTraining(broken, "8 px fading in (0.40)")
    with pytest.raises(OutputError, match="continues from the last checkpoint"):
        on_two_workers(killed, broken.run.folder)
    on_two_workers(broken, broken.run.folder)
    assert re.search(
        r"resumed at step \d+, \d+ of 10000 images, 8 px fading in", (tmp_path / "broken" / "training.log").read_text()
    )
    whole, resumed = (torch.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "broken"))
    assert (whole["shown"], whole["step"], whole["level"]) == (10_000, 625, 2)
    assert equal(whole, resumed)

    real = training.maps.batch(16, np.arange(96))
    texture = load_gan_texture(tmp_path / "whole" / "generator.safetensors")
    torch.manual_seed(1)
    latents = torch.randn(96, 8)
    with torch.no_grad():
        learned = sliced_wasserstein(real, texture.generator(latents))[16]
        untrained = sliced_wasserstein(real, Generator(SIZE)(latents))[16]
    assert learned < 0.75 * untrained
    assert list((tmp_path / "whole" / "tensorboard").glob("events*"))


@pytest.mark.ray
@pytest.mark.slow
def test_what_a_worker_raises_reaches_the_caller(training: TextureTraining, local_ray: Any) -> None:
    wild = replace(SCHEDULE, levels=tuple(replace(level, learning_rate=1e30) for level in SCHEDULE.levels))
    with pytest.raises(DivergedTrainingError, match="stopped being finite by step 25"):
        on_two_workers(replace(training, schedule=wild), training.run.folder)


def test_a_supervised_start_is_kept_and_continued(training: TextureTraining) -> None:
    last = replace(SCHEDULE, levels=(LevelPlan(side=16, minibatch=8, fade_images=0, stable_images=16),))
    lines: list[str] = []
    started = supervised_start(replace(training, schedule=last), 3, lines.append)
    assert started.started
    said = len(lines)
    assert supervised_start(replace(training, schedule=last), 3, lines.append) == started
    assert len(lines) == said
    started(lines.append, Peers())
    texture = load_gan_texture(training.run.folder / "generator.safetensors")
    assert "started by regression from codes" in texture.training
