"""Texture models beside each other on held-out UV maps: a table and a grid of pictures."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from evaluation.texture_error import TextureError
from evaluation.texture_fit import measure_model
from ops.errors import ConfigurationError
from ops.texture.interface import TextureModel
from ops.texture.pca import PcaTexture, fit_pca_texture
from ops.training.gan_run import picture_grid
from ops.training.texture_maps import find_maps, load_or_decode_maps

PCA_MAPS = 1500
"""Maps a PCA is fitted to at most, evenly out of all."""
GRAM_SIDE = 64
TABLE_FILE, VALUES_FILE, GRID_FILE = "table.txt", "values.json", "grid.png"


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How models are compared."""

    side: int
    """Texels; every model must offer this level."""
    maps: int = 32
    """Held-out maps, the first of the folder."""
    steps: int = 300
    """Iterations of each fit."""
    batch: int = 4
    pictures: int = 6
    """Rows of the grid."""
    device: str = "cpu"


def load_held_out(source: Path, settings: ComparisonSettings, cache_dir: Path) -> Float[Tensor, "map 3 side side"]:
    """The first maps of a folder, in [0, 1]."""
    maps = load_or_decode_maps(find_maps(source), (settings.side,), cache_dir, lambda line: None)
    if maps.count < settings.maps:
        raise ConfigurationError(f"expected at least {settings.maps} maps in {source}, found {maps.count}")
    return (maps.batch(settings.side, np.arange(settings.maps)) + 1) / 2


def principal_components(
    source: Path, modes: int, uv_layout: str, settings: ComparisonSettings, cache_dir: Path
) -> PcaTexture:
    """A PCA of the maps a generator was trained on, all texels counting alike."""
    maps = load_or_decode_maps(find_maps(source), (settings.side,), cache_dir, lambda line: None)
    numbers = np.arange(0, maps.count, -(-maps.count // PCA_MAPS))
    samples = ((maps.batch(settings.side, numbers) + 1) / 2).half()
    weight = torch.ones(settings.side, settings.side)
    return fit_pca_texture(
        samples, weight, mode_count=modes, uv_layout=uv_layout, gram_level=min(GRAM_SIDE, settings.side)
    )


def compare_textures(
    models: Mapping[str, TextureModel],
    truth: Float[Tensor, "map 3 side side"],
    settings: ComparisonSettings,
    folder: Path,
    report: Callable[[str], None],
) -> dict[str, TextureError]:
    """Fit every model to every map; writes table.txt, values.json and grid.png.

    The grid's columns are the truth and the models in order.
    """
    truth = truth.to(settings.device)
    columns = [truth[: settings.pictures].cpu()]
    errors: dict[str, TextureError] = {}
    for name, model in models.items():

        def progress(done: int, name: str = name) -> None:
            report(f"{name}: {done} of {len(truth)} maps")

        progress(0)
        errors[name], textures = measure_model(
            model.to(settings.device), truth, steps=settings.steps, batch=settings.batch, report=progress
        )
        columns.append(textures[: settings.pictures].cpu())
    folder.mkdir(parents=True, exist_ok=True)
    latents = {name: model.latent_size for name, model in models.items()}
    (folder / TABLE_FILE).write_text(comparison_table(errors, latents), encoding="utf-8")
    values = {
        name: {field: value.tolist() for field, value in error._asdict().items()} for name, error in errors.items()
    }
    (folder / VALUES_FILE).write_text(json.dumps(values) + "\n", encoding="utf-8")
    rows = torch.stack(columns, 1).flatten(0, 1)
    picture_grid(2 * rows - 1, len(columns)).save(folder / GRID_FILE)
    return errors


def comparison_table(errors: Mapping[str, TextureError], latents: Mapping[str, int]) -> str:
    """Means over the maps, one row a model."""
    width = max(len("model"), *(len(name) for name in errors))
    lines = [f"{'model':<{width}}  latent      L1    SSIM  energy kept  energy explained"]
    for name, error in errors.items():
        l1, ssim, kept, explained = (float(value.mean()) for value in error)
        lines.append(
            f"{name:<{width}}  {latents[name]:6d}  {l1:.4f}  {ssim:.4f}       {kept:6.3f}            {explained:6.3f}"
        )
    lines.append("L1 and SSIM on colours in [0, 1]; energy in the top two octaves, relative to the truth's")
    return "\n".join(lines) + "\n"
