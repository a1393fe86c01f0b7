"""Meshes of a run in one folder for other programs, and in the layouts of three benchmarks' evaluators.

::

    FOLDER/STEM.glb                          plain, neutral: one file per person and format
    FOLDER/STEM/IMAGE.glb                    plain, as in the photo: one per usable photo
    FOLDER/STEM/CLIP.glb                     plain, clip: one animated head per clip
    FOLDER/NAME.obj, template.obj            realy: named as the photo; the mean face
    FOLDER/SUBJECT/CHALLENGE/NAME.obj, .npy  now: neutral, by the last three parts of the photo's path; seven landmarks
    FOLDER/PARTICIPANT/KEY/mesh_neutral.ply, mesh_posed.ply, landmarks_*.npy
                                             nersemble-svfr: by the last two parts of the photo's path
    FOLDER/export.json                       what each file is, with the photo's camera, and what is missing

Only current rows are read, one shard at a time.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np

from ops.errors import ConfigurationError, OutputError
from ops.face.landmark_parts import SEVEN_POINTS
from ops.files.photo import decode_png
from ops.geometry import mesh as plain_mesh
from ops.geometry.gltf import encode_glb
from ops.geometry.mesh_io import TexturedMesh, write_obj, write_ply
from ops.reconstruction.mesh import expression_morphs, face_mesh
from ops.reconstruction.pinhole import Pinhole, pinhole_of
from pipeline.input.names import stable_id
from pipeline.run.clip_export import Clip, animate_clip, clips_of
from pipeline.run.reader import Row, Run
from pipeline.tables.schema import Status

Pose = Literal["neutral", "photo", "clip"]
Format = Literal["glb", "obj", "ply"]
ExportLayout = Literal["plain", "realy", "now", "nersemble-svfr"]
INDEX_FILE = "export.json"


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What is exported."""

    pose: Pose = "neutral"
    """neutral: one mesh per person; photo: one per usable photo, with its expression; clip: one animated GLB per clip.
    Layout plain."""
    formats: tuple[Format, ...] = ("glb",)
    """GLB is in metres, with the photo's camera where the pose is; OBJ and PLY in millimetres, in the frame of the
    photo's camera where the pose is photo, else in the model's. Layout plain."""
    blendshapes: bool = False
    """The model's expression modes as morph targets of each GLB."""
    layout: ExportLayout = "plain"
    smooth_s: float = 0.0
    """Pose clip: vibrations of periods shorter than 2 pi times this are taken out, see `ops.geometry.smoothing`."""

    def __post_init__(self) -> None:
        plain_glb = (self.formats, self.blendshapes, self.layout) == (("glb",), False, "plain")
        if self.pose == "clip" and not plain_glb:
            raise ConfigurationError(
                "expected the format glb alone, the layout plain and no blendshapes for the pose clip"
            )
        if not 0 <= self.smooth_s < math.inf or (self.smooth_s and self.pose != "clip"):
            raise ConfigurationError(f"expected smooth_s >= 0, and 0 for poses but clip, got {self.smooth_s}")
        if self.blendshapes and "glb" not in self.formats:
            raise ConfigurationError(f"expected glb among the formats of blendshapes, got {', '.join(self.formats)}")


class Exported(NamedTuple):
    """What was written."""

    files: int
    missing: int
    """Photos, clips or people without a mesh; export.json lists them with the reason."""


class _Index(NamedTuple):
    """What export.json lists."""

    files: list[dict[str, Any]]
    missing: list[dict[str, Any]]


class _Face(NamedTuple):
    """A person, or a person in one photo."""

    person: Row
    frame: Row | None
    texture_rgb: np.ndarray


