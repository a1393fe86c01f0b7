"""A small texture model, and people of known albedo."""

from dataclasses import dataclass

import pytest
import torch

from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import sample_person
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.texture.atlas import Atlas, make_atlas
from ops.texture.pca import PcaTexture


@pytest.fixture
def small_texture(rng: torch.Generator) -> PcaTexture:
    mean = torch.rand(3, 64, 64, generator=rng)
    basis = 0.1 * torch.randn(5, 3, 64, 64, generator=rng)
    return PcaTexture(mean=mean, basis=basis, uv_layout="test-v1")


@dataclass(frozen=True)
class PaintedPeople:
    """Hairless people of the face world on their own layout, at 128 texels."""

    shape: MorphableModel
    atlas: Atlas
    albedo: torch.Tensor
    """RGB, of every person."""

    def fitted(self, person: int) -> torch.Tensor:
        """What a poor texture model might make of a person: everybody's mean, as bright as the person."""
        mean = self.albedo.mean(0)
        return mean * (self.albedo[person].mean() / mean.mean())


@pytest.fixture(scope="session")
def people() -> PaintedPeople:
    shape = faceworld_model()
    painter = AlbedoPainter(faceworld_canonical_map(128))
    albedo = [sample_person(shape, painter, (7, number), hair=False).texture for number in range(8)]
    return PaintedPeople(shape, make_atlas(shape, 128), torch.stack(albedo))
