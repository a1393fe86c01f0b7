"""A whole ablation on two people of the face world, and what it is made of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.ablation import VARIANTS, Outcome
from evaluation.contact_sheet import SheetRow, draw_contact_sheet
from ops.errors import ConfigurationError
from ops.faceworld import album
from ops.faceworld.album import AlbumSettings, write_album
from ops.faceworld.shape import UV_LAYOUT
from ops.files.photo import decode_png
from ops.fit.config import default_preset
from ops.texture.gan_texture import GanTexture, freeze, save_gan_texture
from ops.texture.pca import PcaTexture
from ops.texture.progressive_gan import GanSize, Generator
from ops.weights.bundle import ModelRef, load_shape, load_texture, resolve_bundle
from pipeline.cluster.session import ClusterConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.run.reader import open_run
from pipeline.storage.store import open_storage
from pipeline.studies.ablation import ablate, bundle_of, choose_variants, outcomes_of

NAMES = [variant.name for variant in VARIANTS]


@pytest.mark.ray
@pytest.mark.slow
def test_every_variant_is_run_once_and_compared_with_the_truth(
    tmp_path: Path, local_ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album, "TEXTURE_PX", 128)
    bundle = resolve_bundle("embedded")
    photos = tmp_path / "album" / "input"
    settings = AlbumSettings(people=2, photos=1, side_px=256)
    write_album(load_shape(bundle.shape), photos, tmp_path / "album" / "truth.safetensors", settings)
    config = ReconstructConfig(
        input=photos,
        output=tmp_path / "out",
        layout="identity-folders",
        fit=replace(default_preset(), steps=16, views=1),
        cluster=ClusterConfig(num_gpus=0, fit_workers=1),
    )
    said: list[str] = []
    found = ablate(config, bundle, ["no-recognition"], said.append)
    assert found.complete
    assert list(found.results) == ["full", "no-recognition"]
    full, ablated = (found.results[name]["person_00"] for name in found.results)
    assert all(value is not None and np.isfinite(value) for value in full), full
    assert 0 < (full.shape_error_mm or 0) < 10
    assert 0 < (full.texture_error or 0) < 0.5
    assert (full.identity_similarity or 0) > (ablated.identity_similarity or 1)
    rows = pq.read_table(tmp_path / "out" / "people.parquet").to_pylist()
    assert {(row["variant"], row["identity_id"]) for row in rows} == {
        (variant, f"person_0{number}") for variant in ("full", "no-recognition") for number in (0, 1)
    }
    assert Outcome(*(rows[0][name] for name in Outcome._fields)) == full
    grid = decode_png((tmp_path / "out" / "grid.png").read_bytes())
    empty = draw_contact_sheet(("", "", ""), [SheetRow("", False, (None,) * 3)] * 4)
    assert grid.shape == empty.shape
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(f"{variant}/report/index.html" in page for variant in ("full", "no-recognition"))
    meshes = sorted((tmp_path / "out").glob("*/shards/*/meshes/*.glb"))
    written = [path.stat().st_mtime_ns for path in meshes]
    assert len(written) == 4
    again = ablate(config, bundle, ["no-recognition", "pca-texture"], said.append)
    assert again.text == found.text
    assert [path.stat().st_mtime_ns for path in meshes] == written
    assert any("is a PCA already" in line for line in said)


def test_a_texture_generator_is_compared_with_a_pca(tmp_path: Path) -> None:
    generator = Generator(GanSize(resolution=32, latent_size=5, channel_base=64, channel_limit=4))
    texture = GanTexture(generator=freeze(generator), uv_layout=UV_LAYOUT, training="none", licence="CC0")
    save_gan_texture(texture, tmp_path / "gan.safetensors")
    gan = ModelRef(kind="gan", path=tmp_path / "gan.safetensors", sha256=None)
    bundle = replace(resolve_bundle("embedded"), texture=gan)
    said: list[str] = []
    chosen = choose_variants(NAMES, bundle, said.append)
    assert [variant.name for variant in chosen] == NAMES
    assert not said
    textures = [bundle_of(variant, bundle).texture for variant in chosen]
    assert textures[:-1] == [gan] * (len(NAMES) - 1)
    assert isinstance(load_texture(textures[-1], load_shape(bundle.shape)), PcaTexture)


def test_a_person_whose_newest_images_failed_is_not_measured_by_older_ones(
    write_output: Callable[..., None], tmp_path: Path
) -> None:
    def image(similarity: float, status: str = "ok") -> dict[str, Any]:
        measures = {"identity_similarity": similarity, "judge_similarity": similarity, "landmark_error": 0.03}
        losses = {"loss_identity_second": 1 - similarity, "loss_pixel": 0.1}
        person = measures
        return {"status": status, "person": person} | losses

    root = open_storage(tmp_path)
    write_output(
        root,
        {"anna": [image(0.5)], "bob": [image(0.6)]},
        {"anna": [image(0.5, "failed")] * 2, "bob": [image(0.7), image(0.9)]},
    )
    found = outcomes_of(open_run(root), load_shape(resolve_bundle("embedded").shape), {})
    assert list(found) == ["bob"]
    assert found["bob"].second_similarity == pytest.approx(0.8)


def test_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    config = ReconstructConfig(input=tmp_path, output=tmp_path / "out")
    with pytest.raises(ConfigurationError, match="no-nose"):
        ablate(config, resolve_bundle("embedded"), [*NAMES, "no-nose"], lambda _: None)
    assert not (tmp_path / "out").exists()
