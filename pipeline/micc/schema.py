"""The tables of registration and evaluation, and the reasons their rows carry."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ops.errors import (
    DegeneratePointsError,
    GanfitError,
    TopologyMismatchError,
    UnitsError,
    UnreadableInputError,
    UnsupportedInputError,
)


class MiccReason(StrEnum):
    """Why a scan or a pair has no result."""

    NONE = ""
    MISSING_SCAN = "missing_scan"
    MISSING_LANDMARKS = "missing_landmarks"
    MISSING_RECONSTRUCTION = "missing_reconstruction"
    NO_RECONSTRUCTION = "no_reconstruction"
    """The run that made the reconstructions rejected or failed this person."""
    NO_REGISTRATION = "no_registration"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    UNITS = "units"
    TOPOLOGY = "topology"
    TOO_FEW_POINTS = "too_few_points"
    GEOMETRY = "geometry"
    POOR_REGISTRATION = "poor_registration"
    WORKER_CRASH = "worker_crash"


REGISTRATIONS = pa.schema(
    [
        ("subject", pa.string()),
        ("scan", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("source", pa.string()),
        ("mesh_path", pa.string()),
        ("scan_path", pa.string()),
        ("landmarks_mm", pa.list_(pa.float64(), 204)),
        ("repairs", pa.list_(pa.string())),
        ("residual_mm", pa.float64()),
        ("residual_p95_mm", pa.float64()),
        ("matched_share", pa.float64()),
        ("landmark_rms_mm", pa.float64()),
        ("flipped_share", pa.float64()),
        ("steps", pa.int32()),
        ("cpu_seconds", pa.float64()),
    ]
)
"""`registrations.parquet`: one row per scan; paths are relative to the output, missing landmarks null."""

PAIRS = pa.schema(
    [
        ("subject", pa.string()),
        ("setting", pa.string()),
        ("scan", pa.string()),
        ("protocol", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("source", pa.string()),
        ("distance_mm", pa.float64()),
        ("pass1_mm", pa.float64()),
        ("pass2_mm", pa.float64()),
        ("median_mm", pa.float64()),
        ("p95_mm", pa.float64()),
        ("iterations1", pa.int32()),
        ("iterations2", pa.int32()),
        ("masked1", pa.int32()),
        ("masked2", pa.int32()),
        ("scale", pa.float64()),
        ("crop_radius_mm", pa.float64()),
        ("cpu_seconds", pa.float64()),
    ]
)
"""`pairs.parquet`: one row a (subject, setting, scan)."""

_REASONS: tuple[tuple[type[GanfitError], MiccReason], ...] = (
    (UnreadableInputError, MiccReason.UNREADABLE),
    (UnsupportedInputError, MiccReason.UNSUPPORTED),
    (UnitsError, MiccReason.UNITS),
    (TopologyMismatchError, MiccReason.TOPOLOGY),
    (DegeneratePointsError, MiccReason.TOO_FEW_POINTS),
    (GanfitError, MiccReason.GEOMETRY),
)


def reason_of(error: GanfitError) -> MiccReason:
    """The reason a deliberate error stands for."""
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Replace a Parquet file; columns a row lacks are null."""
    table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)
    temporary = path.with_name(f".{path.name}")
    pq.write_table(table, temporary)
    temporary.replace(path)
