from pathlib import Path

from pipeline.run.attempts import Attempts
from pipeline.storage.store import open_storage


def test_beginnings_are_counted_until_the_work_ends(tmp_path: Path) -> None:
    attempts = Attempts(open_storage(tmp_path))
    assert [attempts.begin(name) for name in ("a", "a", "b", "a")] == [1, 2, 1, 3]
    attempts.end("a")
    attempts.end("never begun")
    assert [attempts.begin(name) for name in ("a", "b")] == [1, 2]
