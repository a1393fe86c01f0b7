"""Planning, resuming and streaming at scale: ten million images of a million people, with a stub for the fit.

Everything but the fit is the real thing: manifest, listing, planner, stored plan, shard store, lease, Ray. The stub
reads the items of a shard and commits it without rows. Run as `python -m benchmarks.bench_plan`; smaller with
`--images 100000`. Each part runs in a process of its own, so that its peak memory is its own. Goals on 2 cores: plan in
10 minutes and 6 GB, scan 50,000 committed shards in 60 s, memory that does not grow while shards stream.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.command_line import parser_of
from pipeline.input.listing import Listing
from pipeline.input.planner import Plan, PlanConfig, plan_shards
from pipeline.input.sources import list_input
from pipeline.run.plans import PlannedShards, PlanStore, read_plans, write_current
from pipeline.run.shards import SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.stages.writing import committed_row
from pipeline.storage.lease import lease
from pipeline.storage.store import Storage, open_output
from pipeline.tables.schema import COMMITTED, ITEMS

IMAGES_A_PERSON = 10
PEOPLE_A_SHARD = 20
PLAN = PlanConfig(shard_size=IMAGES_A_PERSON * PEOPLE_A_SHARD)
CHUNK = 500_000


@dataclass(frozen=True, kw_only=True)
class StubFit:
    """Commits a shard as soon as it has its items."""

    store: ShardStore

    @property
    def inputs(self) -> pa.Schema:
        return ITEMS

    @property
    def outputs(self) -> pa.Schema:
        return COMMITTED

    def load(self) -> None:
        return None

    def __call__(self, loaded: None, table: pa.Table) -> pa.Table:
        return committed_row(commit_stub(self.store, int(table.column("shard")[0].as_py()), table.num_rows))


def main() -> None:
    """Run all parts, or one of them as a child."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--stream", type=int, default=6_000, help="shards that go through Ray")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options) | {"CPU seconds": time.process_time()}))
        return
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        run_all(options, options.folder)
    else:
        with tempfile.TemporaryDirectory(prefix="bench-plan-") as folder:
            run_all(options, Path(folder))


def run_all(options: argparse.Namespace, folder: Path) -> None:
    """Print a line for every part."""
    print(f"{options.images} images of {options.images // IMAGES_A_PERSON} people, load {os.getloadavg()[0]:.1f}")
    for part in ("manifest", "plan", "stream", "commit", "scan", "again"):
        started = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.bench_plan", "--part", part, "--folder", str(folder)]
        command += ["--images", str(options.images), "--stream", str(options.stream)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        wall = time.perf_counter() - started
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        print(f"{part:9}{wall:8.1f} s, {found.pop('CPU seconds'):6.1f} CPU s  {found.pop('what')}", flush=True)
        for name, value in found.items():
            print(f"{'':34}{name}: {value}", flush=True)


def write_manifest(options: argparse.Namespace) -> dict[str, Any]:
    """The people's images in no order, as a crawl would leave them."""
    schema = pa.schema([("uri", pa.string()), ("identity_id", pa.string())])
    order = np.random.default_rng(0).permutation(options.images)
    path = options.folder / "manifest.parquet"
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, options.images, CHUNK):
            images = order[start : start + CHUNK]
            people = images // IMAGES_A_PERSON
            uris = [f"s3://faces/{p % 1000:03d}/{p:07d}/{i:08d}.jpg" for p, i in zip(people, images, strict=True)]
            writer.write_table(
                pa.table({"uri": uris, "identity_id": [f"person-{p:07d}" for p in people]}, schema=schema)
            )
    return {"what": f"{path.stat().st_size / 1e6:.0f} MB", "peak memory": peak()}


def plan(options: argparse.Namespace) -> dict[str, Any]:
    """From the manifest to a stored plan."""
    root, started = output(options), time.perf_counter()
    listing = list_input(options.folder / "manifest.parquet")
    listed = time.perf_counter()
    with lease(root) as fence:
        made = new_plan(listing, read_plans(root))
        planned = time.perf_counter()
        facts = {"input": "manifest", "layout": listing.layout, "planned": "now"}
        store = read_plans(root).add(made, fence, facts)
    times = (listed - started, planned - listed, time.perf_counter() - planned)
    return {
        "what": f"{made.item_count} images of {made.identities.num_rows} people in {store.next_shard} shards",
        "list, plan, store": " + ".join(f"{seconds:.1f}" for seconds in times) + f" s = {sum(times):.1f} s (goal 600)",
        "peak memory": f"{peak()} (goal 6 GB)",
    }


