import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.register_micc import main
from ops.geometry.mesh import read_mesh


def arguments(micc: Any, output: Path, workers: int = 0) -> list[str]:
    pairs = {
        "--data": micc.data,
        "--landmarks": micc.landmarks,
        "--template": micc.template,
        "--template-landmarks": micc.template_landmarks,
        "--output": output,
        "--workers": workers,
    }
    return [str(word) for pair in pairs.items() for word in pair]


def rows_of(folder: Path) -> dict[str, dict[str, object]]:
    table = pq.read_table(folder / "registrations.parquet")
    return {f"{row['subject']}-{row['scan']}": row for row in table.to_pylist()}


def test_every_scan_is_accounted_for(registered_micc: Path) -> None:
    rows = rows_of(registered_micc)
    assert len(rows) == 106
    refused = {name: (row["status"], row["reason"]) for name, row in rows.items() if row["status"] != "ok"}
    assert refused == {
        "subject_07-frontal1": ("rejected", "unreadable"),
        "subject_12-frontal2": ("rejected", "unreadable"),
        "subject_30-frontal2": ("rejected", "missing_scan"),
    }
    assert "points under landmarks" in str(rows["subject_07-frontal1"]["message"])
    good = [row for row in rows.values() if row["status"] == "ok"]
    assert max(row["residual_mm"] for row in good) < 0.1
    assert all(np.isfinite(value) for row in good for value in row.values() if isinstance(value, float))


def test_registered_meshes_have_the_template_topology_and_meet_the_scan(registered_micc: Path, tiny_micc: Any) -> None:
    row = rows_of(registered_micc)["subject_20-frontal2"]
    template = read_mesh(tiny_micc.template)
    registered = read_mesh(registered_micc / str(row["mesh_path"]))
    np.testing.assert_array_equal(registered.triangles, template.triangles)
    scan, source = read_mesh(registered_micc / str(row["scan_path"])), read_mesh(Path(str(row["source"])))
    assert len(scan.triangles) == len(source.triangles)
    np.testing.assert_allclose(np.sort(scan.vertices, axis=0), np.sort(source.vertices, axis=0))


def test_a_second_run_does_what_is_missing_and_nothing_else(
    registered_micc: Path, tiny_micc: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, kept = registered_micc / "items" / "subject_02-frontal1", registered_micc / "items" / "subject_03-frontal1"
    before, vertices = kept.stat().st_mtime_ns, read_mesh(lost / "registered.ply").vertices
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    (registered_micc / "items" / ".tmp-subject_02-frontal1-00000000").mkdir()
    assert main(arguments(tiny_micc, registered_micc)) == 0
    assert "105 of 106 are there already" in capsys.readouterr().out
    assert kept.stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_mesh(lost / "registered.ply").vertices, vertices)
    assert not list((registered_micc / "items").glob(".tmp-*"))


def test_scans_are_added_and_changed_ones_made_again(
    tiny_micc: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from jobs.evaluate_micc import main as evaluate

    data, output = tmp_path / "MICC", tmp_path / "registered"
    shutil.copytree(tiny_micc.data / "subject_01", data / "subject_01")
    words = arguments(tiny_micc, output)
    words[words.index("--data") + 1] = str(data)
    measure = ["--registered", str(output), "--reconstructions", str(tiny_micc.reconstructions), "--workers", "0"]
    measure += ["--output", str(tmp_path / "evaluated")]
    assert main(words) == evaluate(measure) == 0
    shutil.copytree(tiny_micc.data / "subject_02", data / "subject_02")
    scan = next((data / "subject_01" / "Model" / "frontal1" / "obj").iterdir())
    scan.write_text(f"# touched up\n{scan.read_text()}")
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "1 of 4 are made again, as their files changed: subject_01-frontal1" in said
    assert "1 of 4 are there already" in said
    assert sorted(rows_of(output)) == [f"subject_{n:02d}-frontal{k}" for n in (1, 2) for k in (1, 2)]
    assert evaluate(measure) == 0
    assert len(pq.read_table(tmp_path / "evaluated" / "pairs.parquet")) == 12


def test_another_template_does_not_mix_with_old_results(
    registered_micc: Path, tiny_micc: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.obj"
    template = Path(str(tiny_micc.template))
    first, _, rest = template.read_text().partition("\n")
    other.write_text(first + "5\n" + rest)
    words = [str(other) if word == str(template) else word for word in arguments(tiny_micc, registered_micc)]
    assert main(words) == 1
    assert "what differs: models" in capsys.readouterr().err
    record = json.loads((registered_micc / "run.json").read_text())
    assert record["scans"] == 106


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--data": "gone"}, "found no folder"),
        ({"--landmarks": "gone"}, "LJSON annotations"),
        ({"--template": "gone.obj"}, r"gone\.obj"),
        ({"--template-landmarks": "gone.txt"}, "68 vertex numbers"),
    ],
)
def test_bad_input_is_refused(
    tiny_micc: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], words: str
) -> None:
    import re

    listed = arguments(tiny_micc, tmp_path / "out")
    for option, value in change.items():
        listed[listed.index(option) + 1] = str(tmp_path / value)
    assert main(listed) == 1
    assert re.search(words, capsys.readouterr().err)


@pytest.mark.ray
@pytest.mark.slow
def test_ray_tasks_give_the_same(local_ray: Any, tiny_micc: Any, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "two"
    for name in ("subject_30", "subject_31"):
        shutil.copytree(Path(str(tiny_micc.data)) / name, data / name)
    for folder, workers in (("alone", 0), ("together", 2)):
        words = arguments(tiny_micc, tmp_path / folder, workers=workers)
        words[words.index("--data") + 1] = str(data)
        assert main(words) == 0
    alone, together = rows_of(tmp_path / "alone"), rows_of(tmp_path / "together")
    assert sorted(together) == [f"subject_{n}-frontal{k}" for n in (30, 31) for k in (1, 2)]
    for name, row in together.items():
        assert row["reason"] == alone[name]["reason"]
        assert row["residual_mm"] == alone[name]["residual_mm"]
