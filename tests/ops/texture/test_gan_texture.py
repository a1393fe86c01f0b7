import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ops.errors import ConfigurationError, MissingModelFileError, ModelFormatError
from ops.faceworld.shape import UV_LAYOUT, faceworld_model
from ops.texture.gan_texture import (
    GanTexture,
    calibrate_levels,
    freeze,
    linear_part,
    load_gan_texture,
    save_gan_texture,
)
from ops.texture.interface import TextureModel
from ops.texture.pca import PcaTexture
from ops.texture.progressive_gan import GanSize, Generator, pixel_norm, shrink
from ops.weights.models import ModelRef, load_texture


@pytest.fixture
def texture() -> GanTexture:
    torch.manual_seed(0)
    generator = Generator(GanSize(resolution=64, latent_size=5, channel_base=256, channel_limit=12))
    return GanTexture(generator=freeze(generator), uv_layout="test-v1", training="none", licence="CC0")


def test_implements_the_interface(texture: GanTexture) -> None:
    model: TextureModel = texture
    assert isinstance(texture, TextureModel)
    assert (model.latent_size, model.resolution, model.levels, model.uv_layout) == (5, 64, (32, 64), "test-v1")
    latents = torch.randn(2, 5)
    assert model(latents, 32).shape == (2, 3, 32, 32)
    torch.testing.assert_close(model(latents), (texture.generator(latents) + 1) / 2)


def test_levels_it_does_not_offer_are_refused(texture: GanTexture) -> None:
    with pytest.raises(ConfigurationError, match=r"among \(32, 64\), got 16"):
        texture(torch.zeros(1, 5), 16)


def test_gradient_reaches_the_latent_and_no_weight(texture: GanTexture) -> None:
    latent = (0.5 * torch.randn(1, 5)).requires_grad_()
    texture(latent).square().mean().backward()
    assert latent.grad is not None
    assert float(latent.grad.abs().min()) > 0
    assert all(parameter.grad is None for parameter in texture.generator.parameters())


def test_constrain_keeps_the_texture(texture: GanTexture) -> None:
    latents = 3 * torch.randn(4, 5)
    constrained = texture.constrain(latents)
    assert float(constrained.square().mean(1).max()) <= 1 + 1e-5
    torch.testing.assert_close(texture(constrained), texture(latents))


def test_latent_values_are_in_the_deviations_the_model_names(texture: GanTexture) -> None:
    narrow = dataclasses.replace(texture, latent_deviation=0.5)
    latents = torch.randn(4, 5)
    torch.testing.assert_close(narrow(2 * latents), texture(latents))
    torch.testing.assert_close(narrow.constrain(2 * latents), 2 * texture.constrain(latents))


def test_calibrated_levels_are_previews_of_the_last(texture: GanTexture) -> None:
    generator = texture.generator
    latents = pixel_norm(torch.randn(16, 5))
    wanted = shrink(generator(latents))
    before = (generator(latents, 32) - wanted).square().mean()
    calibrate_levels(generator)
    after = (generator(latents, 32) - wanted).square().mean()
    assert float(after) < 0.25 * float(before)
    assert float(after) < 0.25 * float(wanted.var())
    torch.testing.assert_close(shrink(generator(latents)), wanted)


def test_calibrated_levels_add_to_the_linear_image() -> None:
    """All that the last level shows is the linear image: the lower levels show it averaged down, and add nothing."""
    torch.manual_seed(0)
    size = GanSize(resolution=64, latent_size=5, channel_base=256, channel_limit=12, start_side=16, linear_side=64)
    generator = freeze(Generator(size))
    assert generator.linear is not None
    generator.linear.assign(torch.randn(3, 64, 64), torch.randn(5, 3, 64, 64))
    with torch.no_grad():
        generator.to_colour[1].weight.normal_()
    calibrate_levels(generator)
    latents = 0.5 * torch.randn(2, 5)
    torch.testing.assert_close(generator(latents, 32), shrink(generator(latents)), atol=1e-4, rtol=0)


