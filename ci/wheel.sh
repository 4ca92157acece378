#!/usr/bin/env bash
# sdist, a wheel built from the sdist, repaired to manylinux, installed into an empty
# environment in another folder and smoke-tested there. The wheel ends in dist/.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh
bin=$PWD/${VENV:-.venv}/bin
"$bin/python" -m pip --disable-pip-version-check -qq install --group wheel

rm -rf dist build/wheel
"$bin/python" -m build --outdir build/wheel .
mkdir -p dist
cp build/wheel/*.tar.gz dist/
case $(uname -s) in
    Linux) PATH=$bin:$PATH "$bin/auditwheel" repair --strip --wheel-dir dist build/wheel/*.whl ;;
    *) cp build/wheel/*.whl dist/ ;;
esac
wheel=$(echo "$PWD"/dist/*.whl)

elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
cp ci/smoke.py "$elsewhere/"
cd "$elsewhere"
"$bin/python" -m venv empty
empty/bin/python -m pip --disable-pip-version-check -qq install "$wheel"
empty/bin/python smoke.py
echo "wheel: dist/$(basename "$wheel")"
