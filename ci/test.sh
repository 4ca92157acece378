#!/usr/bin/env bash
# Everything that needs no service and no root; arguments go to pytest.
# Without arguments, what has to do with sockets runs once more over the loop's own
# transports: on Linux the first run is over sockets that the engine owns.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh
python=${VENV:-.venv}/bin/python
at_once=(-n auto --dist worksteal)

"$python" -m pytest "${at_once[@]}" -m "not services" -rs "$@"
if (($# == 0)) && [[ $(uname) == Linux ]]; then
    echo "test: once more over the loop's transports"
    FASTWS_LINK=uvloop "$python" -m pytest "${at_once[@]}" -m "not services" -rs \
        tests/bad_inputs tests/conformance tests/engine tests/http tests/test_app.py \
        tests/test_endpoint.py tests/test_runtime.py tests/test_server.py
fi
