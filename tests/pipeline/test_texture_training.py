from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ops.errors import ConfigurationError
from ops.texture.gan_texture import load_gan_texture
from ops.texture.progressive_gan import GanSize
from ops.training.gan_run import GanRun
from ops.training.gan_schedule import GanSchedule, LevelPlan
from ops.training.texture_maps import find_maps, load_or_decode_maps
from pipeline.texture_training import TextureTraining, pick_device, supervised_start, train_here

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


def test_a_supervised_start_is_kept_and_continued(training: TextureTraining) -> None:
    last = replace(SCHEDULE, levels=(LevelPlan(side=16, minibatch=8, fade_images=0, stable_images=16),))
    lines: list[str] = []
    started = supervised_start(replace(training, schedule=last), 3, lines.append)
    assert started.started
    said = len(lines)
    assert supervised_start(replace(training, schedule=last), 3, lines.append) == started
    assert len(lines) == said
    train_here(started, lines.append)
    texture = load_gan_texture(training.run.folder / "generator.safetensors")
    assert "started by regression from codes" in texture.training


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (pick_device("auto"), pick_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(ConfigurationError, match="found none"):
        pick_device("cuda")
