from pipeline.tables.progress import EVERY_S, _Pace, report_progress


def test_a_worker_speaks_once_a_second_and_of_every_new_shard_or_step_at_once() -> None:
    pace = _Pace()
    assert pace.due((3, "detect"), 100.0)
    assert not pace.due((3, "detect"), 100.0 + EVERY_S / 2)
    assert pace.due((3, "fit"), 100.0 + EVERY_S / 2)
    assert not pace.due((3, "fit"), 100.0 + EVERY_S)
    assert pace.due((3, "fit"), 100.0 + 2 * EVERY_S)
    assert pace.due((4, "fit"), 100.0 + 2 * EVERY_S)


def test_without_a_listener_words_go_nowhere() -> None:
    report_progress(0, "fit", 0.5)
