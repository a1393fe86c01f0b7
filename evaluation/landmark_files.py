"""Reading 68 annotated 3-D points from LJSON files of any version, and writing the current one."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from ops.errors import UnreadableInputError, UnsupportedInputError

LANDMARK_COUNT = 68


def read_landmarks(path: Path) -> Float[np.ndarray, "68 3"]:
    """The points of an LJSON file in the unit of their scan; a missing point (null coordinates) is NaN.

    Accepted: {"landmarks": {"points": [[x, y, z], ...]}} at the top level (version 2), the same nested under
    "groups" / "LJSON" (version 3), and groups of {"landmarks": [{"point": [x, y, z]}, ...]} (version 1).

    Raises:
        UnreadableInputError: not JSON, or no points where they belong.
        UnsupportedInputError: not 68 points in three dimensions.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UnreadableInputError(f"{path}: not a readable LJSON file ({error})") from error
    found = _find_points(content)
    if found is None:
        raise UnreadableInputError(f"{path}: expected points under landmarks / points, found none")
    try:
        points = np.array([[np.nan if value is None else float(value) for value in point] for point in found])
    except (TypeError, ValueError) as error:
        raise UnreadableInputError(f"{path}: its points are not lists of numbers ({error})") from error
    if points.shape != (LANDMARK_COUNT, 3):
        raise UnsupportedInputError(f"{path}: expected {LANDMARK_COUNT} points of 3 numbers, got shape {points.shape}")
    return points


def write_landmarks(path: Path, points: Float[np.ndarray, "68 3"]) -> None:
    """Write LJSON version 2; NaN becomes null."""
    listed = [[None if np.isnan(value) else value for value in point] for point in points.tolist()]
    path.write_text(json.dumps({"version": 2, "labels": [], "landmarks": {"points": listed}}))


def _find_points(content: Any) -> list[Any] | None:
    if not isinstance(content, dict):
        return None
    node = cast("dict[str, Any]", content)
    landmarks = node.get("landmarks")
    if isinstance(landmarks, dict):
        points = cast("dict[str, Any]", landmarks).get("points")
        return cast("list[Any]", points) if isinstance(points, list) else None
    if isinstance(landmarks, list):
        entries = cast("list[Any]", landmarks)
        return [cast("dict[str, Any]", entry).get("point") for entry in entries if isinstance(entry, dict)]
    groups = node.get("groups")
    if isinstance(groups, dict):
        children = list(cast("dict[str, Any]", groups).values())
    elif isinstance(groups, list):
        children = cast("list[Any]", groups)
    else:
        children = [node["LJSON"]] if "LJSON" in node else []
    return next((points for child in children if (points := _find_points(child)) is not None), None)
