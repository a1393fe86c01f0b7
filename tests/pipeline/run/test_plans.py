import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ops.errors import OutputError
from pipeline.input.listing import Item, table_of
from pipeline.input.planner import PLANNED_ITEMS, PlanConfig, plan_shards
from pipeline.run.plans import PLAN_NAME, PLANS, PlannedShards, PlanStore, read_current, read_plans, write_current
from pipeline.storage.folders import CommittedFolders
from pipeline.storage.lease import LeaseLostError
from pipeline.storage.store import Storage

MakeItem = Callable[..., Item]
FACTS = {"input": "in", "layout": "mixed", "planned": "today"}
CONFIG = PlanConfig(shard_size=2)


def add(plans: PlanStore, items: Sequence[Item]) -> PlanStore:
    known = plans.known() if plans.generations else None
    return plans.add(plan_shards(table_of(items), CONFIG, known, first_shard=plans.next_shard), None, FACTS)


@pytest.fixture
def album(make_item: MakeItem) -> list[Item]:
    """Two photos each of anna, bob and cy: a shard a person."""
    return [make_item(f"{name}{number}", name) for name in ("anna", "bob", "cy") for number in range(2)]


def people(table: Any) -> dict[str, int]:
    return dict(zip(table.column("identity_id").to_pylist(), table.column("shard").to_pylist(), strict=True))


def test_what_was_planned_is_read_again(root: Storage, album: list[Item]) -> None:
    assert read_plans(root).generations == ()
    add(read_plans(root), album)
    plans = read_plans(root)
    (generation,) = plans.generations
    assert (generation.items, generation.identities, generation.images, generation.shard_count) == (6, 3, 6, 3)
    assert (generation.input, generation.layout, plans.next_shard) == ("in", "mixed", 3)
    shards = PlannedShards(plans)
    for shard, name in enumerate(("anna", "bob", "cy")):
        rows = shards.rows(shard)
        assert rows.schema.equals(PLANNED_ITEMS)
        assert rows.column("uri").to_pylist() == [f"{name}0", f"{name}1"]
    assert plans.pending([1]) == [0, 2]
    assert plans.items_of([0, 2]) == (4, 2, 4)


def test_many_row_groups(root: Storage, make_item: MakeItem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.run.plans._ROW_GROUP", 3)
    monkeypatch.setattr("pipeline.run.plans._SLICE", 7)
    items = [make_item(f"p{person:02d}-{photo}", f"p{person:02d}") for person in range(9) for photo in range(4)]
    plans = add(read_plans(root), items)
    shards = PlannedShards(plans)
    found = [shards.rows(shard).column("uri").to_pylist() for shard in range(plans.next_shard)]
    assert [len(uris) for uris in found] == [4] * 9
    assert sorted(uri for uris in found for uri in uris) == sorted(item.uri for item in items)


def test_new_photos_of_a_person_supersede_the_old_rows(root: Storage, album: list[Item], make_item: MakeItem) -> None:
    add(read_plans(root), album)
    grown = [*album, make_item("anna2", "anna"), make_item("dora0", "dora")]
    plans = add(read_plans(root), grown)
    assert [generation.identities for generation in plans.generations] == [3, 2]
    assert people(plans.newest()) == {"bob": 1, "cy": 2, "anna": 3, "dora": 4}
    assert PlannedShards(plans).rows(3).column("uri").to_pylist() == ["anna0", "anna1", "anna2"]
    before = plans.current([0, 1, 2])
    assert people(before) == {"anna": 0, "bob": 1, "cy": 2}, "the old row is current until the new one is there"
    after = plans.current([0, 1, 2, 3])
    assert people(after) == {"bob": 1, "cy": 2, "anna": 3}
    assert people(plans.superseded([0, 1, 2, 3])) == {"anna": 0}
    write_current(root, after)
    assert read_current(root).column("folder").to_pylist() == ["shards/00001", "shards/00002", "shards/00003"]
    again = plan_shards(table_of(grown), CONFIG, plans.known(), first_shard=plans.next_shard)
    assert (again.item_count, again.removed) == (0, 0)


def test_a_file_that_changes_back_is_new_again(root: Storage, make_item: MakeItem) -> None:
    plans = read_plans(root)
    for modified in (1, 2, 1):
        plans = add(plans, [make_item("anna0", "anna")._replace(modified_ns=modified)])
    assert [generation.items for generation in plans.generations] == [1, 1, 1]


def test_removed_files_are_counted_once_and_stay(root: Storage, album: list[Item]) -> None:
    plans = add(read_plans(root), album)
    found = plan_shards(table_of(album[1:]), CONFIG, plans.known(), first_shard=plans.next_shard)
    assert (found.item_count, found.removed) == (0, 1)
    assert people(plans.newest()) == {"anna": 0, "bob": 1, "cy": 2}


def test_two_drivers_cannot_plan_the_same_generation(
    root: Storage, album: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(read_plans(root), album)
    with pytest.raises(LeaseLostError, match="planned by another run"):
        add(PlanStore(root, ()), album[:2])


def test_damaged_and_missing_plans_are_reported(root: Storage, album: list[Item]) -> None:
    add(add(read_plans(root), album[:2]), album)
    folders = CommittedFolders(root=root, parent=PLANS, marker=PLAN_NAME)
    first = folders.read("00000")
    assert first is not None
    root.write(f"{PLANS}/00000/{PLAN_NAME}", json.dumps(json.loads(first) | {"generation": 5}).encode())
    with pytest.raises(OutputError, match="lacks a generation"):
        read_plans(root)
    root.write(f"{PLANS}/00000/{PLAN_NAME}", b"{}")
    with pytest.raises(OutputError, match=r"damaged plan\.json"):
        read_plans(root)
    with pytest.raises(OutputError, match=r"run ganfit reconstruct to its end first"):
        read_current(root)
