"""Jobs sent to a cluster by `ray job submit`: a head of its own, on this machine, with a token."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef" * 4
MEGABYTE = 1 << 20
OWN_PORTS = range(20_000, 32_000)
"""Above those Ray gives its workers, below those Linux gives whoever asks for any."""
CLIPS = 3
"""Of one subject of the demo, a shard each."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Head:
    """A running head."""

    process: psutil.Process
    folder: Path
    dashboard: str
    address: str
    environment: dict[str, str]
    followed: list[subprocess.Popen[str]] = field(default_factory=list)
    """What `submit` gave."""

    def submit(self, submission_id: str, *command: str) -> subprocess.Popen[str]:
        """Send a job and follow it."""
        arguments = ["--address", self.dashboard, "--working-dir", str(ROOT), "--submission-id", submission_id]
        follower = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", *arguments, "--", "python", *command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.followed.append(follower)
        return follower

    def driver(self, submission_id: str) -> psutil.Process:
        """The process a job's command became."""
        return wait_for(lambda: next(self._drivers(submission_id), None), "the driver")

    def _drivers(self, submission_id: str) -> Generator[psutil.Process]:
        for process in self.process.children(recursive=True):
            try:
                if process.name().startswith("python") and submission_id in process.environ().get(
                    "RAY_JOB_CONFIG_JSON_ENV_VAR", ""
                ):
                    yield process
            except psutil.Error:
                continue


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = 240) -> Found:
    """The first thing `look` finds."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = look()
        if found is not None:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not appear in {seconds:g} s")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, and which neither the system nor another Ray hands out before the head takes them."""
    found: list[int] = []
    for port in random.sample(OWN_PORTS, len(OWN_PORTS)):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"fewer than {count} ports are free between {OWN_PORTS[0]} and {OWN_PORTS[-1]}")


@pytest.fixture(scope="module")
def head() -> Generator[Head]:
    dashboard, agent, client = free_ports(3)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_worker_niceness": "0",
    }
    # Ray's sockets lie in the folder, and a socket's name has at most 107 letters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = ["start", "--head", "--block", "--port=0", "--num-cpus=2", "--num-gpus=0", f"--temp-dir={folder}"]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--disable-usage-stats"]
        command += [f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"]
        command += [f"--object-store-memory={200 * MEGABYTE}"]
        with (Path(folder) / "head.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", *command],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{dashboard}"
        try:
            wait_for(lambda: status(f"{url}/api/version"), "the dashboard")
            address = wait_for(lambda: address_in(Path(folder)), "the head's address")
            running = Head(psutil.Process(process.pid), Path(folder), url, address, environment)
            yield running
            for follower in running.followed:
                with follower:
                    follower.kill()
        finally:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=20)
            for each in alive:
                each.kill()
            process.wait()


def address_in(folder: Path) -> str | None:
    """Where a head takes workers; it says so last, when its dashboard answers already."""
    file = folder / "ray_current_cluster"
    return file.read_text() or None if file.exists() else None


def status(url: str, token: str | None = None) -> int | None:
    """The status of the answer; None while nobody listens."""
    request = Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status
    except HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demo_is_refused_while_it_runs_and_continues_to_its_end_after_its_driver_was_killed(
    head: Head, tmp_path: Path
) -> None:
    demo = tmp_path / "demo"
    results = demo / "reconstructions"
    command = ("-m", "jobs.demo", "--output", str(demo), "--subjects", "1", "--frames", "2", "--steps", "64")
    command += ("--num-gpus", "0")
    shards = results / "shards"
    first = head.submit("first", *command)
    driver = head.driver("first")
    wait_for(lambda: next(results.glob("lease/*.json"), None), "the lease")
    uploaded = Path(driver.cwd())
    assert uploaded.is_relative_to(head.folder.resolve())
    assert not {"tests", "docs", "benchmarks"} & {path.name for path in uploaded.iterdir()}
    sent = [path for path in uploaded.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    weights = sum(path.stat().st_size for path in (ROOT / "ops" / "weights").rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in sent) < weights + 6 * MEGABYTE
    second = head.submit("second", *command).communicate(timeout=240)[0]
    assert "error: " in second
    assert f"process {driver.pid}" in second
    assert "submission first" in second
    wait_for(lambda: next(shards.glob("0*/_SUCCESS.json"), None), "the first shard")
    driver.send_signal(signal.SIGKILL)
    first.communicate(timeout=120)
    assert first.returncode != 0
    done = {path.parent.name: path.stat().st_mtime_ns for path in shards.glob("0*/_SUCCESS.json")}
    assert 0 < len(done) < CLIPS
    third = head.submit("third", *command)
    output = third.communicate(timeout=300)[0]
    assert third.returncode == 0, output
    assert f"{len(done)} of {CLIPS} shards are there already" in output
    assert f"{CLIPS} of {CLIPS} input files accounted for" in output
    assert "true surface" in (demo / "table.txt").read_text()
    now = {path.parent.name: path.stat().st_mtime_ns for path in shards.glob("0*/_SUCCESS.json")}
    assert len(now) == CLIPS
    assert {name: now[name] for name in done} == done
    assert "already exists" in head.submit("third", *command).communicate(timeout=120)[0]


@pytest.mark.ray
@pytest.mark.slow
def test_a_process_that_joins_by_address_brings_its_code_to_the_workers(head: Head) -> None:
    text = (
        "from pipeline.cluster.session import ClusterConfig, ray_session\n"
        "with ray_session(ClusterConfig()) as ray:\n"
        "    print(ray.get(ray.remote(lambda: __import__('pipeline').__file__).remote()))\n"
    )
    environment = head.environment | {"RAY_ADDRESS": head.address, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", text], cwd="/", env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split()[-1]).is_relative_to(head.folder.resolve())


@pytest.mark.ray
@pytest.mark.slow
def test_a_stranger_is_refused(head: Head) -> None:
    assert status(f"{head.dashboard}/api/jobs/") == 401
    assert status(f"{head.dashboard}/api/jobs/", "another token") == 403
    assert status(f"{head.dashboard}/api/jobs/", TOKEN) == 200
    listening = {
        connection.laddr.ip
        for process in (head.process, *head.process.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
