#!/usr/bin/env bash
# Makes the virtual environment and builds the compiled modules in place.
# Does only what has changed; with nothing changed it takes a tenth of a second.
#   PYTHON  the interpreter the environment is made of (python3)
#   VENV    where the environment lies (.venv)
#   FASTWS_DEBUG, FASTWS_SANITIZE, FASTWS_COVERAGE, FASTWS_ANNOTATE  see setup.py
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
mkdir -p build
if command -v flock >/dev/null; then
    exec 9>build/.lock
    flock 9
fi

mode="${FASTWS_DEBUG:-} ${FASTWS_SANITIZE:-} ${FASTWS_COVERAGE:-} ${FASTWS_ANNOTATE:-}"
python=$venv/bin/python

if [[ ! -x $python ]]; then
    echo "build: making $venv"
    "${PYTHON:-python3}" - <<'CHECK'
import sys
if sys.version_info < (3, 11):
    sys.exit("build: fastws needs Python 3.11 or newer; set PYTHON to one")
CHECK
    "${PYTHON:-python3}" -m venv "$venv"
fi

pip() {
    "$python" -m pip --disable-pip-version-check -qq "$@"
}

# Dependencies and metadata: again when pyproject.toml has changed.
if ! cmp -s pyproject.toml "$venv/.dependencies"; then
    echo "build: installing dependencies"
    pip install "pip>=25.1"
    pip install --group dev
    cp pyproject.toml "$venv/.dependencies"
fi

# The stamp is as old as the start of its build, so that an edit made meanwhile
# counts, and holds the mode: modules of two modes lie in the same places.
changed() {
    [[ -n $(find setup.py fastws/engine fastws/csrc fastws/load \
        \( -name __pycache__ -o -name '*.so' -o -path 'fastws/load/*.py' \) -prune -o \
        -type f -newer "$venv/.built" -print -quit) ]]
}

if [[ -f $venv/.built && "$(<"$venv/.built")" != "$mode" ]]; then
    suffix=$("$python" -c 'import sysconfig as s; print(s.get_config_var("EXT_SUFFIX"))')
    find fastws -name "*$suffix" -delete
    rm "$venv/.built"
fi
if [[ ! -f $venv/.built ]] || changed; then
    echo "build: compiling"
    printf '%s' "$mode" >"$venv/.building"
    "$python" setup.py --quiet build_ext --inplace
    mv "$venv/.building" "$venv/.built"
fi

if ! cmp -s pyproject.toml "$venv/.installed"; then
    PYTHONWARNINGS=ignore pip install --no-build-isolation --editable .
    cp pyproject.toml "$venv/.installed"
fi
