import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from ops.errors import ConfigurationError
from pipeline.input.listing import Item, table_of
from pipeline.input.planner import PLANNED_ITEMS, Known, Plan, PlanConfig, block_of, item_versions, plan_shards
from pipeline.tables.schema import ITEMS

MakeItem = Callable[..., Item]


@pytest.fixture
def people(make_item: MakeItem) -> list[Item]:
    """Persons p00 .. p09 with 1 to 4 photos."""
    return [
        make_item(f"p{person:02d}-{photo}", f"p{person:02d}") for person in range(10) for photo in range(person % 4 + 1)
    ]


def plan(items: Iterable[Item], config: PlanConfig, **more: Any) -> Plan:
    return plan_shards(table_of(items), config, **more)


def homes(found: Plan) -> list[tuple[str, int]]:
    """Every item's uri and shard, in the plan's order."""
    rows = found.rows()
    return list(zip(rows.column("uri").to_pylist(), rows.column("shard").to_pylist(), strict=True))


def known(*plans: Plan) -> Known:
    """What the plans hold, each person being in one of them."""
    rows = [found.rows() for found in plans]
    keys = np.concatenate([table.column("item_key").to_numpy() for table in rows])
    versions = [
        item_versions(t.column("item_key").to_numpy(), t.column("size_bytes"), t.column("modified_ns")) for t in rows
    ]
    names = [name for found in plans for name in found.identities.column("identity_id").to_pylist()]
    return Known(
        identity_ids=table_of([Item("0" * 16, name, "", "", "image") for name in names]).column("identity_id"),
        versions=np.sort(np.concatenate(versions)),
        item_keys=np.sort(keys),
    )


def test_persons_stay_whole_and_every_item_is_planned_once(people: list[Item]) -> None:
    found = plan(people, PlanConfig(shard_size=5))
    rows = found.rows()
    assert rows.schema.equals(PLANNED_ITEMS)
    assert sorted(rows.column("item_id").to_pylist()) == sorted(item.item_id for item in people)
    shards = rows.column("shard").to_pylist()
    assert len(set(zip(rows.column("identity_id").to_pylist(), shards, strict=True))) == found.identities.num_rows == 10
    assert max(shards.count(shard) for shard in shards) <= 5
    assert sorted(set(shards)) == list(range(found.shard_count))
    assert found.identities.column("items").to_pylist() == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    assert found.image_count == len(people)


def test_the_plan_does_not_depend_on_the_order_of_listing(people: list[Item]) -> None:
    shuffled = random.Random(1).sample(people, len(people))  # noqa: S311
    config = PlanConfig(shard_size=5)
    assert plan(shuffled, config).rows().equals(plan(people, config).rows())
    assert plan(people, PlanConfig(shard_size=6)).shard_count < plan(people, config).shard_count


def test_shards_are_filled_one_after_the_other(make_item: MakeItem) -> None:
    sizes = {"a": 2, "b": 2, "c": 3, "d": 9, "e": 1}
    items = [make_item(f"{name}{photo}", name) for name, size in sizes.items() for photo in range(size)]
    found = plan(items, PlanConfig(shard_size=4), first_shard=7)
    assert found.identities.column("shard").to_pylist() == [7, 7, 8, 9, 10]


def test_the_limit_counts_persons(people: list[Item]) -> None:
    found = plan(people, PlanConfig(limit=4))
    assert found.identities.column("identity_id").to_pylist() == ["p00", "p01", "p02", "p03"]
    assert found.listed == 10


def test_a_clip_weighs_its_frames(make_item: MakeItem) -> None:
    clips = [make_item(f"c{number}", kind="video") for number in range(4)]
    found = plan(clips, PlanConfig(shard_size=10, frames=5))
    assert found.identities.column("shard").to_pylist() == [0, 0, 1, 1]


def test_surplus_images_are_marked_not_dropped(make_item: MakeItem) -> None:
    many = [make_item(f"a{number}", "anna") for number in range(6)] + [make_item("b", "bob")]
    found = plan(many, PlanConfig(max_images=4))
    table = block_of(found.rows())
    assert table.schema.equals(ITEMS)
    assert table.column("surplus").to_pylist() == [False] * 4 + [True] * 2 + [False]
    assert table.column("uri").to_pylist() == table.column("location").to_pylist()
    assert table.column("uri").to_pylist() == ["a0", "a1", "a2", "a3", "a4", "a5", "b"]
    assert found.identities.column("images").to_pylist() == [4, 1]


def test_a_clip_larger_than_the_maximum_is_used_alone(make_item: MakeItem) -> None:
    items = [make_item("a0", "anna", kind="video"), make_item("a1", "anna")]
    assert plan(items, PlanConfig(max_images=4)).rows().column("surplus").to_pylist() == [False, True]


def test_only_people_with_something_new_are_planned_again(people: list[Item], make_item: MakeItem) -> None:
    config = PlanConfig(shard_size=5)
    first = plan(people, config)
    again = plan(people, config, known=known(first), first_shard=first.shard_count)
    assert (again.item_count, again.shard_count, again.removed) == (0, 0, 0)
    grown = [*people[1:], make_item("p03-9", "p03"), make_item("zoe", "zoe")]
    found = plan(grown, config, known=known(first), first_shard=first.shard_count)
    assert [uri for uri, _ in homes(found)] == ["p03-0", "p03-1", "p03-2", "p03-3", "p03-9", "zoe"]
    assert {shard for _, shard in homes(found)} == {first.shard_count, first.shard_count + 1}
    assert found.removed == 1


def test_a_changed_file_is_a_new_one(people: list[Item]) -> None:
    dated = [item._replace(size_bytes=10, modified_ns=100) for item in people]
    history = known(plan(dated, PlanConfig()))
    for change in ({"size_bytes": 11}, {"modified_ns": 101}):
        changed = [item._replace(**change) if item.uri == "p02-1" else item for item in dated]
        found = plan(changed, PlanConfig(), known=history)
        assert found.identities.column("identity_id").to_pylist() == ["p02"]
        assert found.removed == 0


def test_since_looks_at_what_is_new(people: list[Item]) -> None:
    dated = [item._replace(modified_ns=100) for item in people]
    history = known(plan(dated[:20], PlanConfig()))
    newer = [item._replace(modified_ns=500) if item.uri == "p09-0" else item for item in dated]
    found = plan(newer, PlanConfig(), known=history, since_ns=500)
    assert [uri for uri, _ in homes(found)] == ["p09-0", "p09-1"]
    with pytest.raises(ConfigurationError, match="when the files were modified"):
        plan(people, PlanConfig(), since_ns=500)


@pytest.mark.parametrize("settings", [{"shard_size": 0}, {"frames": 0}, {"limit": 0}, {"max_images": -1}])
def test_settings_without_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        PlanConfig(**settings)


def test_an_unknown_choice_of_frames_is_refused() -> None:
    choice: Any = "worst"
    with pytest.raises(ConfigurationError, match="frame_choice out of uniform, best, got 'worst'"):
        PlanConfig(frame_choice=choice)
