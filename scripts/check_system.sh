#!/bin/sh
# Checks what pip cannot install: Python itself and the shared libraries of open3d and opencv.
# Usage: check_system.sh PYTHON. Installs missing libraries with apt when run as root, else prints the command.
set -eu
python=$1

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Python 3.11 or newer is needed; found: ${python:-none}. On Debian 12: apt-get install python3 python3-venv" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null
    else
        echo "Python's venv module is missing. Run: apt-get install python$version-venv" >&2
        exit 1
    fi
fi

[ "$(uname -s)" = Linux ] || exit 0
missing=$("$python" - <<'PY'
import ctypes

needed = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libgthread-2.0.so.0": "libglib2.0-0",
}
for library, package in needed.items():
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package)
PY
)
[ -n "$missing" ] || exit 0
packages=$(echo "$missing" | tr '\n' ' ')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing the system libraries $packages"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >/dev/null
elif [ "$missing" = libusb-1.0-0 ]; then
    echo "libusb is missing; set-up takes the one that PyPI's libusb-package carries"
else
    echo "System libraries are missing. Run this as root, then repeat:" >&2
    echo "    apt-get install -y $packages" >&2
    exit 1
fi
