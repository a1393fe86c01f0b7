import dataclasses
from pathlib import Path

import pytest

from ops.errors import ConfigurationError
from ops.texture.gan_texture import GanTexture, freeze, save_gan_texture
from ops.texture.progressive_gan import GanSize, Generator
from ops.training.gan_schedule import GanSchedule, gan_preset, grown

SIZE = GanSize(resolution=16, latent_size=4, channel_base=32, channel_limit=8)
SCHEDULE = GanSchedule(size=SIZE, levels=grown(SIZE, images=100, minibatches={4: 10, 8: 10, 16: 5}))


@pytest.mark.parametrize(
    ("shown", "level", "share"),
    [
        (0, 0, 1.0),
        (99, 0, 1.0),
        (100, 1, 0.0),
        (150, 1, 0.5),
        (200, 1, 1.0),
        (325, 2, 0.25),
        (500, 2, 1.0),
        (999, 2, 1),
    ],
)
def test_position_by_images_shown(shown: int, level: int, share: float) -> None:
    assert SCHEDULE.position(shown) == (level, pytest.approx(share))
    assert SCHEDULE.total_images == 500


def test_the_published_schedule() -> None:
    schedule = gan_preset("8gpu-512", latent_size=512)
    assert schedule.size == GanSize()
    assert schedule.total_images == 600_000 * 15
    assert schedule.penalty_every == 1


@pytest.mark.parametrize("name", ["cpu-small", "cpu-128", "cpu-128-detail", "1gpu-256"])
def test_presets_fit_what_may_ship(name: str, tmp_path: Path) -> None:
    generator = Generator(gan_preset(name, latent_size=100).size)
    texture = GanTexture(generator=freeze(generator), uv_layout="test-v1", training="none", licence="CC0")
    save_gan_texture(texture, tmp_path / "texture.safetensors")
    assert (tmp_path / "texture.safetensors").stat().st_size < 8e6


def test_a_later_first_side_does_not_fade_in() -> None:
    schedule = gan_preset("cpu-small", latent_size=8, images=10, first_side=32)
    assert [(level.side, level.fade_images) for level in schedule.levels] == [(32, 0), (64, 10)]


def test_levels_the_generator_does_not_have_are_left_out() -> None:
    levels = gan_preset("cpu-128", latent_size=8, images=10).levels
    assert [(level.side, level.fade_images) for level in levels] == [(16, 0), (32, 10), (64, 10), (128, 10)]


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="double up to 16"):
        dataclasses.replace(SCHEDULE, levels=SCHEDULE.levels[:2])
    with pytest.raises(ConfigurationError, match="expected a preset"):
        gan_preset("none", latent_size=8)
    with pytest.raises(ConfigurationError, match="at least one step"):
        dataclasses.replace(SCHEDULE, penalty_every=0)
