from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ops.errors import FingerprintMismatchError
from ops.face.clustering import unit_rows
from pipeline.input.listing import Item, table_of
from pipeline.input.manifests import list_manifest
from pipeline.run.groups import (
    PEOPLE_FILE,
    check_people,
    face_keys,
    find_people,
    read_people,
    write_people,
)
from pipeline.storage.store import Storage

MakeItem = Callable[..., Item]
Faces = dict[str, np.ndarray | None]


@pytest.fixture
def photos(make_item: MakeItem) -> Callable[..., tuple[list[Item], Faces]]:
    """Photos `anna0.jpg` and so on, one embedding each: those of a person have a cosine of 0.75."""

    def make(**counts: int) -> tuple[list[Item], Faces]:
        items: list[Item] = []
        faces: Faces = {}
        for name, count in counts.items():
            person = np.random.default_rng(abs(sum(map(ord, name)))).standard_normal(64)
            for number in range(count):
                item = make_item(f"{name}{number}.jpg")
                rng = np.random.default_rng(int(item.item_id[-8:], 16))
                direction = unit_rows(person[None].astype(np.float32))[0]
                noise = rng.standard_normal(64).astype(np.float32) * np.float32(0.58 / 8)
                items.append(item)
                faces[face_keys(table_of([item]))[0]] = direction + noise
        return items, faces

    return make


def persons(items: Sequence[Item], faces: Faces, **options: object) -> dict[str, str]:
    table = find_people(table_of(items), faces, 0.5, **options)  # type: ignore[arg-type]
    return dict(zip(table.column("uri").to_pylist(), table.column("identity_id").to_pylist(), strict=True))


def test_photos_are_grouped_by_the_person_they_show(
    photos: Callable[..., tuple[list[Item], Faces]], make_item: MakeItem
) -> None:
    items, faces = photos(anna=3, bob=2, cy=1)
    nobody = make_item("landscape.jpg")
    faces[face_keys(table_of([nobody]))[0]] = None
    found = persons([*items, nobody], faces)
    assert found["landscape.jpg"] == nobody.item_id
    assert len({found[f"anna{number}.jpg"] for number in range(3)}) == 1
    assert found["bob0.jpg"] == found["bob1.jpg"]
    assert len(set(found.values())) == 4
    assert persons([nobody, *reversed(items)], faces) == found, "the order of the input plays no part"
    assert found["cy0.jpg"] == f"person-{items[-1].item_id[-16:]}"
    table = find_people(table_of([*items, nobody]), faces, 0.5)
    similarity = dict(zip(found, table.column("similarity").to_pylist(), strict=True))
    assert similarity["landscape.jpg"] is similarity["cy0.jpg"] is None
    bob = unit_rows(np.stack([face for face in list(faces.values())[3:5] if face is not None]))
    assert similarity["bob0.jpg"] == pytest.approx(float(bob[0] @ bob[1]), abs=1e-5)


def test_persons_keep_their_ids_when_the_input_grows(photos: Callable[..., tuple[list[Item], Faces]]) -> None:
    items, faces = photos(anna=2, bob=1)
    first = find_people(table_of(items), faces, 0.5)
    before = dict(zip(first.column("uri").to_pylist(), first.column("identity_id").to_pylist(), strict=True))
    items, faces = photos(anna=6, bob=5, dora=2)
    after = persons(items, faces, earlier=first)
    assert {uri: after[uri] for uri in before} == before
    assert {after[f"anna{number}.jpg"] for number in range(6)} == {before["anna0.jpg"]}
    assert {after[f"bob{number}.jpg"] for number in range(5)} == {before["bob0.jpg"]}
    assert after["dora0.jpg"] == after["dora1.jpg"] not in before.values()


def test_what_a_user_has_corrected_stays(photos: Callable[..., tuple[list[Item], Faces]]) -> None:
    items, faces = photos(anna=4)
    first = find_people(table_of(items), faces, 0.5)
    rows = first.to_pylist()
    for row in rows[2:]:
        row["identity_id"] = "her twin"
    corrected = first.from_pylist(rows, schema=first.schema)
    found = persons(items, faces, earlier=corrected)
    assert [found[f"anna{number}.jpg"] for number in range(4)] == [row["identity_id"] for row in rows]


def test_a_file_that_shows_somebody_else_now_is_no_longer_the_person_it_gave_its_name(
    photos: Callable[..., tuple[list[Item], Faces]],
) -> None:
    items, faces = photos(anna=3)
    first = find_people(table_of(items), faces, 0.5)
    name = first.column("identity_id")[0].as_py()
    place = next(place for place, item in enumerate(items) if name == f"person-{item.item_id[-16:]}")
    items[place] = replaced = items[place]._replace(size_bytes=7)
    faces[face_keys(table_of([replaced]))[0]] = -np.ones(64, np.float32)
    found = persons(items, faces, earlier=first)
    assert found.pop(replaced.uri) == f"{name}-2"
    assert set(found.values()) == {name}


def test_people_are_a_manifest_that_belongs_to_its_settings(
    root: Storage, photos: Callable[..., tuple[list[Item], Faces]]
) -> None:
    items, faces = photos(anna=2, bob=2)
    assert check_people(root, read_people(root), "f1") is None
    people = find_people(table_of(items), faces, 0.5)
    write_people(root, people, "f1")
    kept = check_people(root, read_people(root), "f1")
    assert kept is not None
    assert kept.to_pylist() == people.to_pylist()
    listed = list_manifest(root.location(PEOPLE_FILE)).items
    assert listed.column("identity_id").to_pylist() == people.column("identity_id").to_pylist()
    with pytest.raises(FingerprintMismatchError, match="found with other settings"):
        check_people(root, read_people(root), "f2")
