"""What a run would do, without doing it: nothing is written, and no Ray is started."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute

from ops.weights.bundle import ModelBundle
from pipeline.input.listing import Listing
from pipeline.input.planner import PlanConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.grouping import assigned_people
from pipeline.reconstruct.reconstruction import check_folders, check_run, describe_plan, plan_new
from pipeline.run.plans import read_plans
from pipeline.run.shards import ShardStore, ShardSummary
from pipeline.stages.frames import LOOKED_AT

pc: Any = pyarrow.compute
_LARGEST = 5
"""Persons named."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is left to do, planned earlier or now."""

    input: str
    """A line about the input and what is new in it."""
    shards: int
    identities: int
    items: int
    images: int
    """Images and sampled frames that are used."""
    committed: int
    """Shards that are there."""
    device: str
    clips: str
    """A line about which frames of clips are used; empty where there are no clips."""
    seconds_an_image: float | None
    """Measured in this output's shards; None where there are none."""
    largest: Sequence[tuple[str, int]]
    """The persons with the most files, and how many these are."""

    def text(self) -> str:
        """Some lines for people."""
        largest = ", ".join(f"{name} ({count})" for name, count in self.largest)
        lines = [
            self.input,
            f"the persons with the most files: {largest}",
            f"to do: {self.items} files ({self.images} images and frames) of {self.identities} identities in "
            f"{self.shards} shards; {self.committed} shards are there",
        ]
        if self.clips:
            lines.append(self.clips)
        if self.seconds_an_image is None:
            lines.append("time: unknown, as no shard of this output has been made yet")
        else:
            hours = self.images * self.seconds_an_image / 3600
            unit = "GPU" if self.device == "cuda" else "CPU worker"
            lines.append(
                f"time: about {hours:.2f} {unit} hours, at {self.seconds_an_image:.2f} s an image as measured in the "
                f"{self.committed} shards"
            )
        return "\n".join(lines)


def forecast(config: ReconstructConfig, bundle: ModelBundle) -> Forecast:
    """List, compare and plan as a run would.

    Raises:
        ConfigurationError, OutputError: as the run itself would.
    """
    config.check_models(bundle)
    root = config.root
    check_folders(config, root)
    listing = config.listing()
    committed = ShardStore(root).summaries()
    check_run(config, bundle, root, committed)
    if listing.layout == "cluster":
        listing = assigned_people(listing, root)
    plans = read_plans(root)
    plan = plan_new(config, listing, plans)
    waiting = plans.pending(committed)
    items, identities, images = plans.items_of(waiting)
    device, pace = _pace(committed.values())
    return Forecast(
        input=describe_plan(plan, plans, listing),
        shards=len(waiting) + plan.shard_count,
        identities=identities + plan.identities.num_rows,
        items=items + plan.item_count,
        images=images + plan.image_count,
        committed=len(committed),
        device=device,
        clips=_clips(config.plan, listing),
        seconds_an_image=pace,
        largest=listing.largest_persons(_LARGEST),
    )


def _clips(plan: PlanConfig, listing: Listing) -> str:
    count = pc.sum(pc.equal(listing.items.column("kind"), "video")).as_py() or 0
    if not count:
        return ""
    drawn = {
        "uniform": "drawn uniformly",
        "best": f"the best of {LOOKED_AT * plan.frames} that are looked at",
    }[plan.frame_choice]
    return f"clips: {count}, of each {plan.frames} frames, {drawn}"


def _pace(shards: Iterable[ShardSummary]) -> tuple[str, float | None]:
    """Device and seconds per image of the shards that were made on what the most of them were made on."""
    seconds: dict[str, float] = {}
    images: dict[str, int] = {}
    for shard in shards:
        seconds[shard.device] = seconds.get(shard.device, 0.0) + shard.fit_seconds
        images[shard.device] = images.get(shard.device, 0) + sum(shard.frames.values())
    device = max(images, key=lambda name: images[name], default="")
    return device, seconds[device] / images[device] if images.get(device) else None
