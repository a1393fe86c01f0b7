"""Reconstructions measured against scans of the same people, beside the mean face and the model's ceiling.

::

    OUT/photos/NAME        OUT/single/NAME@0      what is reconstructed: all photos of a person, and each by itself
    OUT/runs/together      OUT/runs/single        OUT/runs/landmarks      as pipeline.reconstruct
    OUT/scans.parquet      one row per scan and method, and per photo for `single`
    OUT/table.md           OUT/pictures/NAME.png
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from evaluation.face_regions import Region, label_regions
from evaluation.landmark_files import read_landmarks
from evaluation.protocols import SCAN_PROTOCOLS
from evaluation.scan_distance import FaceSamples, ScanDistances, at_face_size, measure_distances, sample_face
from evaluation.scan_protocols import AnnotatedMesh, evaluate_scan
from evaluation.template import StoredTemplate, template_from_model
from ops.errors import ConfigurationError, GanfitError, UnsupportedInputError
from ops.face.morphable_model import MorphableModel
from ops.fit.config import FitConfig, default_preset
from ops.geometry.mesh import MESH_SUFFIXES, Mesh, read_mesh
from ops.registration.alignment import align_points
from ops.registration.model_fit import ModelFitConfig
from ops.registration.register import RegistrationConfig, fit_template
from ops.weights.bundle import ModelBundle
from ops.weights.models import load_shape
from pipeline.cluster.session import ClusterConfig, ray_session
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.reader import open_run
from pipeline.scans.pictures import draw_scan_picture
from pipeline.scans.scan_folder import ScanFolder, find_scan_folders
from pipeline.scans.views import ViewRange, gather_photos
from pipeline.tables.schema import Status

TABLE_FILE, TEXT_FILE, PICTURES_DIR, RUNS_DIR = "scans.parquet", "table.md", "pictures", "runs"
TOGETHER, SINGLE, LANDMARKS, MEAN_FACE, CEILING = "all photos", "one photo", "landmarks alone", "mean face", "ceiling"
RUNS = {TOGETHER: "together", SINGLE: "single", LANDMARKS: "landmarks"}
PHOTOS_DIR, SINGLE_DIR, SEPARATOR = "photos", "single", "@"
CEILING_FIT = RegistrationConfig(model=ModelFitConfig(fields=0))
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ScanBenchConfig:
    """One measurement: of which scans, with which photos, by which fit."""

    scans: Path
    """A folder as `pipeline.scans.scan_folder` reads it."""
    output: Path
    fit: FitConfig = field(default_factory=default_preset)
    views: ViewRange = field(default_factory=ViewRange)
    draw_views: bool = False
    """Draw views of textured scans also where there are photos."""
    metric: bool = False
    """The scans are in true millimetres; by default every one is scaled to 90 mm between its outer eye corners."""
    bearded: frozenset[str] = frozenset()
    """Scans of which only what lies above the mouth counts."""
    others: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Folders with another method's meshes, NAME.obj (.ply, .glb) with NAME.ljson, by the method's name."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)


class Measured(NamedTuple):
    """One reconstruction against one scan; None for what could not be measured."""

    scan: str
    method: str
    view: str
    """The photo, where it is one's own reconstruction."""
    mean_mm: float | None = None
    median_mm: float | None = None
    regions_mm: Mapping[str, float] = {}
    protocols_mm: Mapping[str, float] = {}
    message: str = ""


class Subject(NamedTuple):
    """A scan ready to be measured against."""

    folder: ScanFolder
    scan: AnnotatedMesh
    samples: FaceSamples
    labels: Int[np.ndarray, " sample"]
    """Places in `Region`."""
    ceiling: AnnotatedMesh
    photos: Sequence[Path]


