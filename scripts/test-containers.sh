#!/usr/bin/env bash
# Runs internal/e2econtainers: Kafka, Redis, Postgres and the three services, all in
# containers. Where the official images can be pulled, the services' are built by the
# Dockerfile as it is. Elsewhere all come from local base images, and the Dockerfile's
# last stages get programs that are built here, which is also quicker.
# Where no Docker engine can run, it says so and succeeds.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'test-containers: %s (%s s)\n' "$*" "$SECONDS"; }

work=$(mktemp -d)
started=
images=
finish() {
  [ -z "$images" ] || kill "$images" 2>/dev/null || true
  rm -rf "$work"
  if [ -n "$started" ]; then internal/containers/engine.sh stop || true; fi
}
trap finish EXIT

if ! internal/containers/engine.sh >"$work/engine" 2>"$work/engine.log"; then
  cat "$work/engine.log" >&2
  echo "skipped: no Docker engine can be had here: $(tail -n 1 "$work/engine.log")"
  exit 0
fi
eval "$(cat "$work/engine")"
started=${ONEHOP_DOCKER_STARTED:-}
say "an engine answers${started:+, started for these tests}"

# dockerfile is the Dockerfile without the stages that build: what they would make comes
# from the folders "build" and "onnxruntime" of the context.
dockerfile() {
  cat <<'STAGES'
ARG RUNTIME_IMAGE
FROM ${RUNTIME_IMAGE} AS build
COPY build /out
FROM ${RUNTIME_IMAGE} AS onnxruntime
COPY onnxruntime /out
STAGES
  sed -n '/^FROM ${RUNTIME_IMAGE} AS base/,$p' Dockerfile
}

# local_context makes the folder to build from.
local_context() {
  mkdir "$work/context" "$work/context/build" "$work/context/onnxruntime"
  CGO_ENABLED=1 go build -buildvcs=false -trimpath -ldflags='-s -w' -o "$work/context/build/" ./cmd/...
  library=$("$work/context/build/onehop" setup --only onnxruntime --json --strict | sed -n 's/.*"found": *"\([^"]*\)".*/\1/p')
  cp -L "$library" "$work/context/onnxruntime/libonnxruntime.so.1"
  dockerfile >"$work/context/Dockerfile"
}

if timeout 60 docker pull -q redis:7.4-alpine >/dev/null 2>"$work/pull.log"; then
  context=.
  options=()
else
  say "official images can't be pulled: $(tail -n 1 "$work/pull.log")"
  internal/containers/build-images.sh >"$work/images" &
  images=$!
  local_context
  go test -race -run '^$' ./internal/e2econtainers/ >/dev/null # compiles it meanwhile
  wait "$images"
  images=
  eval "$(cat "$work/images")"
  context=$work/context
  options=(--build-arg "RUNTIME_IMAGE=$ONEHOP_IMAGE_RUNTIME")
fi
for service in ingest serve infer; do
  docker build ${options[@]+"${options[@]}"} --target "$service" --tag "onehop-test/$service" "$context" >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
  }
  export "ONEHOP_IMAGE_$(echo "$service" | tr '[:lower:]' '[:upper:]')=onehop-test/$service"
done
say "the images are built"

ONEHOP_TEST_CONTAINERS=1 go test -race -count=1 -timeout 4m "$@" ./internal/e2econtainers/...
say done
