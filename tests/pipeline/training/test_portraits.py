import numpy as np

from ops.faceworld.portraits.stream import PaintedLooks, PortraitSettings
from ops.weights.bundle import ModelBundle, load_shape, resolve_bundle
from pipeline.training.portraits import MixedLooks, PortraitSource

SETTINGS = PortraitSettings(side_px=48, looks=2, points=150)


def test_a_bundle_with_a_learned_texture_draws_its_people_with_it(embedded: ModelBundle) -> None:
    shape = load_shape(embedded.shape)
    mixed = PortraitSource(resolve_bundle("embedded-gan"), SETTINGS).looks(shape)
    painted = PortraitSource(embedded, SETTINGS).looks(shape)
    assert isinstance(mixed, MixedLooks)
    assert isinstance(painted, PaintedLooks)
    first, again, other = (mixed.learned((1, seed)) for seed in (1, 1, 2))
    assert first.texture.shape == (3, 128, 128)
    np.testing.assert_array_equal(first.texture, again.texture)
    assert not np.array_equal(first.texture, other.texture)
    kinds = {mixed((1, seed)).texture.shape[-1] for seed in range(8)}
    assert kinds == {first.texture.shape[-1], painted((1, 0)).texture.shape[-1]}
    portrait = next(PortraitSource(resolve_bundle("embedded-gan"), SETTINGS)().portraits(0, 1))
    assert portrait.image_rgb.std() > 10
