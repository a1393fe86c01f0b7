"""The same pictures in every kind of container."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MAGIC = struct.pack("<I", 0xCED7230A)


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def write_webdataset(path: Path, pictures: Mapping[str, bytes], field: str, people: Mapping[str, object]) -> Path:
    members: dict[str, bytes] = {}
    for name, data in pictures.items():
        key = name.partition(".")[0]
        members |= {name: data, f"{key}.json": json.dumps({field: people[name], "caption": "?"}).encode()}
    return write_tar(path, members)


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, data) in enumerate(members.items()):
            archive.writestr(name, data, methods[number % 3])
    return path


def write_parquet(path: Path, pictures: Mapping[str, bytes], label: list[object], *, plain: bool = False) -> Path:
    values = list(pictures.values()) if plain else [{"bytes": data, "path": name} for name, data in pictures.items()]
    kind = pa.binary() if plain else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(values, kind), "label": label}), path, row_group_size=3)
    return path


def record(data: bytes) -> bytes:
    """Divided where the data hold the magic word at a multiple of four bytes, as MXNet's writer does."""
    parts = [b""]
    for start in range(0, len(data), 4):
        word = data[start : start + 4]
        if word == MAGIC:
            parts.append(b"")
        else:
            parts[-1] += word
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


def write_records(path: Path, pictures: list[bytes], labels: list[float], *, several: bool = False) -> Path:
    """With the records without a picture that sets of InsightFace have at the beginning and at the end."""
    header = struct.pack("<IfQQ2f", 2, 0, 0, 0, len(pictures) + 1, len(pictures) + 2)
    records = [record(header)]
    for number, (data, label) in enumerate(zip(pictures, labels, strict=True)):
        flag = (
            struct.pack("<IfQQ2f", 2, 0, number + 1, 0, label, 0)
            if several
            else struct.pack("<IfQQ", 0, label, number, 0)
        )
        records.append(record(flag + data))
    records.append(record(struct.pack("<IfQQ2f", 2, 0, 0, 0, 1, len(pictures) + 1)))
    offsets = [sum(map(len, records[:number])) for number in range(len(records))]
    path.write_bytes(b"".join(records))
    path.with_suffix(".idx").write_text("".join(f"{key}\t{offset}\n" for key, offset in enumerate(offsets)))
    return path
