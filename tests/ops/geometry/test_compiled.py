import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
PROGRAM = """
import os, sys
import numba
numba.njit(lambda x: 3 * x)(1)  # what numba imports late may not be readable for the user that follows
from ops.geometry.compiled import compiled
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.environ["HOME"] = "/nonexistent"
sys.path.insert(0, sys.argv[1])
import kernel
print(kernel.double(21))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user to whom nothing belongs")
def test_kernels_compile_for_a_user_to_whom_nothing_belongs() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    with tempfile.TemporaryDirectory() as name:  # everybody may enter it, unlike pytest's folders
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "kernel.py").write_text(
            "from ops.geometry.compiled import compiled\n"
            "def double(x):\n    return 2 * x\n"
            "double = compiled(double, nogil=True)\n"
        )
        ran = subprocess.run(
            [sys.executable, "-B", "-c", PROGRAM, name],
            env=environment | {"PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.stdout == "42\n", ran.stderr
