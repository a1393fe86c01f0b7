"""What goes wrong during a drill.

Python runs this file when it starts with this folder on PYTHONPATH, in every process of the run: driver, workers and
their children. It changes modules right after they are imported, as the environment variable DRILL_HAZARDS asks; the
product knows nothing of it.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

HAZARDS: dict[str, Any] = json.loads(os.environ.get("DRILL_HAZARDS", "{}"))
Change = Callable[[ModuleType], None]


def report_beginnings(module: ModuleType) -> None:
    """A line for every beginning of work on a shard: what a drill counts, and whom it kills."""
    begin = module.Attempts.begin

    def reporting(self: Any, name: str) -> int:
        count = begin(self, name)
        with open(HAZARDS["log"], "a") as file:
            file.write(f"{os.getpid()} {name} {count}\n")
        return count

    module.Attempts.begin = reporting


def die_of_photos(module: ModuleType) -> None:
    """Decoding certain photos ends the process, as a bug in a native decoder does."""
    decode = module.decode_photo
    mark = HAZARDS["photo_that_kills"].encode()

    def decoding(data: bytes, *options: Any) -> Any:
        if mark in data:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(data, *options)

    module.decode_photo = decoding


def die_of_fits(module: ModuleType) -> None:
    """Fitting certain photos ends the process."""
    fit, name = module.FitFaces.fit, HAZARDS["fit_that_kills"]

    def fitting(self: Any, loaded: Any, rows: Sequence[Any], *options: Any) -> Any:
        if any(name in row.uri for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        return fit(self, loaded, rows, *options)

    module.FitFaces.fit = fitting


def slow_fits(module: ModuleType) -> None:
    """Every fit takes longer, so that there is a middle to interrupt it in."""
    fit = module.FitFaces.fit

    def fitting(self: Any, *options: Any) -> Any:
        time.sleep(HAZARDS["fit_delay_s"])
        return fit(self, *options)

    module.FitFaces.fit = fitting


def hang_on_clips(module: ModuleType) -> None:
    """Decoding certain clips blocks in a system call that never returns."""
    sample, name = module.sample_video, HAZARDS["clip_that_hangs"]

    @functools.wraps(sample)  # it is sent to the decoding process by its name
    def sampling(path: Any, count: int) -> Any:
        if name in str(path):
            os.read(os.pipe()[0], 1)
        return sample(path, count)

    module.sample_video = sampling


def fit_on_the_cpu(module: ModuleType) -> None:
    """GPUs that nodes declare without having them are counted, and the fit computes on the CPU."""
    import dataclasses

    plan = module.plan_pools

    def planning(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(plan(*arguments, **options), device="cpu")

    module.plan_pools = planning


CHANGES: dict[str, tuple[str, Change]] = {
    "log": ("pipeline.run.attempts", report_beginnings),
    "photo_that_kills": ("ops.files.photo", die_of_photos),
    "fit_that_kills": ("pipeline.stages.fitting", die_of_fits),
    "fit_delay_s": ("pipeline.stages.fitting", slow_fits),
    "clip_that_hangs": ("ops.files.video", hang_on_clips),
    "declared_gpus": ("pipeline.cluster.session", fit_on_the_cpu),
}


class ChangingFinder(importlib.abc.MetaPathFinder):
    """Finds modules as usual and changes them after their import."""

    def __init__(self, changes: dict[str, list[Change]]) -> None:
        self.changes = changes

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def executing(module: ModuleType) -> None:
            execute(module)
            for change in self.changes[name]:
                change(module)

        spec.loader.exec_module = executing  # type: ignore[method-assign]
        return spec


_wanted: dict[str, list[Change]] = {}
for _hazard in HAZARDS:
    _module, _change = CHANGES[_hazard]
    _wanted.setdefault(_module, []).append(_change)
if _wanted:
    sys.meta_path.insert(0, ChangingFinder(_wanted))
