import torch

from evaluation.texture_fit import fit_textures
from ops.texture.gan_texture import GanTexture, freeze
from ops.texture.pca import PcaTexture
from ops.texture.progressive_gan import GanSize, Generator


def test_recovers_the_latent_of_a_texture_the_model_made(rng: torch.Generator) -> None:
    model = PcaTexture(
        mean=torch.rand(3, 32, 32, generator=rng),
        basis=0.1 * torch.randn(4, 3, 32, 32, generator=rng),
        uv_layout="test-v1",
    )
    latent = torch.tensor([[0.5, -1.0, 2.0, 0.0], [-2.0, 0.3, 0.0, 1.0]])
    found = fit_textures(model, model(latent), steps=200)
    torch.testing.assert_close(found.latent, latent, atol=5e-3, rtol=0)
    alone = fit_textures(model, model(latent[1:]), steps=200)
    torch.testing.assert_close(alone.latent[0], found.latent[1], atol=1e-3, rtol=0)


def test_a_generator_comes_close_to_what_it_made() -> None:
    torch.manual_seed(0)
    generator = freeze(Generator(GanSize(resolution=8, latent_size=4, channel_base=32, channel_limit=8)))
    model = GanTexture(generator=generator, uv_layout="test-v1", training="none", licence="CC0")
    with torch.no_grad():
        truth = model(model.constrain(torch.randn(2, 4)))
        start = (model(torch.zeros(2, 4)) - truth).abs().mean()
    found = fit_textures(model, truth, steps=60)
    assert float((found.texture - truth).abs().mean()) < 0.5 * float(start)
    assert float(found.latent.square().mean(1).max()) <= 1 + 1e-5
