#!/usr/bin/env bash
# Installs MLServer, which tests of remote models talk to, in .cache/mlserver by pip, where
# it is not there in the versions that are asked for, and prints its directory of programs.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=inference/oip/testdata/mlserver/requirements.txt
python=$(scripts/venv.sh mlserver)
bin=$(dirname "$python")
if ! cmp -s "$wanted" "$bin/../installed.txt"; then
  "$python" -m pip install --quiet --disable-pip-version-check -r "$wanted" >&2
  cp "$wanted" "$bin/../installed.txt"
fi
echo "$bin"
