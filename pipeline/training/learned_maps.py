"""Maps for a texture generator from what `ganfit learn-texture` has seen of people, masked where they are guessed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from ops.errors import ConfigurationError
from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma
from ops.texture.interface import TextureModel
from ops.texture.learning import LearnedTexture, TextureLearner, make_learner
from ops.texture.pca import PcaTexture, load_pca_texture
from ops.training.texture_maps import WEIGHT_FILE, PartlySeenMap, TextureMaps, write_partly_seen
from ops.weights.bundle import ModelBundle, load_shape, load_texture, resolve_bundle
from ops.weights.registry import sha256_of
from pipeline.storage.parquet import read_table
from pipeline.storage.store import open_storage
from pipeline.training.texture_iterations import used_people
from pipeline.training.texture_learning import RECORD_FILE, TEXTURE_FILE, check_models
from pipeline.training.texture_people import PEOPLE, draw_of, seen_person

MAPS_A_PERSON = 2
"""A map and its mirror image."""
PROGRESS_EVERY = 50


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A finished learning."""

    folder: Path
    """Its output."""
    bundle: ModelBundle
    """The one it began with."""
    rounds: int

    @property
    def last_round(self) -> Path:
        """What it learned from in the end."""
        return self.folder / f"rounds/{self.rounds}"

    def texture(self) -> PcaTexture:
        """What it learned."""
        return load_pca_texture(self.folder / TEXTURE_FILE)

    def fitted(self) -> TextureModel:
        """The texture model that people of the last round were fitted with."""
        if self.rounds > 1:
            return load_pca_texture(self.folder / f"rounds/{self.rounds - 1}" / TEXTURE_FILE)
        return load_texture(self.bundle.texture, load_shape(self.bundle.shape))


def open_learned(folder: Path, models: str | None, model_dir: str | None) -> Learned:
    """A finished learning in a local folder.

    Args:
        folder: the output of `ganfit learn-texture`.
        models: the bundle it began with; None: the built-in one whose name it recorded.
        model_dir: see `resolve_bundle`.

    Raises:
        ConfigurationError: no finished learning, or one that began with another bundle.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"expected the output folder of ganfit learn-texture, found none in {folder}"
        ) from None
    if "texture" not in record:
        raise ConfigurationError(f"the learning in {folder} is not finished: the command that began it goes on with it")
    used = record["fingerprint"]["models"]
    bundle = resolve_bundle(models or used["name"], model_dir)
    check_models(used, bundle)
    return Learned(folder=folder, bundle=bundle, rounds=len(record["rounds"]))


def learned_maps(
    learned: Learned, sides: tuple[int, ...], cache_dir: Path, report: Callable[[str], None]
) -> TextureMaps:
    """Every used person's texture and its mirror image at all of `sides`, from the cache or completed into it.

    A person is completed by the learned model as the learning itself does it; how far a texel is told by photos comes
    along. Beside the maps lies how much texels count for principal components; the components are the learned model's.
    One person at a time is in memory.

    Args:
        learned: what was learned.
        sides: powers of two, ascending.
        cache_dir: gets a folder for the maps.
        report: receives lines of progress.

    Raises:
        ConfigurationError: maps of more texels than the learning has.
    """
    texture = learned.texture()
    if sides[-1] > texture.resolution:
        raise ConfigurationError(
            f"expected at most the {texture.resolution} texels of the learning in {learned.folder}, got {sides[-1]}: "
            f"ganfit learn-texture --side {sides[-1]} learns as many"
        )
    source = learned.folder / TEXTURE_FILE
    folder = cache_dir / f"learned-{sha256_of(source)[:16]}-{sides[-1]}"
    weight = folder.with_name(f"{folder.name}-{WEIGHT_FILE}")
    if not folder.is_dir():
        learner = make_learner(load_shape(learned.bundle.shape), texture, texture.resolution, texture.latent_size)
        cache_dir.mkdir(parents=True, exist_ok=True)
        np.save(weight, learner.importance.numpy())
        _write_maps(learned, learner, sides, folder, report)
    return TextureMaps(
        folder=folder,
        sides=sides,
        count=len(np.load(folder / f"{sides[0]}.npy", mmap_mode="r")),
        skipped=0,
        texel_weight=weight,
        partly_seen=True,
        together=MAPS_A_PERSON,
        components=source.absolute(),
    )


def _write_maps(
    learned: Learned, learner: TextureLearner, sides: tuple[int, ...], folder: Path, report: Callable[[str], None]
) -> None:
    """Write the maps of all used people, in an order that hashes of their ids decide: the last are a fair sample."""
    storage = open_storage(learned.last_round)
    files = sorted(f"{PEOPLE}/{path.name}" for path in (learned.last_round / PEOPLE).glob("*.parquet"))
    told = [row for name in files for row in read_table(storage, name, ["identity_id", "used"]).to_pylist()]
    ids = sorted((row["identity_id"] for row in told if row["used"]), key=draw_of)
    places = {name: MAPS_A_PERSON * number for number, name in enumerate(ids)}
    fitted = learned.fitted()
    model = LearnedTexture(luma_chroma_from_rgb(learner.prior.mean), luma_chroma_from_rgb(learner.prior.basis))

    def maps() -> Iterator[tuple[int, PartlySeenMap]]:
        for done, row in enumerate(used_people(storage, files), 1):
            completed = learner.complete_person(seen_person(row, fitted), model)
            one = PartlySeenMap(rgb_from_luma_chroma(completed.texture), completed.told[:2].contiguous())
            first = places[row["identity_id"]]
            yield first, _averaged(one, sides[-1])
            yield first + 1, _averaged(_mirrored(one, learner), sides[-1])
            if done % PROGRESS_EVERY == 0 or done == len(ids):
                report(f"completed the textures of {done} of {len(ids)} people")

    write_partly_seen(maps(), MAPS_A_PERSON * len(ids), sides, folder)


def _mirrored(one: PartlySeenMap, learner: TextureLearner) -> PartlySeenMap:
    """Left and right exchanged where the layout mirrors them; all else as it is."""
    mirrored = learner.mirroring.mirrored
    return PartlySeenMap(*(torch.where(mirrored, image.flip(-1), image) for image in one))


def _averaged(one: PartlySeenMap, side: int) -> PartlySeenMap:
    """Of fewer texels."""
    return PartlySeenMap(*(avg_pool2d(image, image.shape[-1] // side) for image in one))
