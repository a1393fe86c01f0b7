"""What the regressor learns from: aligned crops with landmarks and whatever is known about them, as arrays on disk.

A set is a folder of numbered parts, each a folder of arrays that are mapped into memory: rows are read in any order
without loading a part. Faces come from the pipeline (`pipeline.training.regressor_samples`) or from here: portraits of
people of the face world, whose truth is known and whose landmarks are found as the pipeline finds them.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from ops.errors import ConfigurationError
from ops.face.alignment import CROP_SIDE_TEMPLATE_PX, apply_affine, crop_from_image, warp_image
from ops.face.landmark_parts import LEFT_OUTER_EYE, RIGHT_OUTER_EYE
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import sample_person
from ops.faceworld.scenes import FacePlace, SceneSettings, render_scene
from ops.fit.parameters import LIGHT_UNITS
from ops.networks.detector import FaceDetector
from ops.networks.landmarks import LandmarkNetwork
from ops.texture.procedural import canvas_for, wears_hair

CROP_PX = int(CROP_SIDE_TEMPLATE_PX)
"""Side of the crops: one pixel is one of the recognition template."""
TEXTURE_PX = 32
"""Side of the known textures."""
PAINT_PX = 160
PORTRAIT = SceneSettings(side_px=176, yaw_deg=22.0, yaw_limit_deg=55.0, farthest_mm=9000.0)
PERSON_SEED, PORTRAIT_SEED, PLACE_SEED = 11, 12, 13
FARTHEST = 0.2
"""Portraits whose landmarks are found further from the true ones than so many outer-eye distances are left out."""


class FaceFinder(NamedTuple):
    """The networks that find the 68 landmarks of a portrait."""

    detector: FaceDetector
    landmarks: LandmarkNetwork

    def __call__(self, image_rgb: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "68 2"] | None:
        """Landmarks of the face with the highest score, in pixels; None without a face."""
        found = self.detector(image_rgb)
        if not len(found.scores):
            return None
        return self.landmarks(image_rgb, found.boxes_xyxy_px[:1], found.points_px[:1])[0]


class RegressorSamples(NamedTuple):
    """Faces as arrays; rows of what is not known are NaN."""

    crops_rgba: UInt8[np.ndarray, "sample 150 150 4"]
    """Opaque where the photo covers the crop."""
    landmarks: Float32[np.ndarray, "sample 68 2"]
    """As detected, in crop sides."""
    seeds: Int64[np.ndarray, " sample"]
    identity: Float32[np.ndarray, "sample identity"]
    expression: Float32[np.ndarray, "sample expression"]
    light: Float32[np.ndarray, "sample 9"]
    """In solver units, see `ops.fit.parameters`."""
    texture: Float32[np.ndarray, "sample 3 32 32"]
    """Albedo in UV space."""


class SampleBatch(NamedTuple):
    """Some samples as tensors."""

    images: Float[Tensor, "sample 3 150 150"]
    valid: Bool[Tensor, "sample 150 150"]
    landmarks: Float[Tensor, "sample 68 2"]
    seeds: Tensor
    identity: Float[Tensor, "sample identity"]
    expression: Float[Tensor, "sample expression"]
    light: Float[Tensor, "sample 9"]
    texture: Float[Tensor, "sample 3 32 32"]

    def to(self, device: torch.device) -> "SampleBatch":
        """The same on another device."""
        return SampleBatch(*(value.to(device) for value in self))


class SampleSet:
    """All parts of a set as one sequence.

    Raises:
        ConfigurationError: there are fewer than two samples, or they belong to different models.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        sources = [sorted(path.parent for path in folder.glob("*/seeds.npy")) for folder in folders]
        if not any(sources):
            raise ConfigurationError(f"expected samples under {', '.join(map(str, folders))}, found none")
        self._parts = [_map_part(part) for parts in sources for part in parts]
        widths = {(part.identity.shape[1], part.expression.shape[1]) for part in self._parts}
        if len(widths) > 1:
            raise ConfigurationError(f"expected samples of one shape model, found coefficient counts {sorted(widths)}")
        self._ends = np.cumsum([len(part.seeds) for part in self._parts])
        last_parts = np.cumsum([len(parts) for parts in sources if parts])
        self._source_ends = [int(self._ends[last - 1]) for last in last_parts]
        if len(self) < 2:
            raise ConfigurationError(f"expected at least two samples under {', '.join(map(str, folders))}, found one")

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def sizes(self) -> tuple[int, int]:
        """How many identity and expression coefficients the samples have room for."""
        return self._parts[0].identity.shape[1], self._parts[0].expression.shape[1]

    def split(self, held_out: float, at_most: int) -> tuple[range, range]:
        """Positions to learn from, and the last ones to be tested on; a person's samples follow one another."""
        count = min(max(1, round(held_out * len(self))), at_most, len(self) - 1)
        return range(len(self) - count), range(len(self) - count, len(self))

    def draw(self, rng: np.random.Generator, count: int, learned: range) -> Int64[np.ndarray, " drawn"]:
        """Positions out of the first ones, with repetition.

        A folder is drawn from in proportion to the root of how many samples it has: a few photos are seen often beside
        many portraits, and not so often that they are learned by heart.
        """
        starts = [0, *self._source_ends[:-1]]
        ends = [min(end, learned.stop) for end in self._source_ends]
        sizes = np.array([max(end - start, 0) for start, end in zip(starts, ends, strict=True)])
        if len(sizes) == 1:
            return rng.integers(len(learned), size=count)
        share = np.sqrt(sizes) / np.sqrt(sizes).sum()
        source = rng.choice(len(sizes), count, p=share)
        return np.array(starts)[source] + rng.integers(sizes[source])

    def batch(self, index: Sequence[int] | Int64[np.ndarray, " sample"]) -> SampleBatch:
        """Some samples, in the order given."""
        rows = [self._row(int(position)) for position in index]
        arrays = RegressorSamples(*(np.stack(column) for column in zip(*rows, strict=True)))
        rgba = torch.tensor(arrays.crops_rgba).permute(0, 3, 1, 2)
        known = (torch.tensor(column).float() for column in arrays[3:])
        return SampleBatch(
            (rgba[:, :3].float() / 255).contiguous(),
            rgba[:, 3] > 0,
            torch.tensor(arrays.landmarks),
            torch.tensor(arrays.seeds),
            *known,
        )

    def landmarks(self, index: Sequence[int]) -> Float[Tensor, "sample 68 2"]:
        """Landmarks of some samples, without their pictures."""
        places = [self._place(int(position)) for position in index]
        return torch.tensor(np.stack([self._parts[part].landmarks[row] for part, row in places]))

    def _row(self, position: int) -> tuple[np.ndarray, ...]:
        part, row = self._place(position)
        return tuple(np.asarray(column[row]) for column in self._parts[part])

    def _place(self, position: int) -> tuple[int, int]:
        """The part a sample is in, and its row there."""
        part = int(np.searchsorted(self._ends, position, side="right"))
        return part, position - (int(self._ends[part - 1]) if part else 0)


