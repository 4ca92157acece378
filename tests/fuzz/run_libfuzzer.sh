#!/usr/bin/env bash
# Fuzzes fastws/csrc with libFuzzer under AddressSanitizer and UBSan. Needs clang.
#   tests/fuzz/run_libfuzzer.sh [SECONDS (60)] [libFuzzer options or inputs to replay]
#   CLANG    the compiler (clang)
#   TARGETS  which of the programs beside this script, each for so long (all)
# New inputs stay in build/fuzz; a finding lies there too and is replayed by naming it:
#   build/fuzz/frame_walker build/fuzz/crash-…
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
shift || true
clang=${CLANG:-clang}
if ! command -v "$clang" >/dev/null; then
    echo "fuzz: $clang is not installed; set CLANG to one that has libFuzzer" >&2
    exit 2
fi

# Many small buffers: a short quarantine finds the same and takes a tenth of the memory.
export ASAN_OPTIONS="${ASAN_OPTIONS:-quarantine_size_mb=16}"

build=build/fuzz
for target in ${TARGETS:-frame_walker inflate}; do
    mkdir -p "$build/$target.corpus"
    "$clang" -std=c11 -g -O1 -fno-omit-frame-pointer -Wall -Wextra \
        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -Ifastws/csrc "tests/fuzz/$target.c" fastws/csrc/*.c -ldl -o "$build/$target"
    # Frames of the 64-bit form fit; libFuzzer starts with short inputs by itself.
    "$build/$target" -max_total_time="$seconds" -max_len=70000 -timeout=10 \
        -rss_limit_mb=2048 -artifact_prefix="$build/" -print_final_stats=1 "$@" \
        "$build/$target.corpus" "tests/fuzz/corpus/$target"
done
