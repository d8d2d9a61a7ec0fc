#!/usr/bin/env bash
# Installs the package and what its checks need into a virtual environment of its own, and
# runs them against the services in ../../bin. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
venv=../../.cache/python
python=$venv/bin/python

# A virtual environment does not survive that its directory moves.
if ! "$python" -c '' 2>/dev/null || [ "$(cat "$venv/made-in" 2>/dev/null)" != "$PWD" ]; then
  base=${PYTHON:-python3}
  command -v "$base" >/dev/null || { echo "Python is needed: install python3, or name one by PYTHON" >&2; exit 1; }
  if ! "$base" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
      echo "Python's venv is missing: install python3-venv" >&2
      exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  fi
  rm -rf "$venv"
  "$base" -m venv "$venv"
  echo "$PWD" >"$venv/made-in"
fi
"$python" -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
rm -rf build # a file that is gone must not be installed
"$python" -m pip install --quiet --disable-pip-version-check .

"$python" -m ruff format --check --quiet . || { echo "run $venv/bin/ruff format clients/python" >&2; exit 1; }
"$python" -m ruff check --quiet .
"$python" -m mypy --cache-dir "$venv/mypy" src/onehop
PYTHON="$PWD/$python" ./generate.sh --check
"$python" -m pytest -q -p no:cacheprovider "$@"
