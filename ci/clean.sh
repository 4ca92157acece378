#!/usr/bin/env bash
# Removes what builds and tests have left; the environment .venv stays, to be rebuilt in.
set -euo pipefail
cd "$(dirname "$0")/.."

rm -rf build bench/build dist wheelhouse .venvs ./*.egg-info htmlcov .coverage
rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .venv/.built .venv/.building
find fastws -name '*.so' -delete
find fastws/engine \( -name '*.c' -o -name '*.html' \) -delete
find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +
