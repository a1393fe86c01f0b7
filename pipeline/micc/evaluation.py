"""Measuring reconstructions against registered MICC scans: one row a (subject, setting, scan), one table a run."""

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from evaluation.landmark_files import read_landmarks
from evaluation.micc import TIGHT_CROP_SUBJECTS, Setting
from evaluation.protocols import GroundTruth, Protocol, evaluate_pair
from evaluation.scan_protocols import AnnotatedMesh
from evaluation.table import Measurement, SettingResult, render_table, summarise
from evaluation.template import StoredTemplate, load_template
from ops.errors import ConfigurationError, GanfitError
from ops.geometry.mesh import Mesh, read_mesh
from pipeline.cluster.item_tasks import Row, TaskConfig, checksum_of, open_run, run_items, source_checksum
from pipeline.micc.reconstruction_files import Reconstruction, ReconstructionSet
from pipeline.micc.registration import SYNTHETIC, TEMPLATE_FILE, template_checksum
from pipeline.micc.registration import TABLE_FILE as REGISTRATIONS_FILE
from pipeline.micc.schema import PAIRS, REGISTRATIONS, MiccReason, reason_of, write_rows
from pipeline.run.record import RUN_FILE, Fingerprint, read_record
from pipeline.storage.lease import lease
from pipeline.storage.store import open_output
from pipeline.storage.submitted_job import submission_id
from pipeline.tables.schema import Status

PAIRS_FILE = "pairs.parquet"
TEXT_FILE = "table.txt"
JSON_FILE = "table.json"
PROTOCOL_SOURCES = tuple(
    f"evaluation/{name}.py" for name in ("authors_protocol", "parts", "protocols", "result", "scan_protocols")
)


class Unit(StrEnum):
    """Unit of OBJ and PLY reconstructions; GLB files declare theirs."""

    MM = "mm"
    TEMPLATE = "template"
    """100 mm, the authors'."""
    M = "m"


MM_PER_UNIT = {Unit.MM: 1.0, Unit.TEMPLATE: 100.0, Unit.M: 1000.0}


class Against(StrEnum):
    """Which ground truth the scan protocols look at."""

    SCAN = "scan"
    REGISTERED = "registered"


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """One run: whose reconstructions, against which registrations, by which protocol."""

    registered: Path
    """Output of a registration."""
    output: Path
    protocol: Protocol = Protocol.GANFIT_CODE
    unit: Unit = Unit.MM
    scale: float = 1.0
    """One factor for all reconstructions, for a method without metric scale."""
    against: Against = Against.SCAN
    tasks: TaskConfig = field(default_factory=lambda: TaskConfig(chunk=6))

    def __post_init__(self) -> None:
        if not 0 < self.scale < np.inf:
            raise ConfigurationError(f"expected a positive scale, got {self.scale}")


@dataclass(frozen=True, kw_only=True)
class PairItem:
    """One reconstruction and one scan; a registration row and what there is of the reconstruction."""

    registration: Mapping[str, Any]
    setting: Setting
    reconstruction: Reconstruction
    version: str
    """Of both."""

    @property
    def item_id(self) -> str:
        """Subject, setting and scan."""
        return f"{self.registration['subject']}-{self.setting.value}-{self.registration['scan']}"


