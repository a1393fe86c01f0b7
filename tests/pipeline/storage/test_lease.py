import multiprocessing
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ops.errors import OutputError
from pipeline.storage.lease import FOLDER, LeaseHeldError, LeaseLostError, Owner, current_owner, lease
from pipeline.storage.store import Storage, open_storage


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease whose times are tenths of seconds."""
    for name, value in {"HEARTBEAT_S": 0.1, "EXPIRY_S": 0.6, "WATCH_S": 0.3}.items():
        monkeypatch.setattr(f"pipeline.storage.lease.{name}", value)


def owner(root: Storage) -> Owner:
    found = current_owner(root)
    assert found is not None
    return found


def elsewhere(root: Storage, **changes: object) -> Owner:
    """Let the current owner be a process of another machine."""
    other = replace(owner(root), machine="elsewhere", host="far-away", pid=1, nonce="other", released=False, **changes)
    root.write(f"{FOLDER}/{other.token:05d}.json", other.to_json())
    return other


def test_a_second_run_is_refused_with_the_name_of_the_first(root: Storage) -> None:
    with lease(root, "nightly-17") as fence:
        fence.check()
        with pytest.raises(LeaseHeldError, match=rf"process {os.getpid()}, submission nightly-17, last sign of life"):
            lease(root).__enter__()
    with lease(root) as later:
        assert later.token == fence.token + 1
        assert [entry.name for entry in root.entries(FOLDER)] == [f"{later.token:05d}.json"]


def test_of_many_drivers_one_gets_the_output(root: Storage) -> None:
    start, end = threading.Barrier(6), threading.Barrier(6)
    tokens: list[int] = []

    def drive() -> None:
        start.wait()
        try:
            with lease(root) as fence:
                tokens.append(fence.token)
                end.wait()
        except LeaseHeldError:
            end.wait()

    threads = [threading.Thread(target=drive) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokens == [1]


@pytest.mark.usefixtures("hasty")
def test_the_heartbeat_goes_on_and_ends_with_the_run(root: Storage) -> None:
    with lease(root):
        first = owner(root).beat
        time.sleep(0.9)
        assert owner(root).beat > first
        with pytest.raises(LeaseHeldError):
            lease(root).__enter__()
    assert owner(root).released


@pytest.mark.usefixtures("hasty")
def test_a_driver_without_a_sign_of_life_is_replaced_and_fenced(root: Storage) -> None:
    said: list[str] = []
    with lease(root):
        pass
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.storage.lease.HEARTBEAT_S", 1000.0)
        with lease(root) as paused:
            elsewhere(root, beat=time.time() - 10.0)
            with lease(root, say=said.append) as fence:
                assert fence.token == paused.token + 1
                fence.check()
                with pytest.raises(LeaseLostError, match="must not write"):
                    paused.check()
                assert (fence.held(), paused.held()) == (True, False)
            assert "left by far-away, process 1" in said[0]
    assert owner(root).token == fence.token, "the loser's end changes nothing"


@pytest.mark.usefixtures("hasty")
def test_clocks_that_disagree_cost_nobody_the_output(root: Storage) -> None:
    with lease(root):
        pass
    slow = elsewhere(root, beat=time.time() - 5000.0)
    alive = threading.Event()

    def beat() -> None:
        while not alive.wait(0.1):
            root.write(f"{FOLDER}/{slow.token:05d}.json", replace(slow, beat=time.time() - 5000.0).to_json())

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(LeaseHeldError, match="far-away"):
            lease(root).__enter__()
    finally:
        alive.set()
        heart.join()


def _hold_and_die(folder: Path) -> None:
    lease(open_storage(folder)).__enter__()
    os._exit(1)


def test_a_driver_that_died_on_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    started = time.monotonic()
    with lease(open_storage(tmp_path)) as fence:
        assert fence.token == 2
    assert time.monotonic() - started < 5


def test_a_number_given_out_again_is_no_lease(root: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contender stands still between looking and creating, while others come, go and clean up."""
    with lease(root):
        pass
    create = Storage.create

    def late(self: Storage, name: str, data: bytes) -> bool:
        monkeypatch.setattr(Storage, "create", create)
        for _ in range(2):
            with lease(root):
                pass
        return create(self, name, data)

    monkeypatch.setattr(Storage, "create", late)
    with pytest.raises(LeaseHeldError, match="at the same time"):
        lease(root).__enter__()


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a folder"):
        lease(open_storage(tmp_path / "file" / "out")).__enter__()


def test_a_damaged_lease_is_reported(root: Storage) -> None:
    root.write(f"{FOLDER}/00003.json", b"{")
    with pytest.raises(OutputError, match="cannot be read"):
        lease(root).__enter__()
