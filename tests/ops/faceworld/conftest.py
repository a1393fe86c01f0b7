"""The face world at sizes that build quickly."""

import pytest

from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import Person, sample_person
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model


@pytest.fixture(scope="session")
def world_model() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="session")
def painter() -> AlbedoPainter:
    return AlbedoPainter(faceworld_canonical_map(96))


@pytest.fixture(scope="session")
def people(world_model: MorphableModel, painter: AlbedoPainter) -> list[Person]:
    return [sample_person(world_model, painter, (5, number)) for number in range(3)]
