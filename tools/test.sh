#!/usr/bin/env bash
# Run all tests in the project's own environment, one process per core, and list the slowest tests; arguments go
# to pytest. A part (tests/methods -k piq) runs in one process; -m "not slow" leaves out what takes long.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh requirements-dev.txt
exec "$venv/bin/python" -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=10 "$@"