def measure_scans(config: ScanBenchConfig, bundle: ModelBundle, say: Say) -> str:
    """Reconstruct, measure and write everything; returns the table as Markdown.

    Raises:
        ConfigurationError: no scans, or none that can be measured.
        OutputError: an output that cannot be used or continued.
        StageFailure: something unexpected; what is finished stays.
    """
    shape = load_shape(bundle.shape)
    stored = template_from_model(shape)
    subjects, rows = _prepare(config, stored, say)
    if not subjects:
        raise ConfigurationError(f"{config.scans}: no scan can be measured: {'; '.join(row.message for row in rows)}")
    found = _reconstruct(config, bundle, subjects, say)
    distances: dict[str, ScanDistances] = {}
    for subject in subjects:
        name = subject.folder.name
        meshes = [(MEAN_FACE, "", annotated(stored, stored.template.mesh.vertices)), (CEILING, "", subject.ceiling)]
        for method, people in found.items():
            for person, identity in sorted(people.items()):
                owner, _, view = person.partition(SEPARATOR)
                if owner == name:
                    meshes.append((method, view, annotated(stored, _neutral(shape, identity, stored))))
        for method, view, mesh in meshes:
            row, distance = measure(subject, method, view, mesh)
            rows.append(row)
            if method == TOGETHER:
                distances[name] = distance
        rows += [_measure_other(subject, method, folder, stored) for method, folder in config.others.items()]
        rows += [
            Measured(name, method, "", message="not reconstructed: see the run's tables")
            for method, people in found.items()
            if not any(person.partition(SEPARATOR)[0] == name for person in people)
        ]
        say(f"{name}: measured")
    config.output.mkdir(parents=True, exist_ok=True)
    pq.write_table(as_table(rows), config.output / TABLE_FILE)
    text = as_markdown(rows)
    (config.output / TEXT_FILE).write_text(text)
    for subject in subjects:
        if (distance := distances.get(subject.folder.name)) is not None:
            path = config.output / PICTURES_DIR / f"{subject.folder.name}.png"
            path.parent.mkdir(exist_ok=True)
            draw_scan_picture(path, subject.scan, subject.samples, distance, subject.photos[0])
    return text


def annotated(stored: StoredTemplate, vertices: Float[np.ndarray, "vertex 3"]) -> AnnotatedMesh:
    """Vertices of the template as a mesh with its landmarks."""
    return AnnotatedMesh(Mesh(vertices, stored.template.mesh.triangles), vertices[stored.template.landmarks])


def fit_ceiling(
    stored: StoredTemplate, scan: AnnotatedMesh, samples: FaceSamples
) -> tuple[AnnotatedMesh, Int[np.ndarray, " sample"]]:
    """What a shape model can express of a scan, and the region of every sample by the nearest vertex of that.

    Raises:
        GeometryError: see `ops.registration.scan.prepare_scan`.
    """
    template = stored.template
    fitted = fit_template(template, scan.mesh, scan.landmarks_mm, CEILING_FIT)
    labels = label_regions(template.mesh.vertices, template.landmarks_mm)
    nearest = KDTree(align_points(fitted.alignment, fitted.model_mm)).query(samples.points_mm)[1]
    return annotated(stored, fitted.model_mm), labels[nearest]


def measure(subject: Subject, method: str, view: str, mesh: AnnotatedMesh) -> tuple[Measured, ScanDistances]:
    """Measure one mesh by every measure; a protocol that cannot be applied is left out.

    Raises:
        UnsupportedInputError: a mesh without the seven landmarks.
    """
    distances = measure_distances(subject.samples, mesh)
    size = np.abs(distances.signed_mm)
    regions = {
        region.value: float(size[chosen].mean())
        for place, region in enumerate(Region)
        if (chosen := distances.counted & (subject.labels == place)).any()
    }
    protocols: dict[str, float] = {}
    missing: list[str] = []
    for protocol, parts in SCAN_PROTOCOLS.items():
        try:
            protocols[protocol.value] = evaluate_scan(parts, subject.scan, mesh).distance_mm
        except GanfitError as error:
            missing.append(f"{protocol.value}: {error}")
    row = Measured(
        subject.folder.name,
        method,
        view,
        distances.mean_mm,
        distances.median_mm,
        regions,
        protocols,
        "; ".join(missing),
    )
    return row, distances


