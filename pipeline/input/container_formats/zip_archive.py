"""ZIP archives: stored, deflated and bzip2 members, found by the central directory."""

import bz2
import calendar
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from ops.errors import ConfigurationError, UnreadableInputError, UnsupportedInputError
from pipeline.input.container_formats.ranges import Member, RangeFile

ERRORS = (zipfile.BadZipFile, NotImplementedError, zlib.error, struct.error)
"""What damaged archives raise."""
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 1
_MAX_BYTES = 1 << 30


def members(file: RangeFile, identity_field: str | None) -> Iterator[Member]:
    """All files.

    Raises:
        ConfigurationError: a field is asked for, which ZIP archives do not have.
    """
    if identity_field:
        raise ConfigurationError(
            f"{file.location}: a ZIP archive has no field {identity_field}; persons are its folders"
        )
    source: Any = file.ahead()
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            if not entry.is_dir():
                words = (entry.header_offset, entry.compress_size, entry.file_size, entry.compress_type, entry.CRC)
                place = ",".join(("zip", *map(str, words), str(entry.flag_bits & _ENCRYPTED)))
                seconds = calendar.timegm((*entry.date_time, 0, 0, 0))
                yield Member(entry.filename, place, entry.file_size, seconds * 10**9)


def read(file: RangeFile, name: str, words: tuple[str, ...]) -> bytes:
    """The bytes of a member.

    Raises:
        UnreadableInputError: it is damaged or encrypted, or another one is there now.
        UnsupportedInputError: it is too large.
    """
    header, packed_size, size, method, checksum, encrypted = map(int, words)
    if encrypted:
        raise UnreadableInputError("the member is encrypted")
    if size > _MAX_BYTES:
        raise UnsupportedInputError(f"{size / 1e9:.1f} GB is more than is read of a member")
    fields = _LOCAL_HEADER.unpack(file.read(header, _LOCAL_HEADER.size))
    if fields[0] != b"PK\x03\x04":
        raise UnreadableInputError("the archive is damaged, or has changed since it was listed")
    data = _unpacked(file.read(header + _LOCAL_HEADER.size + fields[9] + fields[10], packed_size), method, size)
    if zlib.crc32(data) != checksum or len(data) != size:
        raise UnreadableInputError("the member is damaged: its checksum is wrong")
    return data


def _unpacked(data: bytes, method: int, size: int) -> bytes:
    if method == zipfile.ZIP_STORED:
        return data
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-15).decompress(data, size + 1)
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(data, size + 1)
    raise UnreadableInputError(f"the member is packed by method {method}: stored, deflated and bzip2 are read")
