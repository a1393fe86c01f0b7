"""Photos as users have them, decoded safely into upright RGB."""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms
from pillow_heif import register_heif_opener

from ops.errors import UnreadableInputError, UnsupportedInputError
from ops.files.picture_bytes import BarePicture, jpeg_with_end, without_metadata

register_heif_opener(thumbnails=False)

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in a grey photo (ITU-R BT.601)."""
MAX_SIDE_PX = 4096
"""A decoded image is reduced until its longer side is at most this."""
MAX_PIXELS = 64_000_000
"""The largest image decoded at its full size; baseline JPEG alone can be decoded already reduced."""

# Formats outside this list never reach their decoders; EPS, for one, would start an interpreter.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "HEIF", "AVIF")
# What Pillow's decoders raise on damaged bytes.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    RuntimeError,
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
_EIGHT_OF_SIXTEEN_BITS = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)
_WHITE = (255, 255, 255, 255)
_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""The mode of the pixels that a profile of a colour space describes."""


class Photo(NamedTuple):
    """A decoded photo, upright, and the upright size it has at full resolution."""

    image_rgb: UInt8[np.ndarray, "height width 3"]
    width_px: int
    height_px: int

    @property
    def scale(self) -> float:
        """Full-resolution pixels in one pixel of `image_rgb`."""
        return self.width_px / self.image_rgb.shape[1]


def decode_photo(data: bytes, max_side_px: int = MAX_SIDE_PX) -> Photo:
    """Decode a JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, JPEG 2000, HEIC or AVIF file; the first picture of several.

    The EXIF orientation is applied; colours are converted to sRGB by the embedded profile; grey, palette, CMYK and
    16-bit pictures become 8-bit RGB; transparency is laid over white. Damaged metadata and a JPEG's missing end marker
    are no reason to refuse the pixels. Memory stays bounded: the size is read before any pixel is, and pictures longer
    than `max_side_px` are reduced.

    Raises:
        UnreadableInputError: the bytes are no complete picture.
        UnsupportedInputError: the picture is too large to decode in bounded memory.
    """
    if not data:
        raise UnreadableInputError("the file is empty")
    bare = without_metadata(data)
    try:
        return _decode(bare, max_side_px)
    except UnreadableInputError:
        if complete := _without_end_marker(data, max_side_px):
            return complete
        raise


def _decode(bare: BarePicture, max_side_px: int) -> Photo:
    try:
        with _quiet_pillow(), Image.open(io.BytesIO(bare.data), formats=_FORMATS) as picture:
            width, height = picture.size
            _draft(picture, max_side_px)
            picture.load()
            orientation = _orientation(picture, bare.exif)
            rgb = _to_rgb(_reduced(picture, max_side_px), bare.icc_profile or picture.info.get("icc_profile"))
            image = np.asarray(rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb, np.uint8)
    except UnsupportedInputError:
        raise
    except _DECODE_ERRORS as error:
        raise UnreadableInputError(f"not a readable picture: {_one_line(error)}") from error
    return Photo(image, height, width) if orientation in (5, 6, 7, 8) else Photo(image, width, height)


def _without_end_marker(data: bytes, max_side_px: int) -> Photo | None:
    """The picture of a JPEG that lacks nothing but its end marker."""
    pair = jpeg_with_end(data)
    if pair is None:
        return None
    try:
        first, second = (_decode(BarePicture(each), max_side_px) for each in pair)
    except UnreadableInputError:
        return None
    return first if np.array_equal(first.image_rgb, second.image_rgb) else None


def _orientation(picture: Any, exif: bytes | None) -> int:
    """The EXIF orientation; 1, upright, where the EXIF data are damaged."""
    try:
        found = picture.getexif()
        if exif is not None:
            found = Image.Exif()
            found.load(exif)
        return found.get(_ORIENTATION_TAG, 1)
    except _DECODE_ERRORS:
        return 1


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


def _draft(picture: Any, max_side_px: int) -> None:
    """Ask a JPEG decoder for a reduced picture; refuse what would be decoded at an excessive size."""
    width, height = picture.size
    # A progressive JPEG keeps the coefficients of the whole picture in memory, however much it is reduced.
    if picture.format in ("JPEG", "MPO") and not picture.info.get("progressive"):
        picture.draft(None, (max_side_px, max_side_px) if max(width, height) > max_side_px else None)
    if picture.size[0] * picture.size[1] > MAX_PIXELS:
        raise UnsupportedInputError(
            f"{width} x {height} px is too large: at most {MAX_PIXELS / 1e6:.0f} megapixels are decoded "
            "(more only as baseline JPEG)"
        )


def _reduced(picture: Any, max_side_px: int) -> Any:
    """At most `max_side_px` long, in a mode of 8 bits per channel."""
    if picture.mode in _SIXTEEN_BIT_MODES:
        values = np.asarray(picture)
        if values.dtype != np.uint16:
            values = np.clip(values, 0, 65535).astype(np.uint16)
        picture = Image.fromarray(_EIGHT_OF_SIXTEEN_BITS[values])
    elif picture.mode == "1":
        picture = picture.convert("L")
    factor = -(-max(picture.size) // max_side_px)
    if factor <= 1:
        return picture
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return picture.reduce(factor)


def _to_rgb(picture: Any, icc_profile: bytes | None) -> Any:
    if picture.mode == "F":
        raise UnsupportedInputError("floating-point pictures have no defined range")
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    rgb = _in_srgb(picture, icc_profile) if icc_profile else picture.convert("RGB")
    if alpha is None:
        return rgb
    rgb.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", rgb.size, _WHITE), rgb).convert("RGB")


def _in_srgb(picture: Any, icc_profile: bytes) -> Any:
    """RGB converted from the colours of a profile; as it is where the profile is damaged or not for such pixels."""
    mode = {"LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB"}.get(picture.mode, picture.mode)
    try:
        profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        described = _PROFILE_MODES.get(profile.profile.xcolor_space) == mode
        if described and "sRGB" not in ImageCms.getProfileDescription(profile):
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(picture.convert(mode), profile, srgb, outputMode="RGB")
    except (*_DECODE_ERRORS, ImageCms.PyCMSError):
        pass
    return picture.convert("RGB")


def _one_line(error: BaseException) -> str:
    """The error in a line, without the address of the buffer it was found in."""
    text = re.sub(r"\s*<_io\.\w+ object at 0x[0-9a-f]+>", "", str(error))
    return " ".join(text.split())[:200] or type(error).__name__
