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
    assert listing.skipped == {".txt": 1, ".db": 1}


@pytest.mark.parametrize(("layout", "names"), [("images", ["a.jpg", "x/b.jpg"]), ("videos", ["c.mov"])])
def test_one_kind_alone(tmp_path: Path, layout: str, names: list[str]) -> None:
    listing = list_input(touch(tmp_path, "a.jpg", "x/b.jpg", "c.mov"), layout)
    assert uris(listing, tmp_path) == names
    assert sum(listing.skipped.values()) == 3 - len(names)


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
    with pytest.raises(ConfigurationError, match="not a readable manifest"):
        list_input(tmp_path / "list.parquet")
    with pytest.raises(ConfigurationError, match="is a manifest"):
        list_input(tmp_path / "list.parquet", "images")


def test_items_of_a_person_share_a_file_name(tmp_path: Path, make_item: Callable[..., object]) -> None:
    listing = list_input(touch(tmp_path, "anna/1.jpg", "anna/2.jpg"))
    assert len({stem(item) for item in rows(listing)}) == 1
    assert stem(rows(listing)[0]).startswith("anna-")


def test_what_is_skipped_is_counted_by_suffix(tmp_path: Path) -> None:
    touch(
        tmp_path, "a.jpg", "b.CR2", "c.cr2", "notes", "._a.jpg", "__MACOSX/a.jpg", ".thumbnails/b.jpg", "x/@eaDir/c.jpg"
    )
    listing = list_input(tmp_path)
    assert uris(listing, tmp_path) == ["a.jpg"]
    assert listing.skipped == {".cr2": 2, "without suffix": 1, "in service folders": 4}
    assert listing.skipped_text() == "7 other files skipped: 4 in service folders, 2 .cr2, 1 without suffix"


def test_photos_of_phones_are_photos(tmp_path: Path) -> None:
    listing = list_input(touch(tmp_path, "IMG_1.HEIC", "b.avif", "c.heif"))
    assert [item.kind for item in rows(listing)] == ["image"] * 3


def test_folders_that_divide_a_data_set_are_no_persons(tmp_path: Path) -> None:
    listing = list_input(touch(tmp_path, "train/anna/1.jpg", "train/bob/1.jpg", "test/anna/2.jpg"))
    persons = {os.path.relpath(item.uri, tmp_path): item.identity_id for item in rows(listing)}
    assert persons == {"train/anna/1.jpg": "anna", "train/bob/1.jpg": "bob", "test/anna/2.jpg": "anna"}
    assert "train and test" in listing.person


def test_photos_that_lie_in_train_and_test_are_persons_of_their_own(tmp_path: Path) -> None:
    listing = list_input(touch(tmp_path, "train/1.jpg", "train/2.jpg", "val/3.jpg"))
    assert listing.layout == "mixed"
    assert all(item.identity_id == item.item_id for item in rows(listing))


def test_auto_says_what_it_takes_for_a_person_and_offers_the_other_way(tmp_path: Path) -> None:
    touch(tmp_path, "celeba/1.jpg", "celeba/2.jpg", "celeba/3.jpg", "more/4.jpg")
    listing = list_input(tmp_path)
    assert listing.person == "every sub-folder is a person; --layout mixed makes every file a person of its own"
    assert listing.largest_persons(1) == [("celeba", 3)]
    assert len({item.identity_id for item in rows(list_input(tmp_path, "mixed"))}) == 4


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (pa.array([1.0, float("nan"), float("nan"), None]), ["1", None, None, None]),
        (pa.array([1e15 + 1, 7.0, 2.0**53]), ["1000000000000001", "7", "9007199254740992"]),
        (pa.array([2**63 - 1, None]), ["9223372036854775807", None]),
        (pa.array(["007", "", None, "nan"]), ["007", None, None, "nan"]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
    ],
)
def test_ids_of_any_type_are_text_without_loss(tmp_path: Path, values: pa.Array, ids: list[str | None]) -> None:
    uri = [f"{number}.jpg" for number in range(len(values))]
    pq.write_table(pa.table({"uri": uri, "identity_id": values}), tmp_path / "list.parquet")
    found = rows(list_input(tmp_path / "list.parquet"))
    assert [None if item.identity_id == item.item_id else item.identity_id for item in found] == ids


@pytest.mark.parametrize("value", [1.5, 2.0**53 + 2, float("inf"), True])
def test_ids_that_may_merge_strangers_are_refused(tmp_path: Path, value: object) -> None:
    path = write_manifest(tmp_path / "list.parquet", uri=["a.jpg"], identity_id=[value])
    with pytest.raises(ConfigurationError, match="column identity_id: expected text or whole numbers"):
        list_input(path)


def test_a_file_counts_once_however_it_is_spelled(tmp_path: Path) -> None:
    photo = tmp_path / "my photos" / "a.jpg"
    spellings = ["my photos/a.jpg", "./my photos/../my photos//a.jpg", str(photo), photo.as_uri()]
    listing = list_input(write_manifest(tmp_path / "list.parquet", uri=spellings))
    assert [item.uri for item in rows(listing)] == ["my photos/a.jpg"]
    assert listing.duplicates == 3
    assert rows(listing)[0].location == str(photo)


def test_an_object_counts_once_however_it_is_quoted(tmp_path: Path) -> None:
    spellings = ["s3://bucket/my%20photos/a.jpg", "s3://bucket/my photos/a.jpg", "s3://bucket/my%20photos/b.jpg"]
    listing = list_input(write_manifest(tmp_path / "list.parquet", uri=spellings))
    assert listing.items.num_rows == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", 'uri,identity_id,kind\na.jpg,007,\n"b, c.mov",NaN,\nd,7,video\n'),
        ("list.TSV", "\ufeffuri\tidentity_id\tkind\r\na.jpg\t007\t\r\nb, c.mov\t\t\r\nd\t7\tvideo\r\n"),
        (
            "list.jsonl",
            '{"uri": "a.jpg", "identity_id": "007"}\n\n{"uri": "b, c.mov", "identity_id": NaN, "tags": [1]}\n'
            '{"identity_id": 7, "uri": "d", "kind": "video", "tags": "x"}\n',
        ),
    ],
)
def test_manifests_may_be_text(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    first, second, third = rows(list_input(tmp_path / name))
    assert [item.uri for item in (first, second, third)] == ["a.jpg", "b, c.mov", "d"]
    assert (first.identity_id, third.identity_id) == ("007", "7")
    assert second.identity_id == second.item_id
    assert [item.kind for item in (first, second, third)] == ["image", "video", "video"]
    assert first.location == str(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("list.csv", "path\na.jpg\n", "expected columns uri"),
        ("list.csv", "uri,identity_id\na.jpg\n", "expected 2 cells"),
        ("list.csv", "", "no rows"),
        ("list.jsonl", '{"uri": "a.jpg"\n', "line 1 is no JSON"),
        ("list.jsonl", '["a.jpg"]\n', "line 1: expected an object"),
    ],
)
def test_text_manifests_that_make_no_sense_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        list_input(tmp_path / name)


def test_the_column_that_names_the_person_can_be_chosen(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "list.parquet", uri=["a.jpg", "b.jpg"], identity_id=[1, 2], subject=["x", "x"])
    assert {item.identity_id for item in rows(list_input(path, identity_field="subject"))} == {"x"}
    with pytest.raises(ConfigurationError, match="nobody"):
        list_input(path, identity_field="nobody")
