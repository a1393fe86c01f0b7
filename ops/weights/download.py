"""Downloads over HTTP that resume: what has arrived is kept in a `.part` file, and a cut connection costs nothing."""

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, NamedTuple, Protocol, runtime_checkable

from ops.errors import AlteredModelFileError, MissingModelFileError, ModelFileError

PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Before the attempts after a cut connection; they start over as soon as something arrives."""
MIRROR_ADVICE = "or fetch on a machine that has it with `--to-mirror DIR`, and here with `--mirror DIR`"
_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 18
_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script|meta)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TO_REPEAT = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)


@runtime_checkable
class Progress(Protocol):
    """Receives the progress of a fetch."""

    @property
    def live(self) -> bool:
        """Whether a person watches on a terminal."""
        ...

    def say(self, line: str) -> None:
        """One line of text."""
        ...

    def received(self, what: str, done: int, total: int | None) -> None:
        """So many bytes are there; the total is None where the server does not tell it."""
        ...


@runtime_checkable
class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


class Silent:
    """Nobody."""

    live = False

    def say(self, line: str) -> None:
        """Nothing."""

    def received(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""


class _CutError(Exception):
    """The connection ended early."""


class _Answer(NamedTuple):
    stream: http.client.HTTPResponse
    first_byte: int
    total: int | None


def download_checked(url: str, part: Path, check: Callable[[Path], None], progress: Progress, what: str) -> None:
    """Download to a `.part` file, resuming one that is there, until it passes the check.

    Where a resumed download does not pass, it is done once more from the first byte. What does not pass is deleted.

    Raises:
        ModelFileError: the download failed, or the check did.
    """
    for resumed in (part.is_file(), False):
        download(url, part, progress, what)
        try:
            check(part)
        except AlteredModelFileError:
            part.unlink(missing_ok=True)
            if not resumed:
                raise
        except ModelFileError:
            part.unlink(missing_ok=True)
            raise
        else:
            return


def download(url: str, part: Path, progress: Progress, what: str) -> None:
    """Download to a file, going on behind what it holds already.

    Raises:
        ModelFileError: the address cannot be reached, refuses, delivers a web page or ends early again and again, or
            there is no room. The message names the address and the next step.
    """
    failures, most = 0, -1
    while True:
        try:
            _receive(url, part, progress, what)
        except _CutError as cut:
            arrived = part.stat().st_size if part.is_file() else 0
            failures = 0 if arrived > most >= 0 else failures
            most = max(most, arrived)
            if failures >= len(PAUSES_S):
                raise ModelFileError(
                    f"{url}: the connection ended early ({cut}); {arrived / 1e6:.1f} MB are kept\n"
                    f"  to do: run the same command again, it goes on from there; {MIRROR_ADVICE}"
                ) from cut
            time.sleep(PAUSES_S[failures])
            failures += 1
        else:
            return


def _receive(url: str, part: Path, progress: Progress, what: str) -> None:
    done = part.stat().st_size if part.is_file() else 0
    answer = _open(url, done)
    if answer is None:  # there is nothing behind what we have: it is all there, or something else
        return
    with answer.stream as stream:
        done, total = answer.first_byte, answer.total
        data = _read(stream)
        if done == 0:
            _refuse_page(url, stream, data)
        refuse_full_disk(part.parent, (total or 0) - done)
        with _opened(part, "ab" if done else "wb") as file:
            while data:
                _write(file, data, part)
                done += len(data)
                progress.received(what, done, total)
                data = _read(stream)
    if total is not None and done < total:
        raise _CutError(f"{done} of {total} bytes")


def _open(url: str, done: int) -> _Answer | None:
    headers = {"User-Agent": "ganfit", "Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - only addresses of the registry or mirror
        stream = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            if done and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return None
            if error.code in _TO_REPEAT or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _CutError(f"status {error.code} {error.reason}") from error
            gone = error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
            raise (MissingModelFileError if gone else ModelFileError)(
                f"{url}: the server answers {error.code} {error.reason}\n"
                f"  to do: check the address in a browser and HTTPS_PROXY here; {MIRROR_ADVICE}"
            ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if done and isinstance(error, (ConnectionError, TimeoutError, http.client.HTTPException)):
            raise _CutError(str(error)) from error
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ModelFileError(
            f"{url}: cannot be reached ({reason})\n"
            f"  to do: check the network, and HTTPS_PROXY where there is a proxy; {MIRROR_ADVICE}"
        ) from error
    length = stream.headers.get("Content-Length")
    if stream.status == HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stream.headers.get("Content-Range", ""))
        if found and int(found[1]) == done:
            return _Answer(stream, done, None if found[2] == "*" else int(found[2]))
        stream.close()
        return _open(url, 0)
    return _Answer(stream, 0, int(length) if length and length.isdecimal() else None)


def _read(stream: http.client.HTTPResponse) -> bytes:
    try:
        return stream.read(_CHUNK_BYTES)
    except http.client.IncompleteRead as error:
        if error.partial:
            return error.partial
        raise _CutError("the last piece is missing") from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(str(error) or type(error).__name__) from error


def _refuse_page(url: str, stream: http.client.HTTPResponse, head: bytes) -> None:
    if not _PAGE.match(head) and stream.headers.get_content_type() != "text/html":
        return
    title = _TITLE.search(head.decode("utf-8", errors="replace"))
    named = f" ({' '.join(title[1].split())!r})" if title else ""
    final = f" at {stream.url}" if stream.url != url else ""
    raise ModelFileError(
        f"{url}: a web page{named}{final} came instead of the file: perhaps the login page of a proxy or network\n"
        f"  to do: log in there with a browser, or set HTTPS_PROXY, and run the same command again; {MIRROR_ADVICE}"
    )


def refuse_full_disk(folder: Path, needed_bytes: int) -> None:
    """Make sure that so much fits.

    Raises:
        ModelFileError: it does not.
    """
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise ModelFileError(
            f"{folder}: expected {needed_bytes / 1e6:.0f} MB of free space, found {free / 1e6:.0f} MB\n"
            "  to do: make room, or choose another folder with --models-dir or $GANFIT_MODELS"
        )


def _opened(part: Path, mode: str) -> IO[bytes]:
    try:
        return part.open(mode)
    except OSError as error:
        raise unwritable(part, error) from error


def _write(file: IO[bytes], data: bytes, part: Path) -> None:
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(part, error) from error


def unwritable(path: Path, error: OSError) -> ModelFileError:
    """The error of a file that cannot be written."""
    return ModelFileError(
        f"{path}: cannot be written ({error.strerror or error})\n"
        "  to do: make room or get the right to write there, or choose another folder (--models-dir, $GANFIT_MODELS)"
    )