def as_table(rows: Sequence[Measured]) -> pa.Table:
    """One row per measured mesh, millimetres; null where there is no figure."""
    columns: dict[str, list[Any]] = {
        "scan": [row.scan for row in rows],
        "method": [row.method for row in rows],
        "view": [row.view for row in rows],
        "mean_mm": [row.mean_mm for row in rows],
        "median_mm": [row.median_mm for row in rows],
    }
    columns |= {f"{region.value}_mm": [row.regions_mm.get(region.value) for row in rows] for region in Region}
    columns |= {
        f"{protocol.value}_mm": [row.protocols_mm.get(protocol.value) for row in rows] for protocol in SCAN_PROTOCOLS
    }
    arrays = {
        name: pa.array(values, pa.float64() if name.endswith("_mm") else pa.string())
        for name, values in columns.items()
    }
    return pa.table(arrays | {"message": pa.array([row.message for row in rows], pa.string())})


def as_markdown(rows: Sequence[Measured]) -> str:
    """Three tables: by scan, by region and by protocol; figures of one photo are means over the photos."""
    methods = list(dict.fromkeys(row.method for row in rows if row.mean_mm is not None))
    scans = list(dict.fromkeys(row.scan for row in rows if row.mean_mm is not None))

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return fmean(known) if known else None

    def of(scan: str, method: str, pick: Callable[[Measured], float | None]) -> float | None:
        return mean([pick(row) for row in rows if row.scan == scan and row.method == method])

    def over_scans(method: str, pick: Callable[[Measured], float | None]) -> float | None:
        values = [of(scan, method, pick) for scan in scans]
        return None if None in values else mean(values)

    by_scan = [[scan, *(of(scan, method, lambda row: row.mean_mm) for method in methods)] for scan in scans]
    by_scan.append(["mean", *(over_scans(method, lambda row: row.mean_mm) for method in methods)])
    worst: list[float | None] = []
    for method in methods:
        pairs = [
            (of(scan, method, lambda row: row.mean_mm), of(scan, MEAN_FACE, lambda row: row.mean_mm)) for scan in scans
        ]
        ratios = [ours / base for ours, base in pairs if ours is not None and base]
        worst.append(max(ratios) if ratios else None)
    by_scan.append(["worst ratio to the mean face", *worst])
    by_region = [
        [method, *(over_scans(method, lambda row, name=region.value: row.regions_mm.get(name)) for region in Region)]
        for method in methods
    ]
    by_protocol = [
        [method, *(over_scans(method, lambda row, name=p.value: row.protocols_mm.get(name)) for p in SCAN_PROTOCOLS)]
        for method in methods
    ]
    remarks = [f"- {row.scan}, {row.method}{row.view and ' ' + row.view}: {row.message}" for row in rows if row.message]
    parts = [
        "# Distance of scans to reconstructions\n",
        "Mean distance in mm of the scan's face to the neutral mesh after similarity ICP; ceiling: the shape model "
        "fitted to the scan itself, expression included; one photo: mean over the photos.\n",
        _markdown(["scan", *methods], by_scan),
        "## By region, mean over scans\n",
        _markdown(["method", *(region.value for region in Region)], by_region),
        "## By protocol, mean over scans\n",
        _markdown(["method", *(protocol.value for protocol in SCAN_PROTOCOLS)], by_protocol),
    ]
    return "\n".join([*parts, *(["## Not measured\n", *remarks, ""] if remarks else [])])


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> str:
    def cell(value: str | float | None) -> str:
        return value if isinstance(value, str) else "none" if value is None else f"{value:.3f}"

    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines) + "\n"


