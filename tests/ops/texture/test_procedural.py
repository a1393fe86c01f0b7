import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.texture.procedural import (
    TextureRecipe,
    build_texture,
    canvas_for,
    default_recipe,
    load_or_build_texture,
    texel_weight,
    texture_path,
)

SMALL = TextureRecipe(resolution=64, mode_count=8, local_modes=0, sample_count=24)


def test_build_is_deterministic_and_cached(tmp_path: Path) -> None:
    model = faceworld_model()
    texture = load_or_build_texture(model, tmp_path, SMALL)
    again = build_texture(model, SMALL)
    assert texture.uv_layout == model.metadata.uv_layout
    assert (texture.latent_size, texture.resolution) == (8, 64)
    torch.testing.assert_close(texture.mean, again.mean)
    path = texture_path(model, tmp_path, SMALL)
    written = path.stat().st_mtime_ns
    assert torch.equal(load_or_build_texture(model, tmp_path, SMALL).basis, texture.basis)
    assert path.stat().st_mtime_ns == written


def test_whatever_shapes_the_texture_changes_its_name(tmp_path: Path) -> None:
    model = faceworld_model()
    base = texture_path(model, tmp_path, SMALL)
    other_seed = texture_path(model, tmp_path, dataclasses.replace(SMALL, seed=1))
    other_shape = texture_path(dataclasses.replace(model, mean_mm=model.mean_mm * 1.01), tmp_path, SMALL)
    assert len({base, other_seed, other_shape}) == 3


def test_mean_face_is_skin_with_darker_brows_and_lips() -> None:
    model = faceworld_model()
    texture = build_texture(model, SMALL)
    canvas = faceworld_canonical_map(64)

    def colour(x: float, y: float) -> torch.Tensor:
        square = (canvas.x_mm - x) ** 2 + (canvas.y_mm - y) ** 2
        return texture.mean[:, *np.unravel_index(square.argmin(), square.shape)]

    cheek, brow, lip = colour(40, -45), colour(32, 17.5), colour(0, -83)
    assert cheek[0] > cheek[1] > cheek[2]
    assert brow.mean() < 0.8 * cheek.mean()
    assert lip[1] / lip[0] < 0.95 * cheek[1] / cheek[0]


def test_weight_prefers_the_features() -> None:
    canvas = faceworld_canonical_map(64)
    weight = texel_weight(canvas)
    behind = np.abs(canvas.angle) > 1.7
    eyes = (np.abs(canvas.abs_x - 31.5) < 8) & (np.abs(canvas.y_mm + 5) < 5)
    assert weight[eyes].min() > 20 * weight[behind].max()


def test_hair_is_painted_in_the_face_world_alone(tmp_path: Path) -> None:
    model = faceworld_model()
    assert default_recipe(model).hair
    other = dataclasses.replace(model, metadata=dataclasses.replace(model.metadata, uv_layout="other"))
    assert not default_recipe(other).hair
    with pytest.raises(ConfigurationError, match="other"):
        canvas_for(other, 32)


def test_only_on_others_is_paint_local() -> None:
    """Modes of the whole face are mixtures of those that are confined to its parts, all but on the forehead."""
    model = faceworld_model()
    other = dataclasses.replace(model, metadata=dataclasses.replace(model.metadata, uv_layout="other"))
    assert default_recipe(model).local_modes == 0
    assert default_recipe(other).local_modes > default_recipe(other).mode_count
    few = dataclasses.replace(SMALL, mode_count=3)
    whole = build_texture(model, dataclasses.replace(few, local_modes=0))
    local = build_texture(model, dataclasses.replace(few, local_modes=27))
    assert (whole.latent_size, local.latent_size) == (3, 27)
    assert whole.whole is None
    assert local.whole is not None
    latent = torch.tensor([[1.0, -2.0, 0.5]])
    wrong = (local(latent @ local.whole.mT) - whole(latent)).square().mean()
    assert float(wrong) < 0.02 * float((whole(latent) - whole.mean).square().mean())
