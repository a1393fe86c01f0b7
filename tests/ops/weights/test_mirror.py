import hashlib
from pathlib import Path

import fsspec
import pytest

from ops.errors import AlteredModelFileError, ConfigurationError, ModelFileError
from ops.weights.download import Silent
from ops.weights.fetch import fetch
from ops.weights.mirror import fill_mirror, mirror_location, named_mirror, shown
from ops.weights.sources import ModelFile
from tests.web_server import WebServer

WEIGHTS = b"weights" * 1000
ITEM = ModelFile(
    name="net",
    filename="net.onnx",
    what="a network",
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    size_bytes=len(WEIGHTS),
    licence="none",
    commercial_use=True,
    source="this test",
    how_to_obtain="ask politely",
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.onnx").write_bytes(WEIGHTS)
    return tmp_path / "models"


@pytest.mark.parametrize("place", ["plain", "file", "memory"])
def test_what_is_put_on_a_mirror_is_fetched_from_it(place: str, models: Path, tmp_path: Path) -> None:
    mirror = {"plain": str(tmp_path / "m"), "file": (tmp_path / "m m").as_uri(), "memory": "memory://bucket/m"}[place]
    fill_mirror([ITEM], models, mirror, Silent())
    fetch([ITEM], tmp_path / "new", mirror)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["net.onnx"]
    assert (tmp_path / "new" / "net.onnx").read_bytes() == WEIGHTS
    if place == "memory":
        fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_a_web_mirror_serves_the_same_files(web: WebServer, tmp_path: Path) -> None:
    web.files["/below/net.onnx"] = WEIGHTS
    fetch([ITEM], tmp_path, f"{web.address}/below/")
    assert (tmp_path / "net.onnx").read_bytes() == WEIGHTS


def test_only_what_is_missing_or_altered_on_a_mirror_is_copied(models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mirror" / "net.onnx"
    copy.parent.mkdir()
    copy.write_bytes(b"broken")
    fill_mirror([ITEM], models, str(copy.parent), Silent())
    written = copy.stat().st_mtime_ns
    assert copy.read_bytes() == WEIGHTS
    fill_mirror([ITEM], models, str(copy.parent), Silent())
    assert copy.stat().st_mtime_ns == written
    assert [path.name for path in copy.parent.iterdir()] == ["net.onnx"]


def test_an_altered_file_on_a_mirror_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"altered")
    with pytest.raises(AlteredModelFileError, match=f"{tmp_path}/net.onnx: expected sha256 {ITEM.sha256}, found"):
        fetch([ITEM], tmp_path / "new", str(tmp_path))
    assert list((tmp_path / "new").iterdir()) == []


def test_places_that_cannot_be_filled_are_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="web address http://somewhere"):
        fill_mirror([ITEM], models, "http://somewhere", Silent())
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ModelFileError, match=r"file/net\.onnx: cannot be written"):
        fill_mirror([ITEM], models, str(tmp_path / "file"), Silent())


def test_locations_keep_the_options_of_a_uri_and_messages_do_not() -> None:
    location = mirror_location("s3://key:secret@bucket/models/?region=here", "net.onnx")
    assert location == "s3://key:secret@bucket/models/net.onnx?region=here"
    assert shown(location) == "s3://bucket/models/net.onnx"
    assert mirror_location("/a/what?", "net.onnx") == "/a/what?/net.onnx"


def test_the_mirror_is_the_given_one_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANFIT_MIRROR", "s3://there")
    assert [named_mirror("here"), named_mirror(None)] == ["here", "s3://there"]
    monkeypatch.setenv("GANFIT_MIRROR", "")
    assert named_mirror(None) is None
