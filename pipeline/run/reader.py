"""Reading a run: its current rows, meshes, cameras and pictures, wherever it lies and whether or not it is finished."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from evaluation.contact_sheet import flattened, over
from ops.errors import ConfigurationError, ModelFileError, OutputError
from ops.face.morphable_model import MorphableModel
from ops.files.photo import decode_png
from ops.geometry.mesh_io import TexturedMesh
from ops.reconstruction.mesh import face_mesh, visible_landmarks
from ops.reconstruction.photo_camera import PhotoCamera
from ops.weights.bundle import ModelBundle, ModelRef, load_shape, resolve_bundle
from ops.weights.registry import verify
from pipeline.run.plans import CURRENT_FILE, read_current, read_plans
from pipeline.run.record import RUN_FILE, read_record
from pipeline.run.shards import ShardStore
from pipeline.storage.parquet import read_table
from pipeline.storage.store import Storage, as_output_errors, in_parallel, open_storage
from pipeline.tables.schema import Status

Table = Literal["identities", "frames"]
Row = dict[str, Any]
PICTURES_FILE = "pictures.parquet"
pc: Any = pyarrow.compute


class Pictures(NamedTuple):
    """Pictures of a person's first usable image, RGB."""

    image_id: str
    input: np.ndarray
    """The aligned crop; light grey where the image does not cover it."""
    render: np.ndarray
    """The fitted face over it."""
    shape: np.ndarray
    """The surface alone."""
    texture: np.ndarray
    """The person's texture, in the layout of the shape model."""


