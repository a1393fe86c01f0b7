"""A folder with the scan of one person of the face world, textured."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import Person, sample_person
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.reconstruction.mesh import face_mesh


class ScannedPerson(NamedTuple):
    """Where the scan lies, and who was scanned."""

    folder: Path
    person: Person
    vertices_mm: np.ndarray


def write_scan(folder: Path, seed: int) -> ScannedPerson:
    """One person's scan as OBJ with MTL and PNG, in millimetres, and its landmarks."""
    model = faceworld_model()
    person = sample_person(model, AlbedoPainter(faceworld_canonical_map(256)), seed)
    albedo = (person.texture.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    place = folder / f"person_{seed}"
    place.mkdir(parents=True)
    face_mesh(model, person.identity.numpy(), None, albedo).write(place / "scan.obj")
    vertices = model.vertices_mm(person.identity, torch.zeros(model.expression_size)).double().numpy()
    np.save(place / "landmarks.npy", vertices[model.landmarks.numpy()])
    return ScannedPerson(place, person, vertices)


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> ScannedPerson:
    return write_scan(tmp_path_factory.mktemp("scans"), 5)
