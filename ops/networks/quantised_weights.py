"""Weights as TensorFlow.js stores them: one binary file and a manifest of names, shapes and quantisation."""

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ops.errors import MissingModelFileError, ModelFormatError


def manifest_of(path: Path) -> Path:
    """Where the manifest of a weights file lies: beside it, NAME-weights_manifest.json."""
    return path.with_name(f"{path.stem}-weights_manifest.json")


def read_quantised_weights(path: Path) -> dict[str, Tensor]:
    """Every tensor of a weights file by name, as float32: minimum + scale x byte where it is quantised.

    Raises:
        MissingModelFileError: the file or its manifest is not there.
        ModelFormatError: they do not belong together, or are stored in another way.
    """
    manifest = manifest_of(path)
    for file in (path, manifest):
        if not file.is_file():
            raise MissingModelFileError(f"expected weights and their manifest at {path}, found no {file.name}")
    try:
        (group,) = json.loads(manifest.read_bytes())
        return _tensors(path.read_bytes(), group["weights"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFormatError(f"{path} and {manifest.name} are not the weights of a network: {error}") from error


def _tensors(content: bytes, entries: list[dict[str, Any]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    start = 0
    for entry in entries:
        shape = tuple(int(size) for size in entry["shape"])
        quantisation = entry.get("quantization")
        stored = np.dtype(quantisation["dtype"] if quantisation else entry["dtype"]).newbyteorder("<")
        values = np.frombuffer(content, stored, prod(shape), start).astype(np.float32)
        start += stored.itemsize * prod(shape)
        if quantisation:
            values = values * np.float32(quantisation["scale"]) + np.float32(quantisation["min"])
        found[str(entry["name"])] = torch.from_numpy(values.reshape(shape))
    if start != len(content):
        raise ValueError(f"expected {start} bytes, found {len(content)}")
    return found
