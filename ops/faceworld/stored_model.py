"""The face world's shape model as a file of a cache: every process of a run needs it, and building it takes seconds."""

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from ops.errors import MissingModelFileError, ModelFormatError
from ops.face.morphable_model import MorphableModel, load_morphable_model, save_morphable_model
from ops.faceworld.shape import faceworld_model

SOURCES = ("anthropometry", "canonical", "expressions", "head", "noise", "shape")
"""Modules beside this one that decide the model's numbers."""


@cache
def load_or_build_faceworld(cache_dir: Path) -> MorphableModel:
    """The model of `faceworld_model`, from the cache or built and cached. Treat the result as read-only.

    A damaged file is replaced; where none can be written, every process builds its own.
    """
    path = faceworld_path(cache_dir)
    try:
        return load_morphable_model(path)
    except (MissingModelFileError, ModelFormatError, OSError):
        model = faceworld_model()
    with suppress(OSError):
        save_morphable_model(model, path)
    return model


def faceworld_path(cache_dir: Path) -> Path:
    """Where the cache keeps the model; the name is a digest of the code that builds it."""
    digest = hashlib.sha256(np.__version__.encode())
    for name in SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes() + b"\0")
    return cache_dir / f"faceworld-{digest.hexdigest()[:16]}.safetensors"
