from pathlib import Path

import pytest
from safetensors.torch import load_file

from evaluation.micc import find_scans, find_videos
from jobs import make_synthetic
from ops.faceworld import album
from ops.faceworld.shape import faceworld_model
from pipeline.studies.truth import find_truth


def test_the_command_writes_a_data_set_and_refuses_another_into_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--layout", "micc", "--subjects", "1", "--frames", "1", "--output", str(tmp_path)]
    assert make_synthetic.main(command) == 0
    assert capsys.readouterr().out == "subject_01 written\n"
    assert len(find_scans(tmp_path, None)) == 2
    assert all(video.video_path for video in find_videos(tmp_path))
    assert make_synthetic.main([*command, "--seed", "2"]) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_photos_by_command_have_their_truth_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "TEXTURE_PX", 64)
    command = ["--layout", "photos", "--subjects", "1", "--photos", "1", "--output", str(tmp_path)]
    assert make_synthetic.main(command) == 0
    assert [path.name for path in tmp_path.rglob("*.jpg")] == ["photo_0.jpg"]
    assert sorted(find_truth(tmp_path / "photos", faceworld_model())) == ["person_00"]


def test_uv_maps_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--layout", "uv", "--maps", "2", "--side", "16", "--processes", "1", "--output", str(tmp_path)]
    assert make_synthetic.main([*command, "--image-format", "jpg"]) == 0
    assert capsys.readouterr().out == "2 of 2 maps\n"
    assert len(list(tmp_path.rglob("*.jpg"))) == 2
    assert make_synthetic.main(command) == 1
    assert "image_format" in capsys.readouterr().err


def test_portraits_by_command_have_their_truth_beside_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--layout", "portraits", "--portraits", "3", "--models", "embedded", "--output", str(tmp_path)]
    assert make_synthetic.main(command) == 0
    assert "drew 3 of 3 portraits" in capsys.readouterr().out
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 3
    truth = load_file(tmp_path / "truth.safetensors")
    assert truth["points_px"].shape == (3, 320, 2)
    assert truth["visible"].any()
    assert truth["dense.vertices"][:68].equal(faceworld_model().landmarks)
    assert truth["identity"].shape == (3, faceworld_model().identity_size)
    assert (tmp_path / "sheet.jpg").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--subjects", "0"],
        ["--photos", "0"],
        ["--layout", "now"],
        ["--frames", "0"],
        ["--seed", "-1"],
        ["--side", "4"],
        ["--portraits", "0"],
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: list[str]) -> None:
    assert make_synthetic.main(["--output", str(tmp_path), *wrong]) == 1
    assert not list(tmp_path.iterdir())
