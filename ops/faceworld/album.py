"""Photo albums of people of the face world: JPEG files in one folder per person, and what is true about them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ops.errors import MissingModelFileError, ModelFormatError
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import Person, sample_person
from ops.faceworld.scenes import FacePlace, SceneSettings, render_scene
from ops.faceworld.shape import faceworld_canonical_map
from ops.files.tensor_file import read_tensor_file, write_tensor_file

TEXTURE_PX = 512
JPEG_QUALITY = 92
FORMAT = "ganfit-album-3"


@dataclass(frozen=True, kw_only=True)
class AlbumSettings:
    """How many photos of how many people."""

    people: int = 3
    photos: int = 4
    side_px: int = 400
    seed: int = 1
    """Another seed gives other people."""
    yaw_deg: float = 18.0
    """Standard deviation of the turn of the head, clipped at twice that."""


class AlbumTruth(NamedTuple):
    """What is true about the people of an album, in the order of their numbers."""

    identity: Float[Tensor, "person identity"]
    texture: UInt8[Tensor, "person 3 side side"]
    """Albedo on the model's UV layout."""


def write_album(model: MorphableModel, folder: Path, truth: Path, settings: AlbumSettings) -> AlbumTruth:
    """Write `folder/person_NN/photo_N.jpg` and, to the file `truth`, what is true about the people, which is returned.

    An album is a function of the model and the settings. One that is complete, which `truth` being there with the
    same model and settings says, is kept as it is; photos of another album are removed.
    """
    header = {"format": FORMAT, "model": model.checksum(), "settings": repr(settings)}
    if (known := _read_truth(truth, header)) is not None:
        return known
    for stale in folder.glob("person_*/photo_*.jpg"):
        stale.unlink()
    painter = AlbedoPainter(faceworld_canonical_map(TEXTURE_PX))
    people: list[Person] = []
    for number in range(settings.people):
        person = sample_person(model, painter, (settings.seed, number))
        people.append(person)
        pages = folder / person_name(number)
        pages.mkdir(parents=True, exist_ok=True)
        for photo in range(settings.photos):
            image = _photograph(model, person, settings, (settings.seed, number, photo))
            Image.fromarray(image).save(pages / f"photo_{photo}.jpg", quality=JPEG_QUALITY)
    found = AlbumTruth(
        identity=torch.stack([person.identity for person in people]),
        texture=torch.stack([(person.texture.clamp(0, 1) * 255).round().to(torch.uint8) for person in people]),
    )
    write_tensor_file(truth, found._asdict(), header)
    return found


def read_album_truth(model: MorphableModel, truth: Path) -> AlbumTruth | None:
    """The truth about an album of people of this model, whatever its settings; None where there is none."""
    return _read_truth(truth, {"format": FORMAT, "model": model.checksum()})


def person_name(number: int) -> str:
    """The folder of a person."""
    return f"person_{number:02d}"


def _photograph(
    model: MorphableModel, person: Person, settings: AlbumSettings, seed: tuple[int, ...]
) -> UInt8[np.ndarray, "side side 3"]:
    rng = np.random.default_rng(seed)
    place = FacePlace(x=rng.uniform(0.42, 0.58), y=rng.uniform(0.45, 0.6), height=rng.uniform(0.4, 0.6))
    scene = SceneSettings(
        side_px=settings.side_px,
        yaw_deg=settings.yaw_deg,
        yaw_limit_deg=2 * settings.yaw_deg,
        roll_deg=8.0,
        occlusion=0.0,
    )
    return render_scene(model, [(person, place)], seed, scene).image_rgb


def _read_truth(path: Path, header: dict[str, str]) -> AlbumTruth | None:
    """The truth in a file, if its header has these entries."""
    try:
        metadata, tensors = read_tensor_file(path, "the truth about an album")
    except (MissingModelFileError, ModelFormatError):
        return None
    return AlbumTruth(**tensors) if header.items() <= metadata.items() else None
