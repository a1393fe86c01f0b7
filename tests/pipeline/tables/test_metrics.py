import re
import time
import urllib.request
from typing import Any

import pytest

from pipeline.tables.metrics import record_commit, record_repeat, record_waiting


@pytest.mark.ray
@pytest.mark.slow
def test_prometheus_sees_what_workers_record(local_ray: Any) -> None:
    @local_ray.remote(num_cpus=0)
    class Worker:
        def work(self) -> None:
            record_commit({"ok": 3, "failed unreadable": 1}, {"ok": 2}, [0.2, 40.0])
            record_commit({}, {}, [])
            record_repeat("fit")

    worker = Worker.remote()
    local_ray.get(worker.work.remote())
    record_waiting(7)
    (node,) = local_ray.nodes()
    wanted = {
        'ganfit_images_total{status="ok",reason=""}': 3.0,
        'ganfit_images_total{status="failed",reason="unreadable"}': 1.0,
        'ganfit_people_total{status="ok",reason=""}': 2.0,
        'ganfit_fit_seconds_bucket{le="30.0"}': 1.0,
        'ganfit_fit_seconds_bucket{le="100.0"}': 2.0,
        "ganfit_fit_seconds_total": 40.2,
        'ganfit_repeats_total{stage="fit"}': 1.0,
        "ganfit_shards_waiting": 7.0,
    }
    end = time.monotonic() + 60
    while not (found := exported(node["MetricsExportPort"])).items() >= wanted.items() and time.monotonic() < end:
        time.sleep(1)
    assert {name: found.get(name) for name in wanted} == wanted


def exported(port: int) -> dict[str, float]:
    """Our metrics, without the labels that Ray adds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found: dict[str, float] = {}
    for line in lines:
        match = re.fullmatch(r"ray_(ganfit_\w+)\{(.*)\} (\S+)", line)
        if match:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
            ours = ",".join(
                f'{name}="{labels[name]}"' for name in ("status", "reason", "stage", "le") if name in labels
            )
            found[match[1] + (f"{{{ours}}}" if ours else "")] = float(match[3])
    return found
