import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ops.errors import ConfigurationError, FingerprintMismatchError
from ops.fit import FitConfig
from ops.weights.bundle import ModelBundle
from pipeline.cluster import ClusterConfig
from pipeline.config import ReconstructConfig
from pipeline.planner import PlanConfig
from pipeline.reconstruction import reconstruct
from pipeline.stage import StageFailure

pytestmark = [pytest.mark.models, pytest.mark.ray]


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
    local_ray: Any, bundle: ModelBundle, photo_dir: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    wanted = config(photo_dir / "congress", tmp_path / "out")
    summary = reconstruct(wanted, bundle, lines.append)
    assert summary.complete
    assert summary.frames == {"ok": 4}
    assert summary.fit_workers == 1
    assert 0 < summary.utilisation <= 1
    assert any(line.startswith("shard 00001 (2/2): 2 ok;") or "shard 00000 (2/2): 2 ok;" in line for line in lines)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["input"]["items"] == 4
    assert record["models"]["shape"]["sha256"] == bundle.shape.sha256
    assert record["versions"]["ray"]
    assert record["summary"]["frames"] == {"ok": 4}
    again = reconstruct(wanted, bundle)
    assert (again.frames, again.new_frames_ok, again.complete) == ({"ok": 4}, 0, True)
    with pytest.raises(FingerprintMismatchError, match=r"configuration\.frames: 5 before, 3 now"):
        reconstruct(config(photo_dir / "congress", tmp_path / "out", plan=PlanConfig(frames=3)), bundle)


def test_pools_that_do_not_fit_are_refused(
    local_ray: Any, bundle: ModelBundle, photo_dir: Path, tmp_path: Path
) -> None:
    wanted = config(photo_dir / "congress", tmp_path / "out", cluster=ClusterConfig(num_gpus=3))
    with pytest.raises(ConfigurationError, match="workers need 3 GPUs and the cluster has 0"):
        reconstruct(wanted, bundle)


@pytest.mark.slow
def test_a_failing_stage_is_named_with_its_items(
    local_ray: Any, bundle: ModelBundle, photo_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "attempts").mkdir(parents=True)
    (tmp_path / "out" / "attempts" / "00000-prepare").touch()
    (tmp_path / "out" / "run.json").write_text("{}")
    with pytest.raises(StageFailure, match=r"Isolating on A000014-0-[0-9a-f]{16}.*(NotADirectory|FileExists)Error"):
        reconstruct(config(photo_dir / "congress", tmp_path / "out"), bundle)
    assert not list((tmp_path / "out" / "shards").glob("0*"))


def test_mesh_formats_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="expected different mesh formats out of glb, obj, ply, got stl"):
        config(Path("in"), Path("out"), mesh_formats=("stl",))
    assert pa.array(config(Path("in"), Path("out")).computed()["mesh_formats"]).to_pylist() == ["glb"]
