"""Faces to aligned crops: from here on the image itself is no longer needed."""

from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from ops.files.photo import MAX_PIXELS, MAX_SIDE_PX, Photo, decode_photo, encode_png
from ops.networks.landmarks import LandmarkNetwork
from ops.reconstruction.alignment import align_face, is_too_coarse, miniature
from ops.reconstruction.second_look import settle_face
from ops.weights.bundle import load_landmarks
from ops.weights.models import ModelRef
from pipeline.stages.gate import QualityGate
from pipeline.stages.stage import naming
from pipeline.tables.schema import ALIGNED, DETECTED, Frame, frames_from_table, table_from_frames

QUICK_CROPPED_PX = 2048
"""To which photos are decoded for crops the quicker way; the whole ones where that is too coarse for a crop."""


@dataclass(frozen=True, kw_only=True)
class AlignFaces:
    """Adds the crop matrix and the crop of every ok row; rejected rows get a small picture of the image instead."""

    side_px: int
    """Side of the crop: that of the fit's render."""
    landmarks: ModelRef | None = None
    """Looks at the crops again, see `ops.reconstruction.second_look`; None: they are not looked at."""
    quick: bool = False
    """Whether that network looks the quicker way, as the one that found the landmarks did, and photos are decoded no
    larger than crops need."""
    gate: QualityGate = field(default_factory=QualityGate)
    texture_side_px: int | None = None
    """Side of a second crop, for a texture from photos; None where the first will do."""

    @property
    def inputs(self) -> pa.Schema:
        """Images with faces."""
        return DETECTED

    @property
    def outputs(self) -> pa.Schema:
        """Aligned crops."""
        return ALIGNED

    def load(self) -> LandmarkNetwork | None:
        """The network that found the landmarks, where crops are looked at again."""
        return self.landmarks and load_landmarks(self.landmarks, quick=self.quick)

    def __call__(self, loaded: LandmarkNetwork | None, table: pa.Table) -> pa.Table:
        """Align every face of a block."""
        rows: list[Frame] = []
        for row in frames_from_table(table):
            with naming(self, row.image_id):
                rows.append(self._align(row, loaded))
        return table_from_frames(rows, ALIGNED)

    def _align(self, row: Frame, network: LandmarkNetwork | None) -> Frame:
        if row.image is None:
            return row
        photo = decode_photo(row.image, QUICK_CROPPED_PX if self.quick else MAX_SIDE_PX)
        if not row.ok:
            return replace(row, image=None, crop_png=encode_png(miniature(photo.image_rgb, self.side_px)))
        assert row.width_px is not None
        assert row.height_px is not None
        finest_px = max(self.side_px, self.texture_side_px or 0)
        if is_too_coarse(photo, np.array(row.box_xyxy_px or (0, 0, 0, 0), np.float32), finest_px):
            photo = decode_photo(row.image, max_side_px=MAX_PIXELS)
        # A photo may have travelled reduced; landmarks are in pixels of the original.
        original = Photo(photo.image_rgb, row.width_px, row.height_px)
        landmarks = np.array(row.landmarks_px).reshape(68, 2)
        shift = None
        if network is None:
            crop = align_face(original, landmarks, self.side_px)
        else:
            within = self.gate.ranges and self.gate.ranges.landmark_shift
            crop, landmarks, shift = settle_face(network, original, landmarks, self.side_px, within)
        matrix = crop.crop_from_image.reshape(-1).tolist()
        finer = None
        if self.texture_side_px is not None:
            finer = encode_png(align_face(original, landmarks, self.texture_side_px).image_rgba)
        aligned = replace(
            row,
            image=None,
            landmarks_px=landmarks.reshape(-1).tolist(),
            crop_from_image=matrix,
            crop_png=encode_png(crop.image_rgba),
            texture_crop_png=finer,
            landmark_shift=shift,
        )
        verdict = self.gate.verdict({"landmark_shift": shift}, row.message)
        # A remark waits for the fit, which knows more.
        return replace(aligned, **(verdict if "status" in verdict else {}))
