import pytest
import torch

from evaluation.albedo_error import albedo_error, region_texels
from ops.faceworld.shape import faceworld_model


def test_brightness_is_free_and_texels_outside_do_not_count(rng: torch.Generator) -> None:
    truth = 0.2 + 0.6 * torch.rand(2, 3, 8, 8, generator=rng)
    texels = torch.zeros(8, 8, dtype=torch.bool)
    texels[2:6, 2:6] = True
    found = truth * torch.tensor([0.5, 1.3])[:, None, None, None]
    found[:, :, ~texels] = 9.0
    assert albedo_error(found, truth, texels).max() < 1e-6


def test_a_known_difference_is_its_mean_absolute_value() -> None:
    truth = torch.full((1, 3, 8, 8), 0.5)
    found = truth.clone()
    found[0, 0, :4], found[0, 0, 4:] = 0.6, 0.4
    texels = torch.ones(8, 8, dtype=torch.bool)
    gain = (0.5 * 3 * 0.5) / (0.25 * 2 + (0.36 + 0.16) / 2)
    expected = (abs(0.6 * gain - 0.5) / 2 + abs(0.4 * gain - 0.5) / 2 + 2 * abs(0.5 * gain - 0.5)) / 3
    assert albedo_error(found, truth, texels).item() == pytest.approx(expected, abs=1e-6)


def test_the_truth_may_be_finer(rng: torch.Generator) -> None:
    coarse = 0.2 + 0.6 * torch.rand(1, 3, 4, 4, generator=rng)
    fine = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    texels = torch.ones(4, 4, dtype=torch.bool)
    assert albedo_error(coarse, fine, texels).item() < albedo_error(coarse.flip(3), fine, texels).item() / 2


def test_texels_of_the_face_are_a_part_of_the_map_in_one_piece() -> None:
    texels = region_texels(faceworld_model(), "face", 64)
    share = texels.float().mean().item()
    assert 0.1 < share < 0.9
    rows = texels.any(1).nonzero().flatten()
    assert len(rows) == rows[-1] - rows[0] + 1