def write_part(folder: Path, samples: RegressorSamples) -> None:
    """Write a part, whole or not at all; one that is there is replaced."""
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    for name, values in samples._asdict().items():
        np.save(partial / f"{name}.npy", values.astype(np.float16) if name == "texture" else values)
    if folder.is_dir():
        shutil.rmtree(folder)
    partial.replace(folder)


def _map_part(folder: Path) -> RegressorSamples:
    return RegressorSamples(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in RegressorSamples._fields))


def portrait_samples(
    model: MorphableModel, finder: FaceFinder, people: range, pictures_each: int
) -> RegressorSamples | None:
    """Portraits of face-world people on any shape model whose layout can be painted, with their truth.

    Landmarks are those that are found, and crops follow them. Portraits whose face is not found are left out; None
    where no face was found at all.
    """
    rows = list(_portraits(model, finder, people, pictures_each))
    return RegressorSamples(*(np.stack(column) for column in zip(*rows, strict=True))) if rows else None


def _portraits(
    model: MorphableModel, finder: FaceFinder, people: range, pictures_each: int
) -> Iterator[RegressorSamples]:
    painter = AlbedoPainter(canvas_for(model, PAINT_PX))
    for number in people:
        person = sample_person(model, painter, (PERSON_SEED, number), hair=wears_hair(model))
        texture = torch.nn.functional.avg_pool2d(person.texture.unsqueeze(0), PAINT_PX // TEXTURE_PX)[0].numpy()
        for picture in range(pictures_each):
            place_rng = np.random.default_rng((PLACE_SEED, number, picture))
            place = FacePlace(place_rng.normal(0.5, 0.02), place_rng.normal(0.5, 0.02), place_rng.uniform(0.5, 0.68))
            scene = render_scene(model, [(person, place)], (PORTRAIT_SEED, number, picture), PORTRAIT)
            found = finder(scene.image_rgb)
            if found is None or not _is_near(found, scene.landmarks_px[0]):
                continue
            crop, landmarks = crop_sample(scene.image_rgb, found)
            yield RegressorSamples(
                crop,
                landmarks,
                np.array(number * pictures_each + picture),
                person.identity.numpy(),
                scene.expressions[0],
                (scene.lights[0] / np.array(LIGHT_UNITS)).astype(np.float32),
                texture,
            )


def _is_near(found_px: Float32[np.ndarray, "68 2"], truth_px: Float32[np.ndarray, "68 2"]) -> bool:
    eyes = np.linalg.norm(truth_px[RIGHT_OUTER_EYE] - truth_px[LEFT_OUTER_EYE])
    return bool(np.linalg.norm(found_px - truth_px, axis=1).mean() < FARTHEST * eyes)


def crop_sample(
    image_rgb: UInt8[np.ndarray, "height width 3"], landmarks_px: Float32[np.ndarray, "68 2"]
) -> tuple[UInt8[np.ndarray, "150 150 4"], Float32[np.ndarray, "68 2"]]:
    """The aligned crop of a face, opaque where the image covers it, and its landmarks in crop sides."""
    points = torch.from_numpy(landmarks_px).double()
    matrix = crop_from_image(points, CROP_PX)
    crop, covered = warp_image(image_rgb, matrix.numpy(), CROP_PX)
    rgba = np.concatenate((crop, covered[..., None].astype(np.uint8) * 255), -1)
    return rgba, (apply_affine(matrix, points) / CROP_PX).numpy().astype(np.float32)