@dataclass(frozen=True, eq=False)
class Run:
    """An output of `reconstruct`, as it was when `open_run` was called; rows that were superseded are left out."""

    root: Storage
    record: Mapping[str, Any]
    """Content of run.json."""
    current: pa.Table
    """Which folder holds the current rows of which person: rows of `pipeline.run.plans.CURRENT`."""
    bundle: ModelBundle | None = None
    """Where the shape model is taken from; None for the file that the run names."""
    _read: dict[str, pa.Table] = field(default_factory=dict, repr=False)

    def people(self, columns: Sequence[str] | None = None) -> Any:
        """A pandas DataFrame with one row per person: `identities.parquet` and `folder`, the shard's in the output.

        Args:
            columns: to read, besides `identity_id` and `folder`; None for all.

        Raises:
            OutputError: the output cannot be read.
        """
        return self.table("identities", columns).to_pandas()

    def frames(self, columns: Sequence[str] | None = None) -> Any:
        """As `people`, with one row per photo or sampled frame: `frames.parquet` and `folder`."""
        return self.table("frames", columns).to_pandas()

    def table(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """As `people` or `frames`, as an Arrow table.

        Raises:
            OutputError: the output cannot be read.
        """

        def read(folder: str) -> pa.Table:
            rows = self.shard_table(folder, table, columns)
            return rows.append_column("folder", pa.array([folder] * len(rows), pa.string()))

        if not self.folders:
            return pa.table({name: pa.array([], pa.string()) for name in ("identity_id", *(columns or ()), "folder")})
        return pa.concat_tables(in_parallel(read, self.folders))

    def rows(self, table: Table, columns: Sequence[str] | None = None) -> Iterator[tuple[str, Row]]:
        """Current rows one by one, each with the folder of its shard, in the order of the shards."""
        for folder in self.folders:
            for row in self.shard_table(folder, table, columns).to_pylist():
                yield folder, row

    @cached_property
    def folders(self) -> dict[str, pa.Array]:
        """The people with current rows by the folder that holds them, ascending."""
        names = self.current.column("folder").combine_chunks()
        people = self.current.column("identity_id").combine_chunks().cast(pa.string())
        order = pc.sort_indices(names)
        runs = pc.run_end_encode(names.take(order))
        ends: list[int] = runs.run_ends.to_pylist()
        starts = [0, *ends][: len(ends)]
        return {
            folder: people.take(order.slice(start, end - start))
            for folder, start, end in zip(runs.values.to_pylist(), starts, ends, strict=True)
        }

    def shard_table(self, folder: str, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """The current rows of one shard.

        Raises:
            OutputError: the output cannot be read.
        """
        wanted = None if columns is None else list(dict.fromkeys(("identity_id", *columns)))
        with as_output_errors(self.root):
            rows = read_table(self.root, f"{folder}/{table}.parquet", wanted)
        return rows.filter(pc.is_in(rows.column("identity_id"), value_set=self.folders[folder]))

    def person(self, identity_id: str) -> Row:
        """A person's row and the `folder` of its shard.

        Raises:
            ConfigurationError: the run has no such person.
        """
        return self._row("identities", "identity_id", identity_id)

    def frame(self, image_id: str) -> Row:
        """An image's row and the `folder` of its shard.

        Raises:
            ConfigurationError: the run has no such image.
        """
        return self._row("frames", "image_id", image_id)

    def mesh(self, identity_id: str) -> TexturedMesh:
        """A person's neutral mesh, millimetres in the model's frame, with the texture.

        Raises:
            ConfigurationError: the run has no such person, or could not reconstruct it.
            ModelFileError: the run's shape model is not on this machine.
        """
        person = _reconstructed(self.person(identity_id), identity_id)
        return face_mesh(self.shape, person["identity"], None, self.texture(identity_id))

    def posed_mesh(self, image_id: str, frame: Literal["model", "camera"] = "model") -> TexturedMesh:
        """A person's mesh with the expression of one image, millimetres.

        Args:
            image_id: of the image.
            frame: the model's, which `project` takes; or the camera's (x right, y up, z backwards).

        Raises:
            ConfigurationError: the run has no such image, or could not reconstruct it.
            ModelFileError: the run's shape model is not on this machine.
        """
        row = _reconstructed(self.frame(image_id), image_id)
        person = self.person(row["identity_id"])
        mesh = face_mesh(self.shape, person["identity"], row["expression"], self.texture(row["identity_id"]))
        if frame == "camera":
            return mesh._replace(vertices_mm=self.camera(image_id).view(mesh.vertices_mm).astype(np.float32))
        return mesh

    def camera(self, image_id: str) -> PhotoCamera:
        """The camera of an image.

        Raises:
            ConfigurationError: the run has no such image, or could not reconstruct it.
        """
        return self.camera_of(_reconstructed(self.frame(image_id), image_id))

    def camera_of(self, frame: Row) -> PhotoCamera:
        """The camera of an image's row, which is that of a reconstructed one."""
        matrix = np.array(frame["crop_from_image"]).reshape(2, 3)
        return PhotoCamera(np.array(frame["camera"]), matrix, self.record["configuration"]["fit"]["render_px"])

    def project(self, image_id: str, points_mm: np.ndarray) -> np.ndarray:
        """Points of the model's frame, [point, 3] in millimetres, as pixels (x, y) of the upright input image.

        Raises:
            ConfigurationError: the run has no such image, or could not reconstruct it.
        """
        return self.camera(image_id).project(points_mm)

    def landmarks(self, image_id: str) -> np.ndarray:
        """The 68 fitted landmarks as the image's camera sees them: [68, 3], millimetres in the model's frame.

        Raises:
            ConfigurationError: the run has no such image, or could not reconstruct it.
            ModelFileError: the run's shape model is not on this machine.
        """
        row = _reconstructed(self.frame(image_id), image_id)
        identity = self.person(row["identity_id"])["identity"]
        return visible_landmarks(self.shape, identity, row["expression"], np.array(row["camera"]))

    def texture(self, identity_id: str) -> np.ndarray:
        """A person's albedo: RGB bytes [row, column, 3] in the layout of the shape model, row 0 at v = 1.

        Raises:
            ConfigurationError: the run has no such person, or could not reconstruct it.
        """
        person = _reconstructed(self.person(identity_id), identity_id)
        with as_output_errors(self.root):
            return decode_png(self.root.read(f"{person['folder']}/{person['texture_path']}"))

    def pictures(self, identity_id: str) -> Pictures:
        """Pictures of a person's first usable image, as they were when it was fitted.

        Raises:
            ConfigurationError: the run has no such person, or could not reconstruct it.
            OutputError: the run was made by a version that kept no pictures.
        """
        person = _reconstructed(self.person(identity_id), identity_id)
        with as_output_errors(self.root):
            stored = self._whole(f"{person['folder']}/{PICTURES_FILE}")
        row = _only(stored, "identity_id", identity_id)
        crop = flattened(decode_png(row["crop_png"]))
        render = over(decode_png(row["render_png"]), crop)
        return Pictures(row["image_id"], crop, render, decode_png(row["shape_png"]), self.texture(identity_id))

    @cached_property
    def shape(self) -> MorphableModel:
        """The shape model of the run.

        Raises:
            ModelFileError: it is not on this machine, or is another file than the run was made with.
        """
        return load_shape(_shape_ref(self.record, self.bundle))

    def _row(self, table: Table, key: str, value: str) -> Row:
        index = self._people_index if table == "identities" else self._image_index
        position: int = pc.index(index.column(key), value).as_py()
        if position < 0:
            raise ConfigurationError(f"expected an {key} of the run {self.root}, got {value!r}")
        folder: str = index.column("folder")[position].as_py()
        with as_output_errors(self.root):
            rows = self._whole(f"{folder}/{table}.parquet")
        return _only(rows, key, value) | {"folder": folder}

    @cached_property
    def _people_index(self) -> pa.Table:
        names = self.current.column("identity_id").cast(pa.string())
        return pa.table({"identity_id": names, "folder": self.current.column("folder")})

    @cached_property
    def _image_index(self) -> pa.Table:
        return self.table("frames", ["image_id"])

    def _whole(self, name: str) -> pa.Table:
        """A file of a shard; the last one read of each kind is kept."""
        kind = name.rpartition("/")[2]
        if name not in self._read:
            for other in [other for other in self._read if other.endswith(kind)]:
                del self._read[other]
            self._read[name] = read_table(self.root, name)
        return self._read[name]


def open_run(location: str | Path | Storage, bundle: ModelBundle | None = None) -> Run:
    """Open an output of `reconstruct`, a path or a URI, finished or not; it is read only when rows are asked for.

    Args:
        location: of the output.
        bundle: where to take the shape model from; None for the file that the run names.

    Raises:
        OutputError: there is no run, or it cannot be read.
    """
    root = location if isinstance(location, Storage) else open_storage(location)
    with as_output_errors(root):
        record = read_record(root)
        if record is None:
            raise OutputError(f"expected a run (a folder with {RUN_FILE}), found nothing at {root}")
        return Run(root, record, _current(root, record), bundle)


def _current(root: Storage, record: Mapping[str, Any]) -> pa.Table:
    """Of the last run's end where it has ended, else from plans and shards."""
    runs: Sequence[Mapping[str, Any]] = record.get("runs", [])
    if runs and "outcome" in runs[-1] and root.exists(CURRENT_FILE):
        return read_current(root)
    return read_plans(root).current(ShardStore(root).summaries())


def _shape_ref(record: Mapping[str, Any], bundle: ModelBundle | None) -> ModelRef:
    named = record["models"]["shape"]
    kind, place, sha256 = named["kind"], named["path"], named["sha256"]
    if bundle is None and (place is None or Path(place).is_file()):
        return ModelRef(kind=kind, path=verify(Path(place), sha256) if place else None, sha256=sha256)
    try:
        found = (bundle or resolve_bundle(record["models"]["name"])).shape
    except ConfigurationError as error:
        raise ModelFileError(f"the shape model {place} of the run is not here: open the run with its bundle") from error
    if (found.kind, found.sha256) != (kind, sha256):
        raise ModelFileError(
            f"the run was made with the shape model {kind} {sha256}, got {found.kind} {found.sha256}: open it with the "
            "bundle it was made with"
        )
    return found


def _only(table: pa.Table, key: str, value: str) -> Row:
    (row,) = table.filter(pc.equal(table.column(key), value)).to_pylist()
    return row


def _reconstructed(row: Row, name: str) -> Row:
    if row["status"] != Status.OK:
        raise ConfigurationError(
            f"expected a reconstructed one, got {name!r}: {row['status']} {row['reason']}, {row['message']}"
        )
    return row