def stream(options: argparse.Namespace) -> dict[str, Any]:
    """The first shards through Ray, as a run would; memory of this process and of the workers as they go by."""
    from pipeline.cluster.execution import stream_shards
    from pipeline.cluster.session import ClusterConfig, ray_session
    from pipeline.stages.stage import Placement
    from pipeline.stages.writing import OpenShard

    root = output(options)
    plans = read_plans(root)
    todo = plans.pending(())[: options.stream]
    places = (Placement(workers=1, cpus=0.5), Placement(workers=2, cpus=0.5))
    with lease(root) as fence, ray_session(ClusterConfig(num_gpus=0)) as ray:
        stages = (OpenShard(root=root), StubFit(store=ShardStore(root, fence)))
        memory: list[dict[str, int]] = []
        started = time.perf_counter()
        for count, _ in enumerate(stream_shards(ray, todo, stages, places), 1):
            if count in {len(todo) * tenth // 10 for tenth in range(1, 11)}:
                memory.append(resident())
        seconds = time.perf_counter() - started
    names = sorted({name for sample in memory for name in sample})
    series = {name: " ".join(f"{sample.get(name, 0) >> 20}" for sample in memory) for name in names}
    return {"what": f"{len(todo)} shards, {1000 * seconds / len(todo):.1f} ms each"} | {
        f"MB of {name} at 10, 20, ... 100 %": line for name, line in series.items()
    }


def commit(options: argparse.Namespace) -> dict[str, Any]:
    """All other shards, without Ray."""
    root = output(options)
    plans = read_plans(root)
    store, shards = ShardStore(root), PlannedShards(plans)
    todo = plans.pending(store.summaries())
    first, after = None, 0
    for count, shard in enumerate(todo):
        commit_stub(store, shard, shards.rows(shard).num_rows)
        if count == len(todo) // 10:
            first = resident()["driver"]
        after = resident()["driver"] if count % 1000 == 0 else after
    return {"what": f"{len(todo)} shards", "MB after a tenth, at the end": f"{(first or 0) >> 20}, {after >> 20}"}


def scan(options: argparse.Namespace) -> dict[str, Any]:
    """What a run does first in an output that is nearly done."""
    root, started = output(options), time.perf_counter()
    committed = ShardStore(root).summaries()
    read = time.perf_counter()
    plans = read_plans(root)
    left = plans.pending(committed)
    write_current(root, plans.current(committed))
    seconds = time.perf_counter() - started
    return {
        "what": f"{len(committed)} committed shards, {len(left)} to do, {seconds:.1f} s (goal 60 for 50,000)",
        "markers, current rows": f"{read - started:.1f} + {seconds - read + started:.1f} s",
        "peak memory": peak(),
    }


def again(options: argparse.Namespace) -> dict[str, Any]:
    """The whole input compared with the stored plan: the start of the next night's run."""
    started = time.perf_counter()
    listing = list_input(options.folder / "manifest.parquet")
    made = new_plan(listing, read_plans(output(options)))
    return {
        "what": f"{made.item_count} new images found in {time.perf_counter() - started:.1f} s",
        "peak memory": peak(),
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "manifest": write_manifest,
    "plan": plan,
    "stream": stream,
    "commit": commit,
    "scan": scan,
    "again": again,
}


def new_plan(listing: Listing, plans: PlanStore) -> Plan:
    """As a run plans it."""
    known = plans.known() if plans.generations else None
    return plan_shards(listing.items, PLAN, known, first_shard=plans.next_shard)


def commit_stub(store: ShardStore, shard: int, items: int) -> ShardSummary:
    """A shard of a summary alone."""
    summary = ShardSummary(shard=shard, fingerprint="stub", items=items, identities={}, frames={}, fit_seconds=0.0)
    with store.writing(shard) as folder:
        (folder / SUCCESS_NAME).write_text(summary.to_json())
    return summary


def output(options: argparse.Namespace) -> Storage:
    """Where the plan and the shards are."""
    return open_output(options.folder / "out")


def peak() -> str:
    """Most memory this process ever held."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB"


def resident() -> dict[str, int]:
    """Bytes held now: this process, and the workers of its stages together."""
    import psutil

    me = psutil.Process()
    found = {"driver": me.memory_info().rss}
    for child in me.children(recursive=True):
        if "MapWorker" in " ".join(child.cmdline()):
            # What workers share with the object store is counted there.
            memory = child.memory_info()
            found["workers"] = found.get("workers", 0) + memory.rss - memory.shared
    return found


if __name__ == "__main__":
    main()
