import torch

from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma


def test_grey_has_no_chroma_and_blue_is_all_cb(rng: torch.Generator) -> None:
    grey = torch.rand(1, 4, 4, generator=rng).expand(3, -1, -1)
    found = luma_chroma_from_rgb(grey)
    torch.testing.assert_close(found[0], grey[0])
    assert found[1:].abs().max() < 1e-6
    blue = torch.tensor((0.0, 0.0, 1.0))[:, None, None]
    assert luma_chroma_from_rgb(blue)[1].item() == 0.5


def test_rgb_returns_from_luma_and_chroma(rng: torch.Generator) -> None:
    rgb = torch.rand(2, 3, 5, 4, generator=rng)
    torch.testing.assert_close(rgb_from_luma_chroma(luma_chroma_from_rgb(rgb)), rgb)
