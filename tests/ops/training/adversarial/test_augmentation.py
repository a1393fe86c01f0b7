from dataclasses import replace

import pytest
import torch

from ops.errors import ConfigurationError
from ops.training.adversarial.augmentation import (
    AdaptiveProbability,
    AugmentationSettings,
    augment,
    augmentation_for,
)

SETTINGS = AugmentationSettings(adjust_every=2, images_to_one=100, shift=0.25)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_probability_zero_is_the_identity(rng: torch.Generator) -> None:
    images = 2 * torch.rand(4, 3, 8, 8, generator=rng) - 1
    assert augment(images, 0.0, draws(), SETTINGS) is images
    assert torch.equal(augment(images, 1e-9, draws(), SETTINGS), images)


def test_what_is_drawn_depends_on_the_generator_alone(rng: torch.Generator) -> None:
    images = 2 * torch.rand(6, 3, 8, 8, generator=rng) - 1
    first, again = (augment(images, 0.7, draws(3), SETTINGS) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(images, 0.7, draws(4), SETTINGS))
    part = augment(images.flip(0), 0.7, draws(3), SETTINGS)
    assert not torch.equal(part.flip(0), first)


def test_gradients_go_through(rng: torch.Generator) -> None:
    images = torch.rand(3, 3, 4, 4, generator=rng, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: augment(values, 0.8, draws(1), SETTINGS), images)


def test_images_are_mirrored_and_shifted_by_whole_texels(rng: torch.Generator) -> None:
    settings = replace(SETTINGS, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    images = torch.rand(64, 3, 8, 8, generator=rng)
    found = augment(images, 1.0, draws(), settings)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    places: set[tuple[int, int, bool]] = set()
    for image, wide in zip(found, padded, strict=True):
        for mirrored in (False, True):
            source = image.flip(-1) if mirrored else image
            for row in range(5):
                for column in range(5):
                    window = wide[:, row : row + 8, column : column + 8]
                    if torch.allclose(source, window, atol=1e-6):
                        places.add((row, column, mirrored))
    assert len(places) > 20
    assert {place[2] for place in places} == {False, True}


def test_hue_and_saturation_leave_grey_alone(rng: torch.Generator) -> None:
    settings = replace(SETTINGS, shift=0.0, brightness=0.0, contrast=0.0)
    grey = torch.rand(8, 1, 4, 4, generator=rng).expand(-1, 3, -1, -1)
    found = augment(grey, 1.0, draws(), settings)
    flat = [found, found.flip(-1)]
    assert all(min(float((one[k] - grey[k]).abs().max()) for one in flat) < 1e-5 for k in range(8))
    coloured = torch.rand(8, 3, 4, 4, generator=rng)
    changed = augment(coloured, 1.0, draws(), settings)
    torch.testing.assert_close(changed.mean((1, 2, 3)), coloured.mean((1, 2, 3)), atol=1e-5, rtol=0)
    assert float((changed - coloured).abs().mean()) > 0.05


def test_the_probability_follows_overfitting() -> None:
    adaptive = AdaptiveProbability(SETTINGS)
    for _ in range(2):
        adaptive.observe(torch.tensor((1.0, 0.2, 0.0)), 10)
    assert (adaptive.value, adaptive.overfitting) == (pytest.approx(0.2), pytest.approx(0.8))
    for _ in range(20):
        adaptive.observe(torch.tensor((1.0, 0.2, 0.0)), 10)
    assert adaptive.value == SETTINGS.most
    for _ in range(2):
        adaptive.observe(torch.tensor((5.0, 4.8, 4.0)), 10)
    assert (adaptive.value, adaptive.overfitting) == (pytest.approx(0.6), pytest.approx(0.2))
    for _ in range(2):
        adaptive.observe(torch.tensor((0.0, -1.0, 1.0)), 10)
    assert (adaptive.value, adaptive.overfitting) == (pytest.approx(0.4), 0)
    for _ in range(20):
        adaptive.observe(torch.tensor((0.0, -1.0, 1.0)), 10)
    assert adaptive.value == 0


def test_a_restored_probability_goes_on_in_the_middle_of_an_interval() -> None:
    whole, resumed = AdaptiveProbability(SETTINGS), AdaptiveProbability(SETTINGS)
    scores = torch.tensor((1.0, 0.1, 0.0))
    for _ in range(3):
        whole.observe(scores, 8)
    resumed.restore(whole.state())
    whole.observe(scores, 8)
    resumed.observe(scores, 8)
    assert whole.value == resumed.value > 0.1


def test_whole_people_are_held_back() -> None:
    settings = AugmentationSettings(held_back=0.1)
    assert [settings.held_back_maps(*counts) for counts in ((204, 2), (21, 1), (4, 2), (3, 1))] == [20, 2, 2, 1]
    with pytest.raises(ConfigurationError, match="two people"):
        settings.held_back_maps(2, 2)
    with pytest.raises(ConfigurationError, match="held back"):
        AugmentationSettings(held_back=1.0)


def test_a_short_training_adapts_sooner() -> None:
    assert augmentation_for(8000).images_to_one == 4000
    assert augmentation_for(10**8) == AugmentationSettings()
