import os
from pathlib import Path

import pytest

from ops.errors import UnreadableInputError
from pipeline.locations import local_file, local_path, location_of, read_location


def test_a_name_that_is_not_utf8_makes_the_round_trip(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 %41.jpg")
    path.write_bytes(b"content")
    location = location_of(path)
    location.encode()
    assert local_path(location) == path
    assert read_location(location) == b"content"


def test_ordinary_names_stay_themselves(tmp_path: Path) -> None:
    path = tmp_path / "été & co %20.jpg"
    assert location_of(path) == str(path)
    assert local_path(str(path)) == path


@pytest.mark.parametrize("location", ["/nowhere/at/all.jpg", "a\0b.jpg", "gopher://x/y.jpg", "mock:///none.jpg", "/"])
def test_what_cannot_be_opened_is_unreadable(location: str) -> None:
    with pytest.raises(UnreadableInputError, match="cannot be read"):
        read_location(location)
    with pytest.raises(UnreadableInputError, match="cannot be read"), local_file(location):
        pass


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableInputError, match="not a regular file"):
        read_location(str(tmp_path / "pipe.jpg"))


def test_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    with pytest.raises(UnreadableInputError, match="symbolic links"):
        read_location(str(tmp_path / "a.jpg"))
