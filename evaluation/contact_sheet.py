"""A picture to judge reconstructions by eye: input, render over the input, surface and texture, one row per image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

LABEL_PX = 18
GAP_PX = 4
_INK = (40, 40, 40)
_ALARM = (170, 30, 30)
_PAPER = (255, 255, 255)


class SheetRow(NamedTuple):
    """One row; pictures of any size, None where there is none."""

    label: str
    alarming: bool
    """Print the label in red."""
    pictures: tuple[UInt8[np.ndarray, "_ _ 3"] | None, ...]


def over(
    front: UInt8[np.ndarray, "height width 4"], back: UInt8[np.ndarray, "height width 3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """An RGBA picture laid over an RGB one."""
    alpha = front[..., 3:].astype(np.float32) / 255
    mixed = alpha * front[..., :3] + (1 - alpha) * back
    return (mixed + 0.5).astype(np.uint8)


def flattened(rgba: UInt8[np.ndarray, "height width 4"]) -> UInt8[np.ndarray, "height width 3"]:
    """A picture over light grey."""
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], np.uint8(225))


def draw_contact_sheet(
    headings: Sequence[str], rows: Sequence[SheetRow], tile_px: int = 192
) -> UInt8[np.ndarray, "height width 3"]:
    """A heading a column, then each row's label above its pictures, fitted into square tiles."""
    pitch = tile_px + GAP_PX
    width = GAP_PX + pitch * len(headings)
    height = LABEL_PX + (LABEL_PX + pitch) * len(rows)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=LABEL_PX - 7)
    for column, heading in enumerate(headings):
        draw.text((GAP_PX + column * pitch, 2), heading, _INK, font)
    for number, row in enumerate(rows):
        top = LABEL_PX + number * (LABEL_PX + pitch)
        draw.text((GAP_PX, top + 2), _printable(row.label), _ALARM if row.alarming else _INK, font)
        for column, picture in enumerate(row.pictures):
            if picture is not None:
                sheet.paste(_tile(picture, tile_px), (GAP_PX + column * pitch, top + LABEL_PX))
    return np.asarray(sheet)


def _tile(picture: UInt8[np.ndarray, "_ _ 3"], tile_px: int) -> Image.Image:
    image = Image.fromarray(picture)
    zoom = tile_px / max(image.size)
    size = (max(1, round(image.width * zoom)), max(1, round(image.height * zoom)))
    tile = Image.new("RGB", (tile_px, tile_px), _PAPER)
    fitted = image.resize(size, Image.Resampling.BILINEAR)
    tile.paste(fitted, ((tile_px - size[0]) // 2, (tile_px - size[1]) // 2))
    return tile


def _printable(text: str) -> str:
    """One line of what the font has."""
    return " ".join(text.split()).encode("latin-1", "replace").decode("latin-1")[:160]
