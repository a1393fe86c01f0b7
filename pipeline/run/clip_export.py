"""Clips of a run as animated heads."""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from ops.face.morphable_model import MorphableModel
from ops.geometry.gltf import Motion, PerspectiveCamera, encode_glb
from ops.geometry.mesh_io import TexturedMesh
from ops.reconstruction.clip_motion import clip_motion
from ops.reconstruction.mesh import expression_morphs
from ops.reconstruction.pinhole import pinhole_of
from pipeline.input.listing import VIDEO_SUFFIXES
from pipeline.run.reader import Row, Run
from pipeline.tables.schema import Status

USED_MM = 0.05
"""Expression modes that never move a vertex further than this are left out."""
FRAMES_A_SECOND = 25.0
"""Of clips that tell no times."""


class Clip(NamedTuple):
    """The rows of a clip, in its order."""

    item_id: str
    """Safe as a file name."""
    uri: str
    frames: Sequence[Row]

    @property
    def usable(self) -> list[Row]:
        """The fitted frames, each with a time of its own."""
        fitted = [row for row in self.frames if row["status"] == Status.OK]
        times = np.append(-1, clip_times(fitted)).astype(np.float32)
        later = times[1:] > np.maximum.accumulate(times[:-1])
        return [row for row, kept in zip(fitted, later.tolist(), strict=True) if kept]


class AnimatedHead(NamedTuple):
    """A file and what is said of it."""

    glb: bytes
    described: dict[str, Any]


def clips_of(frames: Iterable[Row]) -> list[Clip]:
    """The clips among a person's rows, those without a frame included."""
    found: dict[str, list[Row]] = {}
    for row in frames:
        if row["frame_index"] is not None:
            found.setdefault(row["image_id"].rpartition("-f")[0], []).append(row)
        elif PurePosixPath(row["uri"]).suffix.lower() in VIDEO_SUFFIXES:
            found[row["image_id"]] = [row]
    return [
        Clip(item_id, rows[0]["uri"], sorted(rows, key=lambda row: row["frame_index"] or 0))
        for item_id, rows in found.items()
    ]


def clip_times(frames: Sequence[Row]) -> np.ndarray:
    """Seconds from the clip's beginning, of frames in order; by their number where the file tells none."""
    times = np.array(
        [row["frame_index"] / FRAMES_A_SECOND if row["time_s"] is None else row["time_s"] for row in frames], np.float64
    )
    return times - min(times.min(initial=0.0), 0.0)


def animate_clip(run: Run, person: Row, clip: Clip, mesh: TexturedMesh, smooth_s: float) -> AnimatedHead:
    """A clip with at least one usable frame.

    Args:
        run: that has the clip.
        person: its row.
        clip: to be shown.
        mesh: the person's neutral one.
        smooth_s: see `ops.geometry.smoothing`; 0 for none.
    """
    frames = clip.usable
    width_px, height_px = frames[0]["width_px"], frames[0]["height_px"]
    motion = clip_motion(
        [pinhole_of(run.camera_of(row)) for row in frames],
        clip_times(frames),
        np.array([row["expression"] for row in frames], np.float64).reshape(len(frames), -1),
        np.array((width_px, height_px)) / 2,
        mesh.vertices_mm[run.shape.landmarks.cpu().numpy()].mean(0).astype(np.float64),
    ).smoothed(smooth_s)
    used = used_modes(run.shape, motion.expressions)
    weights = motion.expressions[:, used]
    names = {"identity_id": person["identity_id"], "uri": clip.uri}
    focal = motion.focal_px
    lens = {
        "image_size_px": [width_px, height_px],
        "intrinsics": [[focal, 0.0, width_px / 2], [0.0, focal, height_px / 2], [0.0, 0.0, 1.0]],
    }
    glb = encode_glb(
        mesh,
        morphs=expression_morphs(run.shape, used, weights[0]),
        motion=Motion(motion.times_s, motion.rotations_xyzw, motion.translations_mm, weights),
        camera=PerspectiveCamera(np.eye(4), width_px, height_px, focal, lens),
        extras=names,
    )
    shown = {"image_ids": [row["image_id"] for row in frames], "times_s": motion.times_s.tolist()}
    return AnimatedHead(glb, names | shown | {"camera": lens})


def used_modes(shape: MorphableModel, expressions: np.ndarray) -> list[int]:
    """The expression modes that move some vertex further than `USED_MM` in some of the frames [frame, mode]."""
    farthest = shape.expression_basis_mm.norm(dim=-1).amax(1).cpu().numpy()
    return np.flatnonzero(np.abs(expressions).max(0) * farthest > USED_MM).tolist()
