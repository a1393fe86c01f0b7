from pathlib import Path

import pytest

from jobs.learning.learn_texture import main


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for word in ("--run", "--hold-out", "bundle.yaml", "Exit status", "personal data", "--num-gpus"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "an input or a run"),
        (["--input", "nowhere"], "nowhere"),
        (["--input", ".", "--rounds", "0"], "at least one round"),
        (["--run", "nowhere"], "expected a run"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["--output", str(tmp_path / "out"), "--models", "embedded", "--num-gpus", "0", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_too_few_people_are_said_before_any_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.jpg").touch()
    arguments = ["--input", str(tmp_path / "photos"), "--output", str(tmp_path / "out"), "--models", "embedded"]
    assert main([*arguments, "--num-gpus", "0"]) == 1
    assert "at least 15 people to learn a texture from, the input has 3" in capsys.readouterr().err
