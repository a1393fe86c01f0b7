"""Files that cameras, systems and servers leave beside photos: thumbnails, resource forks, waste bins."""

_FOLDERS = frozenset(
    (
        "__macosx",
        "@eadir",
        "@recycle",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "lost.dir",
        "found.000",
        "__pycache__",
    )
)
_FORK_PREFIX = "._"
"""macOS puts what other file systems cannot hold of `x.jpg` into `._x.jpg`."""
SERVICE = "in service folders"
"""How such files are counted."""


def is_service_path(relative: str) -> bool:
    """Whether a path lies in such a folder, or a hidden one, or is such a file."""
    *folders, name = relative.split("/")
    return name.startswith(_FORK_PREFIX) or any(_is_service_folder(folder) for folder in folders)


def _is_service_folder(name: str) -> bool:
    return name.lower() in _FOLDERS or (name.startswith(".") and name not in (".", ".."))
