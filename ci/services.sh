#!/usr/bin/env bash
# Conformance, other people's clients, a browser, then the sanitizers.
# Installs what is missing (as root: a browser, Node, clang; from npm: ws).
# With CI=true a skipped test is a failure. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v clang >/dev/null || missing+=(clang)
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

node=$PWD/build/node
ws=8.23.0
if command -v npm >/dev/null &&
    ! grep -qs "\"version\": \"$ws\"" "$node/node_modules/ws/package.json"; then
    npm install --silent --no-audit --no-fund --prefix "$node" "ws@$ws"
fi

NODE_PATH=$node/node_modules "${VENV:-.venv}/bin/python" -m pytest \
    -m services -rs --timeout 600 "$@"
ci/sanitize.sh
