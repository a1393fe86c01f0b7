"""Faces to aligned crops: from here on the image itself is no longer needed."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pyarrow as pa
import torch

from ops.face.alignment import crop_from_image, warp_image
from ops.files.photo import decode_photo, encode_png
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
            return replace(row, image=None, crop_png=encode_png(_miniature(photo.image_rgb, self.side_px)))
        assert row.width_px is not None
        scale = row.width_px / photo.image_rgb.shape[1]
        landmarks = torch.tensor(row.landmarks_px, dtype=torch.float64).reshape(68, 2)
        matrix = crop_from_image(landmarks, self.side_px).numpy()
        # The matrix is for full-resolution pixels; the decoded image may be a reduced one.
        from_decoded = np.concatenate((matrix[:, :2] * scale, matrix[:, 2:]), 1)
        crop, covered = warp_image(photo.image_rgb, from_decoded, self.side_px)
        rgba = np.concatenate((crop, covered[..., None].astype(np.uint8) * 255), -1)
        return replace(row, image=None, crop_from_image=matrix.reshape(-1).tolist(), crop_png=encode_png(rgba))


def _miniature(image_rgb: np.ndarray, side_px: int) -> np.ndarray:
    """The whole image, reduced to fit a square; transparent around."""
    height, width = image_rgb.shape[:2]
    zoom = side_px / max(height, width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    small = cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)
    rgba = np.zeros((side_px, side_px, 4), np.uint8)
    top, left = (side_px - size[1]) // 2, (side_px - size[0]) // 2
    rgba[top : top + size[1], left : left + size[0], :3] = small
    rgba[top : top + size[1], left : left + size[0], 3] = 255
    return rgba
