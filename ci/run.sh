#!/usr/bin/env bash
# The demo: HOST and PORT choose where (127.0.0.1 8080).
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh
exec "${VENV:-.venv}/bin/fastws" serve examples.demo.app:app \
    --host "${HOST:-127.0.0.1}" --port "${PORT:-8080}" "$@"
