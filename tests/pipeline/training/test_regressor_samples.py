import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
import torch

from ops.errors import AlteredModelFileError, ConfigurationError
from ops.faceworld.canonical import canonical_landmarks
from ops.files.photo import encode_png
from ops.texture.pca import PcaTexture, save_pca_texture
from ops.training.regressor_samples import CROP_PX, SampleSet
from ops.weights.bundle import ModelBundle, ModelRef, resolve_bundle
from ops.weights.registry import sha256_of
from pipeline.cluster.session import ClusterConfig
from pipeline.run.reader import open_run
from pipeline.stages.stage import run_stage
from pipeline.storage.store import open_storage
from pipeline.tables.schema import ALIGNED, PENDING, Frame, ModelSizes, table_from_frames
from pipeline.training.regressor_samples import (
    COUNTS_NAME,
    RunSource,
    SampleFits,
    WriteSamples,
    sample_input,
    seed_array,
    texture_of_run,
)

SIZES = ModelSizes(identity=3, expression=2, texture=4)
LANDMARKS = canonical_landmarks() * (1.0, -1.0) + (150.0, 160.0)
"""A face of about 150 px in an image of 300."""
LATENTS = 100
"""Of the embedded texture model."""
BASIS = torch.zeros(LATENTS, 3, 64, 64)
BASIS[0, 1] = 0.25
TEXTURE = PcaTexture(mean=torch.full((3, 64, 64), 0.5), basis=BASIS, uv_layout="any")


def counts(folder: Path, shard: int) -> dict[str, int]:
    return json.loads((folder / f"{shard:05d}" / COUNTS_NAME).read_text())


def aligned(name: str, **changes: Any) -> Frame:
    crop = np.full((CROP_PX, CROP_PX, 4), 255, np.uint8)
    crop[:, :10, 3] = 0
    fields: dict[str, Any] = {
        "image_id": name, "identity_id": name, "uri": name, "shard": 7, "item_id": name, "stem": name,
        "landmarks_px": LANDMARKS.reshape(-1).tolist(), "crop_from_image": [0.5, 0.0, 1.0, 0.0, 0.5, 2.0],
        "crop_png": encode_png(crop),
    }  # fmt: skip
    return Frame(**(fields | changes))


def test_aligned_faces_become_samples_of_which_nothing_is_known(tmp_path: Path) -> None:
    rows = [aligned("a"), aligned("b", status="rejected", reason="no_face"), aligned("c")]
    run_stage(WriteSamples(folder=tmp_path, sizes=SIZES), None, table_from_frames(rows, ALIGNED))
    assert counts(tmp_path, 7) == {"ok": 2, "no_face": 1}
    samples = SampleSet([tmp_path])
    assert (len(samples), samples.sizes) == (2, (3, 2))
    batch = samples.batch([1])
    assert not bool(torch.isfinite(batch.identity).any() or torch.isfinite(batch.texture).any())
    expected = (LANDMARKS * 0.5 + (1.0, 2.0)) / CROP_PX
    torch.testing.assert_close(batch.landmarks[0], torch.from_numpy(expected).float())
    assert bool(batch.valid[0, :, 10:].all())
    assert not bool(batch.valid[0, :, :10].any())
    assert int(batch.seeds) == int(seed_array("c"))


def test_a_shard_without_faces_is_counted_and_has_no_samples(tmp_path: Path) -> None:
    rows = [aligned("a", status="failed", reason="unreadable", crop_png=None)]
    run_stage(WriteSamples(folder=tmp_path, sizes=SIZES), None, table_from_frames(rows, ALIGNED))
    assert counts(tmp_path, 7) == {"unreadable": 1}
    with pytest.raises(ConfigurationError, match="found none"):
        SampleSet([tmp_path])


@pytest.fixture
def grown_run(tmp_path: Path, write_output: Callable[..., None]) -> Path:
    """A run that grew: q is as first fitted, p was fitted again with a photo that is gone and one without a face."""
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    (tmp_path / "here.png").write_bytes(encode_png(image))

    def photo(name: str, identity: float, status: str = "ok") -> dict[str, Any]:
        return {
            "image_id": name, "uri": str(tmp_path / f"{name}.png"), "frame_index": None, "status": status,
            "reason": "" if status == "ok" else "no_face", "landmarks_px": LANDMARKS.reshape(-1).tolist(),
            "expression": [0.25, -0.5], "light": [100.0, 200.0, 1000.0, 0.5, 0.6, 0.7, 0.1, 0.2, 0.3],
            "person": {"identity": [identity, 2.0, 3.0], "texture": [1.0] + [0.0] * (LATENTS - 1)},
        }  # fmt: skip

    run = open_storage(tmp_path / "run")
    record = {"models": resolve_bundle("embedded").description()}
    again = [photo("here", 1.0), photo("gone", 1.0), photo("bad", 1.0, "rejected")]
    write_output(run, {"p": [photo("here", 9.0)], "q": [photo("here", 5.0)]}, {"p": again}, record=record)
    return tmp_path / "run"


def sampling(run: Path, folder: Path) -> SampleFits:
    bundle = resolve_bundle("embedded")
    return SampleFits(run=run, folder=folder, shape=bundle.shape, texture=bundle.texture)


