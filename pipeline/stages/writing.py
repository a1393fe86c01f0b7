"""Fitted rows to a committed shard: tables, meshes, textures, pictures, the gallery's files, a contact sheet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.contact_sheet import SheetRow, draw_contact_sheet
from ops.face.morphable_model import MorphableModel
from ops.files.photo import decode_png, encode_png
from ops.geometry.mesh_io import MESH_WRITERS
from ops.reconstruction.fitting import LOSS_NAMES
from ops.reconstruction.mesh import face_mesh
from ops.weights.bundle import ModelBundle
from pipeline.gallery.person_files import row_pictures, write_person
from pipeline.input.planner import block_of
from pipeline.run.plans import PlannedShards, read_plans
from pipeline.run.reader import PICTURES_FILE
from pipeline.run.shards import MIXED, SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.run.summary import label_of
from pipeline.stages.models import load_fit_models
from pipeline.stages.stage import Stage, naming
from pipeline.storage.store import Storage, as_output_errors, open_storage
from pipeline.tables.logs import log_event
from pipeline.tables.metrics import record_commit
from pipeline.tables.schema import (
    COMMITTED,
    ITEMS,
    PENDING,
    PICTURES,
    ModelSizes,
    Reason,
    Status,
    fitted_schema,
    frames_schema,
    identities_schema,
)

MeshFormat = Literal["glb", "obj", "ply"]
HEADINGS = ("input", "render over input", "shape", "texture")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class WriteShard:
    """Writes a whole shard and commits it; gives the summary of the one that is committed."""

    store: ShardStore
    bundle: ModelBundle
    sizes: ModelSizes
    device: str
    mesh_formats: Sequence[MeshFormat]
    """The first one is the identity's `mesh_path`."""
    method: str
    fingerprint: str

    @property
    def inputs(self) -> pa.Schema:
        """Fitted rows."""
        return fitted_schema(self.sizes, LOSS_NAMES)

    @property
    def outputs(self) -> pa.Schema:
        """One row: the shard's summary."""
        return COMMITTED

    def load(self) -> MorphableModel:
        """The shape model, shared with the fit in the same worker."""
        return load_fit_models(self.bundle, self.device).shape

    def __call__(self, loaded: MorphableModel, table: pa.Table) -> pa.Table:
        """Write one block as one shard."""
        rows: list[Row] = table.to_pylist()
        index = int(rows[0]["shard"])
        with self.store.writing(index) as folder:
            people = [self._write_identity(loaded, folder, rows_of) for rows_of in _by_identity(rows)]
            frames = table.select(frames_schema(self.sizes, LOSS_NAMES).names)
            pq.write_table(frames, folder / "frames.parquet")
            identities = pa.Table.from_pylist(people, schema=identities_schema(self.sizes))
            pq.write_table(identities, folder / "identities.parquet")
            pq.write_table(_pictures(rows), folder / PICTURES_FILE)
            sheet = draw_contact_sheet(HEADINGS, list(_sheet_rows(rows)))
            (folder / "contact_sheet.png").write_bytes(encode_png(sheet))
            summary = ShardSummary(
                shard=index,
                fingerprint=self.fingerprint,
                items=len({row["item_id"] for row in rows}),
                identities=_counts(people),
                frames=_counts(rows),
                fit_seconds=sum(person["fit_seconds"] or 0.0 for person in people),
                device=self.device,
                mixed=mixed_people(rows),
                doubtful=doubtful_images(rows),
            )
            (folder / SUCCESS_NAME).write_text(summary.to_json())
        record_commit(summary.frames, summary.identities, [p["fit_seconds"] for p in people if p["n_ok"]])
        log_event("committed", shard=index, frames=summary.frames, fit_seconds=round(summary.fit_seconds, 3))
        committed = self.store.summary(index)
        assert committed is not None
        return committed_row(committed)

    def _write_identity(self, shape: MorphableModel, folder: Path, rows: Sequence[Row]) -> Row:
        fitted = [row for row in rows if row["status"] == Status.OK]
        first = rows[0]
        person: Row = {
            "identity_id": first["identity_id"],
            "status": Status.OK,
            "reason": "",
            "message": "",
            "n_images": len(rows),
            "n_ok": len(fitted),
            "fit_seconds": 0.0,
            "method": self.method,
            "fingerprint": self.fingerprint,
        }
        if not fitted:
            person |= _why_nothing(rows)
            return person | {"page_path": write_person(folder, first["stem"], person, rows, None)}
        with naming(self, first["identity_id"]):
            texture_png = next(row["texture_png"] for row in fitted if row["texture_png"])
            mesh = face_mesh(shape, fitted[0]["identity"], None, decode_png(texture_png))
            (folder / "meshes").mkdir(exist_ok=True)
            (folder / "textures").mkdir(exist_ok=True)
            stem = first["stem"]
            (folder / "textures" / f"{stem}.png").write_bytes(texture_png)
            for column, kind in (("model_texture_png", "model"), ("texture_weight_png", "weight")):
                if picture := next((row[column] for row in fitted if row[column]), None):
                    (folder / "textures" / f"{stem}.{kind}.png").write_bytes(picture)
            for name in self.mesh_formats:
                MESH_WRITERS[name](folder / "meshes" / f"{stem}.{name}", mesh)
        person |= {
            "identity": fitted[0]["identity"],
            "texture": fitted[0]["texture"],
            "texture_path": f"textures/{stem}.png",
            "mesh_path": f"meshes/{stem}.{self.mesh_formats[0]}" if self.mesh_formats else None,
            "fit_seconds": fitted[0]["fit_seconds"],
            "shape_std_mm": fitted[0]["shape_std_mm"],
            "texture_seen": fitted[0]["texture_seen"],
        }
        measures = ("identity_similarity", "judge_similarity", "landmark_error", "quality")
        person |= {name: _mean(row[name] for row in fitted) for name in measures}
        surface = mesh.vertices_mm, mesh.texture_rgb
        return person | {"page_path": write_person(folder, stem, person, rows, surface)}


