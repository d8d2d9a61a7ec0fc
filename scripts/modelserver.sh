#!/usr/bin/env bash
# Installs a server that tests of remote models talk to, mlserver or triton, in .cache/NAME
# by pip, where it is not there in the versions that are asked for, and prints its directory
# of programs.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=inference/oip/testdata/$1/requirements.txt
python=$(scripts/venv.sh "$1")
bin=$(dirname "$python")
if ! cmp -s "$wanted" "$bin/../installed.txt"; then
  "$python" -m pip install --quiet --disable-pip-version-check -r "$wanted" >&2
  cp "$wanted" "$bin/../installed.txt"
fi
echo "$bin"