@dataclass(frozen=True, kw_only=True)
class EvaluatePair:
    """The work on one pair."""

    registered: Path
    protocol: Protocol
    unit: Unit
    scale: float
    against: Against

    def __call__(self, item: PairItem, folder: Path) -> Row:
        """Measure one pair."""
        started = time.process_time()
        row, registration = self._base(item), item.registration
        if registration["status"] != Status.OK:
            reason = registration["reason"]
            missing = reason in (MiccReason.MISSING_SCAN, MiccReason.MISSING_LANDMARKS)
            reason, detail = (reason if missing else MiccReason.NO_REGISTRATION), registration["message"]
            return row | {"status": Status.REJECTED, "reason": reason, "message": f"{registration['scan']}: {detail}"}
        if item.reconstruction.path is None:
            reason, message = item.reconstruction.reason, item.reconstruction.message
            return row | {"status": Status.REJECTED, "reason": reason, "message": message}
        try:
            template = load_template(self.registered / TEMPLATE_FILE)
            rebuilt = self._reconstruction(item.reconstruction.path, template)
            if self.protocol is not Protocol.GANFIT_CODE and not np.isfinite(rebuilt.landmarks_mm).any():
                beside = item.reconstruction.path.with_suffix(".ljson").name
                message = (
                    f"the mesh is not in the template's topology and brings no landmarks: expected {beside} beside it"
                )
                return row | {"status": Status.REJECTED, "reason": MiccReason.MISSING_LANDMARKS, "message": message}
            truth = self._truth(registration)
            found = evaluate_pair(
                self.protocol,
                template.template,
                truth,
                rebuilt,
                against_registered=self.against is Against.REGISTERED,
            )
        except GanfitError as error:
            return row | {"status": Status.REJECTED, "reason": reason_of(error), "message": str(error)}
        return row | asdict(found) | {"cpu_seconds": time.process_time() - started}

    def crashed(self, item: PairItem, message: str) -> Row:
        """The row of a pair that kills its worker."""
        return self._base(item) | {"status": Status.FAILED, "reason": MiccReason.WORKER_CRASH, "message": message}

    def _base(self, item: PairItem) -> Row:
        return {
            "subject": item.registration["subject"],
            "setting": item.setting.value,
            "scan": item.registration["scan"],
            "protocol": self.protocol.value,
            "status": Status.OK,
            "reason": MiccReason.NONE,
            "message": "",
            "source": None if item.reconstruction.path is None else str(item.reconstruction.path),
        }

    def _truth(self, registration: Mapping[str, Any]) -> GroundTruth:
        landmarks = [np.nan if value is None else value for value in registration["landmarks_mm"]]
        registered = read_mesh(self.registered / registration["mesh_path"])
        raw = self.against is Against.SCAN and self.protocol is not Protocol.GANFIT_CODE
        return GroundTruth(
            registered_mm=registered.vertices,
            landmarks_mm=np.array(landmarks, dtype=np.float64).reshape(68, 3),
            scan=read_mesh(self.registered / registration["scan_path"]) if raw else registered,
            tight_crop=registration["subject"] in TIGHT_CROP_SUBJECTS,
        )

    def _reconstruction(self, path: Path, stored: StoredTemplate) -> AnnotatedMesh:
        mesh = read_mesh(path)
        factor = self.scale * (1.0 if path.suffix.lower() == ".glb" else MM_PER_UNIT[self.unit])
        mesh = stored.adopt(Mesh(mesh.vertices * factor, mesh.triangles))
        beside = path.with_suffix(".ljson")
        if beside.is_file():
            return AnnotatedMesh(mesh, read_landmarks(beside) * factor)
        if len(mesh.vertices) == len(stored.template.mesh.vertices):
            return AnnotatedMesh(mesh, mesh.vertices[stored.template.landmarks])
        return AnnotatedMesh(mesh, np.full((68, 3), np.nan))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a run measured."""

    rows: Sequence[Row]
    results: tuple[SettingResult, ...]
    text: str
    synthetic: bool
    """Whether the subjects do not exist."""


def evaluate(
    config: EvaluateConfig,
    reconstructions: ReconstructionSet,
    method: str,
    say: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Measure every pair that is not yet in the output; writes pairs, table and JSON.

    Raises:
        ConfigurationError: no registrations.
        OutputError: an output that cannot be used or continued.
    """
    registrations = _registrations(config.registered)
    items = [
        item for row in registrations for item in _pairs_of(row, checksum_of(*_parts(row, config)), reconstructions)
    ]
    settings = {"protocol": config.protocol.value, "unit": config.unit, "scale": config.scale}
    settings |= {"against": config.against}
    root = open_output(config.output)
    read_record(root)
    with lease(root, submission_id(), say) as fence:
        fingerprint = Fingerprint(
            configuration=settings,
            models={"template": template_checksum(load_template(config.registered / TEMPLATE_FILE).template)},
            code=source_checksum("ops/geometry/mesh.py", "ops/registration", *PROTOCOL_SOURCES),
        )
        record = {"kind": "evaluate_micc", "method": method, "reconstructions": str(reconstructions.root)}
        store = open_run(root, fence, fingerprint, record)
        work = EvaluatePair(registered=config.registered.resolve(), **_work_settings(config))
        rows = run_items(store, items, work, config.tasks, say)
        write_rows(config.output / PAIRS_FILE, rows, PAIRS)
        evaluation = _tabulate(config, rows, method, len({row["subject"] for row in registrations}))
        root.write(TEXT_FILE, f"{evaluation.text}\n".encode())
        root.write(JSON_FILE, _as_json(evaluation, method, config.protocol).encode())
    return evaluation


