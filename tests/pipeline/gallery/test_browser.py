"""The gallery in a headless Chromium, opened from the disk."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.bench_gallery import make_run, report_of
from benchmarks.browser import Browser, find_browser
from ops.face.morphable_model import MorphableModel
from ops.files.photo import decode_png

PEOPLE = 230


@pytest.fixture
def browser(tmp_path: Path, tiny_shape: MorphableModel) -> Generator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    page = report_of(tmp_path / "a run", make_run(tmp_path / "a run", PEOPLE, tiny_shape), tiny_shape)
    with Browser(program) as browser:
        browser.open(Path(page).as_uri())
        browser.wait("window.ganfit?.state.complete === true")
        yield browser


def pixels(browser: Browser) -> np.ndarray:
    return decode_png(browser.picture(clip=browser.box("#canvas"))).astype(int)


def shown(browser: Browser) -> list[str]:
    return browser.run("[...document.querySelectorAll('#cards .id')].map((each) => each.textContent)")


def choose(browser: Browser, name: str, value: Any) -> None:
    browser.run(
        f"(() => {{ const e = document.getElementById('{name}'); e.value = '{value}';"
        "e.dispatchEvent(new Event('change')); })()"
    )


def test_people_are_found_sorted_filtered_and_turned_without_a_complaint(browser: Browser) -> None:
    assert shown(browser) == [f"person-{number:06d}" for number in range(100)]
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert shown(browser) == [f"person-{number:06d}" for number in range(200, PEOPLE)]

    choose(browser, "reason", "no_face")
    labels = browser.run("[...document.querySelectorAll('#cards .text')].map((each) => each.lastChild.textContent)")
    assert labels
    assert set(labels) == {"rejected no face"}
    choose(browser, "reason", "")
    choose(browser, "sort", "judge_similarity")
    ascending = browser.run("ganfit.state.order.map((n) => personAt(n).judge_similarity)")
    known = [value for value in ascending if value is not None]
    assert known == sorted(known)
    assert ascending[len(known) :] == [None] * (PEOPLE - len(known)), "without a score: last"
    choose(browser, "sort", "order")
    browser.press("/")
    browser.type("-0001")
    browser.wait("document.querySelector('#cards .id').textContent === 'person-000100'")
    browser.wait("[...document.querySelectorAll('#cards img')].slice(0, 4).every((i) => i.naturalWidth === 256)")

    browser.run("document.querySelector('#cards a').click()")
    browser.wait("!!document.getElementById('canvas').dataset.ready")
    assert browser.run("document.getElementById('name').textContent") == "person-000100"
    assert browser.run("document.querySelectorAll('#frames img').length") == 3
    before = pixels(browser)
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 20, "a lit mesh with its texture"
    left, top, width, height = browser.box("#canvas")
    browser.drag((left + width / 2, top + height / 2), (left + width / 2 + 90, top + height / 2))
    turned = pixels(browser)
    assert (np.abs(turned - before).max(-1) > 20).mean() > 0.02
    browser.run("document.getElementById('wireframe').click()")
    wire = pixels(browser)
    assert (np.abs(wire - turned).max(-1) > 20).mean() > 0.05
    browser.run("document.getElementById('canvas').focus()")
    browser.press("ArrowLeft")
    assert (np.abs(pixels(browser) - wire).max(-1) > 20).mean() > 0.01

    browser.run("location.hash = '#/scores'")
    browser.wait("document.querySelectorAll('#scores .chart rect').length > 10")
    assert browser.run("document.querySelectorAll('#scores tbody tr').length") == 4
    assert browser.console == []
    assert {address.split(":")[0] for address in browser.requests} <= {"file", "data"}


def test_a_person_of_whom_nothing_was_usable_says_so(browser: Browser) -> None:
    choose(browser, "status", "failed")
    browser.run("document.querySelector('#cards a').click()")
    browser.wait("document.getElementById('viewer-message').textContent.startsWith('There is no mesh')")
    assert browser.run("document.getElementById('canvas').hidden")
    assert "failed unreadable" in browser.run("document.getElementById('remark').textContent")
    assert browser.console == []


def test_an_address_of_nobody_says_so(browser: Browser) -> None:
    browser.run("location.hash = '#/person/nobody'")
    browser.wait("document.getElementById('viewer-message').textContent.startsWith('There is no person')")
