import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import demo
from tests.support.terminal import run_on_terminal


def table_of(text: str, heading: str) -> dict[str, list[float]]:
    """The means by row below a heading."""
    lines = text[text.index(heading) :].splitlines()[2:]
    rows: dict[str, list[float]] = {}
    for line in lines[1:]:
        if not line:
            break
        rows[line.split("  ")[0]] = [float(mean) for mean in re.findall(r"(\d+\.\d+) ±", line)]
    return rows


@pytest.mark.ray
@pytest.mark.slow
def test_the_demo_compares_with_the_truth_and_keeps_what_is_done(tmp_path: Path) -> None:
    """One subject from clips to tables: data, registration, reconstruction and evaluation, on Ray; then once more."""
    output = tmp_path / "demo"
    command = [sys.executable, "-m", "jobs.demo", "--output", str(output), "--subjects", "1", "--frames", "1"]
    command += ["--variants", "--num-gpus", "0"]
    first = run_on_terminal(command)
    assert first.status == 0, first.screen
    assert len(re.findall(r"\[[#.]{24}\] +\d+ % [0-3] of 3 images", first.written)) > 3
    assert "of 3 images" not in first.screen, "the bar is gone in the end"
    assert "3 of 3 input files accounted for" in first.screen
    settings = table_of(first.screen, "Synthetic people, full fit, 1 frame")
    assert list(settings) == ["Indoor-Cooperative", "PTZ-Indoor", "PTZ-Outdoor"]
    for scan, surface, mean_surface, vertices, mean_vertices in settings.values():
        assert 0 < surface < mean_surface
        assert 0 < vertices < mean_vertices
        assert abs(scan - surface) < 0.3, "a scan is the true surface with noise and holes"
    ways = table_of(first.screen, "Distance to the true surface")
    assert list(ways) == ["mean face", "landmarks alone, 1 frame", "full fit, 1 frame"]
    assert ways["full fit, 1 frame"] == [row[1] for row in settings.values()]
    assert ways["landmarks alone, 1 frame"] != ways["full fit, 1 frame"]
    assert "not comparable" in (output / "evaluation-paper" / "table.txt").read_text()
    assert first.screen.splitlines()[-1] == f"Look at the faces: {output}/reconstructions/report/index.html"
    assert (output / "reconstructions" / "report" / "index.html").is_file()
    page = (output / "index.html").read_text()
    pictures = re.findall(r'src="([^"]+)"', page)
    assert len(pictures) == 3
    assert all((output / picture).is_file() for picture in pictures)
    kept = {path: path.stat().st_mtime_ns for path in [*output.rglob("*.glb"), *output.rglob("*.ply")]}
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    assert "subject_01 is there" in again.stdout
    assert "3 of 3 shards are there already" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert table_of(again.stdout, "Distance to the true surface") == ways


@pytest.mark.parametrize("words", [["--subjects", "0"], ["--frames", "0"], ["--steps", "-1"]])
def test_numbers_without_sense_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(words) == 1
    assert "at least one subject" in capsys.readouterr().err
