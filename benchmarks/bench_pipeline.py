"""How busy Ray keeps the fit workers, and what it costs over a plain loop of the same stages.

60 people of the face world, a photo each, on two cores: first two plain processes, each of which loops over half of the
shards, then Ray with two fit workers over the same shards. Steady state is from when both workers have committed a
shard until one of them runs out of shards; starting, loading and compiling lie before it. Goals: the fit takes 85 % of
the workers' time, and Ray adds at most 10 % to the plain loop. Run as `python -m benchmarks.bench_pipeline` on an idle
machine.
"""

import argparse
import dataclasses
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow as pa

from benchmarks.command_line import parser_of
from ops.faceworld.album import AlbumSettings, write_album
from ops.fit.config import default_preset
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_shape
from pipeline.cluster.session import ClusterConfig, Pools, plan_pools
from pipeline.input.planner import PlanConfig, plan_shards
from pipeline.input.sources import list_input
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.graph import commit_stages, prepare_stages
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.plans import read_plans
from pipeline.run.shards import SHARDS, SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.stages.models import model_sizes
from pipeline.stages.stage import run_stage, use_threads
from pipeline.tables.schema import PENDING

WORKERS = 2


@dataclass(frozen=True)
class Commit:
    """A shard's way: how long it was fitted, and when it was there."""

    fit_seconds: float
    at: float


@dataclass(frozen=True)
class SteadyState:
    """All workers at work."""

    seconds: float
    shards: int
    busy: float
    """Seconds of fits within, of all workers together."""
    fit_seconds: float
    """Of all shards, those at start and end as well."""

    @property
    def rate(self) -> float:
        """Shards a second."""
        return self.shards / self.seconds

    @property
    def efficiency(self) -> float:
        """The fit's part of the workers' time."""
        return self.busy / (WORKERS * self.seconds)

    def __str__(self) -> str:
        return (
            f"{self.shards} shards in {self.seconds:.1f} s, the fit {100 * self.efficiency:.1f} % of the time, "
            f"all fits {self.fit_seconds:.1f} s"
        )


def main() -> None:
    """Print both measurements."""
    parser = parser_of(__doc__)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--steps", type=int, default=20, help="iterations of a fit")
    parser.add_argument("--shard-size", type=int, default=2)
    options = parser.parse_args()
    bundle = resolve_bundle("embedded")
    with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as name:
        folder = Path(name)
        album = AlbumSettings(people=options.people, photos=1, seed=1)
        write_album(load_shape(bundle.shape), folder / "input", folder / "truth.safetensors", album)
        plain, rayed = (configuration(options, folder, name) for name in ("plain", "ray"))
        print(
            f"{options.people} people, {options.steps} steps, {options.shard_size} a shard, load {load()}", flush=True
        )
        plain_loop(plain)
        alone = steady_state(commits(plain))
        print(f"plain loop:  {alone}; load {load()}", flush=True)
        started = time.perf_counter()
        summary = reconstruct(rayed, bundle)
        whole = time.perf_counter() - started
        found = steady_state(commits(rayed))
        print(f"with Ray:    {found}; load {load()}")
        print(f"             {whole:.1f} s in all, {summary.seconds:.1f} s of them from Ray's start to the last shard")
        print(f"the fit has {100 * found.efficiency:.1f} % of the workers' time (goal 85 %)")
        print(f"Ray adds {100 * (alone.rate / found.rate - 1):.1f} % to the plain loop (goal 10 %)")


def steady_state(found: Sequence[Commit]) -> SteadyState:
    """From when every worker has committed until the first of them has no more to do."""
    start, end = found[WORKERS - 1].at, found[-WORKERS].at
    # A fit ends with its commit, but for the writing; what lies outside the window does not count.
    busy = sum(max(0.0, min(each.at, end) - max(each.at - each.fit_seconds, start)) for each in found)
    shards = len(found) - 2 * WORKERS + 1
    return SteadyState(seconds=end - start, shards=shards, busy=busy, fit_seconds=sum(e.fit_seconds for e in found))


def configuration(options: argparse.Namespace, folder: Path, name: str) -> ReconstructConfig:
    """The same run into a folder of its own."""
    return ReconstructConfig(
        input=folder / "input",
        output=folder / name,
        layout="identity-folders",
        plan=PlanConfig(shard_size=options.shard_size),
        fit=dataclasses.replace(default_preset(), steps=options.steps, early_stop_window=0),
        cluster=ClusterConfig(num_gpus=0, fit_workers=WORKERS),
    )


def plain_loop(config: ReconstructConfig) -> None:
    """All stages in a loop, one process per core."""
    root = config.root
    listing = list_input(config.input, config.layout, config.identity_field)
    plan = plan_shards(listing.items, config.plan)
    plans = read_plans(root).add(plan, None, {"input": "album", "layout": listing.layout, "planned": "now"})
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WORKERS)
    shards = range(plans.next_shard)
    workers = [
        context.Process(target=loop_over, args=(config, list(shards[first::WORKERS]), barrier))
        for first in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a plain process failed")


def loop_over(config: ReconstructConfig, shards: Sequence[int], barrier: Barrier) -> None:
    """All stages over some shards, in this process."""
    bundle = resolve_bundle("embedded")
    pools = pools_of(config)
    use_threads(pools.fit.threads)
    store = ShardStore(config.root)
    prepare = prepare_stages(config, bundle)
    commit = commit_stages(config, bundle, model_sizes(bundle), pools, store, "plain")
    prepared, committed = prepare.load(), commit.load()
    barrier.wait()
    for shard in shards:
        table = run_stage(prepare, prepared, pa.table({"shard": [shard]}, schema=PENDING))
        run_stage(commit, committed, table)


def pools_of(config: ReconstructConfig) -> Pools:
    """Those of two cores."""
    return plan_pools(config.cluster, cpus=WORKERS, gpus=0, memory_bytes=1e12, shards=1000)


def commits(config: ReconstructConfig) -> list[Commit]:
    """In the order in which they were made."""
    markers = (Path(config.output) / SHARDS).glob(f"*/{SUCCESS_NAME}")
    found = [(path.stat().st_mtime, ShardSummary.from_json(path.read_text())) for path in markers]
    return [Commit(summary.fit_seconds, at) for at, summary in sorted(found, key=lambda each: each[0])]


def load() -> str:
    """Processes that want to run: about two when only this benchmark does."""
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