def test_fitted_photos_become_samples_with_their_parameters(grown_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    stage = sampling(grown_run, folder)
    run_stage(stage, RunSource(open_run(grown_run), TEXTURE), pa.table({"shard": [1]}, schema=PENDING))
    (part,) = folder.iterdir()
    assert json.loads((part / COUNTS_NAME).read_text()) == {"ok": 1, "unreadable": 1, "no_face": 1}
    assert np.load(part / "identity.npy").tolist() == [[1.0, 2.0, 3.0]]
    light = np.load(part / "light.npy")[0]
    np.testing.assert_allclose(light, [0.1, 0.2, 1.0, 0.5, 0.6, 0.7, 0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(np.load(part / "texture.npy")[0].mean((1, 2)), [0.5, 0.75, 0.5], atol=1e-3)
    landmarks = np.load(part / "landmarks.npy")[0]
    assert 0 < landmarks[17:].min() < landmarks[17:].max() < 1


def test_fitted_frames_of_a_clip_become_samples_whichever_they_are(
    tmp_path: Path, write_output: Callable[..., None]
) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for index in range(12):
            image = np.full((320, 320, 3), 10 + 20 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())

    def frame(index: int, status: str = "ok") -> dict[str, Any]:
        return {
            "image_id": f"f{index}", "uri": str(path), "frame_index": index, "status": status, "reason": "",
            "landmarks_px": LANDMARKS.reshape(-1).tolist(), "expression": [0.25, -0.5], "light": [100.0] * 9,
            "person": {"identity": [1.0, 2.0, 3.0], "texture": [0.0] * LATENTS},
        }  # fmt: skip

    run = open_storage(tmp_path / "run")
    frames = [frame(2), frame(3, "rejected"), frame(9)]
    write_output(run, {"p": frames}, record={"models": resolve_bundle("embedded").description()})
    stage = sampling(tmp_path / "run", tmp_path / "samples")
    source = RunSource(open_run(tmp_path / "run"), TEXTURE)
    run_stage(stage, source, pa.table({"shard": [0]}, schema=PENDING))
    (part,) = (tmp_path / "samples").iterdir()
    middle = np.load(part / "crops_rgba.npy")[:, CROP_PX // 2, CROP_PX // 2, :3].mean(-1)
    np.testing.assert_allclose(middle, [10 + 20 * 2, 10 + 20 * 9], atol=3)


def test_superseded_fits_do_not_become_samples(grown_run: Path, tmp_path: Path) -> None:
    stage = sampling(grown_run, tmp_path / "samples")
    run_stage(stage, RunSource(open_run(grown_run), TEXTURE), pa.table({"shard": [0, 1]}, schema=PENDING))
    identities = [np.load(part / "identity.npy") for part in sorted((tmp_path / "samples").iterdir())]
    assert np.concatenate(identities)[:, 0].tolist() == [5.0, 1.0]


@pytest.mark.ray
def test_parts_of_rows_superseded_since_are_replaced(local_ray: Any, grown_run: Path, tmp_path: Path) -> None:
    folder, stale = tmp_path / "samples", tmp_path / "samples" / "00000-12345678"
    stale.mkdir(parents=True)
    (stale / COUNTS_NAME).write_text(json.dumps({"ok": 2}))
    bundle, cluster = resolve_bundle("embedded"), ClusterConfig(num_gpus=0)
    counted = sample_input(grown_run, folder, bundle, cluster, lambda line: None)
    assert counted == {"ok": 2, "unreadable": 1, "no_face": 1}
    assert not stale.exists()


def test_a_run_of_other_models_is_refused(grown_run: Path, tmp_path: Path) -> None:
    bundle = resolve_bundle("embedded")
    other = {"kind": "ict-npz", "sha256": "ab" * 32, "path": "x"}
    (grown_run / "run.json").write_text(json.dumps({"models": dict(bundle.description()) | {"shape": other}}))
    with pytest.raises(ConfigurationError, match=r"made with the shape model .*ict-npz"):
        sample_input(grown_run, tmp_path / "samples", bundle, ClusterConfig(num_gpus=0), lambda line: None)


def test_fits_with_another_texture_model_are_read_by_that(tmp_path: Path) -> None:
    bundle, file = resolve_bundle("embedded"), tmp_path / "texture.safetensors"
    assert texture_of_run(bundle.texture.description(), bundle) == bundle.texture
    painted = {"kind": "procedural-pca", "path": None, "sha256": None}
    assert texture_of_run(painted, resolve_bundle("embedded-gan")).kind == "procedural-pca"
    save_pca_texture(TEXTURE, file)
    learned = ModelRef(kind="pca", path=file, sha256=sha256_of(file))
    assert texture_of_run(learned.description(), bundle) == learned
    file.write_bytes(b"another one")
    with pytest.raises(AlteredModelFileError, match="where it was when the run was made"):
        texture_of_run(learned.description(), bundle)


@pytest.mark.ray
@pytest.mark.slow
def test_photos_and_their_reconstruction_become_the_same_samples(
    album_run: Path, embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    cluster = ClusterConfig(num_gpus=0, fit_workers=1)
    said: list[str] = []
    folders = [tmp_path / "of run", tmp_path / "of photos"]
    for source, folder in zip((album_run, album), folders, strict=True):
        assert sample_input(source, folder, embedded, cluster, said.append) == {"ok": 8}
    known, unknown = (SampleSet([folder]) for folder in folders)
    fitted, seen = known.batch(range(8)), unknown.batch(range(8))
    order = [int((fitted.seeds == seed).nonzero()) for seed in seen.seeds]
    torch.testing.assert_close(fitted.landmarks[order], seen.landmarks, atol=1e-5, rtol=0)
    torch.testing.assert_close(fitted.images[order], seen.images, atol=1e-6, rtol=0)
    assert all(bool(torch.isfinite(value).all()) for value in fitted)
    assert not bool(torch.isfinite(seen.identity).any())

    said.clear()
    sample_input(album, folders[1], embedded, cluster, said.append)
    assert said == [f"samples of {album}: 8 ok"], "nothing is sampled twice"
