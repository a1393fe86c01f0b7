from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.texture.progressive_gan import GanSize, Generator
from ops.training.loop import Schedule
from ops.training.texture_maps import TextureMaps, find_maps, load_or_decode_maps
from ops.training.texture_start import (
    CODE_DEVIATION,
    StartSettings,
    detail_strength,
    drawing_loss,
    principal_codes,
    principal_components,
    start_from_components,
    start_level,
    train_start,
)

SIZE = GanSize(resolution=16, latent_size=8, channel_base=64, channel_limit=16)


def test_levels_follow_the_progress() -> None:
    settings = StartSettings(level_ends=(0.1, 0.2, 0.6))
    sides = (4, 8, 16, 32, 64)
    assert [start_level(sides, p, settings) for p in (0.0, 0.05, 0.1, 0.2125, 0.3, 1.0)] == [
        (8, 1.0),
        (8, 1.0),
        (16, 0.0),
        (32, pytest.approx(0.125)),
        (32, pytest.approx(1.0)),
        (64, 1.0),
    ]
    assert start_level((4, 8), 0.3, settings) == (4, 1.0)
    assert start_level((4, 8), 1.0, settings) == (8, 1.0)


def test_loss_is_zero_at_the_target_and_counts_detail(rng: torch.Generator) -> None:
    target = torch.rand(2, 3, 16, 16, generator=rng)
    settings = StartSettings(gradient_weight=1.0, detail_weight=1.0)
    assert float(drawing_loss(target, target, settings)) == 0
    offset = drawing_loss(target + 0.1, target, settings)
    assert float(offset) == pytest.approx(0.1, rel=1e-3)
    smooth = torch.full_like(target, 0.5)
    assert float(detail_strength(smooth).max()) < 0.01
    assert float(drawing_loss(smooth, target, settings)) > float((smooth - target).abs().mean()) + 0.3


def test_principal_codes_are_white(maps: TextureMaps) -> None:
    pca = principal_components(maps, 64, 30)
    codes = principal_codes(maps, pca, torch.zeros(maps.count, 30))
    assert torch.equal(codes[:, 23:], torch.zeros(24, 7))
    covariance = codes[:, :23].double().T.cov()
    torch.testing.assert_close(covariance, torch.eye(23, dtype=torch.float64), atol=2e-2, rtol=0)


def test_a_linear_image_starts_as_the_principal_components(maps: TextureMaps) -> None:
    generator = Generator(replace(SIZE, latent_size=23, start_side=8, linear_side=16))
    codes = start_from_components(generator, maps)
    inside = codes.square().mean(1) < 1
    assert int(inside.sum()) > 0.8 * maps.count
    assert float(codes.std()) == pytest.approx(CODE_DEVIATION, rel=0.05)
    target = maps.batch(16, np.arange(maps.count))
    with torch.no_grad():
        drawn = generator(codes)
    torch.testing.assert_close(drawn[inside], target[inside], atol=5e-3, rtol=0)


def test_learns_to_draw_the_maps_and_resumes(maps: TextureMaps, tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = Generator(SIZE)
    schedule = Schedule(steps=250, batch=8, learning_rate=3e-2, weight_decay=0.0)
    lines: list[str] = []
    codes = train_start(generator, maps, schedule, tmp_path / "a.pt", lines.append, resume=False)
    target = maps.batch(16, np.arange(maps.count))
    with torch.no_grad():
        error = (generator(codes) - target).abs().mean()
    assert float(error) < 0.5 * float((target - target.mean(0)).abs().mean())
    again = Generator(SIZE)
    resumed = train_start(again, maps, schedule, tmp_path / "a.pt", lines.append, resume=True)
    assert "resumed at step 250" in lines
    assert torch.equal(codes, resumed)
    assert torch.equal(generator.start.dense.weight, again.start.dense.weight)


def test_codes_carry_what_the_weight_of_texels_counts(map_folder: Path, tmp_path: Path) -> None:
    """With as few codes as this, the weighted half of the maps is drawn better and the other one worse."""
    target_error: list[float] = []
    weight = np.full((SIZE.resolution, SIZE.resolution), 0.01, np.float32)
    weight[:, :8] = 1
    for folder in ("plain", "weighted"):
        if folder == "weighted":
            np.save(map_folder / "texel_weight.npy", weight)
        found = load_or_decode_maps(find_maps(map_folder), (4, 8, 16), tmp_path / folder, lambda line: None)
        pca = principal_components(found, 16, 3)
        codes = principal_codes(found, pca, torch.zeros(found.count, 3))
        drawn = pca.mean + torch.einsum("nk,kchw->nchw", codes, pca.basis)
        error = (drawn - found.batch(16, np.arange(found.count))).square()
        target_error += [float(error[..., :8].mean()), float(error[..., 8:].mean())]
    assert target_error[2] < 0.95 * target_error[0]
    assert target_error[3] > target_error[1]