@dataclass(frozen=True, kw_only=True)
class CommitOnce:
    """Stages that end in a committed shard; a retry of a committed one does nothing."""

    store: ShardStore
    stage: Stage

    @property
    def inputs(self) -> pa.Schema:
        """Those of the first stage."""
        return self.stage.inputs

    @property
    def outputs(self) -> pa.Schema:
        """Summaries."""
        return COMMITTED

    def load(self) -> Any:
        """Load all stages."""
        return self.stage.load()

    def __call__(self, loaded: Any, table: pa.Table) -> pa.Table:
        """Process one block, unless its shard exists."""
        with as_output_errors(self.store.root):
            summary = self.store.finish(int(table.column("shard")[0].as_py()))
        return committed_row(summary) if summary else self.stage(loaded, table)


@dataclass(frozen=True, kw_only=True)
class RehearseWriting:
    """Writes a shard into a folder that is thrown away, and gives back the rows: what crashes, crashes here."""

    stage: WriteShard

    @property
    def inputs(self) -> pa.Schema:
        """Fitted rows."""
        return self.stage.inputs

    @property
    def outputs(self) -> pa.Schema:
        """The same."""
        return self.stage.inputs

    def load(self) -> MorphableModel:
        """That of the writer."""
        return self.stage.load()

    def __call__(self, loaded: MorphableModel, table: pa.Table) -> pa.Table:
        """Write one block for nothing."""
        with TemporaryDirectory(prefix="ganfit-") as scratch:
            replace(self.stage, store=ShardStore(open_storage(Path(scratch))))(loaded, table)
        return table


@dataclass(frozen=True, kw_only=True)
class OpenShard:
    """From a shard's number to its planned items, which it reads from the stored plan."""

    root: Storage

    @property
    def inputs(self) -> pa.Schema:
        """The number of a shard."""
        return PENDING

    @property
    def outputs(self) -> pa.Schema:
        """Planned items."""
        return ITEMS

    def load(self) -> PlannedShards:
        """The plans of the output."""
        with as_output_errors(self.root):
            return PlannedShards(read_plans(self.root))

    def __call__(self, loaded: PlannedShards, table: pa.Table) -> pa.Table:
        """Read one block's items."""
        with as_output_errors(self.root):
            return block_of(loaded.rows(int(table.column("shard")[0].as_py())))


def committed_row(summary: ShardSummary) -> pa.Table:
    """A summary as the pipeline's last table."""
    return pa.table({"shard": [summary.shard], "summary": [summary.to_json()]}, schema=COMMITTED)


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    return dict(sorted(Counter(label_of(row["status"], row["reason"]) for row in rows).items()))


def _by_identity(rows: Sequence[Row]) -> list[list[Row]]:
    people: dict[str, list[Row]] = {}
    for row in rows:
        people.setdefault(row["identity_id"], []).append(row)
    return list(people.values())


def mixed_people(rows: Sequence[Row]) -> dict[str, str]:
    """Persons of whose faces at least half are somebody else's, and how many."""
    mixed: dict[str, str] = {}
    for rows_of in _by_identity(rows):
        faces = [row for row in rows_of if row["landmarks_px"] is not None]
        others = sum(row["reason"] == Reason.OTHER_PERSON for row in faces)
        if others and 2 * others >= len(faces):
            mixed[rows_of[0]["identity_id"]] = f"{others} of {len(faces)} faces are other people's"
    return dict(list(mixed.items())[:MIXED])


def doubtful_images(rows: Sequence[Row]) -> dict[str, str]:
    """Images whose reconstruction did not pass the gate, and why, whatever became of them."""
    found = {
        row["image_id"]: row["message"]
        for row in rows
        if row["reason"] == Reason.LOW_QUALITY or (row["quality"] is not None and row["quality"] < 0)
    }
    return dict(list(found.items())[:MIXED])


def _why_nothing(rows: Sequence[Row]) -> Row:
    """A person without an ok image failed where an image failed, else was rejected, for the most frequent reason."""
    failed = [row for row in rows if row["status"] == Status.FAILED]
    decisive = failed or rows
    reason = Counter(row["reason"] for row in decisive).most_common(1)[0][0]
    causes = ", ".join(f"{count} {label}" for label, count in _counts(rows).items())
    status = Status.FAILED if failed else Status.REJECTED
    return {"status": status, "reason": reason, "message": f"no usable image: {causes}"}


def _pictures(rows: Sequence[Row]) -> pa.Table:
    """Those of the first fitted image of every person: the row that carries the texture."""
    first = [row for row in rows if row["texture_png"]]
    return pa.Table.from_pylist([{name: row[name] for name in PICTURES.names} for row in first], schema=PICTURES)


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _sheet_rows(rows: Sequence[Row]) -> Any:
    textures = {row["identity_id"]: row["texture_png"] for row in rows if row["texture_png"]}
    for row in rows:
        crop, render, surface = row_pictures(row)
        if render is None:
            label = f"{row['image_id']}: {label_of(row['status'], row['reason'])}, {row['message']}"
            yield SheetRow(label, True, (crop, None, None, None))
            continue
        judge = "" if row["judge_similarity"] is None else f", judge {row['judge_similarity']:.2f}"
        label = f"{row['image_id']}: similarity {row['identity_similarity'] or 0:.2f}{judge}"
        label += f", landmarks {100 * (row['landmark_error'] or 0):.1f} %"
        yield SheetRow(label, False, (crop, render, surface, decode_png(textures[row["identity_id"]])))
