"""Images to faces: one box and 68 landmarks per row, in pixels of the upright image at full resolution."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from ops.files.photo import MAX_PIXELS, decode_photo
from ops.files.video import uniform_indices
from ops.reconstruction.detection import (
    Candidate,
    DetectionConfig,
    DetectionNetworks,
    Rejection,
    choose_candidates,
    search_faces,
)
from ops.reconstruction.frame_choice import choose_frames, frame_scores, view_of
from ops.reconstruction.strangers import find_strangers, stranger_text
from ops.weights.bundle import load_detector, load_landmarks, load_recognition
from ops.weights.models import ModelRef
from pipeline.stages.stage import naming
from pipeline.tables.progress import report_progress
from pipeline.tables.schema import DECODED, DETECTED, Frame, Reason, Status, frames_from_table, table_from_frames

_LookedAt = tuple[Frame, Candidate | None]
"""A row and the face that is taken for its person's, where there is one."""


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
    best_frames: int | None = None
    """As many of a clip's frames are chosen as `ops.reconstruction.frame_choice` says; None where they come chosen."""

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
        quick = self.config.quick
        return DetectionNetworks(
            load_detector(self.detector, quick=quick),
            load_landmarks(self.landmarks, quick=quick),
            load_recognition(self.recognition, ()),
        )

    def __call__(self, loaded: DetectionNetworks, table: pa.Table) -> pa.Table:
        """Detect in every image of a block, then choose among several faces; spare frames replace unusable ones."""
        rows = frames_from_table(table)
        looked_at = self._uniform(loaded, rows) if self.best_frames is None else self._best(loaded, rows)
        return table_from_frames((row for row, _ in looked_at), DETECTED)

    def _uniform(self, loaded: DetectionNetworks, rows: list[Frame]) -> list[_LookedAt]:
        """What is found in all rows but spares that are not needed."""
        candidates: list[Sequence[Candidate]] = [()] * len(rows)
        waiting = [position for position, row in enumerate(rows) if row.spare == 0]
        used: list[int] = []
        found: dict[int, _LookedAt] = {}
        while waiting:
            for position, seen in zip(waiting, self._look_at(loaded, rows, waiting), strict=True):
                rows[position], candidates[position] = seen
            used = sorted((*used, *waiting))
            chosen = _choose(loaded, [rows[p] for p in used], [candidates[p] for p in used])
            found = dict(zip(used, self._without_strangers(loaded, chosen, _identity_id), strict=True))
            waiting = _next_spares(rows, found)
        return [found[position] for position in used]

    def _best(self, loaded: DetectionNetworks, rows: list[Frame]) -> list[_LookedAt]:
        """What is found in photos and in the best frames of every clip.

        Who a clip shows, all its frames say that are looked at; whom a person's files show, the chosen ones.
        """
        assert self.best_frames is not None
        seen = self._look_at(loaded, rows, range(len(rows)))
        chosen = _choose(loaded, [row for row, _ in seen], [faces for _, faces in seen])
        within = self._without_strangers(loaded, chosen, _item_id)
        return self._without_strangers(loaded, _best_frames(within, self.best_frames), _identity_id)

    def _look_at(
        self, loaded: DetectionNetworks, rows: Sequence[Frame], positions: Iterable[int]
    ) -> list[tuple[Frame, Sequence[Candidate]]]:
        """What some of the rows show."""
        seen: list[tuple[Frame, Sequence[Candidate]]] = []
        for position in positions:
            with naming(self, rows[position].image_id):
                seen.append(self._look(loaded, rows[position]))
            report_progress(rows[position].shard, "detect", (position + 1) / len(rows))
        return seen

    def _look(self, loaded: DetectionNetworks, row: Frame) -> tuple[Frame, Sequence[Candidate]]:
        """The usable faces of a row, most prominent first; the row says why where there are none."""
        if not row.ok:
            return row, ()
        assert row.image is not None
        image = row.image
        whole = partial(decode_photo, image, max_side_px=MAX_PIXELS)
        found = search_faces(loaded, decode_photo(image, self.config.side_px), self.config, whole)
        if isinstance(found, Rejection):
            reason = Reason(found.reason)
            return replace(row, status=Status.REJECTED, reason=reason, message=found.message), ()
        return row, found

    def _without_strangers(
        self, loaded: DetectionNetworks, looked_at: Sequence[_LookedAt], group: Callable[[Frame], str]
    ) -> list[_LookedAt]:
        """The same; usable rows whose face is a stranger to the others of their group are rejected."""
        if self.same_person is None:
            return list(looked_at)
        groups = [group(row) for row, _ in looked_at]
        crops = [face.crop if face and row.ok else None for row, face in looked_at]
        strange = find_strangers(loaded.recognition, groups, crops, self.same_person)
        return [
            (row if similarity is None else self._stranger(row, similarity), face)
            for (row, face), similarity in zip(looked_at, strange, strict=True)
        ]

    def _stranger(self, row: Frame, similarity: float) -> Frame:
        assert self.same_person is not None
        message = "; ".join(part for part in (row.message, stranger_text(similarity, self.same_person)) if part)
        return replace(row, status=Status.REJECTED, reason=Reason.OTHER_PERSON, message=message)


