import subprocess
from pathlib import Path

import pytest

from ops.errors import ModelFormatError
from ops.weights.git_objects import blob_id, tree_id
from ops.weights.known_files import KNOWN_FILES
from ops.weights.sources import GitHubFolder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_empty_content_has_the_ids_git_documents() -> None:
    assert blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert tree_id({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_ids_are_those_of_git(tmp_path: Path) -> None:
    # In a tree, the folder `sub` sorts as `sub/`, between the files `sub.txt` and `sub0`.
    content = {"a.obj": b"v 1 2 3\n", "sub/b": b"", "sub/deeper/c": b"\0\xff", "sub.txt": b"x", "sub0": b"y", "ü": b"z"}
    git(tmp_path, "init", "-q")
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "sub" / "b").chmod(0o755)
    git(tmp_path, "add", ".")
    files = {name: blob_id(data) for name, data in content.items()}
    assert tree_id(files, frozenset({"sub/b"})) == git(tmp_path, "write-tree")
    assert tree_id(files) != git(tmp_path, "write-tree")


def test_a_name_for_two_things_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="a is both"):
        tree_id({"a": "0" * 40, "a/b": "0" * 40})


def test_the_listings_of_known_folders_have_their_tree_ids() -> None:
    sources = [item.download for item in KNOWN_FILES if isinstance(item.download, GitHubFolder)]
    assert sources
    for source in sources:
        assert tree_id(source.blobs()) == source.tree_id
