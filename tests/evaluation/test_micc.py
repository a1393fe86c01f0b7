from pathlib import Path

import pytest

from evaluation.micc import Setting, find_scans, find_subjects, find_videos, parse_setting, parse_subject
from ops.errors import ConfigurationError, UnsupportedInputError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_scans_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    root, notes = tmp_path / "MICC Florence é", tmp_path / "landmarks"
    first = touch(root / "subject_01" / "Model" / "frontal1" / "obj" / "110920150452.obj")
    second = touch(root / "subject_01" / "Model" / "frontal2" / "obj" / "110920150501.OBJ")
    third = touch(root / "subject_30" / "Model" / "frontal1" / "obj" / "x.obj")
    touch(root / "subject_30" / "Model" / "frontal1" / "obj" / "x.bmp")
    touch(root / "readme" / "note.txt")
    named = touch(notes / "subject_01" / "frontal1" / "whatever.ljson")
    by_stem = touch(notes / "flat" / "110920150501.ljson")
    short = touch(notes / "Subject30_frontal1.ljson")
    scans = find_scans(root, notes)
    assert [(s.subject, s.scan, s.mesh_path, s.landmarks_path) for s in scans] == [
        ("subject_01", "frontal1", first, named),
        ("subject_01", "frontal2", second, by_stem),
        ("subject_30", "frontal1", third, short),
        ("subject_30", "frontal2", None, None),
    ]


def test_annotations_may_lie_beside_the_scans(tmp_path: Path) -> None:
    mesh = touch(tmp_path / "subject_02" / "Model" / "frontal1" / "obj" / "t.obj")
    notes = touch(mesh.with_suffix(".ljson"))
    assert find_scans(tmp_path, None)[0].landmarks_path == notes


def test_videos_with_mixed_suffixes_and_a_missing_one(tmp_path: Path) -> None:
    for setting, name in zip(("Indoor-Cooperative", "PTZ-Indoor"), ("a.mjpg", "b.MPG"), strict=True):
        touch(tmp_path / "subject_07" / "Video" / setting / name)
    (tmp_path / "subject_07" / "Video" / "PTZ-Outdoor").mkdir()
    videos = find_videos(tmp_path)
    assert [v.setting for v in videos] == list(Setting)
    assert [None if v.video_path is None else v.video_path.name for v in videos] == ["a.mjpg", "b.MPG", None]


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder"):
        find_subjects(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match="subject_01"):
        find_subjects(tmp_path)
    (tmp_path / "subject_1").mkdir()
    with pytest.raises(ConfigurationError, match="annotations"):
        find_scans(tmp_path, None)
    (tmp_path / "subject_01").mkdir()
    with pytest.raises(ConfigurationError, match="are both subject_01"):
        find_subjects(tmp_path)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("Indoor-Cooperative", Setting.COOPERATIVE),
        ("cooperative", Setting.COOPERATIVE),
        ("PTZ-Indoor", Setting.INDOOR),
        ("ptz_outdoor", Setting.OUTDOOR),
    ],
)
def test_settings_by_name(name: str, setting: Setting) -> None:
    assert parse_setting(name) is setting


def test_unknown_names() -> None:
    with pytest.raises(UnsupportedInputError, match="studio"):
        parse_setting("studio")
    assert parse_subject("out/Subject_7/PTZ-Indoor.obj") == "subject_07"
    assert parse_subject("nobody") is None
