#!/usr/bin/env bash
# assemble.sh DENSE.onnx PACKED.onnx FOLDER: the page, both files and onnxruntime-web, ready for any static host.
# onnxruntime-web is taken from $ORT_WEB (a folder dist/ of the npm package).
set -euo pipefail
if [ $# -ne 3 ]; then
  echo "usage: assemble.sh DENSE.onnx PACKED.onnx FOLDER" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
: "${ORT_WEB:=$here/../../tests/js/node_modules/onnxruntime-web/dist}"
if [ ! -f "$ORT_WEB/ort.wasm.bundle.min.mjs" ]; then
  echo "$ORT_WEB: no onnxruntime-web; make js installs it, or set ORT_WEB to the dist folder of the npm package" >&2
  exit 3
fi
mkdir -p "$3/ort"
cp "$here"/index.html "$here"/page.mjs "$here"/digits.mjs "$3"
cp "$ORT_WEB"/ort.wasm.bundle.min.mjs "$ORT_WEB"/ort-wasm-simd-threaded.wasm "$3/ort"
cp "$1" "$3/model.dense.onnx"
cp "$2" "$3/model.packed.onnx"
