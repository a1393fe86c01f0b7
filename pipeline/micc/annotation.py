"""Landmarks of textured scans that nobody annotated, by the networks of a bundle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from ops.registration.annotation import FindLandmarks, annotate_scan
from ops.registration.textured_scan import read_textured_scan
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """Finds 68 landmarks on a scan file; the jaw points stay NaN."""

    bundle: ModelBundle

    def __call__(self, path: Path) -> Float[np.ndarray, "68 3"]:
        """Landmarks in the unit of the scan, which must be upright (y up) and look along +z.

        Raises:
            InputError: the file is no textured mesh.
            GeometryError: a face is found in fewer than two rendered views.
        """
        return annotate_scan(read_textured_scan(path), self._finder())

    def description(self) -> dict[str, object]:
        """The models that decide the landmarks, without paths."""
        models = {role: self.bundle.description()[role] for role in ("detector", "landmarks")}
        return {
            role: {key: value for key, value in entry.items() if key != "path"} if isinstance(entry, dict) else entry
            for role, entry in models.items()
        }

    def _finder(self) -> FindLandmarks:
        detector, network = load_detector(self.bundle.detector), load_landmarks(self.bundle.landmarks)

        def find(image: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "68 2"] | None:
            faces = detector(image)
            if not len(faces.scores):
                return None
            return network(image, faces.boxes_xyxy_px[:1], faces.points_px[:1])[0].astype(np.float64)

        return find
