"""The protocols by name, what each cannot tell, and one call for a pair under any of them."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float

from evaluation.authors_protocol import MM_PER_UNIT, evaluate_authors, template_units
from evaluation.result import PairResult
from evaluation.scan_protocols import DENG, NOW, PAPER, AnnotatedMesh, evaluate_scan
from ops.geometry.mesh import Mesh
from ops.registration.register import Template


class Protocol(Enum):
    """How a reconstruction is measured against a scan; a table holds one."""

    GANFIT_CODE = "ganfit-code"
    PAPER = "paper"
    DENG = "deng"
    NOW = "now"


DESCRIPTIONS = {
    Protocol.GANFIT_CODE: (
        "The authors' public evaluation, to the digit: template registered to the scan as ground truth, 95 template "
        "millimetres around the nose tip, ICP with scale, distance to the surface, both directions, mean."
    ),
    Protocol.PAPER: (
        "The paper's text: 95 real millimetres around the annotated nose tip, rigid ICP, symmetric point-to-plane "
        "distance under one alignment, mean."
    ),
    Protocol.DENG: (
        "After Deng et al. 2019: 95 mm around the nose tip without the forehead, ICP with one scale a mesh, "
        "point-to-plane from the scan, root mean square."
    ),
    Protocol.NOW: (
        "After the NoW challenge: seven-point similarity, ICP with scale, distance of the scan's face region to the "
        "reconstruction's surface, mean (median in its own column)."
    ),
}

WEAKNESSES = {
    Protocol.GANFIT_CODE: (
        "Millimetres are the template's: the subject's true size is gone (a factor of 0.925 to 1.137, so the crop "
        "holds 88 to 108 mm of skin).",
        "ICP estimates a scale, and still the reconstruction's own scale leaks into the figure.",
        "Distances are to the surface, not to the tangent plane as the paper says.",
        "The better of two scans counts.",
        "The ground truth is a registration, not the scan.",
    ),
    Protocol.PAPER: (
        "Metric: a reconstruction of the wrong size pays for it; a method without metric scale must declare one "
        "global factor.",
        "Details the paper leaves open are ours: no scale at the start, borders and parts the scan does not show are "
        "left out of the way back, averages are weighted by area.",
        "The better of two scans counts.",
    ),
    Protocol.DENG: (
        "A scale of its own for every mesh hides errors of size.",
        "One direction: a reconstruction with too much surface is not punished.",
        "Where the forehead is cut is not published; ours is 10 mm above the brows.",
        "Root mean squares are about 31 % above means: not comparable with other protocols.",
    ),
    Protocol.NOW: (
        "A scale of its own for every mesh hides errors of size.",
        "One direction: a reconstruction with too much surface is not punished.",
        "Defined for another data set; its published figures are not for these scans.",
        "Crop and alignment follow the challenge's public code; its optimiser is another, and it counts vertices where "
        "ours weighs area.",
    ),
}

SCAN_PROTOCOLS = {Protocol.PAPER: PAPER, Protocol.DENG: DENG, Protocol.NOW: NOW}
"""Those that take any topology and the raw scan."""


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """One registered scan: template vertices in the scan's frame, its annotations, and the cleaned scan itself."""

    registered_mm: Float[np.ndarray, "vertex 3"]
    landmarks_mm: Float[np.ndarray, "68 3"]
    scan: Mesh
    tight_crop: bool = False


def evaluate_pair(
    protocol: Protocol,
    template: Template,
    truth: GroundTruth,
    reconstruction: AnnotatedMesh,
    *,
    against_registered: bool = False,
) -> PairResult:
    """Measure one reconstruction in millimetres against one scan.

    `ganfit-code` needs the template's topology; the others look at the raw scan, or at the registered template where
    `against_registered` is set.

    Raises:
        GeometryError: see the protocols.
        InputError: see the protocols.
    """
    if protocol is Protocol.GANFIT_CODE:
        units = template_units(template, truth.registered_mm, truth.landmarks_mm)
        rebuilt = Mesh(reconstruction.mesh.vertices / MM_PER_UNIT, reconstruction.mesh.triangles)
        return evaluate_authors(template, units, rebuilt, tight=truth.tight_crop)
    mesh = Mesh(truth.registered_mm, template.mesh.triangles) if against_registered else truth.scan
    return evaluate_scan(SCAN_PROTOCOLS[protocol], AnnotatedMesh(mesh, truth.landmarks_mm), reconstruction)
