"""Finding the mesh of a subject and setting: in a run of this program, or in any folder of meshes."""

from dataclasses import dataclass
from pathlib import Path

from evaluation.micc import Setting, parse_setting, parse_subject
from ops.errors import ConfigurationError, UnsupportedInputError
from ops.geometry.mesh import MESH_SUFFIXES
from pipeline.micc.schema import MiccReason
from pipeline.run.reader import open_run
from pipeline.run.record import RUN_FILE
from pipeline.tables.schema import Status


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """A mesh, or why there is none."""

    path: Path | None
    reason: str = MiccReason.NONE
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class ReconstructionSet:
    """All meshes of one method."""

    root: Path
    is_run: bool
    """Made by ganfit reconstruct: millimetres."""
    found: dict[tuple[str, Setting], Reconstruction]

    def find(self, subject: str, setting: Setting) -> Reconstruction:
        """The mesh of a subject in a setting."""
        missing = Reconstruction(
            path=None, reason=MiccReason.MISSING_RECONSTRUCTION, message=f"no mesh for {subject} {setting.value}"
        )
        return self.found.get((subject, setting), missing)


def open_reconstructions(root: Path) -> ReconstructionSet:
    """The meshes of a run, or of a folder laid out as `subject_NN/<Setting>.obj` (or .ply, .glb).

    Raises:
        ConfigurationError: no folder, or nothing in it names a subject and a setting.
    """
    if not root.is_dir():
        raise ConfigurationError(f"{root}: expected a run of ganfit reconstruct or a folder of meshes, found no folder")
    is_run = (root / RUN_FILE).is_file() and (root / "shards").is_dir()
    found = _from_run(root) if is_run else _from_folder(root)
    if not found:
        raise ConfigurationError(
            f"{root}: expected meshes named subject_NN/<Setting> with {', '.join(s.value for s in Setting)}, found none"
        )
    return ReconstructionSet(root=root, is_run=is_run, found=found)


def _from_folder(root: Path) -> dict[tuple[str, Setting], Reconstruction]:
    found: dict[tuple[str, Setting], Reconstruction] = {}
    for suffix in MESH_SUFFIXES:
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() != suffix:
                continue
            key = _key(path.relative_to(root).with_suffix("").as_posix())
            if key is not None:
                found.setdefault(key, Reconstruction(path=path))
    return found


def _from_run(root: Path) -> dict[tuple[str, Setting], Reconstruction]:
    found: dict[tuple[str, Setting], Reconstruction] = {}
    for folder, row in open_run(root).rows("identities", ["status", "reason", "message", "mesh_path"]):
        key = _key(row["identity_id"])
        if key is None:
            continue
        if row["status"] == Status.OK and row["mesh_path"]:
            found[key] = Reconstruction(path=root / folder / row["mesh_path"])
        else:
            message = f"{row['status']} {row['reason']}: {row['message']}"
            found[key] = Reconstruction(path=None, reason=MiccReason.NO_RECONSTRUCTION, message=message)
    return found


def _key(name: str) -> tuple[str, Setting] | None:
    """Subject from anywhere in the name, setting from its last part."""
    subject = parse_subject(name)
    if subject is None:
        return None
    try:
        return subject, parse_setting(name.rsplit("/", 1)[-1])
    except UnsupportedInputError:
        return None
