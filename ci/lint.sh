#!/usr/bin/env bash
# Style, types, stubs against the built modules, and C without a warning.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh
export PATH=$PWD/${VENV:-.venv}/bin:$PATH # cython-lint looks for pycodestyle there
status=0

step() {
    echo "lint: $1"
    shift
    "$@" || status=1
}

modules() {
    for source in fastws/engine/*.pyx; do
        basename "$source" .pyx | sed 's/^/fastws.engine./'
    done
    [[ $(uname) != Linux ]] || echo fastws.load.generator
}

strict_c() {
    local source flags failed=0
    for source in fastws/csrc/*.c fastws/load/*.c bench/peers/*.c bench/libraries/*.c; do
        case $source-$(uname -m) in
            *_avx2.c-x86_64) flags=-mavx2 ;;
            *_sse2.c-x86_64) flags=-msse2 ;;
            *_avx2.c-* | *_sse2.c-*) continue ;;
            *_neon.c-aarch64 | *_neon.c-arm64) flags= ;;
            *_neon.c-*) continue ;;
            */generator.c-*) continue ;; # Cython's
            *) flags= ;;
        esac
        # shellcheck disable=SC2086
        "$1" -std=c11 -O2 $flags -Ifastws/load -Wall -Wextra -Wconversion -Werror \
            -c "$source" -o /dev/null || failed=1
    done
    return $failed
}

step "ruff check" ruff check .
step "ruff format" ruff format --check .
step "cython-lint" cython-lint fastws
step "mypy" mypy
# shellcheck disable=SC2046
step "stubtest" python -m mypy.stubtest --ignore-disjoint-bases \
    --ignore-unused-allowlist --allowlist ci/stubtest.txt $(modules)
for compiler in gcc clang; do
    if command -v "$compiler" >/dev/null; then
        step "csrc with $compiler" strict_c "$compiler"
    fi
done
exit $status
