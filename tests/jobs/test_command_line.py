import subprocess
import sys
from pathlib import Path

import pytest

from jobs.__main__ import COMMANDS, command, main
from jobs.cli.command import Command, CommandParser

ROOT = Path(__file__).parents[2]


def test_help_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100


def test_every_job_is_a_command_and_every_command_a_job() -> None:
    folder = ROOT / "jobs"
    modules = {path.stem.replace("_", "-") for path in folder.rglob("*.py") if path.parent != folder / "cli"}
    assert set(COMMANDS) == modules - {"--init--", "--main--"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_name_and_an_explained_option_each(name: str) -> None:
    found = command(name)
    assert found.name == name
    assert found.description
    parser = found.parser()
    unexplained = [action.dest for action in parser._actions if not action.help and "." not in action.dest]
    assert unexplained == []
    assert not [option for option in parser.option_names() if "_" in option]


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recontruct"]) == 1
    assert "did you mean reconstruct?" in capsys.readouterr().err


def test_completion_knows_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "make-synthetic" in script
    assert "--fit.early-stop-window" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_options_may_be_spelled_with_dashes_or_underscores() -> None:
    seen: list[int] = []

    def declare(parser: CommandParser) -> None:
        parser.add_argument("--max-images", type=int)

    example = Command("example", "Shows spelling.", declare, lambda options: seen.append(options.max_images))
    assert [example(["--max-images", "3"]), example(["--max_images=4"])] == [0, 0]
    assert seen == [3, 4]


def test_the_module_and_the_command_are_the_same_program() -> None:
    def output(*words: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", *words, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return ran.stdout.replace("python -m jobs.status", "ganfit status")

    assert output("jobs", "status") == output("jobs.status")
