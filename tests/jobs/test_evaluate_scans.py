from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.measuring import evaluate_scans
from ops.faceworld.shape import faceworld_model
from ops.geometry.mesh import Mesh, write_obj
from tests.pipeline.scans.conftest import write_scan


@pytest.mark.ray
@pytest.mark.slow
def test_a_textured_scan_is_photographed_reconstructed_and_measured(
    local_ray: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scanned = write_scan(tmp_path / "scans", 5)
    others = tmp_path / "others"
    others.mkdir()
    write_obj(others / "person_5.obj", Mesh(scanned.vertices_mm, faceworld_model().triangles.numpy()))
    (tmp_path / "scans" / "empty").mkdir()
    np.savez(tmp_path / "scans" / "empty" / "mesh.npz", V=np.zeros((3, 3)), F=np.array([[0, 1, 2]]))
    output = tmp_path / "out"
    command = ["--scans", str(tmp_path / "scans"), "--output", str(output), "--models", "embedded"]
    command += ["--preset", "faceworld", "--steps", "2", "--views", "2", "--max-yaw", "10"]
    command += ["--num-gpus", "0", "--others", f"truth={others}"]
    assert evaluate_scans.main(command) == 0
    said = capsys.readouterr().out
    assert "empty: left out: empty: no landmarks" in said
    table = pq.read_table(output / "scans.parquet").to_pandas().set_index("method")
    assert sorted(table.index) == sorted(
        ["", "mean face", "ceiling", "landmarks alone", "one photo", "one photo", "all photos", "truth"]
    )
    assert table.loc["truth", "mean_mm"] < 0.05
    assert table.loc["ceiling", "mean_mm"] < table.loc["mean face", "mean_mm"]
    assert 0 < table.loc["all photos", "mean_mm"] < 4
    assert list(table.loc["one photo", "view"]) == ["view_0", "view_1"]
    assert (output / "table.md").read_text() in said
    assert (output / "pictures" / "person_5.png").is_file()


def test_folders_of_other_methods_need_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("meshes", f"x={tmp_path / 'gone'}"):
        command = ["--scans", str(tmp_path), "--output", str(tmp_path / "out"), "--others", words]
        assert evaluate_scans.main(command) == 1
        assert "NAME=FOLDER" in capsys.readouterr().err


def test_a_folder_without_scans_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--scans", str(tmp_path), "--output", str(tmp_path / "out"), "--models", "embedded"]
    assert evaluate_scans.main(command) == 1
    assert "a sub-folder per person" in capsys.readouterr().err
