"""Chunks of AVI files, walked by their headers alone."""

import struct
from pathlib import Path
from typing import BinaryIO

_FRAME_SUFFIXES = (b"dc", b"db")
"""Compressed and uncompressed video."""


def count_empty_frames(path: Path, stream: int) -> int:
    """Video chunks without content, which stand for a repeated frame; 0 for what is no AVI file."""
    with path.open("rb") as file:
        return _empty_frames(file, path.stat().st_size, b"%02d" % stream)


def _empty_frames(file: BinaryIO, stop: int, stream: bytes) -> int:
    """In the chunks from the file's position on; lists that hold frames are entered."""
    count = 0
    while file.tell() + 8 <= stop:
        kind, size = struct.unpack("<4sI", file.read(8))
        inside = file.read(4) if kind in (b"RIFF", b"LIST") and size >= 4 else b""
        if kind == b"RIFF" and inside not in (b"AVI ", b"AVIX"):
            return 0
        if inside in (b"AVI ", b"AVIX", b"movi", b"rec "):
            continue
        count += kind[:2] == stream and kind[2:] in _FRAME_SUFFIXES and not size
        file.seek(size + (size & 1) - len(inside), 1)
    return count
