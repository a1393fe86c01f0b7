import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.evaluate_micc import main


def arguments(registered: Path, reconstructions: Path, output: Path, **options: str | float) -> list[str]:
    words = ["--registered", str(registered), "--reconstructions", str(reconstructions), "--output", str(output)]
    words += ["--workers", "0"]
    return words + [str(word) for name, value in options.items() for word in (f"--{name}", value)]


def pairs_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "pairs.parquet").to_pylist()


@pytest.fixture(scope="module")
def evaluated(registered_micc: Path, tiny_micc: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("evaluated")
    assert main(arguments(registered_micc, tiny_micc.reconstructions, output, method="Known error")) == 0
    return output


@pytest.fixture
def few(registered_micc: Path, tmp_path: Path) -> Path:
    """The registrations of three subjects only."""
    folder = tmp_path / "few"
    folder.mkdir()
    table = pq.read_table(registered_micc / "registrations.parquet")
    keep = [name in ("subject_01", "subject_28", "subject_30") for name in table.column("subject").to_pylist()]
    pq.write_table(table.filter(np.array(keep)), folder / "registrations.parquet")
    shutil.copy(registered_micc / "template.npz", folder)
    (folder / "items").symlink_to(registered_micc / "items")
    return folder


def test_the_table_is_complete_and_honest(evaluated: Path) -> None:
    pairs = pairs_of(evaluated)
    assert len(pairs) == 53 * 3 * 2
    assert len({(p["subject"], p["setting"], p["scan"]) for p in pairs}) == len(pairs)
    refused: dict[str, set[str]] = {}
    for pair in pairs:
        if pair["status"] != "ok":
            assert pair["message"]
            refused.setdefault(pair["reason"], set()).add(pair["subject"])
    assert refused == {
        "missing_reconstruction": {"subject_05", "subject_09"},
        "missing_scan": {"subject_30"},
        "no_registration": {"subject_07", "subject_12"},
        "units": {"subject_11"},
    }
    table = json.loads((evaluated / "table.json").read_text())
    assert [row["n"] for row in table["settings"]] == [52, 51, 51]
    means = [row["mean_mm"] for row in table["settings"]]
    # One smooth bump, two and three times as high: so are the distances.
    assert 0.1 < means[0] < 1.0
    assert means[1] / means[0] == pytest.approx(2, rel=0.1)
    assert means[2] / means[0] == pytest.approx(3, rel=0.1)
    assert table["settings"][2]["missing"] == {
        "subject_05": "missing_reconstruction",
        "subject_09": "missing_reconstruction",
    }


def test_the_printed_table(evaluated: Path) -> None:
    text = (evaluated / "table.txt").read_text()
    assert "n = 52 of 53" in text
    assert "missing in PTZ-Indoor: subject_11 (units)" in text
    assert "one scan only in every setting: subject_30 (missing_scan)" in text
    assert re.search(r"GANFIT 2019 \[published\] +0\.95 ± 0\.107 +0\.94 ± 0\.106 +0\.94 ± 0\.106", text)
    assert "Known weaknesses" in text
    assert not re.search(r"\b(inf|nan|None)\b", text)


def test_every_ok_pair_carries_its_figures(evaluated: Path) -> None:
    for pair in pairs_of(evaluated):
        if pair["status"] == "ok":
            assert pair["distance_mm"] == pytest.approx((pair["pass1_mm"] + pair["pass2_mm"]) / 2)
            assert min(pair["iterations1"], pair["iterations2"], pair["masked1"], pair["masked2"]) > 0
            assert 0 < pair["median_mm"] < pair["p95_mm"] < np.inf
            expected = 60 if pair["subject"] == "subject_28" else 95
            assert pair["crop_radius_mm"] == pytest.approx(expected, rel=0.1)
        else:
            assert pair["distance_mm"] is None


def test_a_second_run_repeats_the_table_without_work(
    evaluated: Path, registered_micc: Path, tiny_micc: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (evaluated / "table.txt").read_text()
    words = arguments(registered_micc, tiny_micc.reconstructions, evaluated, method="Known error")
    assert main(words) == 0
    assert "318 of 318 are there already" in capsys.readouterr().out
    assert (evaluated / "table.txt").read_text() == before
    assert main([*words, "--protocol", "paper"]) == 1
    assert "configuration" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["paper", "deng", "now"])
def test_scan_protocols_take_the_same_folder(
    few: Path, tiny_micc: Any, tmp_path: Path, protocol: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    words = arguments(few, tiny_micc.reconstructions, output, protocol=protocol, unit="template")
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "3 subjects here; the data set has 53" in text
    assert "Ground truth: raw scans." in text
    means = [row["mean_mm"] for row in json.loads((output / "table.json").read_text())["settings"]]
    assert means == sorted(means)
    assert 0.1 < means[0] < 1.5


def test_the_paper_protocol_feels_a_declared_scale(few: Path, tiny_micc: Any, tmp_path: Path) -> None:
    for name, scale in (("plain", 1.0), ("large", 1.05)):
        words = arguments(few, tiny_micc.reconstructions, tmp_path / name, protocol="paper", unit="template")
        assert main([*words, "--scale", str(scale), "--against", "registered"]) == 0
    plain, large = ((tmp_path / name / "table.txt").read_text() for name in ("plain", "large"))
    assert "declared scale 1.05" in large
    assert "Ground truth: registered templates." in plain
    distances = [[p["distance_mm"] for p in pairs_of(tmp_path / name)] for name in ("plain", "large")]
    changes = [abs(a - b) / a for a, b in zip(*distances, strict=True) if a is not None and b is not None]
    assert min(changes) > 0.05


def test_other_topologies_bring_their_landmarks(few: Path, tiny_micc: Any, tmp_path: Path) -> None:
    from evaluation.landmark_files import read_landmarks, write_landmarks

    method = tmp_path / "scans as reconstructions"
    source = next((tiny_micc.data / "subject_01" / "Model" / "frontal1" / "obj").iterdir())
    for setting in ("Indoor-Cooperative", "PTZ-Indoor"):
        (method / "subject_01").mkdir(parents=True, exist_ok=True)
        shutil.copy(source, method / "subject_01" / f"{setting}.obj")
    landmarks = read_landmarks(tiny_micc.landmarks / "subject_01" / "frontal1.ljson")
    write_landmarks(method / "subject_01" / "Indoor-Cooperative.ljson", landmarks)
    assert main(arguments(few, method, tmp_path / "out", protocol="paper", unit="mm")) == 0
    pairs = {(p["setting"], p["scan"]): p for p in pairs_of(tmp_path / "out") if p["subject"] == "subject_01"}
    assert pairs["Indoor-Cooperative", "frontal1"]["distance_mm"] < 0.01
    assert pairs["PTZ-Indoor", "frontal1"]["reason"] == "missing_landmarks"
    assert "PTZ-Indoor.ljson" in pairs["PTZ-Indoor", "frontal1"]["message"]
    assert pairs["PTZ-Outdoor", "frontal1"]["reason"] == "missing_reconstruction"


def test_bad_input_is_refused(few: Path, tiny_micc: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tmp_path / "gone", tiny_micc.reconstructions, tmp_path / "a")) == 1
    assert "ganfit register-micc" in capsys.readouterr().err
    assert main(arguments(few, tmp_path / "gone", tmp_path / "b")) == 1
    assert "found no folder" in capsys.readouterr().err
    assert main(arguments(few, tiny_micc.data, tmp_path / "c")) == 1
    assert "expected meshes named" in capsys.readouterr().err
    assert main(arguments(few, tiny_micc.reconstructions, tmp_path / "d", scale=-1)) == 1
    assert "positive scale" in capsys.readouterr().err