def _choose(
    loaded: DetectionNetworks, rows: Sequence[Frame], candidates: Sequence[Sequence[Candidate]]
) -> list[_LookedAt]:
    """The rows and their faces."""
    chosen = choose_candidates(loaded, [row.identity_id for row in rows], candidates)
    return [
        (_with_face(row, found[choice.face], choice.remark), found[choice.face]) if found else (row, None)
        for row, found, choice in zip(rows, candidates, chosen, strict=True)
    ]


def _best_frames(looked_at: Sequence[_LookedAt], count: int) -> list[_LookedAt]:
    """Photos, and of every clip the best frames."""
    clips: defaultdict[str, list[_LookedAt]] = defaultdict(list)
    for row, face in looked_at:
        clips[row.item_id].append((row, face))
    return [
        kept
        for frames in clips.values()
        for kept in (frames if frames[0][0].frame_index is None else _best_of_clip(frames, count))
    ]


def _best_of_clip(frames: Sequence[_LookedAt], count: int) -> list[_LookedAt]:
    """Where fewer frames are usable than wanted, some of the others take their places, to say why."""
    usable = [(row, face, row.frame_index or 0) for row, face in frames if face and row.ok]
    others = [pair for pair in frames if not pair[0].ok]
    views = [view_of(face) for _, face, _ in usable]
    scores = frame_scores(views)
    times = np.array([index for _, _, index in usable]) / max(1, *(row.frame_index or 0 for row, _ in frames))
    chosen = choose_frames(scores, np.array([view.yaw_deg for view in views]), times, count)
    kept: list[_LookedAt] = [
        (replace(usable[place][0], frame_score=float(scores[place])), usable[place][1]) for place in chosen
    ]
    kept += [others[place] for place in uniform_indices(len(others), max(count - len(kept), 0))]
    return sorted(kept, key=lambda pair: pair[0].frame_index or 0)


def _next_spares(rows: Sequence[Frame], found: Mapping[int, _LookedAt]) -> list[int]:
    """The best spare frame, not looked at yet, of every part of a clip in which no frame is usable so far."""
    usable = {(row.item_id, row.part) for row, _ in found.values() if row.ok}
    spares: dict[tuple[str, int | None], int] = {}
    for position in sorted(range(len(rows)), key=lambda position: rows[position].spare):
        part = (rows[position].item_id, rows[position].part)
        if position not in found and part not in usable:
            spares.setdefault(part, position)
    return sorted(spares.values())


def _identity_id(row: Frame) -> str:
    return row.identity_id


def _item_id(row: Frame) -> str:
    return row.item_id


def _with_face(row: Frame, face: Candidate, remark: str) -> Frame:
    return replace(
        row,
        box_xyxy_px=face.box_xyxy_px.tolist(),
        detection_score=face.score,
        landmarks_px=face.landmarks_px.reshape(-1).tolist(),
        message="; ".join(part for part in (row.message, remark) if part),
    )
