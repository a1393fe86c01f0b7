"""Imports point one way: jobs -> pipeline -> evaluation -> ops."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "ops": {"ops"},
    "evaluation": {"ops", "evaluation"},
    "pipeline": {"ops", "evaluation", "pipeline"},
    "jobs": {"ops", "evaluation", "pipeline", "jobs"},
}
WITHOUT_RAY = {"ops", "evaluation"}
MODULES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    imported = imported_packages(path)
    assert imported & set(ALLOWED) <= ALLOWED[package]
    assert not imported & {"tests", "benchmarks"}
    if package in WITHOUT_RAY:
        assert "ray" not in imported
    if package == "jobs":
        assert "torch" not in imported
