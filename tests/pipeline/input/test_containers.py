import io
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ops.errors import ConfigurationError, UnreadableInputError
from pipeline.input.listing import Listing
from pipeline.input.locations import local_file, read_location
from pipeline.input.planner import PlanConfig, block_of, plan_shards
from pipeline.input.sources import list_input
from pipeline.stages.frames import ReadFrames
from tests.pipeline.input.containers import MAGIC, write_parquet, write_records, write_tar, write_webdataset, write_zip


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()


PICTURES = {f"{number:04d}.jpg": picture(number) for number in range(8)} | {
    "0008.jpg": b"no picture",
    "0009.jpg": picture(9) + MAGIC * 2 + b"!",
}
PEOPLE = dict(zip(PICTURES, (3, 3, 17, 4, 17, 5, 5, 5, 6, 7), strict=True))


def folder(root: Path) -> Path:
    for name, data in PICTURES.items():
        path = root / "folder" / str(PEOPLE[name]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "folder"


def in_folders() -> dict[str, bytes]:
    return {f"{PEOPLE[name]}/{name}": data for name, data in PICTURES.items()}


CONTAINERS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "tar": (lambda root: write_tar(root / "a.tar", in_folders()), {}),
    "webdataset": (
        lambda root: write_webdataset(root / "b.tar", PICTURES, "who", PEOPLE),
        {"identity_field": "who"},
    ),
    "zip": (lambda root: write_zip(root / "c.zip", in_folders()), {}),
    "parquet": (
        lambda root: write_parquet(root / "d.parquet", PICTURES, list(PEOPLE.values())),
        {"identity_field": "label"},
    ),
    "plain parquet": (
        lambda root: write_parquet(root / "e.parquet", PICTURES, [str(who) for who in PEOPLE.values()], plain=True),
        {"identity_field": "label"},
    ),
    "records": (lambda root: write_records(root / "train.rec", list(PICTURES.values()), list(PEOPLE.values())), {}),
    "labels": (
        lambda root: write_records(root / "f.rec", list(PICTURES.values()), list(PEOPLE.values()), several=True),
        {},
    ),
}


def frames(listing: Listing) -> list[tuple[Any, ...]]:
    """What the first stage makes of the planned items, by person, without what names the container."""
    plan = plan_shards(listing.items, PlanConfig())
    stage = ReadFrames()
    table = stage(stage.load(), block_of(plan.rows()))
    rows = table.select(["identity_id", "status", "reason", "width_px", "height_px", "image"]).to_pylist()
    return sorted((*list(row.values())[:5], sha256(row["image"] or b"").hexdigest()) for row in rows)


def locations(listing: Listing) -> list[str]:
    found = zip(listing.items.column("location").to_pylist(), listing.items.column("uri").to_pylist(), strict=True)
    return [location or uri for location, uri in found]


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_gives_the_rows_of_a_folder(tmp_path: Path, kind: str) -> None:
    make, options = CONTAINERS[kind]
    listing = list_input(make(tmp_path), **options)
    expected = frames(list_input(folder(tmp_path)))
    assert frames(listing) == expected
    assert {row[2] for row in expected} == {"", "unreadable"}
    assert listing.items.num_rows == len(PICTURES)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_ids_depend_on_the_container_and_member_alone(tmp_path: Path, kind: str) -> None:
    make, options = CONTAINERS[kind]
    (tmp_path / "elsewhere").mkdir()
    first, second = (list_input(make(root), **options) for root in (tmp_path, tmp_path / "elsewhere"))
    assert first.items.column("item_id") == second.items.column("item_id")
    assert len(set(first.items.column("item_id").to_pylist())) == len(PICTURES)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_members_are_found_by_the_uri_of_the_tables(tmp_path: Path, kind: str) -> None:
    make, options = CONTAINERS[kind]
    listing = list_input(make(tmp_path), **options)
    for uri, location in zip(listing.items.column("uri").to_pylist(), locations(listing), strict=True):
        assert read_location(uri) == read_location(location)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_are_read_where_they_are(tmp_path: Path, kind: str) -> None:
    import fsspec

    make, options = CONTAINERS[kind]
    path = make(tmp_path)
    memory = fsspec.filesystem("memory")
    for file in (path, path.with_suffix(".idx")):
        if file.exists():
            memory.pipe(f"/bucket/{file.name}", file.read_bytes())
    remote = list_input(f"memory://bucket/{path.name}", **options)
    assert frames(remote) == frames(list_input(path, **options))


def test_a_folder_of_shards_is_one_input(tmp_path: Path) -> None:
    names = list(PICTURES)
    write_tar(tmp_path / "00000.tar", {name: PICTURES[name] for name in names[:4]} | {"0000.txt": b"caption"})
    write_tar(tmp_path / "00001.tar", {name: PICTURES[name] for name in names[4:]})
    write_tar(tmp_path / "00002.tar", {names[0]: PICTURES[names[0]], "__MACOSX/x.jpg": b""})
    (tmp_path / "00000_stats.json").write_text("{}")
    listing = list_input(tmp_path)
    assert listing.items.num_rows == len(PICTURES) + 1
    assert len(set(listing.items.column("identity_id").to_pylist())) == len(PICTURES) + 1
    assert listing.skipped == {".txt": 1, ".json": 1, "in service folders": 1}


def test_archives_beside_photos_are_skipped_and_counted(tmp_path: Path) -> None:
    write_zip(tmp_path / "backup.zip", PICTURES)
    (tmp_path / "a.jpg").write_bytes(PICTURES["0000.jpg"])
    listing = list_input(tmp_path)
    assert listing.items.num_rows == 1
    assert listing.skipped == {".zip": 1}


