"""Structured logs: one line of JSON an event, with the ids of shards and items and nothing else about people."""

import json
import logging
import os
import socket
import sys
from datetime import UTC, datetime
from typing import Any

_LOGGER = logging.getLogger("ganfit")


class _JsonLines(logging.Formatter):
    """Time, host and process, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        origin = {"time": time, "host": socket.gethostname(), "pid": os.getpid(), "event": record.getMessage()}
        return json.dumps(origin | getattr(record, "fields", {}), default=str)


def log_event(event: str, **fields: Any) -> None:
    """Log an event; it goes nowhere in a process that did not call `log_to_stderr`."""
    _LOGGER.info(event, extra={"fields": fields})


def log_to_stderr() -> None:
    """Write this process's events to standard error, which Ray keeps in rotated files for its workers."""
    if not _LOGGER.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonLines())
        _LOGGER.addHandler(handler)
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False
