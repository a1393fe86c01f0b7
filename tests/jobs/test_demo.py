import subprocess
import sys
from pathlib import Path

import pytest

from jobs import demo


@pytest.mark.ray
@pytest.mark.slow
def test_the_demo_ends_with_a_table_and_keeps_what_is_done(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.demo", "--output", str(tmp_path), "--subjects", "1", "--photos", "1"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert first.returncode == 0, first.stderr
    assert "1 of 1 input files accounted for" in first.stdout
    error = next(line for line in first.stdout.splitlines() if line.startswith("person_00")).split()
    assert float(error[2]) < float(error[4])
    results = tmp_path / "1-people-1-photos-seed-1" / "results"
    assert (results / "report" / "index.html").is_file()
    mesh = next((results / "shards").glob("*/meshes/*.glb"))
    written = mesh.stat().st_mtime_ns
    second = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert second.returncode == 0, second.stderr
    assert mesh.stat().st_mtime_ns == written
    assert first.stdout.splitlines()[-6:-4] == second.stdout.splitlines()[-6:-4]


def test_nobody_to_photograph_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--subjects", "0"])
    assert "at least one subject" in capsys.readouterr().err
