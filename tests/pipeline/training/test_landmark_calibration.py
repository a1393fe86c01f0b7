"""From photos to a calibration file that a bundle can name."""

import json
from pathlib import Path

import pytest

from ops.errors import InputError
from ops.face.landmark_calibration import load_landmark_calibration
from ops.fit.calibration import CalibrationConfig
from ops.weights.bundle import ModelBundle, load_calibration, load_shape, resolve_bundle
from ops.weights.models import ModelRef
from ops.weights.registry import sha256_of
from pipeline.training import landmark_calibration
from pipeline.training.landmark_calibration import detect_people, make_calibration


def test_photos_become_people_with_landmarks_in_their_crops(album: Path, embedded: ModelBundle) -> None:
    found = detect_people(album, "auto", embedded, lambda line: None)
    assert sorted(set(found.person.tolist())) == [0, 1, 2, 3]
    assert len(found.landmarks) + sum(found.rejected.values()) == 8
    assert float((found.landmarks[:, 30] - 0.5).abs().max()) < 0.2


def test_four_people_are_too_few(album: Path, embedded: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 20 people"):
        make_calibration(album, embedded, tmp_path / "c.safetensors")


def test_the_file_says_what_was_seen_and_a_bundle_takes_it(
    album: Path, embedded: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.fit.calibration.MIN_PEOPLE", 2)
    monkeypatch.setattr(landmark_calibration, "HELD_OUT", 4)
    described = make_calibration(album, embedded, tmp_path / "c.safetensors", config=CalibrationConfig(rounds=1))
    about = json.loads(described.read_text())
    assert about["people"] == 4
    assert about["landmarks"]["sha256"] == embedded.landmarks.sha256
    assert about["people_held_out"].keys() == {"uncalibrated", "calibrated"}
    ref = ModelRef(kind="ganfit", path=tmp_path / "c.safetensors", sha256=None)
    assert len(load_calibration(ref, load_shape(embedded.shape)).corners) == len(
        load_landmark_calibration(tmp_path / "c.safetensors").corners
    )


def test_a_bundle_with_a_calibration_describes_it(embedded: ModelBundle, album: Path, tmp_path: Path) -> None:
    from ops.fit.calibration import start_calibration

    landmark_calibration.save_landmark_calibration(
        start_calibration(load_shape(embedded.shape), CalibrationConfig()), tmp_path / "c.safetensors", {}
    )
    built_in = Path(landmark_calibration.__file__).parents[2] / "ops/weights/bundles/embedded.yaml"
    text = built_in.read_text().replace("../embedded", str(built_in.parents[1] / "embedded"))
    digest = sha256_of(tmp_path / "c.safetensors")
    text += f"calibration: {{kind: ganfit, path: c.safetensors, sha256: {digest}}}\n"
    (tmp_path / "mine.yaml").write_text(text)
    description = resolve_bundle(tmp_path / "mine.yaml").description()
    entry = description["calibration"]
    assert isinstance(entry, dict)
    assert entry["sha256"] == digest
