"""Training and test pictures of people of a shape model, rendered once and kept as arrays on disk."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import sample_person
from ops.faceworld.scenes import FacePlace, Scene, SceneSettings, render_scene
from ops.texture.procedural import canvas_for

RECIPE_VERSION = 2
"""Raise it when scenes change, so that cached pictures are rendered anew."""
TEXTURE_SIDE = 160
MOST_FACES = 3
PEOPLE_SEED, SCENE_SEED, PLACE_SEED = 1, 2, 3
Progress = Callable[[str], None]


class Pictures(NamedTuple):
    """Scenes as arrays; unused rows of `landmarks_px` and `boxes_xyxy_px` are NaN."""

    images_rgb: UInt8[np.ndarray, "picture side side 3"]
    landmarks_px: Float32[np.ndarray, "picture face 68 2"]
    boxes_xyxy_px: Float32[np.ndarray, "picture face 4"]
    person: Int32[np.ndarray, " picture"]
    """Number of the person in the picture; -1 in crowds."""


@dataclass(frozen=True, kw_only=True)
class PortraitSet:
    """Pictures of one person each, centred."""

    first_person: int
    people: int
    pictures_each: int
    side_px: int = 128
    smallest: float = 0.55
    """Height of the face in image sides."""
    largest: float = 0.72
    farthest_mm: float = 2500.0
    """Of the camera from the face."""


@dataclass(frozen=True, kw_only=True)
class CrowdSet:
    """Pictures of no to three faces of all sizes anywhere."""

    first_picture: int
    pictures: int
    first_person: int
    people: int
    side_px: int = 160
    smallest: float = 0.10
    """Height of the face in image sides."""
    largest: float = 0.85
    empty: float = 0.15
    """Share of pictures without a face."""


TRAIN_PORTRAITS = PortraitSet(first_person=0, people=1600, pictures_each=8)
TEST_PORTRAITS = PortraitSet(first_person=1_000_000, people=200, pictures_each=6)
JUDGE_PORTRAITS = PortraitSet(first_person=4_000_000, people=1000, pictures_each=8)
LANDMARK_PORTRAITS = PortraitSet(
    first_person=4_000_000, people=1500, pictures_each=8, side_px=192, smallest=0.4, farthest_mm=9000.0
)
"""Of every shape model the landmark network learns from."""
TRAIN_CROWDS = CrowdSet(first_picture=0, pictures=6000, first_person=2_000_000, people=400)
TEST_CROWDS = CrowdSet(first_picture=1_000_000, pictures=300, first_person=3_000_000, people=100, empty=0.2)


def load_or_render(spec: PortraitSet | CrowdSet, model: MorphableModel, cache_dir: Path, report: Progress) -> Pictures:
    """The pictures of a set, memory-mapped from the cache, rendered first where they are not there yet.

    They show people of the given shape model under the procedural albedo; another model has other pictures.
    """
    text = json.dumps([RECIPE_VERSION, type(spec).__name__, asdict(spec), model.checksum()])
    name = f"{model.metadata.name}-{type(spec).__name__.lower()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder = cache_dir / name
    if not folder.is_dir():
        _render_to(spec, model, folder, report)
    return Pictures(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Pictures._fields))


def _render_to(spec: PortraitSet | CrowdSet, model: MorphableModel, folder: Path, report: Progress) -> None:
    portraits = isinstance(spec, PortraitSet)
    count = spec.people * spec.pictures_each if portraits else spec.pictures
    faces = 1 if portraits else MOST_FACES
    pictures = Pictures(
        np.zeros((count, spec.side_px, spec.side_px, 3), np.uint8),
        np.full((count, faces, 68, 2), np.nan, np.float32),
        np.full((count, faces, 4), np.nan, np.float32),
        np.full(count, -1, np.int32),
    )
    scenes = _portraits(spec, model) if isinstance(spec, PortraitSet) else _crowds(spec, model)
    for index, (person, scene) in enumerate(scenes):
        found = len(scene.boxes_xyxy_px)
        pictures.images_rgb[index] = scene.image_rgb
        pictures.landmarks_px[index, :found] = scene.landmarks_px
        pictures.boxes_xyxy_px[index, :found] = scene.boxes_xyxy_px
        pictures.person[index] = person
        if (index + 1) % 500 == 0 or index + 1 == count:
            report(f"rendered {index + 1} of {count} pictures for {folder.name}")
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    for name, values in zip(Pictures._fields, pictures, strict=True):
        np.save(partial / f"{name}.npy", values)
    partial.replace(folder)


def _portraits(spec: PortraitSet, model: MorphableModel) -> Iterator[tuple[int, Scene]]:
    painter = AlbedoPainter(canvas_for(model, TEXTURE_SIDE))
    settings = SceneSettings(side_px=spec.side_px, farthest_mm=spec.farthest_mm)
    for number in range(spec.first_person, spec.first_person + spec.people):
        person = sample_person(model, painter, (PEOPLE_SEED, number))
        for picture in range(spec.pictures_each):
            rng = np.random.default_rng((PLACE_SEED, number, picture))
            height = rng.uniform(spec.smallest, spec.largest)
            place = FacePlace(rng.normal(0.5, 0.03), rng.normal(0.5, 0.03), height)
            yield number, render_scene(model, [(person, place)], (SCENE_SEED, number, picture), settings)


def _crowds(spec: CrowdSet, model: MorphableModel) -> Iterator[tuple[int, Scene]]:
    painter = AlbedoPainter(canvas_for(model, TEXTURE_SIDE))
    settings = SceneSettings(side_px=spec.side_px)
    people = [sample_person(model, painter, (PEOPLE_SEED, spec.first_person + i)) for i in range(spec.people)]
    for number in range(spec.first_picture, spec.first_picture + spec.pictures):
        rng = np.random.default_rng((PLACE_SEED, number))
        count = 0 if rng.random() < spec.empty else int(rng.integers(1, MOST_FACES + 1))
        faces = [(people[int(rng.integers(len(people)))], place) for place in _places(rng, count, spec)]
        yield -1, render_scene(model, faces, (SCENE_SEED, number), settings)


def _places(rng: np.random.Generator, count: int, spec: CrowdSet) -> list[FacePlace]:
    """Places that overlap little; faces that find no room are left out."""
    places: list[FacePlace] = []
    for _ in range(count):
        for _ in range(20):
            height = float(np.exp(rng.uniform(np.log(spec.smallest), np.log(spec.largest))))
            margin = min(0.45 * height, 0.5)
            x, y = rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin)
            if all(np.hypot(x - p.x, y - p.y) > 0.75 * (height + p.height) for p in places):
                places.append(FacePlace(x, y, height))
                break
    return places