def _work_settings(config: EvaluateConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("protocol", "unit", "scale", "against")}


def _registrations(folder: Path) -> list[dict[str, Any]]:
    path = folder / REGISTRATIONS_FILE
    if not path.is_file():
        raise ConfigurationError(f"{path}: expected the output of a finished ganfit register-micc, found none")
    return pq.read_table(path).select(REGISTRATIONS.names).to_pylist()


def _tabulate(config: EvaluateConfig, rows: Sequence[Row], method: str, subjects: int) -> Evaluation:
    measurements = [
        Measurement(
            subject=row["subject"],
            setting=Setting(row["setting"]),
            scan=row["scan"],
            distance_mm=row.get("distance_mm"),
            reason=row["reason"],
        )
        for row in rows
    ]
    results = summarise(measurements)
    remarks: list[str] = []
    if config.scale != 1.0:
        remarks.append(f"All reconstructions were multiplied by the declared scale {config.scale:g}.")
    if config.protocol is not Protocol.GANFIT_CODE:
        truth = "raw scans" if config.against is Against.SCAN else "registered templates"
        remarks.append(f"Ground truth: {truth}.")
    record = config.registered / RUN_FILE
    synthetic = record.is_file() and bool(json.loads(record.read_text()).get(SYNTHETIC))
    text = render_table(method, config.protocol, results, subjects=subjects, remarks=remarks, synthetic=synthetic)
    return Evaluation(rows=rows, results=results, text=text, synthetic=synthetic)


def _as_json(evaluation: Evaluation, method: str, protocol: Protocol) -> str:
    content = {
        "method": method,
        "protocol": protocol.value,
        "synthetic_data": evaluation.synthetic,
        "settings": [
            {
                "setting": result.setting.value,
                "mean_mm": result.mean_mm,
                "std_mm": result.std_mm,
                "n": result.count,
                "missing": {missing.subject: missing.reason for missing in result.missing},
                "one_scan_only": {missing.subject: missing.reason for missing in result.incomplete},
            }
            for result in evaluation.results
        ],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _parts(registration: Mapping[str, Any], config: EvaluateConfig) -> list[Path | str | None]:
    """What a registration is made of: what its row says, and its meshes."""
    meshes = [registration[name] for name in ("mesh_path", "scan_path")]
    said = json.dumps([registration[name] for name in ("status", "reason", "message", "landmarks_mm")])
    return [said, *(config.registered / path if path else None for path in meshes)]


def _pairs_of(registration: Mapping[str, Any], version: str, reconstructions: ReconstructionSet) -> Generator[PairItem]:
    for setting in Setting:
        found = reconstructions.find(str(registration["subject"]), setting)
        landmarks = None if found.path is None else found.path.with_suffix(".ljson")
        beside = landmarks if landmarks is not None and landmarks.is_file() else None
        yield PairItem(
            registration=registration,
            setting=setting,
            reconstruction=found,
            version=checksum_of(version, found.path, beside, found.reason, found.message),
        )
