import random
from collections.abc import Callable

import pytest

from ops.errors import ConfigurationError
from pipeline.planner import PlanConfig, plan_shards
from pipeline.schema import ITEMS
from pipeline.sources import Item

MakeItem = Callable[..., Item]


@pytest.fixture
def people(make_item: MakeItem) -> list[Item]:
    """Persons p00 .. p09 with 1 to 4 photos."""
    return [
        make_item(f"p{person:02d}-{photo}", f"p{person:02d}") for person in range(10) for photo in range(person % 4 + 1)
    ]


def test_persons_stay_whole_and_every_item_is_planned_once(people: list[Item]) -> None:
    plan = plan_shards(people, PlanConfig(shard_size=5))
    placed = [item.item_id for shard in plan.shards for item in shard.items]
    assert sorted(placed) == sorted(item.item_id for item in people)
    homes = {(item.identity_id, shard.index) for shard in plan.shards for item in shard.items}
    assert len(homes) == plan.identity_count == 10
    assert all(len(shard.items) <= 5 for shard in plan.shards)
    assert [shard.index for shard in plan.shards] == list(range(len(plan.shards)))


def test_the_plan_does_not_depend_on_the_order_of_listing(people: list[Item]) -> None:
    shuffled = random.Random(1).sample(people, len(people))  # noqa: S311
    config = PlanConfig(shard_size=5)
    assert plan_shards(shuffled, config) == plan_shards(people, config)
    assert plan_shards(people[:-1], config).digest() != plan_shards(people, config).digest()
    assert plan_shards(people, PlanConfig(shard_size=6)).digest() != plan_shards(people, config).digest()


def test_the_limit_counts_persons(people: list[Item]) -> None:
    plan = plan_shards(people, PlanConfig(limit=4))
    assert {item.identity_id for shard in plan.shards for item in shard.items} == {"p00", "p01", "p02", "p03"}


def test_a_clip_weighs_its_frames(make_item: MakeItem) -> None:
    clips = [make_item(f"c{number}", kind="video") for number in range(4)]
    plan = plan_shards(clips, PlanConfig(shard_size=10, frames=5))
    assert [len(shard.items) for shard in plan.shards] == [2, 2]


def test_surplus_images_are_marked_not_dropped(make_item: MakeItem) -> None:
    many = [make_item(f"a{number}", "anna") for number in range(6)] + [make_item("b", "bob")]
    (shard,) = plan_shards(many, PlanConfig(max_images=4)).shards
    assert shard.surplus == {"a4-id", "a5-id"}
    table = shard.table()
    assert table.schema.equals(ITEMS)
    assert table.column("surplus").to_pylist() == [False] * 4 + [True] * 2 + [False]
    assert table.column("uri").to_pylist() == ["a0", "a1", "a2", "a3", "a4", "a5", "b"]


@pytest.mark.parametrize("settings", [{"shard_size": 0}, {"frames": 0}, {"limit": 0}, {"max_images": -1}])
def test_settings_without_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        PlanConfig(**settings)
