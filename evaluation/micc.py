"""The MICC Florence data set on disk: subjects, scans, annotations and videos.

::

    subject_NN/Model/{frontal1,frontal2,sidel,sider}/obj/<timestamp>.obj
    subject_NN/Video/{Indoor-Cooperative,PTZ-Indoor,PTZ-Outdoor}/*.{mjpg,mjpeg,mpg,...}

File names are found by pattern, never assumed. Every subject has the same two scans and three settings here; what is
not on disk stays in the list as missing, so that no table is silently short.
"""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ops.errors import ConfigurationError, UnsupportedInputError
from ops.geometry.mesh import MESH_SUFFIXES

SCANS = ("frontal1", "frontal2")
"""The scans that are ground truth; the two side scans carry no annotations."""
SUBJECT_COUNT = 53
TIGHT_CROP_SUBJECTS = frozenset({"subject_28"})
"""Subjects whose scans end close to the face."""
VIDEO_SUFFIXES = (".mjpg", ".mjpeg", ".mpg", ".mpeg", ".avi", ".mp4", ".mov")

_SUBJECT = re.compile(r"^subject[_ -]?0*(\d+)$", re.IGNORECASE)
_SUBJECT_IN_PATH = re.compile(r"subject[_ -]?0*(\d+)", re.IGNORECASE)
_SCAN_IN_PATH = re.compile(r"frontal[_ -]?([12])", re.IGNORECASE)


class Setting(Enum):
    """The three recording conditions; the value is the folder's name."""

    COOPERATIVE = "Indoor-Cooperative"
    INDOOR = "PTZ-Indoor"
    OUTDOOR = "PTZ-Outdoor"


@dataclass(frozen=True, kw_only=True)
class ScanFiles:
    """One scan of one subject; a None is missing on disk."""

    subject: str
    scan: str
    mesh_path: Path | None
    landmarks_path: Path | None


@dataclass(frozen=True, kw_only=True)
class VideoFiles:
    """The clip of one subject in one setting; None is missing on disk."""

    subject: str
    setting: Setting
    video_path: Path | None


def find_subjects(root: Path) -> dict[str, Path]:
    """Folders by canonical name (`subject_07`), in order.

    Raises:
        ConfigurationError: no subject folders, or two for one subject.
    """
    if not root.is_dir():
        raise ConfigurationError(f"{root}: expected the folder of the MICC data set, found no folder")
    subjects: dict[str, Path] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        match = _SUBJECT.match(folder.name)
        if match is None:
            continue
        name = subject_name(int(match[1]))
        if name in subjects:
            raise ConfigurationError(f"{root}: {subjects[name].name} and {folder.name} are both {name}")
        subjects[name] = folder
    if not subjects:
        raise ConfigurationError(f"{root}: expected folders named subject_01, subject_02, ..., found none")
    return dict(sorted(subjects.items()))


def subject_name(number: int) -> str:
    """The canonical name of a subject."""
    return f"subject_{number:02d}"


def find_scans(root: Path, landmark_dir: Path | None) -> list[ScanFiles]:
    """Both frontal scans of every subject, with annotations from a folder of LJSON files (default: beside the scans).

    An annotation belongs to a scan when its path names subject and scan, or bears the scan's file name.

    Raises:
        ConfigurationError: see `find_subjects`; or no annotations at all.
    """
    subjects = find_subjects(root)
    annotation_root = root if landmark_dir is None else landmark_dir
    annotations = sorted(path for path in annotation_root.rglob("*") if path.suffix.lower() == ".ljson")
    if not annotations:
        raise ConfigurationError(f"{annotation_root}: expected LJSON annotations (*.ljson), found none")
    by_name = {
        key: path for path in reversed(annotations) if (key := _scan_key(path.relative_to(annotation_root))) is not None
    }
    by_stem = {path.stem: path for path in reversed(annotations)}
    scans: list[ScanFiles] = []
    for subject, folder in subjects.items():
        for scan in SCANS:
            mesh_path = _first(folder / "Model" / scan, MESH_SUFFIXES)
            landmarks = by_name.get((subject, scan))
            if landmarks is None and mesh_path is not None:
                landmarks = by_stem.get(mesh_path.stem)
            scans.append(ScanFiles(subject=subject, scan=scan, mesh_path=mesh_path, landmarks_path=landmarks))
    return scans


def find_videos(root: Path) -> list[VideoFiles]:
    """The three clips of every subject.

    Raises:
        ConfigurationError: see `find_subjects`.
    """
    return [
        VideoFiles(
            subject=subject, setting=setting, video_path=_first(folder / "Video" / setting.value, VIDEO_SUFFIXES)
        )
        for subject, folder in find_subjects(root).items()
        for setting in Setting
    ]


def parse_setting(name: str) -> Setting:
    """The setting a folder, file or identity is named after; case and the part before the dash do not matter.

    Raises:
        UnsupportedInputError: another name.
    """
    last = re.split(r"[-_ ]", name.strip().lower())[-1]
    for setting in Setting:
        if last == setting.value.lower().split("-")[-1]:
            return setting
    raise UnsupportedInputError(f"expected one of {', '.join(s.value for s in Setting)}, got {name!r}")


def parse_subject(name: str) -> str | None:
    """The canonical name of the subject a path or identity names, None where it names none."""
    match = _SUBJECT_IN_PATH.search(name)
    return None if match is None else subject_name(int(match[1]))


def _scan_key(path: Path) -> tuple[str, str] | None:
    subject, scan = parse_subject(path.as_posix()), _SCAN_IN_PATH.search(path.as_posix())
    return None if subject is None or scan is None else (subject, f"frontal{scan[1]}")


def _first(folder: Path, suffixes: tuple[str, ...]) -> Path | None:
    """The first file by path with one of the suffixes below a folder."""
    if not folder.is_dir():
        return None
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in suffixes)
    return next(found, None)
