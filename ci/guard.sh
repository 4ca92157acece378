#!/usr/bin/env bash
# Is fastws worse than its baselines? Instruction counts and ratios to the C control.
# Arguments go to the guard: ci/guard.sh --parts counts; ci/guard.sh --update
# With CI=true nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null && [[ $(id -u) == 0 ]]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends valgrind >/dev/null
fi

# What the baselines were made of is the release build.
unset FASTWS_DEBUG FASTWS_SANITIZE FASTWS_COVERAGE FASTWS_ANNOTATE
ci/build.sh
make --quiet -C bench
exec "${VENV:-.venv}/bin/python" -m bench.guard "$@"
