import os
from pathlib import Path
from typing import Any

import pytest

from ops.errors import UnreadableInputError
from pipeline.input.locations import local_file, local_path, location_of, read_location
from pipeline.storage.store import open_storage


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


def test_a_copy_of_a_remote_clip_is_named_as_what_it_is(bucket: str, s3_server: Any) -> None:
    options = f"?endpoint_override={s3_server.url.removeprefix('http://')}&scheme=http&region=us-east-1"
    place = bucket.replace("s3://", "s3://test:test@")
    open_storage(f"{place}{options}").write("clip.mjpeg", b"content")
    with local_file(f"{place}/clip.mjpeg{options}") as copy:
        assert copy.suffix == ".mjpeg"
        assert copy.read_bytes() == b"content"


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableInputError, match="not a regular file"):
        read_location(str(tmp_path / "pipe.jpg"))


def test_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    with pytest.raises(UnreadableInputError, match="symbolic links"):
        read_location(str(tmp_path / "a.jpg"))
