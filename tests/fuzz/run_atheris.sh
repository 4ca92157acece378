#!/usr/bin/env bash
# Fuzzes requests and offers of extensions with atheris, from the dependency group
# "fuzz".
#   tests/fuzz/run_atheris.sh [SECONDS (60)] [libFuzzer options or inputs to replay]
#   PYTHON   the interpreter that has atheris and the built package's dependencies
#   TARGETS  which of the programs beside this script, each for so long (all)
# New inputs stay in build/fuzz; a finding lies there too and is replayed by naming it.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
shift || true
python=${PYTHON:-${VENV:-.venv}/bin/python}
if ! "$python" -c "import atheris" 2>/dev/null; then
    echo "fuzz: atheris is not installed: $python -m pip install --group fuzz" >&2
    exit 2
fi

build=build/fuzz
export PYTHONPATH=.
for target in ${TARGETS:-handshake negotiation}; do
    mkdir -p "$build/$target"
    "$python" "tests/fuzz/atheris_$target.py" -max_total_time="$seconds" \
        -max_len=1024 -timeout=10 -artifact_prefix="$build/" -print_final_stats=1 \
        "$@" "$build/$target" "tests/fuzz/corpus/$target"
done