def _prepare(config: ScanBenchConfig, stored: StoredTemplate, say: Say) -> tuple[list[Subject], list[Measured]]:
    """The scans that can be measured, and a row for every other one."""
    subjects: list[Subject] = []
    rows: list[Measured] = []
    folders = find_scan_folders(config.scans)
    unknown = config.bearded - {folder.name for folder in folders}
    if unknown:
        raise ConfigurationError(f"expected names of scans, found no {', '.join(sorted(unknown))} in {config.scans}")
    for folder in folders:
        try:
            read = folder.read()
            scan = read if config.metric else at_face_size(read)
            samples = sample_face(scan, bearded=folder.name in config.bearded)
            ceiling, labels = fit_ceiling(stored, scan, samples)
            photos = gather_photos(
                folder,
                read.landmarks_mm,
                config.views,
                config.output / PHOTOS_DIR / folder.name,
                draw=config.draw_views,
            )
        except GanfitError as error:
            rows.append(Measured(folder.name, "", "", message=str(error)))
            say(f"{folder.name}: left out: {error}")
            continue
        for path in photos:
            alone = config.output / SINGLE_DIR / f"{folder.name}{SEPARATOR}{path.stem}" / path.name
            if not alone.is_file():
                alone.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, alone)
        subjects.append(Subject(folder, scan, samples, labels, ceiling, photos))
    return subjects, rows


def _reconstruct(
    config: ScanBenchConfig, bundle: ModelBundle, subjects: Sequence[Subject], say: Say
) -> dict[str, dict[str, Float[np.ndarray, " identity"]]]:
    """Identities by method and person; a person of the single photos is called NAME@PHOTO."""
    wanted = frozenset(subject.folder.name for subject in subjects)
    single = frozenset(
        f"{subject.folder.name}{SEPARATOR}{path.stem}" for subject in subjects for path in subject.photos
    )
    alone = replace(config.fit, start="landmarks", steps=0, identity_prior="population")
    plans = {
        LANDMARKS: (PHOTOS_DIR, wanted, alone),
        SINGLE: (SINGLE_DIR, single, config.fit),
        TOGETHER: (PHOTOS_DIR, wanted, config.fit),
    }
    found: dict[str, dict[str, Float[np.ndarray, " identity"]]] = {}
    with ray_session(config.cluster):
        for method, (photos, people, fit) in plans.items():
            say(f"\n{method}")
            output = config.output / RUNS_DIR / RUNS[method]
            settings = ReconstructConfig(
                input=config.output / photos,
                output=output,
                layout="identity-folders",
                people=people,
                fit=fit,
                cluster=config.cluster,
            )
            reconstruct(settings, bundle, say)
            found[method] = {
                row["identity_id"]: np.asarray(row["identity"], np.float32)
                for _, row in open_run(output).rows("identities", ["status", "identity"])
                if row["status"] == Status.OK
            }
    return found


def _neutral(
    shape: MorphableModel, identity: Float[np.ndarray, " identity"], stored: StoredTemplate
) -> Float[np.ndarray, "vertex 3"]:
    expression = torch.zeros(shape.expression_size)
    return shape.vertices_mm(torch.from_numpy(identity), expression).double().numpy()[stored.model_vertices]


def _measure_other(subject: Subject, method: str, folder: Path, stored: StoredTemplate) -> Measured:
    """Another method's mesh of a person, in the model's topology or with its own landmarks beside it."""
    name = subject.folder.name
    path = next((path for suffix in MESH_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
    if path is None:
        return Measured(name, method, "", message=f"no mesh {folder / name}{'|'.join(MESH_SUFFIXES)}")
    try:
        mesh = stored.adopt(read_mesh(path))
        beside = path.with_suffix(".ljson")
        if beside.is_file():
            other = AnnotatedMesh(mesh, read_landmarks(beside))
        elif len(mesh.vertices) == len(stored.template.mesh.vertices):
            other = AnnotatedMesh(mesh, mesh.vertices[stored.template.landmarks])
        else:
            raise UnsupportedInputError(f"{path}: another topology than the shape model's: expected {beside} beside it")
        return measure(subject, method, "", other)[0]
    except GanfitError as error:
        return Measured(name, method, "", message=str(error))
