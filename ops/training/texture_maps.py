"""UV maps to train on, kept as one array for each level.

They are found in a folder or a Parquet manifest and decoded once, or handed over one by one with a mask of what is seen
of them (`write_partly_seen`), such as textures of people that photos show in part.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from ops.errors import ConfigurationError, InputError, UnreadableInputError
from ops.files.photo import decode_photo
from ops.training.adversarial.seen_texels import as_seen

WEIGHT_FILE = "texel_weight.npy"
"""Beside the maps: how much every texel counts where principal components are chosen, float [side, side]."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
SEEN = "seen_"
PROGRESS_EVERY = 1000
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class MapSource:
    """Where the maps lie."""

    uris: tuple[Path, ...]
    """In a fixed order."""
    uv_layout: str | None
    """As recorded beside the maps; None where nothing is."""
    texel_weight: Path | None = None
    """`WEIGHT_FILE` beside the maps; None where there is none, and all texels count alike."""


@dataclass(frozen=True, kw_only=True)
class TextureMaps:
    """Decoded maps on disk, memory-mapped when used."""

    folder: Path
    sides: tuple[int, ...]
    count: int
    skipped: int
    """Files that could not be decoded; named in skipped.txt in the folder."""
    texel_weight: Path | None = None
    """See `MapSource`."""
    partly_seen: bool = False
    """Whether texels are guessed in part, and the folder has `seen_SIDE.npy` beside the maps."""
    together: int = 1
    """Maps in a row that are of one person, such as one and its mirror image."""
    components: Path | None = None
    """A PCA texture of the maps in its file, whose modes are their codes; None: the maps' own principal components."""

    def level(self, side: int) -> UInt8[np.ndarray, "map 3 side side"]:
        """All maps at one side, read-only."""
        return np.load(self.folder / f"{side}.npy", mmap_mode="r")

    def batch(self, side: int, numbers: Int64[np.ndarray, " image"]) -> Float[Tensor, "image 3 side side"]:
        """Some maps, in [-1, 1]."""
        return torch.from_numpy(self.level(side)[numbers]).float() / 127.5 - 1

    def as_seen(
        self, images: Float[Tensor, "image 3 side side"], numbers: Int64[np.ndarray, " image"], *, tones: bool = True
    ) -> Float[Tensor, "image 3 side side"]:
        """Images as those maps are seen, see `ops.training.adversarial.seen_texels`; unchanged where all is seen."""
        if not self.partly_seen:
            return images
        stored = np.load(self.folder / f"{SEEN}{images.shape[-1]}.npy", mmap_mode="r")
        return as_seen(images, torch.from_numpy(stored[numbers]).to(images) / 255, tones=tones)

    def weight(self, side: int) -> Float[Tensor, "side side"]:
        """How much every texel counts, at any side.

        Raises:
            ConfigurationError: the file holds something else than a square of finite numbers > 0.
        """
        if self.texel_weight is None:
            return torch.ones(side, side)
        try:
            stored = np.load(self.texel_weight).astype(np.float32)
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigurationError(f"expected an array of weights in {self.texel_weight}: {error}") from error
        if stored.ndim != 2 or stored.shape[0] != stored.shape[1] or not (np.isfinite(stored) & (stored > 0)).all():
            raise ConfigurationError(f"expected a square of finite weights > 0 in {self.texel_weight}")
        weight = torch.from_numpy(stored)[None, None]
        return torch.nn.functional.interpolate(weight, size=(side, side), mode="bilinear", antialias=True)[0, 0]


def find_maps(source: Path) -> MapSource:
    """The image files below a folder, or those a Parquet file names in its column `uri`.

    Raises:
        ConfigurationError: neither, or no maps in it.
    """
    if source.is_dir():
        uris = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        record = source / "textures.json"
    elif source.suffix == ".parquet" and source.is_file():
        uris = _manifest(source)
        record = source.with_name("textures.json")
    else:
        raise ConfigurationError(f"expected a folder of UV maps or a Parquet file with a column uri, got {source}")
    if not uris:
        raise ConfigurationError(f"expected UV maps ({', '.join(SUFFIXES)}) in {source}, found none")
    layout = json.loads(record.read_text(encoding="utf-8")).get("uv_layout") if record.is_file() else None
    weight = record.with_name(WEIGHT_FILE)
    return MapSource(uris=tuple(uris), uv_layout=layout, texel_weight=weight if weight.is_file() else None)


