import json

import pytest

from pipeline.run.progress import PROGRESS_FILE, Board, Progress, read_progress, write_progress
from pipeline.storage.store import Storage


def test_photos_count_as_they_go_through_the_fit() -> None:
    board = Board({0: 12, 1: 12})
    assert board.progress(5.0, 0.0) == Progress(done=0, total=24, seconds=0.0)
    board.hear({0: ("detect", 0.5)}, 10.0)
    begun = board.progress(12.0, 0.0)
    assert (begun.done, begun.seconds, begun.steps, begun.per_minute) == (0, 2.0, {"detect": 1}, None)
    board.hear({0: ("fit", 0.25), 1: ("detect", 1.0)}, 40.0)
    now = board.progress(40.0, 7.0)
    assert (now.done, now.total, now.seconds, now.time) == (3.0, 24, 30.0, 7.0)
    assert now.steps == {"detect": 1, "fit": 1}
    assert (now.per_minute, now.seconds_left) == (6.0, 210.0)
    board.commit(0, 60.0)
    board.hear({1: ("fit", 0.5)}, 60.0)
    later = board.progress(60.0, 0.0)
    assert (later.done, later.steps) == (18.0, {"fit": 1})
    board.commit(1, 70.0)
    assert board.progress(70.0, 0.0).done == 24


def test_late_words_and_repeats_of_a_shard_are_counted_once() -> None:
    board = Board({3: 10, 4: 10})
    board.hear({3: ("fit", 0.9)}, 0.0)
    board.hear({3: ("detect", 0.1)}, 1.0)
    assert board.progress(1.0, 0.0).done == 0, "its worker died, and it starts again"
    board.commit(3, 2.0)
    board.hear({3: ("fit", 0.9), 99: ("fit", 1.0)}, 3.0)
    assert board.progress(3.0, 0.0).done == 10


def test_a_line_and_a_bar_say_how_far_it_is() -> None:
    half = Progress(done=12.6, total=25, seconds=126.0, steps={"fit": 2})
    assert half.text() == "12 of 25 images; 6.0 per minute; 2 min 04 s left; shards in work: 2 fit"
    assert half.bar(200) == f"[############............]  50 % {half.text()}"
    assert half.bar(30) == "[############............]  50"
    assert Progress(done=0, total=25, seconds=0.0).text() == "0 of 25 images"
    assert Progress(done=0, total=0, seconds=0.0).bar(80).startswith("[########################] 100 %")


def test_it_is_kept_in_the_output(root: Storage) -> None:
    assert read_progress(root) is None
    told = Progress(done=1.5, total=3, seconds=9.0, steps={"fit": 1}, time=1e9)
    write_progress(root, told)
    assert read_progress(root) == told
    assert json.loads(root.read(PROGRESS_FILE))["per_minute"] == pytest.approx(10.0)
    root.write(PROGRESS_FILE, b"{}")
    assert read_progress(root) is None
