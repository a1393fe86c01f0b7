"""RecordIO files of MXNet, as face recognition sets come: `train.rec`, with `train.idx` beside it.

A record is a magic word, a word with its length (29 bits) and its part in a divided record (3 bits), and the data,
padded to four bytes. The data begin with a flag, a float label and two ids; a flag n > 0 says that n float labels
follow. Records without a picture, which hold the ranges of persons in sets of InsightFace, are no members.
"""

import posixpath
import struct
from collections.abc import Iterator

from ops.errors import ConfigurationError, UnreadableInputError
from pipeline.input.container_formats.ranges import Ahead, Member, RangeFile
from pipeline.input.identities import identity_text

_MAGIC = 0xCED7230A
_WORDS = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_LENGTH_BITS = 29
_WHOLE, _FIRST, _LAST = 0, 1, 3
_MAX_LABELS = 1 << 16


def members(file: RangeFile, identity_field: str | None) -> Iterator[Member]:
    """All pictures, named by their key in the index, or by their number where there is none.

    Raises:
        ConfigurationError: a field is asked for, which records do not have.
        UnreadableInputError: a record is damaged, and no index tells where the next one is.
    """
    if identity_field:
        raise ConfigurationError(f"{file.location}: a RecordIO file has no field {identity_field}, only labels")
    source = file.ahead()
    index = _index(file)
    if index is None:
        offset = number = 0
        while offset < file.size:
            member, offset = _member(source, str(number), offset)
            number += 1
            if member:
                yield member
        return
    for key, offset in index:
        try:
            member, _ = _member(source, key, offset)
        except UnreadableInputError:
            member = Member(key, f"rec,{offset}", is_picture=True)  # reading it says what is wrong
        if member:
            yield member


def read(file: RangeFile, name: str, words: tuple[str, ...]) -> bytes:
    """The picture of a record.

    Raises:
        UnreadableInputError: there is no whole record.
    """
    offset = int(words[0])
    parts: list[bytes] = []
    while True:
        part, length = _record(file.read(offset, _WORDS.size), offset)
        parts.append(file.read(offset + _WORDS.size, length))
        if part in (_WHOLE, _LAST):
            break
        offset += _WORDS.size + _padded(length)
    data = struct.pack("<I", _MAGIC).join(parts)  # a record is divided where its data hold the magic word
    flag, *_ = _HEADER.unpack_from(data)
    return data[_HEADER.size + 4 * flag :]


def _index(file: RangeFile) -> list[tuple[str, int]] | None:
    base, mark, query = file.location.partition("?")
    try:
        with RangeFile(f"{posixpath.splitext(base)[0]}.idx{mark}{query}") as beside:
            text = beside.read(0, beside.size).decode()
    except OSError:
        return None
    try:
        lines = (line.split("\t") for line in text.splitlines() if line.strip())
        return sorted(((key, int(offset)) for key, offset in lines), key=lambda pair: pair[1])
    except ValueError as error:
        raise UnreadableInputError(f"the .idx file beside it is damaged ({error})") from error


def _member(source: Ahead, name: str, offset: int) -> tuple[Member | None, int]:
    """The member of a record, None for one without a picture, and where the next record is."""
    place = offset
    source.seek(offset)
    part, length = _record(source.read(_WORDS.size), offset)
    head = source.read(min(length, _HEADER.size))
    if len(head) < _HEADER.size:
        raise UnreadableInputError(f"the record at byte {offset} is too short")
    flag, label, _, _ = _HEADER.unpack(head)
    if flag:
        labels = source.read(4 * min(flag, _MAX_LABELS))
        if len(labels) < 4:
            raise UnreadableInputError(f"the record at byte {offset} lacks its labels")
        (label,) = struct.unpack_from("<f", labels)
    size = length - _HEADER.size - 4 * flag
    offset += _WORDS.size + _padded(length)
    while part not in (_WHOLE, _LAST):
        source.seek(offset)
        part, length = _record(source.read(_WORDS.size), offset)
        size += 4 + length
        offset += _WORDS.size + _padded(length)
    try:
        person = identity_text(label)
    except ValueError:
        person = repr(label)
    member = Member(name, f"rec,{place}", size, label=person, is_picture=True)
    return (member if size > 0 else None), offset


def _record(words: bytes, offset: int) -> tuple[int, int]:
    """Which part a record is, and its length."""
    if len(words) < _WORDS.size or _WORDS.unpack(words)[0] != _MAGIC:
        raise UnreadableInputError(f"no record begins at byte {offset}")
    word = _WORDS.unpack(words)[1]
    return word >> _LENGTH_BITS, word & ((1 << _LENGTH_BITS) - 1)


def _padded(length: int) -> int:
    return (length + 3) & ~3
