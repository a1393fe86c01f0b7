"""Downloads from a web server on this machine."""

import functools
import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.errors import AlteredModelFileError, MissingModelFileError, ModelFileError
from ops.weights.fetch import ARCHIVE_FOLDER, fetch
from ops.weights.registry import Download, ModelFile

WEIGHTS = b"weights" * 1000


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model_file(download: Download | None, content: bytes = WEIGHTS) -> ModelFile:
    return ModelFile(
        name="net",
        filename="net.onnx",
        what="a network",
        sha256=checksum(content),
        size_bytes=len(content),
        licence="none",
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


def test_a_plain_file_is_fetched_once(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "some.onnx").write_bytes(WEIGHTS)
    item = model_file(Download(url=f"{address}/some.onnx", sha256=checksum(WEIGHTS)))
    models = tmp_path / "deep" / "models"
    assert fetch(item, models) == models / "net.onnx"
    assert (models / "net.onnx").read_bytes() == WEIGHTS
    (folder / "some.onnx").unlink()
    assert fetch(item, models).read_bytes() == WEIGHTS


def test_an_altered_file_is_replaced(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "some.onnx").write_bytes(WEIGHTS)
    (tmp_path / "net.onnx").write_bytes(b"broken")
    fetch(model_file(Download(url=f"{address}/some.onnx", sha256=checksum(WEIGHTS))), tmp_path)
    assert (tmp_path / "net.onnx").read_bytes() == WEIGHTS


def test_a_member_of_an_archive_is_fetched_and_the_archive_kept(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    packed = archive(one=WEIGHTS, two=b"other")
    (folder / "pack.zip").write_bytes(packed)
    item = model_file(Download(url=f"{address}/pack.zip", sha256=checksum(packed), member="one.onnx"))
    assert fetch(item, tmp_path / "models").read_bytes() == WEIGHTS
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [ARCHIVE_FOLDER, "net.onnx"]
    (folder / "pack.zip").unlink()
    (tmp_path / "models" / "net.onnx").unlink()
    assert fetch(item, tmp_path / "models").read_bytes() == WEIGHTS


def test_something_else_at_the_address_is_refused_and_leaves_nothing(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "some.onnx").write_bytes(b"<html>moved</html>")
    item = model_file(Download(url=f"{address}/some.onnx", sha256=checksum(WEIGHTS)))
    with pytest.raises(AlteredModelFileError, match=f"expected sha256 {item.sha256}"):
        fetch(item, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("member", "error", "words"),
    [("three.onnx", ModelFileError, "found 0"), ("two.onnx", AlteredModelFileError, "expected sha256")],
)
def test_an_archive_without_the_right_member_is_refused(
    member: str, error: type[Exception], words: str, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    packed = archive(one=WEIGHTS, two=b"other")
    (folder / "pack.zip").write_bytes(packed)
    item = model_file(Download(url=f"{address}/pack.zip", sha256=checksum(packed), member=member))
    with pytest.raises(error, match=words):
        fetch(item, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == [ARCHIVE_FOLDER]


def test_an_absent_page_is_reported(served: tuple[Path, str], tmp_path: Path) -> None:
    item = model_file(Download(url=f"{served[1]}/nothing", sha256=checksum(WEIGHTS)))
    with pytest.raises(ModelFileError, match="404"):
        fetch(item, tmp_path / "models")


def test_without_an_address_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match="ask politely"):
        fetch(model_file(None), tmp_path)
    (tmp_path / "net.onnx").write_bytes(WEIGHTS)
    assert fetch(model_file(None), tmp_path) == tmp_path / "net.onnx"
