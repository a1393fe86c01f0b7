"""People of the face world whose albedo is known."""

from dataclasses import dataclass

import torch

from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import sample_person
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.texture.atlas import Atlas, make_atlas


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


def paint_people(count: int) -> PaintedPeople:
    """Some people; the first are the same whatever the count."""
    shape = faceworld_model()
    painter = AlbedoPainter(faceworld_canonical_map(128))
    albedo = [sample_person(shape, painter, (7, number), hair=False).texture for number in range(count)]
    return PaintedPeople(shape, make_atlas(shape, 128), torch.stack(albedo))
