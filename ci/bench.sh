#!/usr/bin/env bash
# fastws beside the control, in under four minutes; writes docs/benchmarks.md.
# Wants two cores with nothing else on them. Arguments go to bench.scenarios.
#   DOCS  the folder that the report is written to (docs)
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh
python=${VENV:-.venv}/bin/python
runs=build/bench/quick.jsonl

"$python" -m bench.scenarios --set quick --peers control fastws fastws-async \
    --rounds 5 --duration 0.8 --patience 3 --attempts 2 --time-limit 190 \
    --output "$runs" --overwrite "$@"
"$python" -m bench.report "$runs" --docs "${DOCS:-docs}"
