#!/usr/bin/env bash
# Fuzzes fastws/csrc with libFuzzer under AddressSanitizer and UBSan. Needs clang.
#   tests/fuzz/run_libfuzzer.sh [SECONDS (60)] [libFuzzer options or inputs to replay]
#   CLANG  the compiler (clang)
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

build=build/fuzz
mkdir -p "$build/corpus"
"$clang" -std=c11 -g -O1 -fno-omit-frame-pointer -Wall -Wextra \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -Ifastws/csrc tests/fuzz/frame_walker.c fastws/csrc/*.c -o "$build/frame_walker"

# Many small buffers: a short quarantine finds the same and takes a tenth of the memory.
export ASAN_OPTIONS="${ASAN_OPTIONS:-quarantine_size_mb=16}"

# Frames of the 64-bit form fit; libFuzzer starts with short inputs by itself.
exec "$build/frame_walker" -max_total_time="$seconds" -max_len=70000 -timeout=10 \
    -rss_limit_mb=2048 -artifact_prefix="$build/" -print_final_stats=1 "$@" \
    "$build/corpus" tests/fuzz/corpus/frame_walker
