from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.landmark_files import read_landmarks
from evaluation.micc import SCANS, Setting, find_scans, find_videos
from ops.errors import FingerprintMismatchError, OutputError, UnreadableInputError
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.files.video import sample_video
from ops.geometry.mesh import read_mesh
from pipeline.micc.synthetic import SyntheticMiccSettings, read_truth, write_synthetic_micc
from pipeline.studies.truth import find_truth

SETTINGS = SyntheticMiccSettings(seed=5, frames=2)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def data(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("micc")
    write_synthetic_micc(model, folder, 1, SETTINGS, 1)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_reader_finds_two_scans_and_three_clips(data: Path) -> None:
    scans, videos = find_scans(data, None), find_videos(data)
    assert [(scan.subject, scan.scan) for scan in scans] == [("subject_01", scan) for scan in SCANS]
    assert [video.setting for video in videos] == list(Setting)
    assert all(scan.mesh_path and scan.landmarks_path for scan in scans)
    assert scans == find_scans(data, data / "landmarks")
    for video in videos:
        assert video.video_path is not None
        assert sample_video(video.video_path, 2).decoded_count == SETTINGS.frames


def test_scans_and_annotations_agree_with_the_truth(model: MorphableModel, data: Path) -> None:
    truth = read_truth(data, "subject_01")
    nose = model.landmarks[30]
    counts: list[int] = []
    for scan in find_scans(data, None):
        assert scan.mesh_path is not None
        assert scan.landmarks_path is not None
        mesh, placed = read_mesh(scan.mesh_path), truth.scans[scan.scan]
        counts.append(len(mesh.triangles))
        expected = placed.rotation @ truth.neutral_mm[nose] + placed.translation_mm
        np.testing.assert_allclose(placed.landmarks_mm[30], expected, atol=1e-6)
        error = np.linalg.norm(read_landmarks(scan.landmarks_path) - placed.landmarks_mm, axis=1)
        assert 0.3 < error.mean() < 2.5
        nearest = np.linalg.norm(mesh.vertices - placed.landmarks_mm[30], axis=1).min()
        assert nearest < 4
    assert counts[0] > 1.2 * counts[1] > 10_000


def test_the_truth_belongs_to_the_coefficients(model: MorphableModel, data: Path) -> None:
    truth = read_truth(data, "subject_01")
    neutral = model.vertices_mm(torch.from_numpy(truth.identity), torch.zeros(model.expression_size))
    assert np.array_equal(neutral.numpy(), truth.neutral_mm)
    assert all(points.shape == (SETTINGS.frames, 68, 2) for points in truth.landmarks_px.values())


def test_data_sets_are_bit_identical_whatever_the_number_of_processes(
    model: MorphableModel, data: Path, tmp_path: Path
) -> None:
    write_synthetic_micc(model, tmp_path, 1, SETTINGS, 2)
    ours, again = contents(data), contents(tmp_path)
    assert len(ours) == 9
    assert ours == again


def test_another_seed_differs_and_only_what_is_not_complete_is_made_again(
    model: MorphableModel, data: Path, tmp_path: Path
) -> None:
    settings = SyntheticMiccSettings(seed=7, frames=1)
    said: list[str] = []
    write_synthetic_micc(model, tmp_path, 1, settings, 1)
    whole = contents(tmp_path)
    assert not set(whole.values()) & set(contents(data).values())
    assert not np.array_equal(read_truth(tmp_path, "subject_01").identity, read_truth(data, "subject_01").identity)
    write_synthetic_micc(model, tmp_path, 1, settings, 1, said.append)
    assert said == ["subject_01 is there"]
    clip = find_videos(tmp_path)[0].video_path
    assert clip is not None
    clip.write_bytes(b"cut short")
    (tmp_path / "truth" / "subject_01.safetensors").unlink()
    write_synthetic_micc(model, tmp_path, 1, settings, 1, said.append)
    assert said[1:] == ["subject_01 written"]
    assert contents(tmp_path) == whole


def test_folders_of_others_are_refused(model: MorphableModel, data: Path, tmp_path: Path) -> None:
    with pytest.raises(FingerprintMismatchError, match=r'"seed": 5.*another folder'):
        write_synthetic_micc(model, data, 1, SyntheticMiccSettings(seed=6), 1)
    (tmp_path / "subject_01").mkdir()
    with pytest.raises(OutputError, match="not written by this command"):
        write_synthetic_micc(model, tmp_path, 1, SETTINGS, 1)
    assert list(tmp_path.rglob("*")) == [tmp_path / "subject_01"]


def test_missing_and_damaged_truth_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInputError, match="subject_01"):
        read_truth(tmp_path, "subject_01")
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "subject_01.safetensors").write_bytes(b"no")
    with pytest.raises(UnreadableInputError, match="subject_01"):
        read_truth(tmp_path, "subject_01")


def test_the_truth_is_found_by_identity(model: MorphableModel, data: Path) -> None:
    found = find_truth(data, model)
    assert sorted(found) == sorted(f"subject_01/{setting.value}" for setting in Setting)
    expected = torch.from_numpy(read_truth(data, "subject_01").identity)
    assert all(torch.equal(truth.identity, expected) and truth.texture is None for truth in found.values())
    assert find_truth(data, replace(model, mean_mm=1.01 * model.mean_mm)) == {}
