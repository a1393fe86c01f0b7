"""The whole registration of one template to one annotated scan."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from ops.errors import ConfigurationError
from ops.face.landmark_parts import NOSE_TIP
from ops.geometry.mesh import Mesh
from ops.registration.alignment import Alignment, ScaleRule, align_points
from ops.registration.icp import Anchors, Icp, Metric
from ops.registration.model_fit import ModelFit, ModelFitConfig, fit_modes
from ops.registration.nonrigid_icp import Landmarks, NonrigidConfig, after_model_config, nonrigid_icp
from ops.registration.scan import Scan, prepare_scan
from ops.registration.solver import Status, solve
from ops.registration.surface import Rejection, Surface, area_normals, vertex_normals

FACE_RADIUS_MM = 95.0


@dataclass(frozen=True, kw_only=True)
class Template:
    """The mesh that is deformed, millimetres, with the vertices of the 68 iBUG landmarks."""

    mesh: Mesh
    landmarks: Int[np.ndarray, "68"]
    modes_mm: Float32[np.ndarray, "mode vertex 3"] | None = None
    """How the shapes of people and their expressions vary about the mesh, one standard deviation a mode; with them
    correspondences slide less."""

    def __post_init__(self) -> None:
        if self.landmarks.min() < 0 or self.landmarks.max() >= len(self.mesh.vertices):
            raise ConfigurationError(
                f"a template's landmarks must be vertices 0..{len(self.mesh.vertices) - 1}, "
                f"got {self.landmarks.min()}..{self.landmarks.max()}"
            )
        if self.modes_mm is not None and self.modes_mm.shape[1] != len(self.mesh.vertices):
            raise ConfigurationError(
                f"a template's modes must move its {len(self.mesh.vertices)} vertices, got {self.modes_mm.shape[1]}"
            )

    @property
    def landmarks_mm(self) -> Float[np.ndarray, "68 3"]:
        """Where the landmark vertices lie."""
        return self.mesh.vertices[self.landmarks]


@dataclass(frozen=True, kw_only=True)
class RegistrationConfig:
    """Start and deformation."""

    start_steps: int = 20
    start_landmark_share: float = 0.05
    """Weight of the landmarks against the surface while the pose and size are found."""
    start_distance_mm: float = 8.0
    start_normal_cosine: float = 0.7
    model: ModelFitConfig = field(default_factory=ModelFitConfig)
    """For a template with modes."""
    after_model: NonrigidConfig = field(default_factory=after_model_config)
    """From the shape that the modes found."""
    nonrigid: NonrigidConfig = field(default_factory=NonrigidConfig)
    """For a template without modes."""


class RegistrationQuality(NamedTuple):
    """How well the result meets the scan, in millimetres, within 95 mm of the nose tip unless said otherwise."""

    residual_mm: float
    """Mean distance of matched vertices to the surface."""
    residual_p95_mm: float
    matched_share: float
    """Share of vertices with an accepted counterpart."""
    landmark_rms_mm: float
    """Between the annotated points and the template's landmark vertices, whole template."""
    flipped_share: float
    """Triangles turned by more than a right angle from the aligned template, whole template."""


class Registration(NamedTuple):
    """A template deformed onto a scan: vertices in the scan's frame, millimetres."""

    vertices_mm: Float[np.ndarray, "vertex 3"]
    start: Alignment
    status: Status
    steps: int
    history: tuple[float, ...]
    quality: RegistrationQuality
    scan: Scan


