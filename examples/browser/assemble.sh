#!/usr/bin/env bash
# assemble.sh DENSE.onnx PACKED.onnx FOLDER: the page, both files and onnxruntime-web, ready for any static host.
# onnxruntime-web is taken from $ORT_WEB (a folder dist/ of the npm package).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${ORT_WEB:=$here/../../tests/js/node_modules/onnxruntime-web/dist}"
mkdir -p "$3/ort"
cp "$here"/index.html "$here"/page.mjs "$here"/digits.mjs "$3"
cp "$ORT_WEB"/ort.wasm.bundle.min.mjs "$ORT_WEB"/ort-wasm-simd-threaded.wasm "$3/ort"
cp "$1" "$3/model.dense.onnx"
cp "$2" "$3/model.packed.onnx"
