"""A web server on this machine that can be told to behave badly."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class WebServer:
    """Serves bytes by path; counts what is asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    ranges: bool = True
    """Whether it answers range requests with a part."""
    cuts: list[int] = field(default_factory=list)
    """After so many bytes of the next answers the connection is cut."""
    asked: list[str] = field(default_factory=list)
    """Path and range of every request."""


@contextmanager
def web_server() -> Iterator[WebServer]:
    served = WebServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            served.asked.append(f"{self.path} {wanted}".strip())
            content = served.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            first = 0
            if served.ranges and (found := re.fullmatch(r"bytes=(\d+)-", wanted)):
                first = int(found[1])
                if first >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", served.content_type)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            body = content[first:]
            self.wfile.write(body[: served.cuts.pop(0)] if served.cuts else body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
