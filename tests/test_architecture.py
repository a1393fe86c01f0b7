"""Imports point one way: between packages, and between the rooms (sub-folders) of a package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "ops": {"ops"},
    "evaluation": {"ops", "evaluation"},
    "pipeline": {"ops", "evaluation", "pipeline"},
    "ganfit": {"ops", "evaluation", "pipeline", "ganfit"},
    "jobs": {"ops", "evaluation", "pipeline", "ganfit", "jobs"},
}
ROOMS = {
    "ops": [
        "errors",
        "files",
        "geometry",
        "face",
        "render",
        "registration",
        "faceworld",
        "texture",
        "networks",
        "importers",
        "fit",
        "reconstruction",
        "training",
        "weights",
    ],
    "pipeline": [
        "tables",
        "storage",
        "input",
        "run",
        "gallery",
        "stages",
        "cluster",
        "reconstruct",
        "micc",
        "scans",
        "studies",
        "training",
    ],
}
"""From the bottom up: a room imports from rooms before it."""
WITHOUT_RAY = {"ops", "evaluation"}
MODULES_PER_FOLDER = 20
MODULES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))
NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES}


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in NAMES else node.module or ""


def room_of(module: str) -> tuple[str, str]:
    package, *rest = module.split(".")
    return package, rest[0] if rest else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    imported = {name.split(".")[0] for name in imported_modules(path)}
    assert imported & set(ALLOWED) <= ALLOWED[package]
    assert not imported & {"tests", "benchmarks"}
    if package in WITHOUT_RAY:
        assert "ray" not in imported
    if package == "jobs":
        assert "torch" not in imported


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_has_its_place(package: str) -> None:
    found = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__"} == set(ROOMS[package])


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_from_rooms_below_them(package: str) -> None:
    height = {room: number for number, room in enumerate(ROOMS[package])}
    upward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        for name in imported_modules(path)
        if path.relative_to(ROOT).parts[0] == package == room_of(name)[0] and len(path.relative_to(ROOT).parts) > 2
        if height[room_of(name)[1]] > height[path.relative_to(ROOT).parts[1]]
    ]
    assert upward == []


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in MODULES}
    crowded = {
        str(folder.relative_to(ROOT)): count
        for folder in folders
        if (count := len([path for path in folder.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]))
        > MODULES_PER_FOLDER
    }
    assert crowded == {}
