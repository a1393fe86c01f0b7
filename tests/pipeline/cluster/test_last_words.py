import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("inside", "printed"),
    [("os._exit(1)", True), ("os.kill(os.getpid(), 9)", True), ("pass", False), ("sys.exit(3)", False)],
)
def test_a_process_that_is_ended_leaves_a_message(inside: str, printed: bool) -> None:
    imports = "import os, sys\nfrom pipeline.cluster.last_words import last_words\n"
    code = f"{imports}with last_words('farewell'):\n    {inside}\n"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stderr == ("farewell\n" if printed else "")
