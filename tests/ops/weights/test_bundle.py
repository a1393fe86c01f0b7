import dataclasses
import hashlib
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ops.errors import AlteredModelFileError, ConfigurationError, MissingModelFileError
from ops.face.prior import CameraLightPrior
from ops.networks.regressor_file import load_regressor_file
from ops.weights.bundle import (
    ModelRef,
    built_in_bundles,
    load_detector,
    load_landmarks,
    load_prior,
    load_recognition,
    load_shape,
    load_texture,
    resolve_bundle,
)
from ops.weights.registry import KNOWN_FILES, known_file

FILES = ("shape.safetensors", "net.onnx", "detector.onnx", "points.onnx")


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A folder of files that stand for models; resolving looks at their checksums only."""
    for name in FILES:
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def entry(path: Path, kind: str) -> str:
    return f"{{kind: {kind}, path: {path.name}, sha256: {checksum(path)}}}"


def write_bundle(folder: Path, **changes: str | None) -> Path:
    roles: dict[str, str | None] = {
        "shape": entry(folder / "shape.safetensors", "ganfit"),
        "texture": "{kind: procedural-pca}",
        "recognition": entry(folder / "net.onnx", "onnx"),
        "detector": entry(folder / "detector.onnx", "scrfd"),
        "landmarks": entry(folder / "points.onnx", "pfld"),
    }
    roles.update(changes)
    path = folder / "mine.yaml"
    path.write_text("".join(f"{role}: {content}\n" for role, content in roles.items() if content is not None))
    return path


def test_a_bundle_of_ones_own(own_files: Path) -> None:
    bundle = resolve_bundle(write_bundle(own_files))
    assert bundle.name == "mine"
    assert bundle.shape == ModelRef(
        kind="ganfit", path=own_files / "shape.safetensors", sha256=checksum(own_files / "shape.safetensors")
    )
    assert bundle.texture == ModelRef(kind="procedural-pca", path=None, sha256=None)
    assert bundle.prior.kind == "default"
    assert bundle.judge is None
    assert bundle.regressor is None
    with_regressor = resolve_bundle(write_bundle(own_files, regressor=entry(own_files / "net.onnx", "fastganfit")))
    assert with_regressor.regressor is not None
    assert with_regressor.regressor.kind == "fastganfit"
    with pytest.raises(ConfigurationError, match="add the role dense_landmarks"):
        resolve_bundle(write_bundle(own_files, regressor=entry(own_files / "net.onnx", "fastganfit-dense")))
    named = resolve_bundle(write_bundle(own_files, name="other", judge=entry(own_files / "points.onnx", "onnx")))
    assert named.name == "other"
    assert named.judge == ModelRef(
        kind="onnx", path=own_files / "points.onnx", sha256=checksum(own_files / "points.onnx")
    )


def test_a_bundle_says_what_good_reconstructions_measure(own_files: Path) -> None:
    path = write_bundle(own_files, quality="{landmark_shift: [0.06, 0.02], judge_similarity: [0.4, 0.7]}")
    found = resolve_bundle(path, own_files)
    assert found.quality is not None
    assert found.quality.landmark_shift is not None
    assert (found.quality.landmark_shift.limit, found.quality.landmark_shift.typical) == (0.06, 0.02)
    assert found.quality.landmark_error is None
    assert "0.06" in str(found.description()["quality"]), "the ranges are part of what a run must not change"
    assert resolve_bundle(write_bundle(own_files), own_files).quality is None
    for wrong in ("0.3", "{landmark_shift: 0.06}", "{landmark_shift: [a, b]}", "{beauty: [0, 1]}", "{}"):
        with pytest.raises(ConfigurationError, match=r"mine\.yaml, quality: expected"):
            resolve_bundle(write_bundle(own_files, quality=wrong), own_files)


def test_the_network_that_is_optimised_cannot_be_the_judge(own_files: Path) -> None:
    (own_files / "copy.onnx").write_bytes((own_files / "net.onnx").read_bytes())
    with pytest.raises(ConfigurationError, match="expected a judge that is another network than recognition"):
        resolve_bundle(write_bundle(own_files, judge=entry(own_files / "copy.onnx", "onnx")))


@pytest.mark.models
def test_open_loads_and_what_its_networks_read_beside_is_verified(model_dir: Path, tmp_path: Path) -> None:
    names = [item.name for item in KNOWN_FILES if item.name.startswith(("ict_facekit", "mediapipe_", "dlib_"))]
    for name in names:
        path = model_dir / known_file(name).filename
        if name.startswith(("mediapipe", "dlib")) or name == "ict_facekit":
            if not path.is_file():
                pytest.skip(f"needs {path.name} among the model files")
            (tmp_path / path.name).symlink_to(path)
    bundle = resolve_bundle("open", tmp_path)
    assert bundle.judge is None
    seen = load_recognition(bundle.recognition)(torch.rand(1, 3, 112, 112))
    assert seen.embedding.shape == (1, 128)
    assert bundle.regressor is not None
    assert bundle.regressor.path is not None
    regressor = load_regressor_file(bundle.regressor.path).regressor
    assert regressor.layout.taps == tuple((value.shape[1], value.shape[-1]) for value in seen.features)
    crops, landmarks = torch.rand(1, 3, 112, 112), regressor.mean_landmarks.unsqueeze(0)
    assert all(value.isfinite().all() for value in regressor(crops, seen, landmarks))
    blank = torch.zeros(90, 120, 3, dtype=torch.uint8).numpy()
    found = load_detector(bundle.detector)(blank)
    assert load_landmarks(bundle.landmarks)(blank, found.boxes_xyxy_px, found.points_px).shape == (0, 68, 2)
    shape = load_shape(bundle.shape)
    assert shape.metadata.uv_layout == "ict-atlas-v1"
    for name in ("dlib_recognition_face_api_manifest", "mediapipe_face_detection_full"):
        path = tmp_path / known_file(name).filename
        kept = path.readlink()
        path.unlink()
        path.write_bytes(b"altered")
        with pytest.raises(AlteredModelFileError, match=path.name):
            resolve_bundle("open", tmp_path)
        path.unlink()
        path.symlink_to(kept)


def test_the_description_is_json_and_complete(own_files: Path) -> None:
    bundle = resolve_bundle(write_bundle(own_files))
    description = json.loads(json.dumps(bundle.description()))
    assert set(description) == {field.name for field in dataclasses.fields(bundle)} - {"about"}
    assert description["landmarks"] == {
        "kind": "pfld",
        "path": str(own_files / "points.onnx"),
        "sha256": checksum(own_files / "points.onnx"),
    }
    assert description["judge"] is None


def test_every_missing_and_altered_file_is_in_one_message(own_files: Path) -> None:
    bundle = write_bundle(own_files)
    expected = checksum(own_files / "net.onnx")
    (own_files / "net.onnx").write_bytes(b"altered")
    (own_files / "points.onnx").unlink()
    with pytest.raises(AlteredModelFileError) as caught:
        resolve_bundle(bundle)
    for part in (
        str(own_files / "net.onnx"),
        expected,
        checksum(own_files / "net.onnx"),
        str(own_files / "points.onnx"),
    ):
        assert part in str(caught.value)


def test_registered_files_are_looked_up_in_the_model_directory(own_files: Path, tmp_path: Path) -> None:
    bundle = write_bundle(own_files, detector="{kind: scrfd, known: scrfd_500m}")
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(MissingModelFileError, match=r"ganfit fetch .*\.yaml --model-dir") as caught:
        resolve_bundle(bundle, elsewhere)
    for part in (f"{elsewhere} lacks scrfd_500m.onnx (2.5 MB)", "non-commercial research only; commercial use: no"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    elsewhere.mkdir()
    (elsewhere / "scrfd_500m.onnx").write_bytes(b"altered")
    with pytest.raises(AlteredModelFileError, match=r"ganfit fetch scrfd_500m"):
        resolve_bundle(bundle, elsewhere)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": None}, "missing: shape"),
        ({"landmark": "{kind: pfld}"}, "unknown: landmark;"),
        ({"shape": "model.obj"}, "shape: expected kind, path, sha256, known, found 'model.obj'"),
        ({"shape": "{kind: obj, path: a, sha256: b}"}, "shape: expected kind to be one of ganfit, .*found obj"),
        ({"shape": "{path: a, sha256: b}"}, "found none"),
        ({"shape": "{kind: ganfit, path: a}"}, "needs path and sha256, or known, found path"),
        ({"shape": "{kind: ganfit}"}, "found neither"),
        ({"shape": "{kind: ganfit, path: a, known: b, sha256: c}"}, "found path, sha256, known"),
        ({"shape": "{kind: ganfit, file: a}"}, "unknown key 'file'"),
        ({"shape": "{kind: ganfit, path: a, sha256: 12}"}, "expected sha256 to be a text, found 12"),
        ({"shape": "{kind: ganfit, path: a, sha256: abc}"}, "64 hexadecimal digits"),
        ({"shape": "{kind: ganfit, known: dragon}"}, "no model file is registered as 'dragon'"),
        ({"texture": "{kind: procedural-pca, path: a, sha256: b}"}, "takes no file"),
        ({"name": "[1, 2]"}, "expected a text as name"),
        ({"shape": "{kind: ["}, "is not a YAML file"),
    ],
)
def test_a_description_that_is_not_understood_is_refused(
    changes: dict[str, str | None], words: str, own_files: Path
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resolve_bundle(write_bundle(own_files, **changes))


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "just words"])
def test_a_file_that_describes_no_bundle_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"odd\.yaml: expected roles"):
        resolve_bundle(path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    assert "ict" in built_in_bundles()
    with pytest.raises(ConfigurationError, match=r"\(.*ict.*\).*'itc'"):
        resolve_bundle("itc")


def test_a_missing_model_directory_is_refused_within_seconds(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from ops.weights.bundle import resolve_bundle; "
        f"resolve_bundle('ict', Path({str(tmp_path)!r}))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 10
    assert done.returncode == 1
    for name in ("ict_facekit_face", "scrfd_500m", "pfld_68", "arcface_mobilefacenet", "recognition_second"):
        assert known_file(name).filename in done.stderr


def test_loading_refuses_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a model of kind .*onnx.*, found 'pfld'"):
        load_recognition(ModelRef(kind="pfld", path=tmp_path, sha256=None))
    with pytest.raises(ConfigurationError, match="needs a file"):
        load_shape(ModelRef(kind="ganfit", path=None, sha256=None))


def test_priors(tmp_path: Path) -> None:
    from ops.face.prior import save_prior

    prior = CameraLightPrior(expression_sd=0.25, source="a test")
    save_prior(prior, tmp_path / "prior.json")
    assert load_prior(ModelRef(kind="json", path=tmp_path / "prior.json", sha256=None)) == prior
    assert load_prior(ModelRef(kind="default", path=None, sha256=None)) == CameraLightPrior()


@pytest.mark.models
def test_ict_loads_and_its_parts_belong_together(model_dir: Path, tmp_path: Path) -> None:
    from ops.texture.pca import PcaTexture, save_pca_texture

    bundle = resolve_bundle("ict", model_dir)
    shape = load_shape(bundle.shape)
    assert shape.mean_mm.shape == (19_775, 3)
    assert load_recognition(bundle.recognition)(torch.rand(1, 3, 112, 112)).embedding.shape == (1, 128)
    assert bundle.judge is not None
    judge = load_recognition(bundle.judge, ())(torch.rand(1, 3, 112, 112))
    assert judge.embedding.shape == (1, 128)
    assert judge.features == ()
    blank = torch.zeros(90, 120, 3, dtype=torch.uint8).numpy()
    found = load_detector(bundle.detector)(blank)
    assert len(found.scores) == 0
    assert load_landmarks(bundle.landmarks)(blank, found.boxes_xyxy_px, found.points_px).shape == (0, 68, 2)

    fitting = PcaTexture(mean=torch.rand(3, 32, 32), basis=torch.rand(2, 3, 32, 32), uv_layout=shape.metadata.uv_layout)
    save_pca_texture(fitting, tmp_path / "fitting.safetensors")
    texture = load_texture(ModelRef(kind="pca", path=tmp_path / "fitting.safetensors", sha256=None), shape)
    assert texture.latent_size == 2
    save_pca_texture(dataclasses.replace(fitting, uv_layout="another"), tmp_path / "other.safetensors")
    with pytest.raises(ConfigurationError, match="'another'"):
        load_texture(ModelRef(kind="pca", path=tmp_path / "other.safetensors", sha256=None), shape)


@pytest.mark.models
def test_an_imported_ict_model_stands_for_the_compact_file(model_dir: Path, tmp_path: Path) -> None:
    from ops.face.morphable_model import save_morphable_model
    from ops.importers.ict import import_ict

    save_morphable_model(import_ict(model_dir / "ict_facekit_face.npz"), tmp_path / "ict.safetensors")
    imported = load_shape(ModelRef(kind="ict", path=tmp_path / "ict.safetensors", sha256=None))
    compact = load_shape(resolve_bundle("ict", model_dir).shape)
    assert imported.metadata.uv_layout == compact.metadata.uv_layout
    torch.testing.assert_close(imported.uv, compact.uv)
