"""An S3 server on this machine, behind a proxy that refuses requests as told."""

import http.client
import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "faces"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "drill", "AWS_SECRET_ACCESS_KEY": "drill"}
REGION = "us-east-1"
_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class Proxy:
    """Hands requests on, but refuses every so manyth, or all of them."""

    backend: str
    refuse_every: int = 0
    """Every third for 3, every one for 1, none for 0."""
    requests: int = 0
    refused: int = 0
    address: str = ""
    log: Path | None = None
    """Names every request and what came of it."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def query(self) -> str:
        """What a URI needs to find the store."""
        return f"endpoint_override={self.address}&scheme=http&region={REGION}"

    def refuses(self) -> bool:
        """Count a request and decide on it."""
        with self._lock:
            self.requests += 1
            no = bool(self.refuse_every) and self.requests % self.refuse_every == 0
            self.refused += no
            return no

    def note(self, request: str, status: int) -> None:
        """Add a line to the log."""
        if self.log is not None:
            with self._lock, self.log.open("a", encoding="utf-8") as file:
                file.write(f"{time.time():.3f} {status} {request}\n")


@contextmanager
def unreliable_store(log: Path | None = None) -> Generator[Proxy]:
    """An S3 server with one bucket, reached through a proxy that obeys, and logs if it is told where."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    proxy = Proxy(f"{host}:{port}", log=log)
    front = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    front.daemon_threads = True
    proxy.address = f"127.0.0.1:{front.server_port}"
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    try:
        client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://{proxy.backend}",
            region_name=REGION,
            aws_access_key_id="drill",
            aws_secret_access_key="drill",  # noqa: S106 - the server asks for none
        )
        client.create_bucket(Bucket=BUCKET)
        yield proxy
    finally:
        front.shutdown()
        server.stop()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self._body()
            if proxy.refuses():
                self._reply(503, {"Content-Type": "application/xml"}, _BUSY)
                return
            connection = http.client.HTTPConnection(proxy.backend, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
            connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
            response = connection.getresponse()
            content = response.read()
            length = response.headers.get("Content-Length") if self.command == "HEAD" else None
            self._reply(response.status, dict(response.headers), content, length)
            connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts: list[bytes] = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _reply(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
            proxy.note(f"{self.command} {self.path}", status)
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