def export_run(run: Run, folder: Path, config: ExportConfig) -> Exported:
    """Write the meshes of all current people.

    Raises:
        ConfigurationError: a layout of single photos, and a run with several photos of a person or without the paths
            that the layout is made of.
        ModelFileError: the run's shape model is not on this machine.
        OutputError: the folder holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"expected a new or empty folder, got {folder}: choose another one")
    folder.mkdir(parents=True, exist_ok=True)
    index = _Index([], [])
    files, missing = index
    taken: set[str] = set()
    for person, frames in _people(run):
        if config.pose == "clip":
            _write_clips(run, folder, config, person, clips_of(frames), index)
            continue
        per_photo = config.layout != "plain" or config.pose == "photo"
        rows = frames if per_photo else [person]
        missing += [_missing(row) for row in rows if row["status"] != Status.OK]
        usable = [row for row in rows if row["status"] == Status.OK]
        if not usable:
            continue
        if config.layout != "plain" and len(usable) > 1:
            raise ConfigurationError(
                f"expected one usable photo per person for the layout {config.layout}, got {len(usable)} of "
                f"{person['identity_id']!r}: reconstruct the photos with --layout images"
            )
        texture = _texture(run, person)
        for row in usable:
            face = _Face(person, row if per_photo else None, texture)
            written = _write(run, folder, config, face, taken)
            files.append(_entry(run, face, written))
    if config.layout == "realy":
        mean = run.shape.mean_mm.cpu().numpy()
        plain_mesh.write_obj(folder / "template.obj", plain_mesh.Mesh(mean, run.shape.triangles.cpu().numpy()))
    if config.pose == "clip" and not files and not missing:
        raise ConfigurationError(f"expected clips in the run {run.root} for the pose clip, found photos alone")
    content = {"run": str(run.root), "settings": asdict(config), "files": files, "missing": missing}
    (folder / INDEX_FILE).write_text(json.dumps(content, indent=1))
    return Exported(sum(len(entry["files"]) for entry in files), len(missing))


def _people(run: Run) -> Iterator[tuple[Row, list[Row]]]:
    """Every person with the folder of its shard, and its photos."""
    for folder in run.folders:
        frames: dict[str, list[Row]] = {}
        for row in run.shard_table(folder, "frames").to_pylist():
            frames.setdefault(row["identity_id"], []).append(row)
        for person in run.shard_table(folder, "identities").to_pylist():
            yield person | {"folder": folder}, frames.get(person["identity_id"], [])


def _write_clips(
    run: Run, folder: Path, config: ExportConfig, person: Row, clips: Sequence[Clip], index: _Index
) -> None:
    """Write a person's clips, and what becomes of each into the index."""
    usable = [clip for clip in clips if clip.usable]
    for clip in clips:
        if not clip.usable:
            index.missing.append(_missing(clip.frames[0]))
    if not usable:
        return
    mesh = _mesh(run, _Face(person, None, _texture(run, person)), posed=False)
    for clip in usable:
        name = f"{PurePosixPath(person['texture_path']).stem}/{clip.item_id}.glb"
        head = animate_clip(run, person, clip, mesh, config.smooth_s)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(head.glb)
        index.files.append({"files": [name], **head.described})


def _texture(run: Run, person: Row) -> np.ndarray:
    return decode_png(run.root.read(f"{person['folder']}/{person['texture_path']}"))


def _write(run: Run, folder: Path, config: ExportConfig, face: _Face, taken: set[str]) -> list[str]:
    """Write a face's files and give their names."""
    if config.layout == "plain":
        return _write_plain(run, folder, config, face)
    place = _place(config.layout, face)
    if place in taken:
        raise ConfigurationError(f"expected one photo for {folder / place}, got several: {_frame(face)['uri']}")
    taken.add(place)
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    neutral, posed = _mesh(run, face, posed=False), _mesh(run, face, posed=True)
    if config.layout == "realy":
        plain_mesh.write_obj(target.with_name(f"{target.name}.obj"), _bare(posed))
        return [f"{place}.obj"]
    if config.layout == "now":
        plain_mesh.write_obj(target.with_name(f"{target.name}.obj"), _bare(neutral))
        np.save(target.with_name(f"{target.name}.npy"), _seven_points(run, neutral))
        return [f"{place}.obj", f"{place}.npy"]
    target.mkdir()
    for name, mesh in (("neutral", neutral), ("posed", posed)):
        plain_mesh.write_ply(target / f"mesh_{name}.ply", _bare(mesh))
        np.save(target / f"landmarks_{name}.npy", _seven_points(run, mesh))
    return [f"{place}/{path.name}" for path in sorted(target.iterdir())]


