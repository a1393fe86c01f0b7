"""Registering every annotated scan of MICC: the template in the scan's shape, one folder per scan."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from evaluation.landmark_files import read_landmarks
from evaluation.micc import ScanFiles, find_scans
from evaluation.template import StoredTemplate, load_template, save_template
from ops.errors import GanfitError
from ops.geometry.mesh import Mesh, read_mesh, write_ply
from ops.registration.register import Registration, RegistrationConfig, Template, register_scan
from ops.registration.solver import Status as SolverStatus
from pipeline.cluster.item_tasks import Row, TaskConfig, checksum_of, open_run, run_items, source_checksum
from pipeline.micc.annotation import Annotator
from pipeline.micc.schema import REGISTRATIONS, MiccReason, reason_of, write_rows
from pipeline.micc.synthetic import is_synthetic
from pipeline.run.record import Fingerprint, read_record
from pipeline.storage.lease import lease
from pipeline.storage.store import open_output
from pipeline.storage.submitted_job import submission_id
from pipeline.tables.schema import Status

TABLE_FILE = "registrations.parquet"
TEMPLATE_FILE = "template.npz"
SYNTHETIC = "synthetic"
"""The record's field that says whether the people do not exist."""
MAX_RESIDUAL_MM = 1.0
MIN_MATCHED_SHARE = 0.3
MAX_FLIPPED_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class RegisterConfig:
    """One run: which data, onto which template, where to."""

    data: Path
    output: Path
    landmarks: Path | None = None
    """Folder of LJSON files; default: anywhere below `data`."""
    annotator: Annotator | None = None
    """Finds the landmarks of textured scans that have no LJSON file; default: such scans are rejected."""
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    tasks: TaskConfig = field(default_factory=TaskConfig)


@dataclass(frozen=True, kw_only=True)
class ScanItem:
    """One scan to register."""

    files: ScanFiles
    version: str
    """Of the scan and its annotations."""

    @property
    def item_id(self) -> str:
        """Subject and scan."""
        return f"{self.files.subject}-{self.files.scan}"


@dataclass(frozen=True, kw_only=True)
class RegisterScan:
    """The work on one scan."""

    template_path: Path
    config: RegistrationConfig
    annotator: Annotator | None = None

    def __call__(self, item: ScanItem, folder: Path) -> Row:
        """Register one scan; leaves registered.ply and scan.ply, millimetres in the scan's frame."""
        started = time.process_time()
        row = self._base(item)
        files = item.files
        if files.mesh_path is None:
            return row | _rejected(MiccReason.MISSING_SCAN, "no mesh in the scan's folder")
        if files.landmarks_path is None and self.annotator is None:
            return row | _rejected(MiccReason.MISSING_LANDMARKS, "no annotation belongs to this scan")
        template = load_template(self.template_path).template
        try:
            landmarks = self._landmarks(files.mesh_path, files.landmarks_path)
            found = register_scan(template, read_mesh(files.mesh_path), landmarks, self.config)
        except GanfitError as error:
            return row | _rejected(reason_of(error), str(error))
        row |= _figures(found) | {"cpu_seconds": time.process_time() - started}
        if (problem := _problem(found)) is not None:
            return row | _rejected(MiccReason.POOR_REGISTRATION, problem)
        write_ply(folder / "registered.ply", Mesh(found.vertices_mm, template.mesh.triangles))
        write_ply(folder / "scan.ply", found.scan.mesh)
        place = f"items/{item.item_id}"
        return row | {"mesh_path": f"{place}/registered.ply", "scan_path": f"{place}/scan.ply"}

    def _landmarks(self, mesh: Path, annotation: Path | None) -> Float[np.ndarray, "68 3"]:
        if annotation is not None or self.annotator is None:
            assert annotation is not None
            return read_landmarks(annotation)
        return self.annotator(mesh)

    def crashed(self, item: ScanItem, message: str) -> Row:
        """The row of a scan that kills its worker."""
        return self._base(item) | {"status": Status.FAILED, "reason": MiccReason.WORKER_CRASH, "message": message}

    def _base(self, item: ScanItem) -> Row:
        return {
            "subject": item.files.subject,
            "scan": item.files.scan,
            "status": Status.OK,
            "reason": MiccReason.NONE,
            "message": "",
            "source": None if item.files.mesh_path is None else str(item.files.mesh_path),
        }


def register(
    config: RegisterConfig, template: StoredTemplate, say: Callable[[str], None] = lambda line: None
) -> list[Row]:
    """Register every scan that is not yet in the output; writes the table and returns its rows.

    Raises:
        ConfigurationError: no such data set.
        OutputError: an output that cannot be used or continued.
    """
    items = [
        ScanItem(files=files, version=checksum_of(files.mesh_path, files.landmarks_path))
        for files in find_scans(config.data, config.landmarks)
    ]
    root = open_output(config.output)
    read_record(root)
    with lease(root, submission_id(), say) as fence:
        fingerprint = Fingerprint(
            configuration=asdict(config.registration),
            models={"template": template_checksum(template.template)}
            | ({"annotator": config.annotator.description()} if config.annotator else {}),
            code=source_checksum("ops/geometry/mesh.py", "ops/registration"),
        )
        record: dict[str, Any] = {
            "kind": "register_micc",
            "data": str(config.data),
            "scans": len(items),
            SYNTHETIC: is_synthetic(config.data),
        }
        store = open_run(root, fence, fingerprint, record)
        template_path = config.output / TEMPLATE_FILE
        save_template(template, template_path)
        say(f"{len(items)} scans of {len({item.files.subject for item in items})} subjects")
        work = RegisterScan(
            template_path=template_path.resolve(), config=config.registration, annotator=config.annotator
        )
        rows = run_items(store, items, work, config.tasks, say)
        write_rows(config.output / TABLE_FILE, rows, REGISTRATIONS)
    return rows


def template_checksum(template: Template) -> str:
    """sha256 over everything of a template."""
    digest = sha256()
    for array in (template.mesh.vertices, template.mesh.triangles, template.landmarks):
        digest.update(np.ascontiguousarray(array).tobytes())
    if template.modes_mm is not None:
        digest.update(np.ascontiguousarray(template.modes_mm).tobytes())
    return digest.hexdigest()


def _figures(found: Registration) -> Row:
    quality = {name: value if np.isfinite(value) else None for name, value in found.quality._asdict().items()}
    landmarks = [None if np.isnan(value) else value for value in found.scan.landmarks_mm.ravel().tolist()]
    return {**quality, "landmarks_mm": landmarks, "repairs": list(found.scan.repairs), "steps": found.steps}


def _problem(found: Registration) -> str | None:
    """Why a registration cannot serve as ground truth."""
    quality = found.quality
    if found.status in (SolverStatus.LOST, SolverStatus.DIVERGED):
        return found.status.value
    if quality.matched_share < MIN_MATCHED_SHARE:
        return f"only {100 * quality.matched_share:.0f} % of the face meets the scan: large holes or wrong landmarks"
    if quality.residual_mm > MAX_RESIDUAL_MM:
        return f"the template stays {quality.residual_mm:.2f} mm from the scan: wrong landmarks or a strong expression"
    if quality.flipped_share > MAX_FLIPPED_SHARE:
        return f"{100 * quality.flipped_share:.1f} % of the triangles are folded over: wrong landmarks or a broken scan"
    return None


def _rejected(reason: MiccReason, message: str) -> Row:
    return {"status": Status.REJECTED, "reason": reason, "message": message}
