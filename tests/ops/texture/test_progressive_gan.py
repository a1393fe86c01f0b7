import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from ops.errors import ConfigurationError
from ops.texture.progressive_gan import (
    Discriminator,
    EqualisedConv,
    EqualisedLinear,
    GanSize,
    Generator,
    average_into,
    enlarge,
    fade,
    fade_images,
    gan_size,
    minibatch_deviation,
    onto_ball,
    parameter_count,
    pixel_norm,
    shrink,
)

SMALL = GanSize(resolution=32, latent_size=6, channel_base=64, channel_limit=12)
ALIGNED = replace(SMALL, start_side=8, place_bias=True, linear_side=16)
"""For aligned maps: a later start, biases for every texel, and a linear image the levels add to."""


def test_parameter_counts_are_the_published_networks() -> None:
    generator, critic = Generator(GanSize()), Discriminator(GanSize())
    assert parameter_count(generator, last_colour_only=True) == 23_064_611
    assert parameter_count(generator) == 23_072_120
    assert parameter_count(critic, last_colour_only=True) == 23_070_241
    assert parameter_count(critic) == 23_080_225


def test_channels_by_side_and_width() -> None:
    full = GanSize(resolution=1024)
    assert [full.channels(side) for side in full.sides] == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    quarter = gan_size(512, 0.25, 512)
    assert [quarter.channels(side) for side in quarter.sides] == [128, 128, 128, 128, 64, 32, 16, 8]


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": 48},
        {"resolution": 2},
        {"resolution": 2048},
        {"channel_base": 64},
        {"start_side": 1024},
        {"start_side": 6},
        {"linear_side": 3},
    ],
)
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        GanSize(**wrong)


def test_equalised_rate_scales_unit_weights_by_gain_over_root_fan_in() -> None:
    torch.manual_seed(0)
    layer = EqualisedConv(64, 128, 3)
    assert float(layer.weight.detach().std()) == pytest.approx(1.0, abs=0.01)
    assert layer.scale == pytest.approx(math.sqrt(2 / (64 * 9)))
    assert EqualisedLinear(50, 16, math.sqrt(2) / 4).scale == pytest.approx(math.sqrt(2) / 4 / math.sqrt(50))
    # He's gain keeps the size of the features through leaky ReLUs of slope 0.2 up to a factor sqrt(1.04).
    features = functional.leaky_relu(layer(torch.randn(4, 64, 32, 32))[..., 1:-1, 1:-1], 0.2)
    assert float(features.detach().square().mean()) == pytest.approx(1.04, rel=0.05)


@pytest.mark.parametrize("side", [4, 7])
def test_fused_doubling_equals_enlarging_first(side: int, rng: torch.Generator) -> None:
    layer = EqualisedConv(3, 5, 3, resampling="up").double()
    images = torch.randn(2, 3, side, side, generator=rng, dtype=torch.float64)
    expected = functional.conv2d(enlarge(images), layer.weight * layer.scale, layer.bias, padding=1)
    torch.testing.assert_close(layer(images), expected)


def test_fused_halving_equals_averaging_after(rng: torch.Generator) -> None:
    layer = EqualisedConv(3, 5, 3, resampling="down").double()
    images = torch.randn(2, 3, 8, 8, generator=rng, dtype=torch.float64)
    expected = shrink(functional.conv2d(images, layer.weight * layer.scale, layer.bias, padding=1))
    torch.testing.assert_close(layer(images), expected)


def test_dense_biases_belong_to_channels() -> None:
    layer = EqualisedLinear(3, 32, shared_bias=16)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, 2.0]))
    assert layer(torch.zeros(1, 3))[0].tolist() == [1.0] * 16 + [2.0] * 16


def test_pixel_norm_makes_feature_vectors_of_root_mean_square_one() -> None:
    features = torch.tensor([3.0, 4.0])[None, :, None, None].expand(1, 2, 2, 2)
    expected = torch.tensor([3.0, 4.0]) / math.sqrt(12.5)
    torch.testing.assert_close(pixel_norm(features)[0, :, 1, 0], expected)


def test_minibatch_deviation_of_known_groups() -> None:
    """Images 0, 2, 4, 6 form one group and 1, 3, 5, 7 the other one."""
    values = torch.tensor([0.0, 5, 2, 5, 0, 5, 2, 5])
    features = values[:, None, None, None].expand(8, 3, 4, 4)
    found = minibatch_deviation(features)
    assert found.shape == (8, 4, 4, 4)
    assert torch.equal(found[:, :3], features)
    torch.testing.assert_close(found[:, 3, 0, 0], torch.tensor([1.0, 1e-4] * 4))


def test_fade_by_known_answers() -> None:
    coarse, fine = torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 4, 4), 3.0)
    assert torch.equal(fade(coarse, fine, 0.25), torch.full((1, 1, 4, 4), 1.5))
    images = torch.tensor([[0.0, 4.0], [8.0, 4.0]])[None, None]
    assert fade_images(images, 0.0).unique().tolist() == [4.0]
    assert fade_images(images, 0.5).flatten().tolist() == [2.0, 4.0, 6.0, 4.0]
    assert fade_images(images, 1.0) is images