def test_a_member_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"first"})
    end = path.read_bytes().rstrip(b"\0")
    data = end + bytes(-len(end) % 512)
    path.write_bytes(data + data + bytes(1024))
    listing = list_input(path)
    assert (listing.items.num_rows, listing.duplicates) == (1, 1)


@pytest.mark.slow
def test_a_thousand_photos_give_the_same_rows_however_they_come(tmp_path: Path) -> None:
    pictures = {f"{number:04d}.jpg": picture(number % 97) + b"%d" % number for number in range(1000)}
    people = {name: 1 + number % 331 for number, name in enumerate(pictures)}
    by_person = {f"{people[name]}/{name}": data for name, data in pictures.items()}
    for name, data in by_person.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    expected = frames(list_input(tmp_path / "folder"))
    assert len(expected) == len({row[-1] for row in expected}) == 1000
    labels = list(people.values())
    assert frames(list_input(write_tar(tmp_path / "a.tar", by_person))) == expected
    assert frames(list_input(write_zip(tmp_path / "a.zip", by_person))) == expected
    parquet = write_parquet(tmp_path / "a.parquet", pictures, labels)
    assert frames(list_input(parquet, identity_field="label")) == expected
    assert frames(list_input(write_records(tmp_path / "a.rec", list(pictures.values()), labels))) == expected


def statuses(path: Path, **options: Any) -> dict[str, str]:
    plan = plan_shards(list_input(path, **options).items, PlanConfig())
    stage = ReadFrames()
    rows = stage(stage.load(), block_of(plan.rows())).to_pylist()
    return {row["uri"].removeprefix(f"{path}#"): row["message"] or row["status"] for row in rows}


def test_a_damaged_member_of_a_zip_is_a_row(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", dict(list(PICTURES.items())[:3]))
    data = bytearray(path.read_bytes())
    data[data.index(PICTURES["0000.jpg"]) + 500] ^= 0xFF
    path.write_bytes(data)
    found = statuses(path)
    assert "checksum" in found["0000.jpg"]
    assert found["0001.jpg"] == found["0002.jpg"] == "ok"


@pytest.mark.parametrize("suffix", ["tar", "zip", "parquet", "rec"])
def test_a_container_that_is_none_is_a_row(tmp_path: Path, suffix: str) -> None:
    write_tar(tmp_path / "good.tar", {"a.jpg": PICTURES["0000.jpg"]})
    (tmp_path / f"bad.{suffix}").write_bytes(b"not what it is called" * 100)
    found = statuses(tmp_path)
    assert len(found) == 2
    assert found[f"{tmp_path}/good.tar#a.jpg"] == "ok"
    assert "the archive cannot be read here" in found[f"{tmp_path}/bad.{suffix}#"]


def test_what_a_cut_tar_still_has_is_used(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", dict(list(PICTURES.items())[:3]))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(PICTURES["0002.jpg"]) + 100])
    found = statuses(path)
    assert found["0000.jpg"] == found["0001.jpg"] == "ok"
    assert "the file ends" in found["0002.jpg"]


def test_a_tar_with_a_damaged_header_says_that_members_are_lost(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", dict(list(PICTURES.items())[:3]))
    data = bytearray(path.read_bytes())
    data[data.index(b"0001.jpg")] ^= 0xFF
    path.write_bytes(data)
    found = statuses(path)
    assert found["0000.jpg"] == "ok"
    assert "is damaged at byte" in found[""]


def test_a_damaged_record_is_a_row_where_an_index_tells_of_the_next(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train.rec", list(PICTURES.values())[:3], [1, 2, 3])
    data = bytearray(path.read_bytes())
    data[data.index(MAGIC, 8)] ^= 0xFF
    path.write_bytes(data)
    found = statuses(path)
    assert "no record begins" in found["1"]
    assert found["2"] == found["3"] == "ok"
    path.with_suffix(".idx").unlink()
    assert "no record begins" in statuses(path)[""]


def test_a_row_without_a_picture_is_a_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"a.jpg": PICTURES["0000.jpg"], "b.jpg": b""}, [1, 2])
    assert statuses(path) == {"00000000": "ok", "00000001": "the row has no picture"}


@pytest.mark.parametrize("make", [write_tar, write_zip])
def test_a_container_that_changed_since_it_was_listed_gives_no_other_picture(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    path = make(tmp_path / f"a.{'tar' if make is write_tar else 'zip'}", {"a.jpg": b"1" * 600, "b.jpg": b"2" * 600})
    second = locations(list_input(path))[1]
    make(path, {"c.jpg": b"3" * 600, "d.jpg": b"4" * 600})
    with pytest.raises(UnreadableInputError):
        read_location(second)


def test_a_clip_in_an_archive_is_copied_for_its_decoder_alone(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"people/anna.mp4": b"clip"})
    listing = list_input(path)
    assert listing.items.column("kind").to_pylist() == ["video"]
    with local_file(locations(listing)[0]) as copy:
        assert (copy.suffix, copy.read_bytes()) == (".mp4", b"clip")
    assert not copy.exists()


def test_a_field_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", PICTURES, list(PEOPLE.values()))
    with pytest.raises(ConfigurationError, match="expected a column who, found image, label"):
        list_input(path, identity_field="who")
    with pytest.raises(ConfigurationError, match="archives with a field who"):
        list_input(folder(tmp_path), identity_field="who")


def test_a_grown_container_adds_its_new_members_alone(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", dict(list(PICTURES.items())[:3]))
    before = list_input(path).items.column("item_key").to_pylist()
    shutil.copy(path, tmp_path / "old.tar")
    os.unlink(tmp_path / "old.tar")
    write_tar(path, dict(list(PICTURES.items())[:5]))
    after = list_input(path).items.column("item_key").to_pylist()
    assert after[:3] == before
    assert len(after) == 5
