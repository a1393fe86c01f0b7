"""Photos as users have them, decoded safely into upright RGB."""

import io
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ops.errors import UnreadableInputError, UnsupportedInputError

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in a grey photo (ITU-R BT.601)."""
MAX_SIDE_PX = 4096
"""A decoded image is reduced until its longer side is at most this."""
MAX_PIXELS = 64_000_000
"""The largest image decoded at its full size; baseline JPEG alone can be decoded already reduced."""

# Formats outside this list never reach their decoders; EPS, for one, would start an interpreter.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
# What Pillow's decoders raise on damaged bytes.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_WHITE = (255, 255, 255, 255)


class Photo(NamedTuple):
    """A decoded photo, upright, and the upright size it has at full resolution."""

    image_rgb: UInt8[np.ndarray, "height width 3"]
    width_px: int
    height_px: int

    @property
    def scale(self) -> float:
        """Full-resolution pixels in one pixel of `image_rgb`."""
        return self.width_px / self.image_rgb.shape[1]


def decode_photo(data: bytes) -> Photo:
    """Decode a JPEG, PNG, WebP, BMP, TIFF, GIF, PPM or JPEG 2000 file; the first picture of several.

    The EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB; transparency is laid over
    white. Memory stays bounded: the size is read before any pixel is, and large pictures are reduced.

    Raises:
        UnreadableInputError: the bytes are no complete picture.
        UnsupportedInputError: the picture is too large to decode in bounded memory.
    """
    if not data:
        raise UnreadableInputError("the file is empty")
    try:
        with _quiet_pillow(), Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            width, height = picture.size
            _draft(picture)
            picture.load()
            orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
            rgb = _to_rgb(_reduced(picture))
            image = np.asarray(rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb, np.uint8)
    except UnsupportedInputError:
        raise
    except _DECODE_ERRORS as error:
        raise UnreadableInputError(f"not a readable picture: {_one_line(error)}") from error
    return Photo(image, height, width) if orientation in (5, 6, 7, 8) else Photo(image, width, height)


def encode_png(image: UInt8[np.ndarray, "height width channel"]) -> bytes:
    """RGB or RGBA as a quickly written PNG."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def encode_jpeg(image_rgb: UInt8[np.ndarray, "height width 3"], quality: int = 95) -> bytes:
    """RGB as a JPEG without chroma subsampling."""
    stream = io.BytesIO()
    Image.fromarray(image_rgb).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def decode_png(data: bytes) -> UInt8[np.ndarray, "height width channel"]:
    """The inverse of `encode_png`."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        return np.asarray(picture, np.uint8)


@contextmanager
def _quiet_pillow() -> Generator[None]:
    """Without Pillow's warnings and its own size limit, in whose place this module's stand."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _draft(picture: Any) -> None:
    """Ask a JPEG decoder for a reduced picture; refuse what would be decoded at an excessive size."""
    width, height = picture.size
    # A progressive JPEG keeps the coefficients of the whole picture in memory, however much it is reduced.
    if picture.format in ("JPEG", "MPO") and not picture.info.get("progressive"):
        picture.draft(None, (MAX_SIDE_PX, MAX_SIDE_PX) if max(width, height) > MAX_SIDE_PX else None)
    if picture.size[0] * picture.size[1] > MAX_PIXELS:
        raise UnsupportedInputError(
            f"{width} x {height} px is too large: at most {MAX_PIXELS / 1e6:.0f} megapixels are decoded "
            "(more only as baseline JPEG)"
        )


def _reduced(picture: Any) -> Any:
    factor = -(-max(picture.size) // MAX_SIDE_PX)
    if factor <= 1:
        return picture
    return (picture.convert("RGB") if picture.mode == "P" else picture).reduce(factor)


def _to_rgb(picture: Any) -> Any:
    if picture.mode in _SIXTEEN_BIT_MODES:
        values = np.asarray(picture).astype(np.float32) / 257
        return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise UnsupportedInputError("floating-point pictures have no defined range")
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    return picture.convert("RGB")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
