#!/usr/bin/env bash
# Makes the virtual environment of Python that this repository's programs use, in
# .cache/python, where it is not there, and prints its python. With a name it makes
# another one, .cache/NAME.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$PWD/.cache/${1:-python}

# A virtual environment does not survive that its directory moves.
if ! "$venv/bin/python" -c '' 2>/dev/null || [ "$(cat "$venv/made-in" 2>/dev/null)" != "$PWD" ]; then
  base=${PYTHON:-python3}
  command -v "$base" >/dev/null || { echo "Python is needed: install python3, or name one by PYTHON" >&2; exit 1; }
  if ! "$base" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
      echo "Python's venv is missing: install python3-venv" >&2
      exit 1
    fi
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  fi
  rm -rf "$venv"
  "$base" -m venv "$venv"
  echo "$PWD" >"$venv/made-in"
fi
echo "$venv/bin/python"
