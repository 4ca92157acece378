#!/usr/bin/env bash
# The tests on every other supported Python that pyenv or the path has.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    local found
    found=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/"python$1" \
        2>/dev/null | sort -V | tail -n 1)
    if [[ -z $found ]]; then
        found=$(command -v "python$1" || true)
    fi
    # A shim of pyenv stands on the path for versions that are not installed too.
    [[ -z $found ]] || "$found" -c "" 2>/dev/null && echo "$found"
}

status=0
summary=()
for version in 3.12 3.13 3.14; do
    if ! python=$(find_python "$version") || [[ -z $python ]]; then
        summary+=("$version absent")
        continue
    fi
    echo "matrix: $version ($python)"
    if PYTHON=$python VENV=.venvs/$version ci/test.sh "$@"; then
        summary+=("$version passed")
    else
        summary+=("$version FAILED")
        status=1
    fi
done
printf 'matrix: %s\n' "${summary[@]}"
exit $status
