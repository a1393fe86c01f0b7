"""Faces to aligned crops: from here on the image itself is no longer needed."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ops.files.photo import MAX_PIXELS, Photo, decode_photo, encode_png
from ops.reconstruction.alignment import align_face, miniature
from pipeline.stages.stage import naming
from pipeline.tables.schema import ALIGNED, DETECTED, Frame, frames_from_table, table_from_frames


@dataclass(frozen=True, kw_only=True)
class AlignFaces:
    """Adds the crop matrix and the crop of every ok row; rejected rows get a small picture of the image instead."""

    side_px: int
    """Side of the crop: that of the fit's render."""

    @property
    def inputs(self) -> pa.Schema:
        """Images with faces."""
        return DETECTED

    @property
    def outputs(self) -> pa.Schema:
        """Aligned crops."""
        return ALIGNED

    def load(self) -> None:
        """Nothing is needed."""

    def __call__(self, loaded: None, table: pa.Table) -> pa.Table:
        """Align every face of a block."""
        rows: list[Frame] = []
        for row in frames_from_table(table):
            with naming(self, row.image_id):
                rows.append(self._align(row))
        return table_from_frames(rows, ALIGNED)

    def _align(self, row: Frame) -> Frame:
        if row.image is None:
            return row
        photo = decode_photo(row.image)
        if not row.ok:
            return replace(row, image=None, crop_png=encode_png(miniature(photo.image_rgb, self.side_px)))
        assert row.width_px is not None
        assert row.height_px is not None
        if photo.scale > 1 and _longest_px(row) < 2 * self.side_px * photo.scale:
            photo = decode_photo(row.image, max_side_px=MAX_PIXELS)
        # A photo may have travelled reduced; landmarks are in pixels of the original.
        original = Photo(photo.image_rgb, row.width_px, row.height_px)
        crop = align_face(original, np.array(row.landmarks_px).reshape(68, 2), self.side_px)
        matrix = crop.crop_from_image.reshape(-1).tolist()
        return replace(row, image=None, crop_from_image=matrix, crop_png=encode_png(crop.image_rgba))


def _longest_px(row: Frame) -> float:
    """The longer side of the face's box in pixels of the original."""
    left, top, right, bottom = row.box_xyxy_px or (0, 0, 0, 0)
    return max(right - left, bottom - top)
