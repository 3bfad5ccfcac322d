#!/usr/bin/env bash
# The main job on real data, typed as a newcomer would type it. Takes about two minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=${1:-demo-out}
rm -rf "$OUT"
export PYTHONWARNINGS=ignore

type_it() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

type_it python examples/demo/make_model.py --out "$OUT"
type_it sparse-export "$OUT/model.pt" --format csr
type_it sparse-export inspect "$OUT/model.csr.onnx"
type_it python examples/demo/compare.py "$OUT"
