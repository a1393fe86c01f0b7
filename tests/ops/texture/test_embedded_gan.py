"""The texture generator that ships, beside the PCA of its bundle's sibling, on faces neither has seen."""

import numpy as np
import pytest
import torch

from evaluation.texture_error import TextureError
from evaluation.texture_fit import measure_model
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.shape import faceworld_model
from ops.texture.gan_texture import GanTexture
from ops.texture.interface import TextureModel
from ops.texture.procedural import canvas_for, sample_painted_face
from ops.weights.bundle import ModelBundle, load_texture, resolve_bundle

MAPS, SIDE, SEED = 4, 128, 99


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return resolve_bundle("embedded-gan")


@pytest.fixture(scope="module")
def held_out() -> torch.Tensor:
    paint = AlbedoPainter(canvas_for(faceworld_model(), SIDE))
    faces = [sample_painted_face(np.random.default_rng((SEED, number)), hair=True) for number in range(MAPS)]
    return torch.stack([torch.from_numpy(paint(face)) for face in faces])


def test_is_what_the_bundle_needs(bundle: ModelBundle) -> None:
    shape = faceworld_model()
    texture = load_texture(bundle.texture, shape)
    assert isinstance(texture, GanTexture)
    assert texture.uv_layout == shape.metadata.uv_layout
    assert (texture.latent_size, texture.resolution, texture.levels) == (100, SIDE, (32, 64, 128))
    assert bundle.texture.path is not None
    assert bundle.texture.path.stat().st_size < 8e6


def test_keeps_more_detail_than_the_pca_at_no_more_error(
    bundle: ModelBundle, embedded: ModelBundle, held_out: torch.Tensor
) -> None:
    shape = faceworld_model()

    def measure(texture: TextureModel) -> TextureError:
        return measure_model(texture, held_out, steps=80, batch=MAPS, report=lambda done: None)[0]

    generator = measure(load_texture(bundle.texture, shape))
    pca = measure(load_texture(embedded.texture, shape))
    assert float(generator.l1.mean()) < float(pca.l1.mean())
    assert (generator.energy_kept > pca.energy_kept).all()
