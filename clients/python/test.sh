#!/usr/bin/env bash
# Installs the package and what its checks need into a virtual environment of its own, and
# runs them against the services in ../../bin. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
python=$(../../scripts/venv.sh)
venv=${python%/bin/python}
"$python" -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
rm -rf build # a file that is gone must not be installed
"$python" -m pip install --quiet --disable-pip-version-check .

"$python" -m ruff format --check --quiet . || { echo "run $venv/bin/ruff format clients/python" >&2; exit 1; }
"$python" -m ruff check --quiet .
"$python" -m mypy --cache-dir "$venv/mypy" src/onehop
PYTHON="$python" ./generate.sh --check
"$python" -m pytest -q -p no:cacheprovider "$@"
