"""What is true about the people of an input that was made by this project."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from evaluation.micc import Setting
from ops.face.morphable_model import MorphableModel
from ops.faceworld.album import person_name, read_album_truth
from pipeline.micc.synthetic import RECORD_FILE, TRUTH_DIR, read_truth

ALBUM_TRUTH_FILE = "truth.safetensors"


class Truth(NamedTuple):
    """What is true about one person."""

    identity: Float[Tensor, " identity"]
    texture: UInt8[Tensor, "3 side side"] | None
    """Albedo on the model's UV layout, where it is known."""


def find_truth(source: Path, shape: MorphableModel) -> Mapping[str, Truth]:
    """The truth by identity, empty for any other input.

    An album's lies beside its folder in `truth.safetensors`; that of a synthetic MICC data set inside, in `truth`.
    People of another shape model than the given one are strangers: their coefficients mean something else.
    """
    album = read_album_truth(shape, source.parent / ALBUM_TRUTH_FILE)
    if album is not None:
        return {person_name(number): Truth(*values) for number, values in enumerate(zip(*album, strict=True))}
    record = source / TRUTH_DIR / RECORD_FILE
    if not record.is_file() or json.loads(record.read_text())["model"] != shape.checksum():
        return {}
    subjects = sorted(path.stem for path in record.parent.glob("subject_*.safetensors"))
    known = {subject: Truth(torch.from_numpy(read_truth(source, subject).identity), None) for subject in subjects}
    return {f"{subject}/{setting.value}": known[subject] for subject in subjects for setting in Setting}