def load_or_decode_maps(
    source: MapSource, sides: tuple[int, ...], cache_dir: Path, report: Progress, smallest_share: float = 0.5
) -> TextureMaps:
    """The maps averaged to each of `sides` (powers of two, ascending), from the cache or decoded into it.

    A file that cannot be decoded or is not square is left out and counted.

    Raises:
        InputError: less than `smallest_share` of the files are usable.
    """
    text = json.dumps([[str(path), path.stat().st_size if path.is_file() else 0] for path in source.uris])
    folder = cache_dir / f"maps-{hashlib.sha256(text.encode()).hexdigest()[:16]}-{sides[-1]}"
    if not folder.is_dir():
        _decode_to(source, sides, folder, report, smallest_share)
    skipped = (folder / "skipped.txt").read_text(encoding="utf-8").splitlines()
    count = len(source.uris) - len(skipped)
    return TextureMaps(folder=folder, sides=sides, count=count, skipped=len(skipped), texel_weight=source.texel_weight)


class PartlySeenMap(NamedTuple):
    """A complete map, and how far its texels are more than a guess."""

    rgb: Float[Tensor, "3 side side"]
    """In [0, 1]."""
    seen: Float[Tensor, "2 side side"]
    """Share of luma and of chroma that is seen, in [0, 1]."""


def write_partly_seen(
    maps: Iterable[tuple[int, PartlySeenMap]], count: int, sides: tuple[int, ...], folder: Path
) -> None:
    """Write so many maps of the largest side as a folder of `TextureMaps`; one map at a time is in memory.

    Args:
        maps: every number from 0 to `count` - 1 with its map, in any order.
        count: how many there are.
        sides: powers of two, ascending.
        folder: a new one.
    """
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    largest = sides[-1]
    scratch = partial / "all.npy"
    stored = np.lib.format.open_memmap(scratch, "w+", np.uint8, (count, 5, largest, largest))
    for number, one in maps:
        stored[number] = (255 * torch.cat((one.rgb, one.seen)).clamp(0, 1)).round().to(torch.uint8).numpy()
    _write_levels(stored[:, :3], sides, partial)
    _write_levels(stored[:, 3:], sides, partial, SEEN)
    del stored
    scratch.unlink()
    partial.replace(folder)


def _manifest(path: Path) -> list[Path]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    if "uri" not in table.column_names:
        raise ConfigurationError(f"expected a column uri in {path}, got {', '.join(table.column_names)}")
    return [path.parent / str(uri) for uri in table["uri"].to_pylist()]


def _decode_to(
    source: MapSource, sides: tuple[int, ...], folder: Path, report: Progress, smallest_share: float
) -> None:
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    largest, total = sides[-1], len(source.uris)
    skipped: list[str] = []
    stored = np.lib.format.open_memmap(partial / "all.npy", "w+", np.uint8, (total, 3, largest, largest))
    count = 0
    for number, decoded in enumerate(_decoded(source, largest)):
        if isinstance(decoded, str):
            skipped.append(decoded)
        else:
            stored[count] = decoded
            count += 1
        if (number + 1) % PROGRESS_EVERY == 0 or number + 1 == total:
            report(f"decoded {number + 1} of {total} maps, {len(skipped)} skipped")
    if count < smallest_share * total:
        raise InputError(f"only {count} of {total} maps can be used; the first: {skipped[0]}")
    _write_levels(stored[:count], sides, partial)
    del stored
    (partial / "all.npy").unlink()
    (partial / "skipped.txt").write_text("".join(f"{line}\n" for line in skipped), encoding="utf-8")
    partial.replace(folder)


def _write_levels(stored: np.ndarray, sides: tuple[int, ...], folder: Path, stem: str = "") -> None:
    """Averages of every image [image, channel, side, side] at all sides, a file each."""
    count, channels, largest, _ = stored.shape
    for side in sides:
        level = np.lib.format.open_memmap(folder / f"{stem}{side}.npy", "w+", np.uint8, (count, channels, side, side))
        factor = largest // side
        for number in range(count):
            means = stored[number].reshape(channels, side, factor, side, factor).mean((2, 4), dtype=np.float32)
            level[number] = means.round().astype(np.uint8)
        del level


def _decoded(source: MapSource, side: int) -> Iterator[UInt8[np.ndarray, "3 side side"] | str]:
    """Every map at one side, or the reason why there is none."""
    for path in source.uris:
        try:
            image = decode_photo(path.read_bytes()).image_rgb
            if image.shape[0] != image.shape[1]:
                raise UnreadableInputError(f"expected a square map, got {image.shape[1]} x {image.shape[0]}")
        except (InputError, OSError) as error:
            yield f"{path}: {error}"
            continue
        if len(image) != side:
            image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
        yield np.ascontiguousarray(image.transpose(2, 0, 1))
