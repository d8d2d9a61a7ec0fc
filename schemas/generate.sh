#!/usr/bin/env bash
# Lints the .proto files and makes the Go code beside them. With --check it only says
# whether the code is fresh, and whether the API broke against the last commit.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.cache/tools
mkdir -p "$bin"
(cd tools && go build -o "../$bin/" github.com/bufbuild/buf/cmd/buf \
  google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go)
export PATH="$PWD/$bin:$PATH"

image=.cache/image.binpb
go run ./schemas/image schemas/proto >"$image"
buf lint "$image#format=binpb" --config schemas/buf.yaml
if [ "${1:-}" != --check ]; then
  buf generate "$image#format=binpb" --template schemas/buf.gen.yaml --path onehop --path inference
  exit
fi

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$made/schemas"
buf generate "$image#format=binpb" --template schemas/buf.gen.yaml --path onehop --path inference --output "$made"
for package in onehop inference; do
  diff -r "$made/schemas/$package" "schemas/$package" || stale=yes
done
[ -z "${stale:-}" ] || { echo 'generated code is stale: run make generate' >&2; exit 1; }
if git cat-file -e HEAD~1:schemas/proto 2>/dev/null; then
  mkdir -p "$made/before"
  git archive HEAD~1 schemas/proto | tar -x -C "$made/before"
  go run ./schemas/image "$made/before/schemas/proto" >"$made/before.binpb"
  buf breaking "$image#format=binpb" --against "$made/before.binpb#format=binpb" --config schemas/buf.yaml
fi
echo 'generated code is fresh'
