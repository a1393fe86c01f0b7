import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ops.errors import ConfigurationError, FingerprintMismatchError
from ops.fit import FitConfig
from ops.weights.bundle import ModelBundle
from pipeline.cluster.session import ClusterConfig
from pipeline.input.sources import list_input
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.dry_run import forecast
from pipeline.reconstruct.grouping import grouping_stage, items_block, with_people
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.groups import face_keys, find_people, read_faces
from pipeline.run.reader import open_run
from pipeline.stages.grouping import StoreFaces
from pipeline.stages.stage import run_stage


def config(source: Path, output: Path, **changes: Any) -> ReconstructConfig:
    settings: dict[str, Any] = {
        "input": source,
        "output": output,
        "layout": "cluster",
        "fit": FitConfig(steps=1, render_px=96),
        "cluster": ClusterConfig(num_gpus=0, fit_workers=1),
    }
    return ReconstructConfig(**(settings | changes))


def test_the_pass_leads_from_files_to_persons(embedded: ModelBundle, album: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for person, number in (("person_00", 0), ("person_00", 1), ("person_01", 0)):
        shutil.copy(album / person / f"photo_{number}.jpg", photos / f"{person}_{number}.jpg")
    (photos / "broken.jpg").write_text("no photo")
    wanted = config(photos, tmp_path / "out")
    listing = list_input(photos, "cluster")
    store = StoreFaces(root=wanted.root, fence=None, fingerprint="f")
    stage = grouping_stage(wanted, embedded, wanted.root, store)
    block = items_block(listing.items, face_keys(listing.items), list(range(4)), 3)
    assert run_stage(stage, stage.load(), block).to_pylist() == [{"shard": 3, "items": 4, "faces": 3}]
    faces, _ = read_faces(wanted.root, "f")
    assert embedded.people is not None
    found = find_people(listing.items, faces, embedded.people.cluster)
    ids = {Path(row["uri"]).stem: row["identity_id"] for row in found.to_pylist()}
    assert ids["person_00_0"] == ids["person_00_1"]
    assert len(set(ids.values())) == 3
    assert ids["broken"].startswith("broken-")
    grouped = with_people(listing, found).items
    assert grouped.schema.equals(listing.items.schema)
    assert grouped.column("identity_id").to_pylist() == found.column("identity_id").to_pylist()
    assert not (tmp_path / "out" / "attempts" / "00003-group").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_an_unlabelled_folder_is_grouped_and_its_persons_keep_their_ids(
    local_ray: Any, embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for person in ("person_00", "person_01"):
        shutil.copy(album / person / "photo_0.jpg", photos / f"{person}_0.jpg")
    shutil.copy(album / "person_00" / "photo_1.jpg", photos / "person_00_1.jpg")
    lines: list[str] = []
    summary = reconstruct(config(photos, out), embedded, lines.append)
    assert (summary.complete, summary.identities, summary.frames) == (True, {"ok": 2}, {"ok": 3})
    assert any(line == "3 of 3 files to be looked at: who is on them?" for line in lines)
    before = people(out)
    assert before["person_00_0.jpg"] == before["person_00_1.jpg"] != before["person_01_0.jpg"]
    assert set(open_run(out).people()["identity_id"]) == set(before.values())

    shutil.copy(album / "person_01" / "photo_1.jpg", photos / "person_01_1.jpg")
    assert "1 identities are new or have new files" in forecast(config(photos, out), embedded).text()
    lines.clear()
    again = reconstruct(config(photos, out), embedded, lines.append)
    assert (again.complete, again.identities, again.frames) == (True, {"ok": 2}, {"ok": 4})
    assert any(line == "1 of 4 files to be looked at: who is on them?" for line in lines)
    after = people(out)
    assert {name: after[name] for name in before} == before
    assert after["person_01_1.jpg"] == before["person_01_0.jpg"]

    with pytest.raises(FingerprintMismatchError, match=r"configuration\.persons"):
        reconstruct(config(photos, out, layout="mixed"), embedded)


def test_a_bundle_that_does_not_know_who_is_alike_is_refused(embedded: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'embedded' does not say: name it in a bundle file as `people: "):
        config(tmp_path, tmp_path / "out").check_models(dataclasses.replace(embedded, people=None))


def people(out: Path) -> dict[str, str]:
    rows = pq.read_table(out / "people.parquet").to_pylist()
    return {Path(row["uri"]).name: row["identity_id"] for row in rows}
