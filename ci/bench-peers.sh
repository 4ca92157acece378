#!/usr/bin/env bash
# fastws beside every peer, in every scenario; writes docs/benchmarks.md. Takes hours:
# it says how many first. Each run is kept as it ends, so that the next call goes on
# where one was interrupted; when all is done the runs are put aside, and a later call
# begins anew. Arguments go to bench.scenarios.
#   DOCS    the folder that the report is written to (docs)
#   ROUNDS  of the scenarios with targets (7), OTHER_ROUNDS of the rest (3)
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh
bench/peers/install.sh
python=${VENV:-.venv}/bin/python
runs=build/bench/peers.jsonl
wire=build/bench/wire.json

measure() {
    "$python" -m bench.scenarios --output "$runs" --resume "$@"
}

measure --set targets --rounds "${ROUNDS:-7}" "$@"
measure --set all --rounds "${OTHER_ROUNDS:-3}" "$@"
"$python" -m bench.wire --output "$wire"
"$python" -m bench.report "$runs" --wire "$wire" --docs "${DOCS:-docs}"
mv "$runs" "${runs%.jsonl}-done.jsonl"