def _write_plain(run: Run, folder: Path, config: ExportConfig, face: _Face) -> list[str]:
    name = PurePosixPath(face.person["texture_path"]).stem
    if face.frame is not None:
        image = face.frame["image_id"]
        name = f"{name}/{stable_id(image, image)}"
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    mesh = _mesh(run, face, posed=config.pose == "photo")
    for suffix in config.formats:
        path = target.with_name(f"{target.name}.{suffix}")
        if suffix == "glb":
            path.write_bytes(_glb(run, config, face, mesh))
            continue
        seen = mesh
        if face.frame is not None:
            camera = pinhole_of(run.camera_of(face.frame))
            vertices = (mesh.vertices_mm - camera.eye_mm) @ camera.camera_from_model.T
            seen = mesh._replace(vertices_mm=vertices.astype(np.float32))
        (write_obj if suffix == "obj" else write_ply)(path, seen)
    return [f"{name}.{suffix}" for suffix in config.formats]


def _glb(run: Run, config: ExportConfig, face: _Face, mesh: TexturedMesh) -> bytes:
    camera, morphs = None, None
    if face.frame is not None:
        pinhole = pinhole_of(run.camera_of(face.frame))
        camera = pinhole.perspective(face.frame["width_px"], face.frame["height_px"])
    if config.blendshapes:
        size = run.shape.expression_size
        opened = (0.0,) * size if face.frame is None else face.frame["expression"]
        mesh, morphs = _mesh(run, face, posed=False), expression_morphs(run.shape, range(size), opened)
    extras = {"identity_id": face.person["identity_id"]}
    if face.frame is not None:
        extras |= {"image_id": face.frame["image_id"], "uri": face.frame["uri"]}
    return encode_glb(mesh, morphs=morphs, camera=camera, extras=extras)


def _mesh(run: Run, face: _Face, *, posed: bool) -> TexturedMesh:
    expression = _frame(face)["expression"] if posed else None
    return face_mesh(run.shape, face.person["identity"], expression, face.texture_rgb)


def _place(layout: ExportLayout, face: _Face) -> str:
    """Where a photo's files go, without suffix."""
    count = {"realy": 1, "now": 3, "nersemble-svfr": 2}[layout]
    uri = str(_frame(face)["uri"]).partition("?")[0].replace("\\", "/")
    parts = PurePosixPath(uri).with_suffix("").parts[-count:]
    if len(parts) < count or {"..", ".", "/"} & set(parts):
        raise ConfigurationError(
            f"expected photos in folders as the layout {layout} has them ({count} parts of the path), got {uri}"
        )
    return "/".join(parts)


def _frame(face: _Face) -> Row:
    assert face.frame is not None
    return face.frame


def _seven_points(run: Run, mesh: TexturedMesh) -> np.ndarray:
    """Corners of the eyes, the point below the nose, corners of the mouth, image left first: [7, 3], millimetres."""
    return mesh.vertices_mm[run.shape.landmarks[list(SEVEN_POINTS)].cpu().numpy()].astype(np.float64)


def _bare(mesh: TexturedMesh) -> plain_mesh.Mesh:
    return plain_mesh.Mesh(mesh.vertices_mm, mesh.triangles)


def _entry(run: Run, face: _Face, files: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"files": files, "identity_id": face.person["identity_id"]}
    if face.frame is not None:
        pinhole: Pinhole = pinhole_of(run.camera_of(face.frame))
        camera = pinhole.described(face.frame["width_px"], face.frame["height_px"])
        entry |= {"image_id": face.frame["image_id"], "uri": face.frame["uri"], "camera": camera}
    return entry


def _missing(row: Row) -> dict[str, Any]:
    names = ("identity_id", "image_id", "uri", "status", "reason", "message")
    return {name: row[name] for name in names if name in row}
