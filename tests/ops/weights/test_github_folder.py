"""A folder of a commit, as GitHub packs it, from a web server on this machine."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from ops.errors import AlteredModelFileError, MissingModelFileError
from ops.weights.fetch import fetch
from ops.weights.git_objects import blob_id, tree_id
from ops.weights.sources import GitHubFolder, ModelFile
from tests.web_server import WebServer

CONTENT = {"mean.obj": b"v 1 2 3\n" * 200, "smile.obj": b"v 2 3 4\n" * 200, "parts/index.json": b"[1, 2]"}
COMMIT = "c" * 40


def join(folder: Path, target: Path) -> None:
    """The conversion of these tests: all files one after the other."""
    target.write_bytes(b"".join((folder / name).read_bytes() for name in sorted(CONTENT)))


@pytest.fixture
def item(tmp_path: Path) -> ModelFile:
    blobs = {name: blob_id(data) for name, data in CONTENT.items()}
    (tmp_path / "listing.json").write_text(json.dumps(blobs))
    joined = b"".join(CONTENT[name] for name in sorted(CONTENT))
    return ModelFile(
        name="shape",
        filename="shape.bin",
        what="a shape",
        sha256=hashlib.sha256(joined).hexdigest(),
        size_bytes=len(joined),
        licence="MIT",
        commercial_use=True,
        source="this test",
        download=GitHubFolder(
            repository="someone/Kit",
            commit=COMMIT,
            folder="Model",
            tree_id=tree_id(blobs),
            listing=tmp_path / "listing.json",
            convert=join,
        ),
    )


def packed(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(f"Kit-{COMMIT}/README.md", b"beside the folder")
        file.mkdir(f"Kit-{COMMIT}/Model")
        for name, data in content.items():
            file.writestr(f"Kit-{COMMIT}/Model/{name}", data)
    return buffer.getvalue()


def get(web: WebServer, item: ModelFile, archive: bytes, models: Path) -> None:
    web.files[f"/Kit-{COMMIT}.zip"] = archive
    fetch([item], models, mirror=web.address)


def test_the_folder_is_verified_and_only_the_converted_file_is_kept(
    web: WebServer, item: ModelFile, tmp_path: Path
) -> None:
    get(web, item, packed(CONTENT, zipfile.ZIP_DEFLATED), tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["shape.bin"]


@pytest.mark.parametrize("name", CONTENT)
def test_one_changed_byte_is_refused_and_its_file_named_with_both_ids(
    name: str, web: WebServer, item: ModelFile, tmp_path: Path
) -> None:
    changed = CONTENT[name][:-1] + b"!"
    with pytest.raises(AlteredModelFileError) as caught:
        get(web, item, packed(CONTENT | {name: changed}), tmp_path / "models")
    assert f"Model/{name}: expected blob {blob_id(CONTENT[name])}, found blob {blob_id(changed)}" in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_byte_changed_inside_the_zip_names_the_file(
    compression: int, web: WebServer, item: ModelFile, tmp_path: Path
) -> None:
    archive = bytearray(packed(CONTENT, compression))
    place = archive.index(b"Model/smile.obj") + len("Model/smile.obj") + 5
    archive[place] ^= 1
    with pytest.raises(AlteredModelFileError, match=r"Model/smile\.obj") as caught:
        get(web, item, bytes(archive), tmp_path / "models")
    assert blob_id(CONTENT["smile.obj"]) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more.obj": b"x"}, r"Model/more\.obj: expected no such file, found blob"),
        ({"../../../escaped": b"x"}, "expected a plain file"),
    ],
)
def test_files_that_are_too_many_are_refused(
    change: dict[str, bytes], words: str, web: WebServer, item: ModelFile, tmp_path: Path
) -> None:
    with pytest.raises(AlteredModelFileError, match=words):
        get(web, item, packed(CONTENT | change), tmp_path / "models")
    assert not list(tmp_path.rglob("escaped"))


def test_a_file_under_another_name_is_refused(web: WebServer, item: ModelFile, tmp_path: Path) -> None:
    renamed = {name.replace("mean", "Mean"): data for name, data in CONTENT.items()}
    with pytest.raises(AlteredModelFileError, match=r"(?s)Model/Mean\.obj.*Model/mean\.obj.*found no such file"):
        get(web, item, packed(renamed), tmp_path / "models")


def test_half_a_zip_is_refused(web: WebServer, item: ModelFile, tmp_path: Path) -> None:
    archive = packed(CONTENT)
    with pytest.raises(AlteredModelFileError, match="the ZIP is damaged"):
        get(web, item, archive[: len(archive) // 2], tmp_path / "models")


def test_another_conversion_is_refused(web: WebServer, item: ModelFile, tmp_path: Path) -> None:
    object.__setattr__(item.download, "convert", lambda folder, target: target.write_bytes(b"something else"))
    with pytest.raises(AlteredModelFileError, match=f"the conversion of Model .*expected sha256 {item.sha256}"):
        get(web, item, packed(CONTENT), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_mirror_without_file_and_zip_says_how_to_fill_it(web: WebServer, item: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=rf"the mirror {web.address} has no shape\.bin\n.*--to-mirror"):
        fetch([item], tmp_path / "models", mirror=web.address)
