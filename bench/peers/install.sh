#!/usr/bin/env bash
# Installs the peers in the versions of versions.toml, under bench/build/peers/.
# What cannot be installed is named with the reason and left out of the comparisons.
# Does nothing when nothing has changed. nchan needs root: it comes by apt.
#   PYTHON  the interpreter the peers' environment is made of (that of .venv, if any)
# Exits with 1 in CI when a peer is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${VENV:-.venv}/bin/python
[[ -x $python ]] || python=python3
python=${PYTHON:-$python}

mkdir -p bench/build/peers
if command -v flock >/dev/null; then
    exec 9>bench/build/peers/.lock
    flock 9
fi
if [[ ! -x bench/build/peers/venv/bin/python ]]; then
    rm -f bench/build/peers/installed.json
    "$python" -m venv bench/build/peers/venv
fi
exec "$python" -m bench.peers.install
