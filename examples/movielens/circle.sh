#!/usr/bin/env bash
# Runs circle.py from the start to the end: a virtual environment, the events, an Onehop of its
# own, and at the end says whether the models are those of the repository. GENERATED=n takes
# n invented ratings; SAVE=1 keeps the models as the example's.
set -euo pipefail
cd "$(dirname "$0")/../.."
say() { printf 'circle: %s\n' "$*"; }

say 'installing Python packages'
python=$(scripts/venv.sh)
rm -rf clients/python/build # a file that is gone must not be installed
"$python" -m pip install --quiet --disable-pip-version-check -r examples/movielens/requirements.txt ./clients/python
mkdir -p bin && go build -o bin/ ./cmd/onehop

work=$(mktemp -d)
dev=
finish() {
  status=$?
  if [ -n "$dev" ]; then
    kill -INT "$dev" 2>/dev/null || true
    wait "$dev" || true
  fi
  [ "$status" = 0 ] || { [ ! -f "$work/log" ] || tail -n 30 "$work/log"; } >&2
  rm -rf "$work"
}
trap finish EXIT

go run ./examples/movielens/past "$work/past" ${GENERATED:+--generated="$GENERATED"}
mkdir -p "$work/models"
bin/onehop dev examples/movielens --models "$work/models" --serve-listen 127.0.0.1:0 --infer-listen 127.0.0.1:0 >"$work/log" 2>&1 &
dev=$!
for _ in $(seq 600); do
  grep -q 'Ctrl-C stops' "$work/log" && break
  kill -0 "$dev" 2>/dev/null || { say 'onehop dev ended' >&2; exit 1; }
  sleep 0.1
done
address() { sed -nE "s/^ *$1 +(http:\S+).*/\1/p" "$work/log" | head -n 1; }
eval "$(grep -E '^ *export ONEHOP_' "$work/log")"

timeout 600 "$python" examples/movielens/circle.py --serve "$(address serve)" --infer "$(address infer)" \
  --past "$work/past" --models "$work/models" --onehop bin/onehop

[ -z "${GENERATED:-}" ] || { say 'the ratings were invented, and so is the taste'; exit 0; }
for model in movie_ranker movie_ranker_gbt; do
  committed=examples/movielens/models/$model/1
  made=$work/models/$model/1
  if cmp -s "$made/model.onnx" "$committed/model.onnx" && cmp -s "$made/model.yaml" "$committed/model.yaml"; then
    say "the model is the one in $committed, byte for byte"
  elif [ -n "${SAVE:-}" ]; then
    mkdir -p "$committed"
    cp "$made"/* "$committed/"
    say "the model is kept in $committed"
  else
    say "the model differs from the one in $committed: other events, or another processor; SAVE=1 keeps it"
  fi
done