def register_scan(
    template: Template, mesh: Mesh, landmarks: Float[np.ndarray, "68 3"], config: RegistrationConfig
) -> Registration:
    """Deform a template onto a raw scan with up to 68 annotated points (missing ones NaN).

    Raises:
        GeometryError: see `prepare_scan`.
    """
    scan, surface, seen, start = _pose(template, mesh, landmarks, config)
    shape, nonrigid = template.mesh.vertices, config.nonrigid
    if template.modes_mm is not None:
        fitted = fit_modes(template.mesh, template.modes_mm, surface, seen, start, config.model)
        shape, start, nonrigid = fitted.vertices_mm, fitted.alignment, config.after_model
    aligned = Mesh(align_points(start, shape), template.mesh.triangles)
    solution = nonrigid_icp(aligned, surface, seen, nonrigid)
    vertices = aligned.vertices + solution.state.displacement
    quality = _assess(template, aligned, vertices, surface, scan, nonrigid)
    return Registration(vertices, start, solution.status, solution.steps, solution.history, quality, scan)


def fit_template(
    template: Template, mesh: Mesh, landmarks: Float[np.ndarray, "68 3"], config: RegistrationConfig
) -> ModelFit:
    """What a template's modes can express of a scan; the alignment leads to the scan in mm.

    Raises:
        ConfigurationError: a template without modes.
        GeometryError: see `prepare_scan`.
    """
    if template.modes_mm is None:
        raise ConfigurationError("a template without modes has one shape: expected one made from a shape model")
    posed = _pose(template, mesh, landmarks, config)
    return fit_modes(template.mesh, template.modes_mm, posed.surface, posed.landmarks, posed.start, config.model)


class _Posed(NamedTuple):
    """A cleaned scan and where the template lies on it."""

    scan: Scan
    surface: Surface
    landmarks: Landmarks
    start: Alignment


def _pose(template: Template, mesh: Mesh, landmarks: Float[np.ndarray, "68 3"], config: RegistrationConfig) -> _Posed:
    scan, start = prepare_scan(mesh, landmarks, template.mesh, template.landmarks_mm)
    surface = Surface(scan.mesh)
    seen = Landmarks(template.landmarks[scan.visible], scan.landmarks_mm[scan.visible])
    icp = Icp(
        points=template.mesh.vertices,
        normals=vertex_normals(template.mesh),
        surface=surface,
        metric=Metric.PLANE,
        scale=ScaleRule.LEAST_SQUARES,
        start=start,
        anchors=Anchors(template.mesh.vertices[seen.vertices], seen.points_mm, config.start_landmark_share),
        rejection=Rejection(
            max_distance_mm=config.start_distance_mm, min_normal_cosine=config.start_normal_cosine, border=True
        ),
        tolerance_mm=0.01,
        max_steps=config.start_steps,
    )
    posed = solve(icp)
    lost = posed.status in (Status.LOST, Status.DIVERGED)
    return _Posed(scan, surface, seen, start if lost else posed.state.alignment)


def flipped_share(mesh: Mesh, reference: Mesh) -> float:
    """Share of triangles whose normal opposes the reference's."""
    facing = np.einsum("tc,tc->t", area_normals(mesh), area_normals(reference))
    return float((facing < 0).mean())


def _assess(
    template: Template,
    aligned: Mesh,
    vertices: Float[np.ndarray, "vertex 3"],
    surface: Surface,
    scan: Scan,
    config: NonrigidConfig,
) -> RegistrationQuality:
    mesh = Mesh(vertices, template.mesh.triangles)
    face = np.linalg.norm(vertices - vertices[template.landmarks[NOSE_TIP]], axis=1) < FACE_RADIUS_MM
    rejection = Rejection(
        max_distance_mm=config.levels[-1].max_distance_mm, min_normal_cosine=config.min_normal_cosine, border=True
    )
    found = surface.correspond(vertices[face], vertex_normals(mesh)[face], rejection)
    matched = found.distance[found.accepted]
    miss = vertices[template.landmarks[scan.visible]] - scan.landmarks_mm[scan.visible]
    return RegistrationQuality(
        residual_mm=float(matched.mean()) if len(matched) else np.inf,
        residual_p95_mm=float(np.percentile(matched, 95)) if len(matched) else np.inf,
        matched_share=float(found.accepted.mean()),
        landmark_rms_mm=float(np.sqrt(np.square(miss).sum(1).mean())),
        flipped_share=flipped_share(mesh, aligned),
    )
