#!/usr/bin/env bash
# Run the whole test suite in the project's own environment; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/environment.sh requirements-dev.txt
exec "$venv/bin/python" -m pytest "$@"
