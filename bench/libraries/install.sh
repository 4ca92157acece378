#!/usr/bin/env bash
# Fetches the deflate libraries that are compared, under bench/build/libraries/.
# Their Python bindings link them statically and export their functions, so that one
# way serves every system; of bindings only the shared objects are used, by name.
# Does nothing when nothing has changed, and needs no root.
#   PYTHON  the interpreter that chooses the wheels (that of .venv, if any)
# Exits with 1 in CI when a library is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(zlib-ng==1.1.0 isal==1.9.1 deflate==0.9.0)

python=${VENV:-.venv}/bin/python
[[ -x $python ]] || python=python3
python=${PYTHON:-$python}
folder=bench/build/libraries

mkdir -p "$folder"
if command -v flock >/dev/null; then
    exec 9>"$folder/.lock"
    flock 9
fi
missing=0
for package in "${packages[@]}"; do
    stamp=$folder/.${package%%==*}
    wanted="$package $("$python" -V)"
    [[ -f $stamp && "$(<"$stamp")" == "$wanted" ]] && continue
    if "$python" -m pip --disable-pip-version-check -qq install --no-deps --upgrade \
        --only-binary :all: --target "$folder" "$package"; then
        printf '%s' "$wanted" >"$stamp"
    else
        echo "libraries: left out $package" >&2
        missing=1
    fi
done
[[ $missing == 0 || ${CI:-} != true ]]
