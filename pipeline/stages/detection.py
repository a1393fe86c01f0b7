"""Images to faces: one box and 68 landmarks per row, in pixels of the upright image at full resolution."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from ops.files.photo import MAX_PIXELS, decode_photo
from ops.reconstruction.detection import (
    Candidate,
    DetectionConfig,
    DetectionNetworks,
    Rejection,
    choose_candidates,
    search_faces,
)
from ops.reconstruction.strangers import find_strangers, stranger_text
from ops.weights.bundle import load_detector, load_landmarks, load_recognition
from ops.weights.models import ModelRef
from pipeline.stages.stage import naming
from pipeline.tables.progress import report_progress
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
    same_person: float | None = None
    """Faces with a lower cosine to the rest of their person's are rejected; None for none."""

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
        """Detect in every image of a block, then choose among several faces; spare frames replace unusable ones."""
        rows = frames_from_table(table)
        candidates: list[Sequence[Candidate]] = [()] * len(rows)
        waiting = [position for position, row in enumerate(rows) if row.spare == 0]
        used: list[int] = []
        found: dict[int, Frame] = {}
        while waiting:
            for position in waiting:
                with naming(self, rows[position].image_id):
                    rows[position], candidates[position] = self._look(loaded, rows[position])
                report_progress(rows[position].shard, "detect", (position + 1) / len(rows))
            used = sorted((*used, *waiting))
            chosen = self._choose(loaded, [rows[p] for p in used], [candidates[p] for p in used])
            found = dict(zip(used, chosen, strict=True))
            waiting = _next_spares(rows, found)
        return table_from_frames((found[position] for position in used), DETECTED)

    def _look(self, loaded: DetectionNetworks, row: Frame) -> tuple[Frame, Sequence[Candidate]]:
        """The usable faces of a row, most prominent first; the row says why where there are none."""
        if not row.ok:
            return row, ()
        assert row.image is not None
        image = row.image
        whole = partial(decode_photo, image, max_side_px=MAX_PIXELS)
        found = search_faces(loaded, decode_photo(image), self.config, whole)
        if isinstance(found, Rejection):
            reason = Reason(found.reason)
            return replace(row, status=Status.REJECTED, reason=reason, message=found.message), ()
        return row, found

    def _choose(
        self, loaded: DetectionNetworks, rows: Sequence[Frame], candidates: Sequence[Sequence[Candidate]]
    ) -> list[Frame]:
        """The rows with their faces; those whose face is a stranger to the person's others are rejected."""
        people = [row.identity_id for row in rows]
        chosen = choose_candidates(loaded, people, candidates)
        faces = [found[choice.face] if found else None for found, choice in zip(candidates, chosen, strict=True)]
        crops = [face and face.crop for face in faces]
        strange: Sequence[float | None] = [None] * len(rows)
        if self.same_person is not None:
            strange = find_strangers(loaded.recognition, people, crops, self.same_person)
        result: list[Frame] = []
        for row, face, choice, similarity in zip(rows, faces, chosen, strange, strict=True):
            if face is None:
                result.append(row)
                continue
            shown = _with_face(row, face, choice.remark)
            result.append(shown if similarity is None else self._stranger(shown, similarity))
        return result

    def _stranger(self, row: Frame, similarity: float) -> Frame:
        assert self.same_person is not None
        message = "; ".join(part for part in (row.message, stranger_text(similarity, self.same_person)) if part)
        return replace(row, status=Status.REJECTED, reason=Reason.OTHER_PERSON, message=message)


def _next_spares(rows: Sequence[Frame], found: Mapping[int, Frame]) -> list[int]:
    """The best spare frame, not looked at yet, of every part of a clip in which no frame is usable so far."""
    usable = {(row.item_id, row.part) for row in found.values() if row.ok}
    spares: dict[tuple[str, int | None], int] = {}
    for position in sorted(range(len(rows)), key=lambda position: rows[position].spare):
        part = (rows[position].item_id, rows[position].part)
        if position not in found and part not in usable:
            spares.setdefault(part, position)
    return sorted(spares.values())


def _with_face(row: Frame, face: Candidate, remark: str) -> Frame:
    return replace(
        row,
        box_xyxy_px=face.box_xyxy_px.tolist(),
        detection_score=face.score,
        landmarks_px=face.landmarks_px.reshape(-1).tolist(),
        message="; ".join(part for part in (row.message, remark) if part),
    )
