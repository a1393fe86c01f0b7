"""Counts attempts that never finished, in the output, so that the count outlives the workers."""

import json
import os
import socket
import uuid
from dataclasses import dataclass

from pipeline.storage.store import Storage, as_output_errors

ATTEMPTS = "attempts"


@dataclass(frozen=True)
class Attempts:
    """Counts of one output, by the name of the work; a file a beginning in OUT/attempts while it goes on."""

    root: Storage

    def begin(self, name: str) -> int:
        """Note that work begins, and return how often it has begun since it last ended."""
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        folder = f"{ATTEMPTS}/{name}"
        with as_output_errors(self.root):
            self.root.write(f"{folder}/{uuid.uuid4().hex}.json", json.dumps(who).encode())
            return sum(entry.is_file for entry in self.root.entries(folder))

    def end(self, name: str) -> None:
        """Forget the work: it ended, well or with an error."""
        with as_output_errors(self.root):
            self.root.remove(f"{ATTEMPTS}/{name}")

    def clear(self) -> None:
        """Forget everything: all work is done."""
        self.root.remove(ATTEMPTS)
