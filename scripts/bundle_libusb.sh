#!/bin/sh
# Where the system has no libusb and nobody may install it: puts PyPI's copy beside open3d, which looks there first.
set -eu
python=$1
"$python" -c 'import ctypes; ctypes.CDLL("libusb-1.0.so.0")' 2>/dev/null && exit 0
[ "$(uname -s)" = Linux ] || exit 0
"$python" -m pip install --quiet --disable-pip-version-check libusb-package
"$python" - <<'PY'
import importlib.util
from pathlib import Path

import libusb_package

spec = importlib.util.find_spec("open3d")
link = Path(spec.origin).parent / "libusb-1.0.so.0"
link.unlink(missing_ok=True)
link.symlink_to(libusb_package.get_library_path())
PY
