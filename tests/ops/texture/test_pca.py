from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ops.errors import ConfigurationError, MissingModelFileError, ModelFormatError
from ops.texture.interface import TextureModel
from ops.texture.pca import PcaTexture, fit_pca_texture, load_pca_texture, save_pca_texture


def test_texture_is_mean_plus_basis(small_texture: PcaTexture) -> None:
    latent = torch.tensor([[0.0, 0, 0, 0, 0], [0, 2.0, 0, 0, -1.0]])
    expected = small_texture.mean + 2 * small_texture.basis[1] - small_texture.basis[4]
    found = small_texture(latent)
    torch.testing.assert_close(found[0], small_texture.mean)
    torch.testing.assert_close(found[1], expected)


def test_implements_the_interface(small_texture: PcaTexture) -> None:
    model: TextureModel = small_texture
    assert (model.latent_size, model.resolution, model.levels, model.uv_layout) == (5, 64, (32, 64), "test-v1")


def test_lower_level_is_the_averaged_texture(small_texture: PcaTexture) -> None:
    latent = torch.tensor([[1.0, -1, 0.5, 0, 2]])
    full = small_texture(latent)
    expected = full.unflatten(-1, (32, 2)).unflatten(-3, (32, 2)).mean((-3, -1))
    torch.testing.assert_close(small_texture(latent, 32), expected)


def test_unknown_level_is_refused(small_texture: PcaTexture) -> None:
    with pytest.raises(ConfigurationError, match=r"among \(32, 64\), got 48"):
        small_texture(torch.zeros(1, 5), 48)


def test_gradient_reaches_the_latent() -> None:
    generator = torch.Generator().manual_seed(1)
    texture = PcaTexture(
        mean=torch.rand(3, 4, 4, generator=generator).double(),
        basis=torch.randn(2, 3, 4, 4, generator=generator).double(),
        uv_layout="test",
    )
    latent = torch.randn(2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(texture, (latent,))


def test_constrain_clamps_at_three_deviations(small_texture: PcaTexture) -> None:
    latent = torch.tensor([[4.0, -5.0, 1.0, 3.0, 0.0]])
    assert small_texture.constrain(latent).tolist() == [[3.0, -3.0, 1.0, 3.0, 0.0]]


def test_file_keeps_the_model(small_texture: PcaTexture, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "texture.safetensors"
    whole = torch.arange(10.0).reshape(5, 2)
    save_pca_texture(replace(small_texture, people=12, whole=whole), path, {"round": 1})
    loaded = load_pca_texture(path)
    assert loaded.whole is not None
    assert torch.equal(loaded.whole, whole)
    torch.testing.assert_close(loaded.mean, small_texture.mean)
    torch.testing.assert_close(loaded.basis, small_texture.basis, atol=5e-4, rtol=1e-3)
    assert (loaded.uv_layout, loaded.people) == ("test-v1", 12)


def test_absent_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match="make-texture"):
        load_pca_texture(tmp_path / "absent.safetensors")
    save_file({"mean": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFormatError, match="ganfit-pca-texture-v1"):
        load_pca_texture(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("this is not a tensor file")
    with pytest.raises(ModelFormatError, match="safetensors"):
        load_pca_texture(tmp_path / "text.safetensors")


def test_fit_recovers_a_planted_basis(rng: torch.Generator) -> None:
    deviations = torch.tensor([0.3, 0.1, 0.03])
    directions = torch.linalg.qr(torch.randn(3 * 16 * 16, 3, generator=rng))[0].T
    scores = torch.randn(2000, 3, generator=rng)
    samples = (0.5 + (scores * deviations) @ directions).unflatten(1, (3, 16, 16))
    found = fit_pca_texture(samples, torch.ones(16, 16), mode_count=3, uv_layout="test")
    lengths = found.basis.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, deviations, rtol=0.06, atol=0)
    alignment = (found.basis.flatten(1) / lengths[:, None] * directions).sum(1).abs()
    assert alignment.min() > 0.99


def test_weight_decides_which_variation_is_kept(rng: torch.Generator) -> None:
    samples = torch.zeros(200, 3, 16, 16)
    samples[:, :, :8] = 0.3 * torch.randn(200, 1, 1, 1, generator=rng)
    samples[:, :, 8:] = 0.1 * torch.randn(200, 1, 1, 1, generator=rng)
    weight = torch.ones(16, 16)
    plain = fit_pca_texture(samples, weight, mode_count=1, uv_layout="test")
    weight[8:] = 100.0
    weighted = fit_pca_texture(samples, weight, mode_count=1, uv_layout="test")
    assert plain.basis[:, :, :8].abs().mean() > 10 * plain.basis[:, :, 8:].abs().mean()
    assert weighted.basis[:, :, 8:].abs().mean() == pytest.approx(0.1, rel=0.1)


def test_fit_needs_more_samples_than_modes() -> None:
    with pytest.raises(ConfigurationError, match="more than 5 texture samples"):
        fit_pca_texture(torch.zeros(5, 3, 8, 8), torch.ones(8, 8), mode_count=5, uv_layout="test")
