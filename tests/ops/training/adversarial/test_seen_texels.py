import torch

from ops.texture.colour import luma_chroma_from_rgb
from ops.texture.progressive_gan import Discriminator, GanSize
from ops.training.adversarial.seen_texels import DETAIL_SCALE, GUESSED_SIDE, as_seen

SIDE, CELL = 32, 32 // GUESSED_SIDE


def without_tone(detail: torch.Tensor) -> torch.Tensor:
    """Detail whose mean over every cell is zero."""
    means = torch.nn.functional.avg_pool2d(detail, CELL)
    return detail - means.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)


def test_guessed_detail_reaches_neither_scores_nor_gradients_of_a_critic(rng: torch.Generator) -> None:
    torch.manual_seed(0)
    critic = Discriminator(GanSize(resolution=SIDE, latent_size=4, channel_base=64, channel_limit=8)).double()
    images = torch.rand(2, 3, SIDE, SIDE, generator=rng, dtype=torch.float64)
    seen = torch.ones(2, 2, SIDE, SIDE, dtype=torch.float64)
    seen[..., : SIDE // 2] = 0
    detail = without_tone(torch.randn(images.shape, generator=rng, dtype=torch.float64))

    def scores_and_gradients(half: slice) -> list[torch.Tensor]:
        changed = images.clone()
        changed[..., half] += detail[..., half]
        scores = critic(as_seen(changed, seen))
        return [scores, *torch.autograd.grad(scores.sum(), list(critic.parameters()), allow_unused=True)]

    plain, guessed = scores_and_gradients(slice(0)), scores_and_gradients(slice(SIDE // 2))
    for before, after in zip(plain, guessed, strict=True):
        if before is not None:
            torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(scores_and_gradients(slice(SIDE // 2, SIDE))[0], plain[0], rtol=1e-3)


def test_no_gradient_reaches_guessed_detail(rng: torch.Generator) -> None:
    images = torch.rand(1, 3, SIDE, SIDE, generator=rng).requires_grad_()
    target = torch.rand(1, 3, SIDE, SIDE, generator=rng)
    (as_seen(images, torch.zeros(1, 2, SIDE, SIDE)) - target).square().sum().backward()
    assert images.grad is not None
    assert float(without_tone(images.grad).abs().max()) < 1e-5
    assert float(images.grad.abs().max()) > 0.01


def test_what_is_seen_stays_and_a_grey_photo_tells_no_colour(rng: torch.Generator) -> None:
    images = torch.rand(2, 3, SIDE, SIDE, generator=rng)
    seen = torch.ones(2, 2, SIDE, SIDE)
    torch.testing.assert_close(as_seen(images, seen), images, atol=1e-5, rtol=0)
    seen[:, 1] = 0
    grey, whole = luma_chroma_from_rgb(as_seen(images, seen)), luma_chroma_from_rgb(images)
    torch.testing.assert_close(grey[:, 0], whole[:, 0], atol=1e-5, rtol=0)
    assert float(grey[:, 1:].diff(dim=-1).abs().mean()) < 0.3 * float(whole[:, 1:].diff(dim=-1).abs().mean())


def test_without_tones_detail_is_left(rng: torch.Generator) -> None:
    images, seen = torch.rand(2, 3, SIDE, SIDE, generator=rng), torch.rand(2, 2, SIDE, SIDE, generator=rng)
    found = as_seen(images, seen, tones=False)
    assert float(as_seen(images.new_full(images.shape, 0.7), seen, tones=False).abs().max()) < 1e-6
    coarse = as_seen(images, torch.zeros_like(seen))
    torch.testing.assert_close(found / DETAIL_SCALE + coarse, as_seen(images, seen))


def test_images_without_detail_are_compared_whole(rng: torch.Generator) -> None:
    images = torch.rand(2, 3, GUESSED_SIDE, GUESSED_SIDE, generator=rng)
    assert as_seen(images, torch.zeros(2, 2, GUESSED_SIDE, GUESSED_SIDE)) is images
