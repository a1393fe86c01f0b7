import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ops.errors import ConfigurationError
from pipeline.input.listing import Item, Listing, stem_of
from pipeline.input.locations import read_location
from pipeline.input.sources import list_input


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return root


def rows(listing: Listing) -> list[Item]:
    names = [name for name in listing.items.column_names if name != "item_key"]
    items = [Item(**row) for row in listing.items.select(names).to_pylist()]
    return [item if item.location else item._replace(location=item.uri) for item in items]


def stem(item: Item) -> str:
    return stem_of(item.item_id, item.identity_id)


def uris(listing: Listing, root: Path) -> list[str]:
    return sorted(os.path.relpath(item.uri, root) for item in rows(listing))


def write_manifest(path: Path, /, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_flat_folder_has_a_person_a_file(tmp_path: Path) -> None:
    listing = list_input(touch(tmp_path, "b.JPG", "a.png", "c.mp4", "notes.txt", "Thumbs.db"))
    assert listing.layout == "mixed"
    assert uris(listing, tmp_path) == ["a.png", "b.JPG", "c.mp4"]
    assert [item.kind for item in rows(listing)] == ["image", "image", "video"]
    assert all(item.identity_id == item.item_id == stem(item) for item in rows(listing))
    assert listing.skipped == 2


@pytest.mark.parametrize(("layout", "names"), [("images", ["a.jpg", "x/b.jpg"]), ("videos", ["c.mov"])])
def test_one_kind_alone(tmp_path: Path, layout: str, names: list[str]) -> None:
    listing = list_input(touch(tmp_path, "a.jpg", "x/b.jpg", "c.mov"), layout)
    assert uris(listing, tmp_path) == names
    assert listing.skipped == 3 - len(names)


def test_sub_folders_are_persons(tmp_path: Path) -> None:
    touch(tmp_path, "anna/1.jpg", "anna/deep/2.jpg", "anna/talk.mp4", "bob/1.jpg", "bob/readme.md")
    listing = list_input(tmp_path)
    assert listing.layout == "identity-folders"
    persons = {os.path.relpath(item.uri, tmp_path): item.identity_id for item in rows(listing)}
    assert persons == {"anna/1.jpg": "anna", "anna/deep/2.jpg": "anna", "anna/talk.mp4": "anna", "bob/1.jpg": "bob"}
    assert len({item.item_id for item in rows(listing)}) == 4


def test_files_beside_sub_folders_are_persons_of_their_own(tmp_path: Path) -> None:
    listing = list_input(touch(tmp_path, "anna/1.jpg", "stray.jpg"), "identity-folders")
    assert {item.identity_id for item in rows(listing)} >= {"anna"}
    assert len({item.identity_id for item in rows(listing)}) == 2


def test_ids_do_not_depend_on_where_the_folder_is(tmp_path: Path) -> None:
    first = list_input(touch(tmp_path / "one", "anna/1.jpg", "bob/é 2.jpg"))
    second = list_input(touch(tmp_path / "two" / "deep", "bob/é 2.jpg", "anna/1.jpg"))
    assert {item.item_id for item in rows(first)} == {item.item_id for item in rows(second)}


def test_a_single_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    listing = list_input(tmp_path / "a.jpg")
    assert uris(listing, tmp_path) == ["a.jpg"]


def test_hostile_names_are_listed_readable_and_distinct(tmp_path: Path) -> None:
    names = [
        "été à la mer.jpg",
        "a b.jpg",
        "-rf.jpg",
        "CON.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
        "x" * 200 + ".jpg",
        "..jpg.jpg",
    ]
    listing = list_input(touch(tmp_path, *names))
    assert len({item.item_id for item in rows(listing)}) == len(names)
    contents = {read_location(item.location) for item in rows(listing)}
    assert contents == {name.encode("utf-8", "surrogateescape") for name in names}
    pa.array([item.uri for item in rows(listing)])


def test_a_person_whose_name_is_not_utf8(tmp_path: Path) -> None:
    listing = list_input(touch(tmp_path, os.fsdecode(b"Ren\xe9/1.jpg")))
    assert [item.identity_id for item in rows(listing)] == ["Ren%E9"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "people/a.jpg")
    (tmp_path / "people" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to("people", target_is_directory=True)
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    touch(tmp_path.parent / f"{tmp_path.name}-outside", "o.jpg")
    (tmp_path / "outside").symlink_to(tmp_path.parent / f"{tmp_path.name}-outside", target_is_directory=True)
    listing = list_input(tmp_path, "images")
    assert uris(listing, tmp_path) == ["outside/o.jpg", "people/a.jpg", "self.jpg"]


def test_folders_named_like_photos_are_folders(tmp_path: Path) -> None:
    assert uris(list_input(touch(tmp_path, "album.jpg/a.jpg"), "images"), tmp_path) == ["album.jpg/a.jpg"]


def test_nothing_to_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"found none .*1 other"):
        list_input(touch(tmp_path, "notes.txt"))
    with pytest.raises(ConfigurationError, match="does not exist"):
        list_input(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="expected a layout out of"):
        list_input(tmp_path, "albums")  # type: ignore[arg-type]


def test_the_micc_layout_makes_every_clip_an_identity(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "subject_01/Video/Indoor-Cooperative/a.mjpg",
        "subject_01/Video/PTZ-Indoor/b.mpg",
        "subject_01/Model/frontal1/obj/texture.bmp",
        "subject_02/Video/PTZ-Outdoor/c.mjpeg",
    )
    listing = list_input(tmp_path, "micc")
    assert [(item.identity_id, item.kind) for item in rows(listing)] == [
        ("subject_01/Indoor-Cooperative", "video"),
        ("subject_01/PTZ-Indoor", "video"),
        ("subject_02/PTZ-Outdoor", "video"),
    ]
    assert len({stem(item) for item in rows(listing)}) == 3
    with pytest.raises(ConfigurationError, match="subject_01"):
        list_input(tmp_path / "subject_01", "micc")


def test_a_manifest_groups_by_its_own_identities(tmp_path: Path) -> None:
    touch(tmp_path, "media/a.jpg", "media/b.mp4")
    path = write_manifest(
        tmp_path / "list.parquet",
        uri=["media/a.jpg", "media/b.mp4", str(tmp_path / "media" / "a.jpg"), "s3://bucket/c%20d.mov"],
        identity_id=["Anna/../1", "Anna/../1", None, "Zoë"],
    )
    listing = list_input(path)
    assert listing.layout == "manifest"
    assert [item.uri for item in rows(listing)][:2] == ["media/a.jpg", "media/b.mp4"]
    assert [item.kind for item in rows(listing)] == ["image", "video", "image", "video"]
    assert read_location(rows(listing)[0].location) == b"media/a.jpg"
    first, second, third, fourth = rows(listing)
    assert first.identity_id == second.identity_id == "Anna/../1"
    assert "/" not in stem(first)
    assert "." not in stem(first)
    assert third.identity_id == third.item_id
    assert fourth.location == "s3://bucket/c%20d.mov"


def test_repeated_manifest_rows_count_once(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "list.parquet", uri=["a.jpg", "b.jpg", "a.jpg", "a.jpg"], identity_id=[1, 1, 1, 2])
    listing = list_input(path)
    assert [(item.uri, item.identity_id) for item in rows(listing)] == [("a.jpg", "1"), ("b.jpg", "1"), ("a.jpg", "2")]
    assert listing.duplicates == 1


def test_a_manifest_may_name_the_kind(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "list.parquet", uri=["a", "b", "c.mp4"], kind=["video", "image", None])
    assert [item.kind for item in rows(list_input(path))] == ["video", "image", "video"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"path": ["a.jpg"]}, "expected columns uri"),
        ({"uri": ["a.jpg", None]}, "row 1 has no uri"),
        ({"uri": ["a.jpg"], "kind": ["gif"]}, "row 0: expected kind"),
        ({"uri": pa.array([], pa.string())}, "no rows"),
        ({"uri": [[1, 2]]}, "expected text in column uri"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(tmp_path: Path, columns: dict[str, list[object]], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        list_input(write_manifest(tmp_path / "list.parquet", **columns))


def test_a_manifest_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_text("uri\na.jpg\n")
    with pytest.raises(ConfigurationError, match="not a readable Parquet"):
        list_input(tmp_path / "list.parquet")
    with pytest.raises(ConfigurationError, match="is a Parquet manifest"):
        list_input(tmp_path / "list.parquet", "images")


def test_items_of_a_person_share_a_file_name(tmp_path: Path, make_item: Callable[..., object]) -> None:
    listing = list_input(touch(tmp_path, "anna/1.jpg", "anna/2.jpg"))
    assert len({stem(item) for item in rows(listing)}) == 1
    assert stem(rows(listing)[0]).startswith("anna-")
