"""A run on people of the face world, where the truth is known: input, reconstruction and comparison."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from evaluation.shape_error import neutral_face_error_mm
from ops.faceworld.album import AlbumSettings, person_name, write_album
from ops.weights.bundle import ModelBundle
from ops.weights.models import load_shape
from pipeline.accounts import current_identities
from pipeline.storage import open_storage


class ComparedPerson(NamedTuple):
    """One line of the table; errors in mm after a similarity, None where nobody was reconstructed."""

    identity_id: str
    images: int
    error_mm: float | None
    mean_face_mm: float
    identity_similarity: float | None
    landmark_error: float | None


def make_input(bundle: ModelBundle, folder: Path, settings: AlbumSettings) -> Path:
    """Write the album under `folder` (or keep the one that is there) and return the folder to reconstruct."""
    album = folder / "input"
    write_album(load_shape(bundle.shape), album, folder / "truth.safetensors", settings)
    return album


def compare_with_truth(
    bundle: ModelBundle, folder: Path, output: Path, settings: AlbumSettings
) -> list[ComparedPerson]:
    """Compare the committed reconstructions in `output` with the album's truth, person by person."""
    shape = load_shape(bundle.shape)
    truth = write_album(shape, folder / "input", folder / "truth.safetensors", settings).identity
    columns = ["status", "identity", "n_ok", "identity_similarity", "landmark_error"]
    rows = {row["identity_id"]: row for _, row in current_identities(open_storage(output), columns)}
    zero = torch.zeros_like(truth)
    compared: list[ComparedPerson] = []
    for number, mean_face in enumerate(neutral_face_error_mm(shape, zero, truth).tolist()):
        name = person_name(number)
        row = rows.get(name)
        if row is None or row["status"] != "ok":
            compared.append(ComparedPerson(name, 0, None, mean_face, None, None))
            continue
        found = torch.from_numpy(np.asarray(row["identity"], np.float32)).unsqueeze(0)
        error = neutral_face_error_mm(shape, found, truth[number : number + 1]).item()
        compared.append(
            ComparedPerson(name, row["n_ok"], error, mean_face, row["identity_similarity"], row["landmark_error"])
        )
    return compared
