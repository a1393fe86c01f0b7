from dataclasses import replace

from pipeline.run.shards import ShardSummary
from pipeline.run.summary import RunSummary, count_ok, table_text, total

SHARDS = [
    ShardSummary(
        shard=0, fingerprint="f", items=3, identities={"ok": 2},
        frames={"ok": 2, "rejected no_face": 1}, fit_seconds=30.0,
    ),
    ShardSummary(
        shard=1, fingerprint="f", items=2, identities={"failed unreadable": 1, "ok": 1},
        frames={"failed unreadable": 1, "ok truncated_video": 5}, fit_seconds=60.0,
    ),
]  # fmt: skip


def summary() -> RunSummary:
    return RunSummary(
        items=5, planned_items=6, identities=total(SHARDS, "identities"), frames=total(SHARDS, "frames"),
        new_frames_ok=sum(count_ok(shard.frames) for shard in SHARDS), seconds=60.0, fit_seconds=90.0, fit_workers=2,
    )  # fmt: skip


def test_counts_and_pace() -> None:
    found = summary()
    assert found.frames == {"failed unreadable": 1, "ok": 2, "ok truncated_video": 5, "rejected no_face": 1}
    assert found.identities == {"failed unreadable": 1, "ok": 3}
    assert found.faces_per_minute == 7
    assert found.utilisation == 0.75
    assert not found.complete
    assert found.to_json()["utilisation"] == 0.75


def test_the_table_says_all_of_it() -> None:
    lines = [line.split() for line in table_text(summary()).splitlines()]
    assert ["all", "9", "4"] in lines
    assert ["ok", "2", "3"] in lines
    assert ["ok", "truncated_video", "5", "0"] in lines
    assert ["rejected", "no_face", "1", "0"] in lines
    assert ["failed", "unreadable", "1", "1"] in lines
    assert "5 of 6 input files accounted for" in table_text(summary())
    assert "7 faces in 60 s, 7.00 faces per minute, 75 % of 2 fit workers' time" in table_text(summary())


def test_a_run_with_nothing_to_do_has_no_pace() -> None:
    idle = RunSummary(
        items=1, planned_items=1, identities={}, frames={}, new_frames_ok=0, seconds=0.0, fit_seconds=0.0, fit_workers=0
    )
    assert (idle.faces_per_minute, idle.utilisation, idle.complete) == (0, 0, True)
    assert "this run" not in table_text(idle)


def test_a_run_without_a_judge_says_so() -> None:
    assert "no judge" in table_text(replace(summary(), judged=False))
    assert "judge" not in table_text(summary())


def test_people_who_are_mostly_others_are_named() -> None:
    text = table_text(replace(summary(), mixed={"celeba": "63 of 64 faces are other people's"}))
    assert "celeba: 63 of 64 faces are other people's" in text
    assert "--layout mixed" in text


def test_what_did_not_pass_the_gate_is_listed_with_its_reason() -> None:
    text = table_text(replace(summary(), doubtful={"anna-1": "landmark_shift 0.100, expected at most 0.060"}))
    assert "  anna-1: landmark_shift 0.100, expected at most 0.060" in text.splitlines()
    assert "quality gate" not in table_text(summary())
