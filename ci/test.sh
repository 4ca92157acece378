#!/usr/bin/env bash
# Everything that needs no service and no root; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh
exec "${VENV:-.venv}/bin/python" -m pytest -m "not services" -rs "$@"
