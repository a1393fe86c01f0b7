import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.errors import AlteredModelFileError, ConfigurationError, MissingModelFileError
from ops.weights.known_files import KNOWN_FILES
from ops.weights.registry import known_file, remedy_of, resolve_model_dir, sha256_of, verify
from ops.weights.sources import GitHubFolder, PlainUrl, ZipMember

CONTENT = b"the weights of a network"
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.onnx"
    path.write_bytes(CONTENT)
    return path


def test_the_right_file_passes_whatever_the_case_of_its_checksum(weights: Path) -> None:
    assert verify(weights, CHECKSUM) == weights
    assert verify(weights, CHECKSUM.upper()) == weights


def test_an_altered_file_is_refused_with_everything_one_needs(weights: Path) -> None:
    weights.write_bytes(CONTENT[:-1] + b"!")
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    with pytest.raises(AlteredModelFileError) as caught:
        verify(weights, CHECKSUM, "run `get it`")
    for part in (str(weights), CHECKSUM, found, "run `get it`"):
        assert part in str(caught.value)


def test_a_missing_file_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    item = known_file("scrfd_500m")
    with pytest.raises(MissingModelFileError) as caught:
        verify(tmp_path / item.filename, item.sha256)
    for part in (str(tmp_path / item.filename), item.sha256, f"ganfit fetch {item.name}", str(tmp_path)):
        assert part in str(caught.value)


def test_a_folder_is_not_a_model_file(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match="correct the sha256 in the bundle file"):
        verify(tmp_path, CHECKSUM)


def test_a_change_within_the_process_is_seen(weights: Path) -> None:
    assert sha256_of(weights) == CHECKSUM
    before = weights.stat()
    weights.write_bytes(CONTENT[::-1])
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert sha256_of(weights) == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_every_known_file_can_be_told_and_obtained() -> None:
    for attribute in ("name", "filename", "sha256"):
        values = [getattr(item, attribute) for item in KNOWN_FILES]
        assert len(set(values)) == len(values)
    for item in KNOWN_FILES:
        assert len(bytes.fromhex(item.sha256)) == 32
        assert (item.download is None) == bool(item.how_to_obtain)
        assert item.licence
        assert item.source
        if isinstance(item.download, PlainUrl | ZipMember | GitHubFolder):
            assert item.download.address.startswith("https://")
        if isinstance(item.download, ZipMember):
            assert len(bytes.fromhex(item.download.sha256)) == 32
        assert f"fetch {item.name} --model-dir" in remedy_of(item, Path("somewhere"))


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'scrfd'; known are .*scrfd_500m"):
        known_file("scrfd")


def test_model_directory_is_the_given_one_or_the_variable_or_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GANFIT_MODELS", str(tmp_path / "named"))
    assert resolve_model_dir(tmp_path / "given") == tmp_path / "given"
    assert resolve_model_dir() == tmp_path / "named"
    monkeypatch.delenv("GANFIT_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert resolve_model_dir().parts[-2:] == ("ganfit", "models")


def test_importing_the_registry_loads_no_torch() -> None:
    code = "import ops.weights.fetch, ops.weights.bundle_file, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.models
def test_present_files_are_the_registered_ones(model_dir: Path) -> None:
    present = [item for item in KNOWN_FILES if (model_dir / item.filename).is_file()]
    assert {"scrfd_500m", "pfld_68", "arcface_mobilefacenet"} <= {item.name for item in present}
    for item in present:
        assert verify(model_dir / item.filename, item.sha256).stat().st_size == item.size_bytes
