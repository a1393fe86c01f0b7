"""Compiling functions with numba, with the machine code cached wherever there is room for it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A function compiled at its first call; its machine code is cached on disk.

    Numba caches beside the source, or in the user's own cache. Where neither can be written, a folder for temporary
    files that belongs to this user alone takes their place.

    Args:
        function: in Python.
        options: of `numba.njit`.
    """
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place for the cache; nothing has been compiled yet
        numba.config.CACHE_DIR = _private_folder()  # pyright: ignore[reportAttributeAccessIssue]
    return numba.njit(cache=True, **options)(function)


def _private_folder() -> str:
    """Nobody else may write there: what is cached is run."""
    folder = Path(tempfile.gettempdir()) / f"ganfit-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    private = found.st_uid == os.getuid() and not found.st_mode & 0o022 and not folder.is_symlink()
    return str(folder) if private else tempfile.mkdtemp(prefix="ganfit-numba-")
