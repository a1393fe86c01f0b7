"""The texture generators that ship, each beside the PCA of its bundle's sibling, on faces neither has seen."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from evaluation.texture_error import TextureError
from evaluation.texture_fit import measure_model
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.texture.gan_texture import GanTexture
from ops.texture.interface import TextureModel
from ops.texture.procedural import canvas_for, sample_painted_face, wears_hair
from ops.weights.bundle import ModelBundle, load_shape, load_texture, resolve_bundle

MAPS, SIDE, SEED = 4, 128, 99
LARGEST_BYTES = 8e6


class Pair(NamedTuple):
    """A bundle with a generator, and its sibling with a PCA."""

    generator: ModelBundle
    pca: ModelBundle
    shape: MorphableModel


@pytest.fixture(scope="module", params=["embedded", pytest.param("ict", marks=pytest.mark.models)])
def pair(request: pytest.FixtureRequest) -> Pair:
    models: Path | None = None if request.param == "embedded" else request.getfixturevalue("model_dir")
    generator, pca = (resolve_bundle(name, models) for name in (f"{request.param}-gan", request.param))
    return Pair(generator, pca, load_shape(pca.shape))


def test_are_what_their_bundles_need(pair: Pair) -> None:
    texture = load_texture(pair.generator.texture, pair.shape)
    assert isinstance(texture, GanTexture)
    assert texture.uv_layout == load_texture(pair.pca.texture, pair.shape).uv_layout
    assert (texture.latent_size, texture.resolution, texture.levels) == (100, SIDE, (32, 64, 128))
    assert pair.generator.texture.path is not None
    assert pair.generator.texture.path.stat().st_size < LARGEST_BYTES


def test_keep_more_detail_than_the_pca_at_no_more_error(pair: Pair) -> None:
    paint = AlbedoPainter(canvas_for(pair.shape, SIDE))
    faces = [
        sample_painted_face(np.random.default_rng((SEED, number)), hair=wears_hair(pair.shape))
        for number in range(MAPS)
    ]
    held_out = torch.stack([torch.from_numpy(paint(face)) for face in faces])

    def measure(texture: TextureModel) -> TextureError:
        return measure_model(texture, held_out, steps=80, batch=MAPS, report=lambda done: None)[0]

    generator = measure(load_texture(pair.generator.texture, pair.shape))
    pca = measure(load_texture(pair.pca.texture, pair.shape))
    assert float(generator.l1.mean()) < float(pca.l1.mean())
    assert (generator.energy_kept > pca.energy_kept).all()
