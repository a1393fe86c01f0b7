"""Training maps from a learning's folder, written here as `learn_texture` leaves it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from jobs import train_texture_gan
from ops.errors import ConfigurationError
from ops.texture.colour import luma_chroma_from_rgb
from ops.texture.completion import SeenTexture
from ops.texture.gan_texture import load_gan_texture
from ops.texture.pca import PcaTexture, load_pca_texture, save_pca_texture
from ops.texture.progressive_gan import GanSize, Generator
from ops.training.texture_maps import TextureMaps
from ops.training.texture_start import principal_components, start_from_components
from ops.weights.bundle import ModelBundle, load_shape, load_texture
from pipeline.training.learned_maps import learned_maps, open_learned
from pipeline.training.texture_people import SEEN_PEOPLE, draw_of, pack_seen
from tests.support.painted_people import paint_people

SIDE, PEOPLE = 128, 5


@pytest.fixture(scope="module")
def folder(embedded: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five painted people, of whom one half is seen, of the first in grey; and one who was not used."""
    place = tmp_path_factory.mktemp("learned")
    painted = paint_people(PEOPLE)
    fitted = load_texture(embedded.texture, load_shape(embedded.shape))
    weight = torch.zeros(SIDE, SIDE)
    weight[:, : SIDE // 2] = 1
    rows: list[dict[str, Any]] = [{"identity_id": "left out", "used": False, "reason": "unlike_fit", "side": SIDE}]
    for number, albedo in enumerate(painted.albedo):
        seen = SeenTexture(luma_chroma_from_rgb(albedo), weight, weight * (number > 0))
        rows.append(
            {
                "identity_id": f"person {number}",
                "used": True,
                "side": SIDE,
                "latent": [0.0] * fitted.latent_size,
                **pack_seen(seen),
            }
        )
    people = place / "rounds/1/people"
    people.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows[:3], schema=SEEN_PEOPLE), people / "00000.parquet")
    pq.write_table(pa.Table.from_pylist(rows[3:], schema=SEEN_PEOPLE), people / "00001.parquet")
    offsets = painted.albedo - painted.albedo.mean(0)
    model = PcaTexture(
        mean=painted.albedo.mean(0), basis=offsets[: PEOPLE - 1], uv_layout=painted.shape.metadata.uv_layout
    )
    save_pca_texture(model, place / "texture.safetensors")
    record = {
        "fingerprint": {"models": embedded.description()},
        "rounds": [{"people": PEOPLE}],
        "texture": hashlib.sha256((place / "texture.safetensors").read_bytes()).hexdigest(),
    }
    (place / "learning.json").write_text(json.dumps(record))
    return place


@pytest.fixture(scope="module")
def maps(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TextureMaps:
    return learned_maps(open_learned(folder, None, None), (32, 64), tmp_path_factory.mktemp("cache"), lambda line: None)


def test_every_used_person_has_a_map_and_its_mirror_image(maps: TextureMaps) -> None:
    assert (maps.count, maps.together, maps.partly_seen) == (2 * PEOPLE, 2, True)
    truth = torch.nn.functional.avg_pool2d(paint_people(PEOPLE).albedo, 2)
    order = sorted(range(PEOPLE), key=lambda number: draw_of(f"person {number}"))
    found = (maps.batch(64, np.arange(2 * PEOPLE)) + 1) / 2
    seen = np.load(maps.folder / "seen_64.npy") / 255
    for place, number in enumerate(order):
        here = torch.from_numpy(seen[2 * place, 0]) > 0.99
        assert 0.2 < float(here.float().mean()) <= 0.5
        assert not here[:, 32:].any()
        error = (found[2 * place] - truth[number]).abs()
        if number:
            assert float(error[:, here].mean()) < 0.02
        assert (seen[2 * place, 1].max() > 0.99) == (number > 0)
        assert float((found[2 * place + 1] == found[2 * place].flip(-1)).float().mean()) > 0.9
        assert (seen[2 * place + 1] == seen[2 * place][..., ::-1]).mean() > 0.9


def test_components_are_those_of_the_learned_model(folder: Path, maps: TextureMaps) -> None:
    mean, basis = load_pca_texture(folder / "texture.safetensors").at_level(64)
    components = principal_components(maps, 64, 3)
    torch.testing.assert_close(components.mean, 2 * mean - 1)
    torch.testing.assert_close(components.basis, 2 * basis[:3])
    generator = Generator(GanSize(resolution=64, latent_size=4, channel_base=64, channel_limit=8, linear_side=64))
    codes = start_from_components(generator, maps)
    with torch.no_grad():
        error = generator(codes) - maps.batch(64, np.arange(maps.count))
    assert float(error.abs().mean()) < 0.1


def test_maps_come_from_the_cache(folder: Path, maps: TextureMaps) -> None:
    lines: list[str] = []
    assert learned_maps(open_learned(folder, "embedded", None), (32, 64), maps.folder.parent, lines.append) == maps
    assert lines == []


def test_what_is_no_finished_learning_of_these_models_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="output folder of ganfit learn-texture"):
        open_learned(tmp_path, None, None)
    (tmp_path / "learning.json").write_text(json.dumps({"fingerprint": {}}))
    with pytest.raises(ConfigurationError, match="not finished"):
        open_learned(tmp_path, None, None)
    with pytest.raises(ConfigurationError, match="was made with the texture model"):
        open_learned(folder, "embedded-gan", None)
    with pytest.raises(ConfigurationError, match="--side 256"):
        learned_maps(open_learned(folder, None, None), (128, 256), tmp_path, lambda line: None)


def test_the_command_trains_on_a_learning(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--images", "8", "--latent-size", "4", "--first-side", "64", "--start-steps", "2"]
    command = ["--output", str(tmp_path), *settings, "--workers", "0", "--device", "cpu", "--no-tensorboard"]
    assert train_texture_gan.main(["--learned", str(folder), *command]) == 0
    texture = load_gan_texture(tmp_path / "generator.safetensors")
    assert (texture.resolution, texture.uv_layout) == (64, paint_people(1).shape.metadata.uv_layout)
    for words in (f"{2 * PEOPLE} maps", "no detail where maps are guessed", "adaptive probability"):
        assert words in texture.training
    assert "started by regression" in texture.training
    capsys.readouterr()
    assert train_texture_gan.main(["--learned", str(folder), "--maps", str(tmp_path), *command]) == 1
    assert "either --maps or --learned" in capsys.readouterr().err
