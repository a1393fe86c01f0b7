#!/usr/bin/env bash
# Sets up a node of a Ray cluster: system libraries, a virtual environment with the tested versions of everything this
# project needs and, where there is an NVIDIA card, what renders on it. Safe to repeat.
#
# Usage: cluster_node.sh VENV [PACKAGE...]     further packages are installed besides, such as boto3
#   MODELS_FROM=s3://BUCKET/models             copy the model files from there into $GANFIT_MODELS
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$1
shift

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# A fresh machine is still installing its own updates.
if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null || true; fi
as_root "$root/scripts/check_system.sh" "$(command -v python3)"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$@"; }
pip setuptools torch
pip "$root" "$@"

if nvidia-smi >/dev/null 2>&1; then
    cuda=$("$venv/bin/python" -c 'import torch; print(torch.version.cuda or "")')
    if [ -z "$cuda" ]; then
        echo "There is an NVIDIA card, but torch was installed without CUDA: check pip's index" >&2
        exit 1
    fi
    pip "$root[gpu]"
fi

if [ -n "${MODELS_FROM:-}" ]; then
    as_root install -d -o "$(id -u)" -g "$(id -g)" "$GANFIT_MODELS"
    "$venv/bin/python" - "$MODELS_FROM" "$GANFIT_MODELS" <<'PY'
import sys

from pyarrow import fs

# Every job verifies the files by their sha256 before it starts.
fs.copy_files(*sys.argv[1:])
PY
fi
