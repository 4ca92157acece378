#!/usr/bin/env bash
# Conformance, other people's clients and servers, a browser, the benchmarks' guard, both
# links on both loops, stress, fuzzing, then the sanitizers.
# Installs what is missing (as root: a browser, Node, clang, nginx with nchan).
# With CI=true a skipped test is a failure. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v valgrind >/dev/null || missing+=(valgrind)
command -v clang >/dev/null || missing+=(clang libclang-rt-dev)
if ((${#missing[@]})); then
    if [[ $(id -u) != 0 ]]; then
        echo "services: as root, apt-get install ${missing[*]}" >&2
        [[ ${CI:-} != true ]] || exit 1
    else
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    fi
fi

ci/build.sh
bench/peers/install.sh
bench/libraries/install.sh

python=${VENV:-.venv}/bin/python
at_once=(-n auto --dist worksteal)
"$python" -m pytest "${at_once[@]}" -m services -rs --timeout 600 \
    -o faulthandler_timeout=900 "$@"

ci/guard.sh

# make test runs our own sockets on uvloop.
for kinds in "auto asyncio" "uvloop uvloop" "uvloop asyncio"; do
    read -r link loop <<<"$kinds"
    echo "services: the whole suite with link=$link on $loop"
    FASTWS_LINK=$link FASTWS_LOOP=$loop "$python" -m pytest "${at_once[@]}" -q \
        -m "not services" --ignore tests/bench --ignore tests/load --ignore tests/csrc
done

# Half a minute of stress over every link; STRESS_SECONDS makes it a long one.
for link in own uvloop; do
    "$python" -m tests.stress --seconds "${STRESS_SECONDS:-30}" --link "$link"
done

# A short run of each fuzz target; FUZZ_SECONDS makes it a long one.
tests/fuzz/run_libfuzzer.sh "${FUZZ_SECONDS:-30}"
"$python" -m pip --disable-pip-version-check -qq install --group fuzz
tests/fuzz/run_atheris.sh "${FUZZ_SECONDS:-30}"

ci/sanitize.sh