def test_file_keeps_the_model_and_its_description(texture: GanTexture, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "texture.safetensors"
    texture = dataclasses.replace(texture, latent_deviation=0.7)
    save_gan_texture(texture, path)
    loaded = load_gan_texture(path)
    assert (loaded.uv_layout, loaded.training, loaded.licence) == ("test-v1", "none", "CC0")
    assert loaded.latent_deviation == 0.7
    assert loaded.generator.size == texture.generator.size
    latents = torch.randn(2, 5)
    assert torch.equal(
        loaded(latents), dataclasses.replace(texture, generator=texture.generator.half().float())(latents)
    )


def _with_linear_image() -> GanTexture:
    torch.manual_seed(0)
    size = GanSize(resolution=32, latent_size=6, channel_base=64, channel_limit=4, start_side=16, linear_side=32)
    generator = Generator(dataclasses.replace(size, place_bias=True))
    assert generator.linear is not None
    torch.nn.init.normal_(generator.get_parameter("blocks.0.place"))
    strengths = torch.logspace(0, -3, 6)[:, None, None, None]
    generator.linear.assign(0.1 * torch.randn(3, 32, 32), 0.2 * strengths * torch.randn(6, 3, 32, 32))
    return GanTexture(generator=freeze(generator), uv_layout="test-v1", training="none", licence="CC0")


@pytest.mark.parametrize("name", ["linear.basis", "start.dense.weight", "blocks.0.place"])
def test_large_tensors_take_a_byte_a_number(tmp_path: Path, name: str) -> None:
    texture, path = _with_linear_image(), tmp_path / "texture.safetensors"
    save_gan_texture(texture, path)
    assert load_file(path)[name].dtype == torch.int8
    ours, kept = (model.generator.state_dict()[name] for model in (texture, load_gan_texture(path)))
    for wanted, found in zip(ours, kept, strict=True):
        assert float((found - wanted).abs().max()) < float(wanted.abs().max()) / 200


def test_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    texture, path = _with_linear_image(), tmp_path / "texture.safetensors"
    state = {name: value.half().contiguous() for name, value in texture.generator.state_dict().items()}
    metadata = {
        "format": "ganfit-progressive-gan-v1",
        "size": json.dumps(dataclasses.asdict(texture.generator.size)),
        "uv_layout": "test-v1",
        "training": "none",
        "licence": "CC0",
    }
    save_file(state, path, metadata=metadata)
    latents = torch.randn(2, 6)
    torch.testing.assert_close(load_gan_texture(path)(latents), texture(latents), atol=2e-3, rtol=0)


def test_what_is_no_generator_is_refused(texture: GanTexture, tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=r"ganfit train-texture-gan"):
        load_gan_texture(tmp_path / "absent")
    other = tmp_path / "other"
    save_file({"mean": torch.zeros(1)}, other, metadata={"format": "something-else"})
    with pytest.raises(ModelFormatError, match="something-else"):
        load_gan_texture(other)
    other.write_bytes(b"no safetensors")
    with pytest.raises(ModelFormatError, match="expected a texture generator"):
        load_gan_texture(other)


def test_a_bundle_can_name_it(texture: GanTexture, tmp_path: Path) -> None:
    path = tmp_path / "texture.safetensors"
    save_gan_texture(texture, path)
    ref = ModelRef(kind="gan", path=path, sha256=None)
    shape = faceworld_model()
    with pytest.raises(ConfigurationError, match="drawn on the UV layout 'test-v1'"):
        load_texture(ref, shape)
    save_gan_texture(dataclasses.replace(texture, uv_layout=UV_LAYOUT), path)
    assert load_texture(ref, shape).resolution == 64


def test_the_linear_part_of_a_generator_is_near_where_its_levels_add_little(texture: GanTexture) -> None:
    assert linear_part(texture) is None
    torch.manual_seed(0)
    size = dataclasses.replace(texture.generator.size, linear_side=32, resolution=128)
    generator = Generator(size)
    assert generator.linear is not None
    generator.linear.assign(torch.rand(3, 32, 32), 0.1 * torch.randn(5, 3, 32, 32))
    for layer in generator.to_colour:
        torch.nn.init.constant_(layer.bias, 0.2)
    model = dataclasses.replace(texture, generator=freeze(generator), latent_deviation=0.7)
    linear = linear_part(model)
    assert linear is not None
    assert (linear.resolution, linear.latent_size, linear.uv_layout) == (64, 5, "test-v1")
    latents = model.constrain(0.5 * torch.randn(4, 5))
    torch.testing.assert_close(linear(latents), model(latents, 64), atol=1e-4, rtol=0)


def test_a_pca_is_linear_itself() -> None:
    pca = PcaTexture(mean=torch.zeros(3, 32, 32), basis=torch.zeros(2, 3, 32, 32), uv_layout="test-v1")
    assert linear_part(pca) is pca
