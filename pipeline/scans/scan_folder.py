"""A folder of scans: one sub-folder a person, with a mesh, landmarks, and where there are any a texture and photos.

::

    SCANS/NAME/NAME.obj       or .ply, .glb, or .npz with V, F and where known UV, landmarks (or L68_auto), part
    SCANS/NAME/landmarks.npy  68 points in iBUG order and the mesh's unit, [68, 3] with NaN for unknown ones; or an
                              .ljson file with null for them, which counts where there is no landmarks*.npy
    SCANS/NAME/texture.jpg    of an .npz; other meshes name their own
    SCANS/NAME/photos/        or frames: pictures of the person

An archive's part tells skin (0) from what does not belong to the face.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from evaluation.landmark_files import read_landmarks
from evaluation.scan_protocols import AnnotatedMesh
from ops.errors import ConfigurationError, UnreadableInputError, UnsupportedInputError
from ops.geometry.mesh import MESH_SUFFIXES, Mesh, read_mesh
from ops.registration.annotation import TexturedScan
from ops.registration.textured_scan import read_textured_scan
from pipeline.input.listing import IMAGE_SUFFIXES

ARCHIVE_SUFFIX = ".npz"
ARCHIVE_LANDMARKS = ("landmarks", "L68_auto")
PHOTO_FOLDERS = ("photos", "frames")


@dataclass(frozen=True, kw_only=True)
class ScanFolder:
    """One person's files."""

    name: str
    mesh_path: Path
    photos: tuple[Path, ...] = field(default=())

    def read(self) -> AnnotatedMesh:
        """The surface and its landmarks, in the scan's unit.

        Raises:
            InputError: a file that cannot be read, or no landmarks.
        """
        landmarks = self._landmarks()
        if landmarks is None:
            raise UnsupportedInputError(f"{self.name}: no landmarks: expected an .ljson file beside {self.mesh_path}")
        if self.mesh_path.suffix != ARCHIVE_SUFFIX:
            return AnnotatedMesh(read_mesh(self.mesh_path), landmarks)
        arrays = _archive(self.mesh_path)
        mesh = Mesh(arrays["V"].astype(np.float64), arrays["F"].astype(np.int32))
        if "part" in arrays:
            skin = (arrays["part"][mesh.triangles] == 0).all(1)
            mesh = Mesh(mesh.vertices, np.ascontiguousarray(mesh.triangles[skin]))
        return AnnotatedMesh(mesh, landmarks)

    def read_textured(self) -> TexturedScan:
        """All of the surface with its texture.

        Raises:
            InputError: a file that cannot be read, or no texture.
        """
        if self.mesh_path.suffix != ARCHIVE_SUFFIX:
            return read_textured_scan(self.mesh_path)
        arrays = _archive(self.mesh_path)
        pictures = [path for path in sorted(self.mesh_path.parent.glob("texture.*")) if _is_picture(path)]
        if "UV" not in arrays or not pictures:
            raise UnsupportedInputError(f"{self.mesh_path}: expected UV inside and a texture picture beside it")
        mesh = Mesh(arrays["V"].astype(np.float64), arrays["F"].astype(np.int32))
        with Image.open(pictures[0]) as picture:
            return TexturedScan(mesh, arrays["UV"].astype(np.float64), np.asarray(picture.convert("RGB")))

    def _landmarks(self) -> np.ndarray | None:
        folder = self.mesh_path.parent
        for path in sorted(folder.glob("landmarks*.npy")):
            return _points(np.load(path, allow_pickle=False), path)
        for path in sorted(folder.glob("*.ljson")):
            return read_landmarks(path)
        if self.mesh_path.suffix == ARCHIVE_SUFFIX:
            arrays = _archive(self.mesh_path)
            for name in ARCHIVE_LANDMARKS:
                if name in arrays:
                    return _points(arrays[name], self.mesh_path)
        return None


def find_scan_folders(folder: Path) -> list[ScanFolder]:
    """The sub-folders that hold a mesh, by name.

    Raises:
        ConfigurationError: there is none.
    """
    found: list[ScanFolder] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ():
        meshes = [path for path in sorted(place.iterdir()) if path.suffix.lower() in (*MESH_SUFFIXES, ARCHIVE_SUFFIX)]
        photos = [path for name in PHOTO_FOLDERS for path in sorted((place / name).glob("*")) if _is_picture(path)]
        if meshes:
            found.append(ScanFolder(name=place.name, mesh_path=meshes[0], photos=tuple(photos)))
    if not found:
        raise ConfigurationError(f"{folder}: expected a sub-folder per person with a mesh in it, found none")
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _archive(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise UnreadableInputError(f"{path}: not a readable archive of arrays ({error})") from error
    if not {"V", "F"} <= set(arrays):
        raise UnreadableInputError(f"{path}: expected the arrays V and F, found {', '.join(arrays)}")
    return arrays


def _points(values: np.ndarray, path: Path) -> np.ndarray:
    if values.shape != (68, 3):
        raise UnsupportedInputError(f"{path}: expected 68 landmarks of 3 numbers, got shape {values.shape}")
    return values.astype(np.float64)
