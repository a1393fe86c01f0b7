"""Folders of photos with one sub-folder per person."""

from pathlib import Path

from pipeline.input.listing import IMAGE_SUFFIXES


def photos_by_person(folder: Path) -> dict[str, list[Path]]:
    """The photos of every sub-folder, both in the order of their names."""
    people = sorted(path for path in folder.iterdir() if path.is_dir())
    return {
        person.name: sorted(path for path in person.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        for person in people
    }
