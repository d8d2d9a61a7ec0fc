#!/usr/bin/env bash
# Makes src/onehop/v1 from the .proto files. With --check it only says whether it is fresh.
# PYTHON names an interpreter that has requirements-dev.txt.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

(cd ../.. && go run ./schemas/image schemas/proto) >"$made/image.binpb"
"$python" - "$made/image.binpb" <<'PY'
# The rules of protovalidate are the services' business: without them the package needs no
# module of theirs.
import sys
from google.protobuf.descriptor_pb2 import FileDescriptorSet

whole = FileDescriptorSet.FromString(open(sys.argv[1], "rb").read())
ours = FileDescriptorSet(file=[f for f in whole.file if f.package == "onehop.v1"])


def strip(message):
    message.ClearField("options") if not message.options.map_entry else None
    for part in [*message.field, *message.oneof_decl]:
        part.ClearField("options")
    for nested in message.nested_type:
        strip(nested)


for file in ours.file:
    for i in reversed([i for i, d in enumerate(file.dependency) if d.startswith("buf/")]):
        del file.dependency[i]
    for message in file.message_type:
        strip(message)
open(sys.argv[1], "wb").write(ours.SerializeToString(deterministic=True))
PY
mkdir "$made/src"
PATH="$(dirname "$(command -v "$python")"):$PATH" "$python" -m grpc_tools.protoc \
  --descriptor_set_in="$made/image.binpb" --python_out="$made/src" --grpc_python_out="$made/src" \
  --mypy_out=quiet:"$made/src" --mypy_grpc_out=quiet:"$made/src" \
  onehop/v1/values.proto onehop/v1/feature_service.proto onehop/v1/inference_service.proto
rm "$made"/src/onehop/v1/values_pb2_grpc.*
printf '"""The messages and stubs of the services, made by generate.sh."""\n' >"$made/src/onehop/v1/__init__.py"

if [ "${1:-}" = --check ]; then
  diff -r -x __pycache__ "$made/src/onehop/v1" src/onehop/v1 || { echo 'clients/python/src/onehop/v1 is stale: run make generate-python' >&2; exit 1; }
  echo 'the generated Python code is fresh'
  exit
fi
rm -rf src/onehop/v1
mv "$made/src/onehop/v1" src/onehop/v1
