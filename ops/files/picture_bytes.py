"""What surrounds the pixels of a picture file: metadata a photo must not be refused for, and a missing end."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MAX_PROFILE_BYTES = 32 << 20
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_RESTART_INTERVAL = b"\xff\xdd"
_PROBE_BYTES = 4096


class BarePicture(NamedTuple):
    """A picture file without the metadata that decoders trip over, and what was in it."""

    data: bytes
    icc_profile: bytes | None = None
    exif: bytes | None = None


def without_metadata(data: bytes) -> BarePicture:
    """A PNG reduced to the chunks its pixels need, with its colour profile and EXIF apart; other files as they are.

    A PNG decoder refuses the whole file for text or a profile over a megabyte and for a wrong checksum in either. What
    cannot be read of the metadata is left out.
    """
    if not data.startswith(_PNG_SIGNATURE):
        return BarePicture(data)
    kept = [_PNG_SIGNATURE]
    profile = exif = None
    for kind, start, stop in _png_chunks(data):
        body = data[start + 8 : stop - 4]
        if kind in _PNG_PIXEL_CHUNKS:
            kept.append(data[start:stop])
        elif kind == b"iCCP":
            profile = _inflated(body.partition(b"\0")[2][1:])
        elif kind == b"eXIf":
            exif = body
    return BarePicture(b"".join(kept), profile, exif)


def jpeg_with_end(data: bytes) -> tuple[bytes, bytes] | None:
    """A JPEG that lacks its end marker, twice: with the marker, and with other bytes before the marker.

    Where all pixels are there, both decode to the same picture, since nothing behind the last one is looked at. None
    where this is no such test: no JPEG, one with its marker, or one with restart markers, at which decoders leap.
    """
    if not data.startswith(_JPEG_START) or data.rstrip(b"\0").endswith(_JPEG_END) or _JPEG_RESTART_INTERVAL in data:
        return None
    probe = bytes(1 + (37 * index + 11 * (index >> 3)) % 251 for index in range(_PROBE_BYTES))
    return data + _JPEG_END, data + probe + _JPEG_END


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of every chunk; the last may be cut short."""
    start = len(_PNG_SIGNATURE)
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        stop = start + 12 + length
        yield kind, start, stop
        if kind == b"IEND":
            return
        start = stop


def _inflated(compressed: bytes) -> bytes | None:
    """None where it is damaged or unreasonably long."""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(compressed, _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if stream.eof else None
