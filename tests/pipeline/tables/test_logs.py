import json
import subprocess
import sys
from datetime import datetime

SAY = "from pipeline.tables.logs import *; {} log_event('crash', shard=7, items=['anna-1'])"


def said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr


def test_an_event_is_a_line_of_json() -> None:
    line = json.loads(said(SAY.format("log_to_stderr(); log_to_stderr();")))
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert isinstance(line.pop("pid"), int)
    assert line.pop("host")
    assert line == {"event": "crash", "shard": 7, "items": ["anna-1"]}


def test_nothing_is_said_unasked() -> None:
    assert said(SAY.format("")) == ""
