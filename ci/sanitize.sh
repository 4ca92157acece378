#!/usr/bin/env bash
# The tests under AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of the
# tree, so that the ordinary build stays. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh
python=$PWD/${VENV:-.venv}/bin/python
tree=$PWD/build/sanitize-tree

mkdir -p "$tree"
find "$tree" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
        [[ ! -e $file ]] || printf '%s\0' "$file"
    done | tar --create --null --files-from - | tar --extract --directory "$tree"

cd "$tree"
export FASTWS_SANITIZE=1 FASTWS_DEBUG=1
"$python" setup.py --quiet build_ext --inplace

# Python itself is not instrumented, so the runtimes come first by preloading.
runtimes="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
exec env LD_PRELOAD="$runtimes" PYTHONMALLOC=malloc PYTHONPATH="$tree" \
    ASAN_OPTIONS="detect_leaks=0:strict_string_checks=1:detect_stack_use_after_return=1" \
    UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1" \
    "$python" -m pytest -n auto --dist worksteal -m "not services and not unsanitized" \
    -rs --timeout 300 "$@"
