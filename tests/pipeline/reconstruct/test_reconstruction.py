import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ops.errors import ConfigurationError, FingerprintMismatchError, OutputError
from ops.fit import FitConfig
from ops.weights.bundle import ModelBundle
from pipeline.cluster.session import ClusterConfig
from pipeline.input.planner import PlanConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.progress import Progress
from pipeline.run.status import read_status

pytestmark = pytest.mark.ray


def config(source: Path, output: Path, **changes: Any) -> ReconstructConfig:
    settings: dict[str, Any] = {
        "input": source,
        "output": output,
        "layout": "identity-folders",
        "plan": PlanConfig(limit=2, shard_size=2),
        "fit": FitConfig(steps=1, render_px=96),
        "cluster": ClusterConfig(num_gpus=0, fit_workers=1),
    }
    return ReconstructConfig(**(settings | changes))


@pytest.mark.slow
def test_a_run_is_recorded_and_repeated_for_nothing(
    local_ray: Any, embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    wanted = config(album, tmp_path / "out")
    shown: list[Progress] = []
    summary = reconstruct(wanted, embedded, lines.append, shown.append)
    assert summary.complete
    assert summary.frames == {"ok": 4}
    assert summary.fit_workers == 1
    assert 0 < summary.utilisation <= 1
    assert any(line.startswith("shard 00001 (2/2): 2 ok;") or "shard 00000 (2/2): 2 ok;" in line for line in lines)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["input"]["items"] == 4
    assert record["models"]["detector"]["sha256"] == embedded.detector.sha256
    assert record["versions"]["ray"]
    assert record["summary"]["frames"] == {"ok": 4}
    (entry,) = record["runs"]
    assert (entry["outcome"], entry["shards"], entry["shards_before"], entry["fit_workers"]) == ("complete", 2, 0, 1)
    assert entry["hosts"]
    assert entry["started"] <= entry["finished"]
    assert not (tmp_path / "out" / "attempts").exists()
    assert {progress.total for progress in shown} == {4}
    assert "fit" in {step for progress in shown for step in progress.steps}, "nobody heard the workers"
    assert not (tmp_path / "out" / "progress.json").exists()
    status = read_status(wanted.root)
    assert (status.state, status.shards, status.shards_committed, status.items_done) == ("complete", 2, 2, 4)
    assert (status.frames, status.seconds_left) == ({"ok": 4}, None)
    assert status.images_per_minute == pytest.approx(60 * 4 / entry["seconds"], rel=0.9)
    again = reconstruct(wanted, embedded)
    assert (again.frames, again.new_frames_ok, again.complete) == ({"ok": 4}, 0, True)
    with pytest.raises(FingerprintMismatchError, match=r"configuration\.frames: 5 before, 3 now"):
        reconstruct(config(album, tmp_path / "out", plan=PlanConfig(frames=3)), embedded)
    with pytest.raises(FingerprintMismatchError, match=r'configuration\.frame_choice: "uniform" before, "best" now'):
        reconstruct(config(album, tmp_path / "out", plan=PlanConfig(frame_choice="best")), embedded)


def test_pools_that_do_not_fit_are_refused(local_ray: Any, embedded: ModelBundle, album: Path, tmp_path: Path) -> None:
    wanted = config(album, tmp_path / "out", cluster=ClusterConfig(num_gpus=3))
    with pytest.raises(ConfigurationError, match="workers need 3 GPUs and the cluster has 0"):
        reconstruct(wanted, embedded)


@pytest.mark.slow
def test_an_output_that_workers_cannot_use_is_named(
    local_ray: Any, embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "attempts").mkdir(parents=True)
    (tmp_path / "out" / "attempts" / "00000-prepare").touch()
    (tmp_path / "out" / "run.json").write_text("{}")
    with pytest.raises(OutputError, match=rf"^{tmp_path}/out cannot be used .*attempts.*run the same command again$"):
        reconstruct(config(album, tmp_path / "out"), embedded)
    assert not list((tmp_path / "out" / "shards").glob("0*"))


def test_mesh_formats_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="expected different mesh formats out of glb, obj, ply, got stl"):
        config(Path("in"), Path("out"), mesh_formats=("stl",))
    assert pa.array(config(Path("in"), Path("out")).computed()["mesh_formats"]).to_pylist() == ["glb"]
