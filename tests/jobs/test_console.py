import io

import pytest

from jobs.cli.console import LINE_S, Console
from pipeline.run.progress import Progress
from tests.support.terminal import screen_lines

HALF = Progress(done=12, total=24, seconds=60.0, steps={"fit": 1})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_is_drawn_below_the_lines_and_erased_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with Console(stream) as console:
        console.say("first")
        console.show(HALF)
        assert screen_lines(stream.getvalue()) == ["first", HALF.bar(99)]
        console.say("second")
        assert screen_lines(stream.getvalue()) == ["first", "second", ""]
        console.show(HALF)
        assert screen_lines(stream.getvalue()) == ["first", "second", HALF.bar(99)]
    assert screen_lines(stream.getvalue()) == ["first", "second", ""]


def test_a_narrow_terminal_cuts_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    Console(stream).show(HALF)
    assert len(screen_lines(stream.getvalue())[0]) == 39


def test_elsewhere_a_plain_line_comes_now_and_then() -> None:
    stream, now = io.StringIO(), [100.0]
    with Console(stream, clock=lambda: now[0]) as console:
        for _ in range(200):
            console.show(HALF)
            now[0] += LINE_S / 60
    assert stream.getvalue() == 3 * f"{HALF.text()}\n"