def test_inputs_outside_the_sphere_are_normalised_and_inside_kept() -> None:
    latents = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    expected = torch.stack((latents[0] / math.sqrt(12.5), latents[1], latents[2]))
    torch.testing.assert_close(onto_ball(latents), expected)


def test_generator_fades_from_the_level_below(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    generator, latents = Generator(SMALL), torch.randn(3, 6, generator=rng)
    for side in (8, 16, 32):
        below, own = enlarge(generator(latents, side // 2)), generator(latents, side)
        assert own.shape == (3, 3, side, side)
        torch.testing.assert_close(generator(latents, side, 0.0), below)
        torch.testing.assert_close(generator(latents, side, 0.3), 0.7 * below + 0.3 * own)
    outside = pixel_norm(latents)
    torch.testing.assert_close(generator(2 * outside), generator(5 * outside), atol=1e-4, rtol=0)


def test_levels_begin_at_the_start_side(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    generator, latents = Generator(ALIGNED), torch.randn(2, 6, generator=rng)
    assert ALIGNED.generator_sides == (8, 16, 32)
    assert [generator(latents, side).shape[-1] for side in ALIGNED.generator_sides] == [8, 16, 32]
    with pytest.raises(ConfigurationError, match=r"among \(8, 16, 32\), got 4"):
        generator(latents, 4)
    assert Discriminator(ALIGNED)(generator(latents)).shape == (2,)


def test_only_biases_of_places_tell_places_apart_at_the_latent_zero() -> None:
    """Away from the padding at the border, which tells places apart in any generator."""
    torch.manual_seed(0)
    latents = torch.zeros(1, 6)
    for place_bias in (False, True):
        generator = Generator(replace(SMALL, start_side=32, place_bias=place_bias))
        with torch.no_grad():
            generator.start.dense.bias.normal_()
            inner = generator(latents)[..., 2:-2, 2:-2]
        assert (float(inner.std(dim=(2, 3)).max()) > 0.1) == place_bias


def test_a_new_generator_draws_its_linear_image(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    generator = Generator(ALIGNED)
    mean, basis = torch.randn(3, 16, 16, generator=rng), torch.randn(6, 3, 16, 16, generator=rng)
    assert generator.linear is not None
    generator.linear.assign(mean, basis)
    inside = torch.tensor([[0.5, -1.0, 0.0, 0.2, 0.0, 1.0]])
    expected = mean + torch.einsum("il,lchw->ichw", inside, basis)
    torch.testing.assert_close(generator(inside, 16), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(generator(inside, 8), shrink(expected), atol=1e-4, rtol=0)
    torch.testing.assert_close(generator(10 * inside), generator(20 * inside), atol=1e-4, rtol=0)


def test_a_linear_image_is_enlarged_bilinearly() -> None:
    generator = Generator(ALIGNED)
    assert generator.linear is not None
    ramp = torch.arange(16.0).expand(3, 16, 16)
    generator.linear.assign(ramp, torch.zeros(6, 3, 16, 16))
    drawn = generator(torch.zeros(1, 6))[0, 0, 7]
    torch.testing.assert_close(drawn[1:-1], torch.arange(0.25, 15.0, 0.5))


def test_levels_add_to_the_linear_image(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    generator, latents = Generator(ALIGNED), 0.5 * torch.randn(2, 6, generator=rng)
    assert generator.linear is not None
    with torch.no_grad():
        generator.to_colour[-1].weight.normal_()
        generator.linear.mean.normal_()
        whole, linear = generator(latents), generator.linear(onto_ball(latents), 32)
        generator.linear.mean.zero_()
    torch.testing.assert_close(whole - linear, generator(latents), atol=1e-5, rtol=0)


def test_critic_fades_from_the_level_below(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    critic, images = Discriminator(SMALL), torch.randn(4, 3, 32, 32, generator=rng)
    for side in (32, 16, 8):
        seen = images[..., :side, :side]
        torch.testing.assert_close(critic(seen, 0.0), critic(shrink(seen)))
        assert critic(seen).shape == (4,)
    assert not torch.allclose(critic(images, 0.5), critic(images))


def test_a_side_between_levels_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"among \(4, 8, 16, 32\), got 64"):
        Generator(SMALL)(torch.zeros(1, 6), 64)


def test_running_mean_by_known_answer() -> None:
    average, network = EqualisedConv(1, 1, 1), EqualisedConv(1, 1, 1)
    with torch.no_grad():
        average.bias.fill_(1.0)
        network.bias.fill_(2.0)
    average_into(average, network, 0.9)
    average_into(average, network, 0.9)
    assert float(average.bias.detach()) == pytest.approx(1.19)
