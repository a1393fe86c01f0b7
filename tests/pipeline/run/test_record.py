import json
from pathlib import Path
from typing import Any

import pytest

from ops.errors import FingerprintMismatchError, OutputError
from pipeline.run.record import Fingerprint, check_continuable, code_checksum, read_record, write_record
from pipeline.run.shards import SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.storage.store import Storage, open_storage


def fingerprint(**changes: Any) -> Fingerprint:
    content: dict[str, Any] = {
        "configuration": {"frames": 5, "fit": {"steps": 120, "weights": {"pixel": 2.0}}},
        "models": {"name": "ict", "shape": {"kind": "ict-npz", "sha256": "aa"}},
        "code": "c0de",
        "input": "1n",
    }
    return Fingerprint(**(content | changes))


def commit(folder: Path, with_fingerprint: Fingerprint) -> Storage:
    root = open_storage(folder)
    summary = ShardSummary(
        shard=0, fingerprint=with_fingerprint.digest(), items=1, identities={}, frames={}, fit_seconds=0.0
    )
    with ShardStore(root).writing(0) as folder:
        (folder / SUCCESS_NAME).write_text(summary.to_json())
    write_record(root, {"fingerprint_parts": with_fingerprint.parts()})
    return root


def check(root: Storage, wanted: Fingerprint) -> None:
    check_continuable(root, read_record(root), wanted, ShardStore(root).summaries())


def test_the_same_run_may_continue(tmp_path: Path) -> None:
    check(commit(tmp_path, fingerprint()), fingerprint())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"configuration": {"frames": 5, "fit": {"steps": 60, "weights": {"pixel": 2.0}}}},
            "configuration.fit.steps: 120 before, 60 now",
        ),
        ({"configuration": {"frames": 5}}, "configuration.fit: .* before, null now"),
        (
            {"models": {"name": "ict", "shape": {"kind": "ict-npz", "sha256": "bb"}}},
            'models.shape.sha256: "aa" before, "bb" now',
        ),
        ({"code": "new"}, "the version of this program"),
        ({"input": "other"}, "the input"),
    ],
)
def test_another_run_is_refused_naming_what_differs(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    root = commit(tmp_path, fingerprint())
    changed = fingerprint(**changes)
    assert changed.digest() != fingerprint().digest()
    with pytest.raises(FingerprintMismatchError, match=words):
        check(root, changed)


def test_before_the_first_shard_everything_may_change(tmp_path: Path) -> None:
    root = open_storage(tmp_path)
    write_record(root, {"fingerprint_parts": fingerprint().parts()})
    check(root, fingerprint(code="new"))


def test_a_shard_of_another_run_is_noticed_though_the_record_agrees(tmp_path: Path) -> None:
    root = commit(tmp_path, fingerprint(code="old"))
    write_record(root, {"fingerprint_parts": fingerprint().parts()})
    with pytest.raises(FingerprintMismatchError, match="shard 00000 has fingerprint"):
        check(root, fingerprint())


def test_a_new_folder_has_no_record_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    root = open_storage(tmp_path)
    assert read_record(root / "new") is None
    for name in ("lease", "learned_texture"):
        (tmp_path / name).mkdir()
        assert read_record(root) is None
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(OutputError, match=r"holds holiday\.jpg"):
        read_record(root)


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read"):
        read_record(open_storage(tmp_path))


def test_the_record_makes_the_round_trip(tmp_path: Path) -> None:
    root = open_storage(tmp_path)
    write_record(root, {"path": tmp_path, "number": 1.5})
    assert read_record(root) == {"path": str(tmp_path), "number": 1.5}
    assert json.loads((tmp_path / "run.json").read_text())["number"] == 1.5


def test_the_code_checksum_is_stable() -> None:
    assert code_checksum() == code_checksum()
    assert len(code_checksum()) == 64
