"""Images to faces: one box and 68 landmarks per row, in pixels of the upright image at full resolution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from ops.files.photo import decode_photo
from ops.reconstruction.detection import (
    Candidate,
    DetectionConfig,
    DetectionNetworks,
    Rejection,
    choose_candidates,
    find_faces,
)
from ops.weights.bundle import load_detector, load_landmarks, load_recognition
from ops.weights.models import ModelRef
from pipeline.stages.stage import naming
from pipeline.tables.schema import DECODED, DETECTED, Frame, Reason, Status, frames_from_table, table_from_frames


@dataclass(frozen=True, kw_only=True)
class DetectFaces:
    """Adds box, score and landmarks to every row; a row without a usable face leaves as rejected, saying why.

    Of several faces the one most like the person's other images is taken, where those show a single face; otherwise
    the largest, weighted by its score.
    """

    detector: ModelRef
    landmarks: ModelRef
    recognition: ModelRef
    config: DetectionConfig

    @property
    def inputs(self) -> pa.Schema:
        """Encoded images."""
        return DECODED

    @property
    def outputs(self) -> pa.Schema:
        """The same with faces."""
        return DETECTED

    def load(self) -> DetectionNetworks:
        """The three networks, on the CPU."""
        return DetectionNetworks(
            load_detector(self.detector), load_landmarks(self.landmarks), load_recognition(self.recognition, ())
        )

    def __call__(self, loaded: DetectionNetworks, table: pa.Table) -> pa.Table:
        """Detect in every image of a block, then choose among several faces."""
        rows = frames_from_table(table)
        candidates: list[Sequence[Candidate]] = []
        for position, row in enumerate(rows):
            with naming(self, row.image_id):
                rows[position], found = self._look(loaded, row)
                candidates.append(found)
        chosen = choose_candidates(loaded, [row.identity_id for row in rows], candidates)
        for position, (row, found, choice) in enumerate(zip(rows, candidates, chosen, strict=True)):
            if found:
                rows[position] = _with_face(row, found[choice.face], choice.remark)
        return table_from_frames(rows, DETECTED)

    def _look(self, loaded: DetectionNetworks, row: Frame) -> tuple[Frame, Sequence[Candidate]]:
        """The usable faces of a row, most prominent first; the row says why where there are none."""
        if not row.ok:
            return row, ()
        assert row.image is not None
        found = find_faces(loaded, decode_photo(row.image), self.config)
        if isinstance(found, Rejection):
            reason = Reason(found.reason)
            return replace(row, status=Status.REJECTED, reason=reason, message=found.message), ()
        return row, found


def _with_face(row: Frame, face: Candidate, remark: str) -> Frame:
    return replace(
        row,
        box_xyxy_px=face.box_xyxy_px.tolist(),
        detection_score=face.score,
        landmarks_px=face.landmarks_px.reshape(-1).tolist(),
        message="; ".join(part for part in (row.message, remark) if part),
    )
