"""One small run on a disk and in an object store: the same rows; then a grown input."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ops.faceworld.album import AlbumSettings, write_album
from ops.fit import FitConfig
from ops.weights.bundle import ModelBundle, load_shape, resolve_bundle
from pipeline.cluster.session import ClusterConfig
from pipeline.input.planner import PlanConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.dry_run import forecast
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.plans import read_current
from pipeline.run.reader import open_run
from pipeline.run.record import read_record
from pipeline.storage.store import Storage, open_storage

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def embedded() -> ModelBundle:
    return resolve_bundle("embedded")


def config(source: str | Path, output: str | Path) -> ReconstructConfig:
    return ReconstructConfig(
        input=source,
        output=output,
        layout="identity-folders",
        plan=PlanConfig(shard_size=1),
        fit=FitConfig(steps=2, render_px=96),
        cluster=ClusterConfig(num_gpus=0, fit_workers=1),
    )


def rows(root: Storage, name: str) -> pd.DataFrame:
    """A table of all shards, without what differs from run to run."""
    folders = sorted(entry.name for entry in root.entries("shards"))
    files = [root.filesystem()[0].open_input_file(f"{root.filesystem()[1]}/shards/{f}/{name}") for f in folders]
    tables = [pd.read_parquet(file).assign(shard=folder) for file, folder in zip(files, folders, strict=True)]
    return pd.concat(tables, ignore_index=True).drop(columns=["uri", "fit_seconds"], errors="ignore")


def files(root: Storage) -> set[str]:
    return {entry.name for entry in root.entries("shards", recursive=True) if entry.is_file}


def test_a_run_in_a_store_equals_the_local_one_and_grows(
    local_ray: Any, s3_server: Any, bucket: str, embedded: ModelBundle, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    write_album(load_shape(embedded.shape), photos, tmp_path / "truth", AlbumSettings(people=2, photos=2, side_px=256))
    late = photos / "person_00" / "photo_1.jpg"
    content = late.read_bytes()
    late.unlink()
    # The workers do not have this process's environment: the URI says it all.
    options = f"?endpoint_override={s3_server.url.removeprefix('http://')}&scheme=http&region=us-east-1"
    place = bucket.replace("s3://", "s3://test:test@")
    source = open_storage(f"{place}/photos{options}")
    source.upload(photos, "")
    local, remote = open_storage(tmp_path / "out"), open_storage(f"{place}/out{options}")

    assert reconstruct(config(photos, tmp_path / "out"), embedded).complete
    wanted = config(source.uri, remote.uri)
    before = forecast(wanted, embedded)
    assert (before.items, before.shards, before.seconds_an_image) == (3, 2, None)
    assert remote.entries() == [], "a dry run writes nothing"
    first = reconstruct(wanted, embedded)
    assert first.complete
    for name in ("frames.parquet", "identities.parquet"):
        pd.testing.assert_frame_equal(rows(remote, name), rows(local, name))
    assert {name for name in files(remote) if not name.endswith("_COMMIT.json")} == files(local)
    assert (remote / "shards").entries("00000/meshes")[0].size > 1000
    assert remote.entries("staged") == [], "nothing stays of the way it was written"

    source.write("person_00/photo_1.jpg", content)
    source.remove("person_01/photo_0.jpg")
    forecast_now = forecast(wanted, embedded)
    assert (forecast_now.identities, forecast_now.items, forecast_now.shards) == (1, 2, 1)
    assert "1 files of earlier runs are gone" in forecast_now.text()
    assert "CPU worker hours" in forecast_now.text()
    grown = reconstruct(wanted, embedded)
    assert (grown.items, grown.planned_items, sum(grown.frames.values())) == (4, 4, 4)
    current = dict(zip(*read_current(remote).select(["identity_id", "folder"]).to_pydict().values(), strict=True))
    assert current == {"person_00": "shards/00002", "person_01": "shards/00001"}
    run = open_run(remote)
    assert run.people().set_index("identity_id")["n_images"].to_dict() == {"person_00": 2, "person_01": 2}
    assert run.frames()["image_id"].is_unique
    assert len(run.frames()) == 4
    assert run.pictures("person_00").input.shape == run.pictures("person_00").render.shape
    assert len(run.mesh("person_00").vertices_mm) == len(run.shape.mean_mm)
    assert remote.exists("shards/00000/_SUCCESS.json"), "the superseded shard stays"
    record = read_record(remote)
    assert record is not None
    assert "test:test" not in str(record)
    assert reconstruct(wanted, embedded).new_frames_ok == 0
