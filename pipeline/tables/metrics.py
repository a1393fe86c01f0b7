"""What Prometheus sees of a run: counters and gauges that Ray's metrics agent exports on every node.

::

    ray_ganfit_images_total{status, reason}     images and sampled frames committed
    ray_ganfit_people_total{status, reason}     persons committed
    ray_ganfit_fit_seconds                      histogram: seconds a person's fit took (Ray estimates its sum)
    ray_ganfit_fit_seconds_total                the exact sum: its rate over the fit workers is their utilisation
    ray_ganfit_shards_waiting                   shards of this run that are not committed
    ray_ganfit_repeats_total{stage}             shards restarted after their worker died
    ray_ganfit_gpu_memory_bytes                 the most a fit worker has reserved on its GPU
"""

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

_FIT_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Upper ends of the histogram's classes."""


class _Metrics(NamedTuple):
    images: Any
    people: Any
    fit_seconds: Any
    fit_seconds_total: Any
    waiting: Any
    repeats: Any
    gpu_memory: Any


def record_commit(images: Mapping[str, int], people: Mapping[str, int], fit_seconds: Sequence[float]) -> None:
    """Count what a shard held: images and people by `status` or `status reason`, and how long each fit took."""
    metrics = _metrics()
    if metrics is None:
        return
    for counter, counts in ((metrics.images, images), (metrics.people, people)):
        for label, count in counts.items():
            status, _, reason = label.partition(" ")
            counter.inc(count, {"status": status, "reason": reason})
    for seconds in fit_seconds:
        metrics.fit_seconds.observe(seconds)
    if (seconds := sum(fit_seconds)) > 0:
        metrics.fit_seconds_total.inc(seconds)
    if "torch" in sys.modules and (cuda := sys.modules["torch"].cuda).is_available():
        metrics.gpu_memory.set(cuda.max_memory_reserved())


def record_repeat(stage: str) -> None:
    """Count a shard that is restarted because its worker died."""
    if (metrics := _metrics()) is not None:
        metrics.repeats.inc(1, {"stage": stage})


def record_waiting(shards: int) -> None:
    """Show how many shards are still to be committed."""
    if (metrics := _metrics()) is not None:
        metrics.waiting.set(shards)


def _metrics() -> _Metrics | None:
    """The metrics of this process; None where no Ray runs."""
    if "ray" not in sys.modules or not sys.modules["ray"].is_initialized():
        return None
    return _made()


@lru_cache
def _made() -> _Metrics:
    from ray.util.metrics import Counter, Gauge, Histogram

    result = ("status", "reason")
    return _Metrics(
        images=Counter("ganfit_images_total", "Images and sampled frames committed", result),
        people=Counter("ganfit_people_total", "Persons committed", result),
        fit_seconds=Histogram("ganfit_fit_seconds", "Seconds a person's fit took", list(_FIT_SECONDS)),
        fit_seconds_total=Counter("ganfit_fit_seconds_total", "Seconds spent fitting"),
        waiting=Gauge("ganfit_shards_waiting", "Shards that are not committed"),
        repeats=Counter("ganfit_repeats_total", "Shards restarted after their worker died", ("stage",)),
        gpu_memory=Gauge("ganfit_gpu_memory_bytes", "The most a fit worker has reserved on its GPU"),
    )
