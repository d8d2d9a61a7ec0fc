#!/usr/bin/env bash
# Finds what tests and the demo need, and installs what is missing where it can: as root
# on Debian by apt-get. Elsewhere it says what to install. With "demo" it asks only for
# what the demo needs.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

have go || { say 'Go 1.26 is needed: see https://go.dev/doc/install'; exit 1; }

packages=()
want() { # want PROGRAM PACKAGE WHY
  have "$1" && return
  say "$1 is missing ($3)"
  packages+=("$2")
}
want gcc gcc 'ONNX Runtime is called through cgo'
if [ "${1:-}" != demo ]; then
  want redis-server redis-server 'integration tests run against a real Redis'
  want java default-jre-headless 'integration tests run against a real Kafka'
  want mvn maven 'it fetches Kafka'
fi
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && have apt-get; then
    say "installing ${packages[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  else
    say "please install: ${packages[*]} (what stays missing is started in containers, where Docker runs)"
  fi
fi
if [ "${1:-}" = demo ]; then
  go run ./cmd/onehop setup --only onnxruntime,movielens
else
  go run ./cmd/onehop setup
fi
