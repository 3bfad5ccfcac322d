"""Is the benchmark honest? A file against itself, a copy that is 10 % slower, and memory against time -v.

Prints one line a check and exits 1 if one fails:

- A file measured against itself N times: the 99 % interval of the ratio holds 1 in at least 19 of 20.
- The same chain of linear layers with 10 % more of them: called slower.
- VmHWM of one worker against the "Maximum resident set size" of /usr/bin/time -v: within 5 %.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sparse_export.measure import machine, run
from sparse_export.measure.request import Request
from sparse_export.measure.subjects import Options, from_paths, job


def chain(path: Path, layers: int, width: int = 512) -> Path:
    """Linear layers one behind the other: the time is proportional to their number."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((width, width), dtype=np.float32) / np.float32(np.sqrt(width))
    nodes = [helper.make_node("MatMul", [f"h{i}", "w"], [f"h{i + 1}"]) for i in range(layers)]
    values = [helper.make_tensor_value_info(f"h{i}", TensorProto.FLOAT, [16, width]) for i in (0, layers)]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def ratio(base: Path, other: Path, options: Options) -> dict[str, Any]:
    """The speed-up of the second file over the first."""
    found = run.run(Request((base, other)), options, "self_ratio")
    speedup: dict[str, Any] = found["results"][1]["speedup"]
    return speedup


def describe(result: dict[str, Any]) -> str:
    return f"{result['value']:.3f} ({result['low']:.3f}–{result['high']:.3f}) {result['verdict']}"


def memory_agrees(model: Path) -> tuple[float, float] | None:
    """Peak bytes by VmHWM and by /usr/bin/time; None where that is not installed."""
    time = shutil.which("time", path="/usr/bin")
    if time is None:
        return None
    (subject,) = from_paths([model], None, None)
    order = job(subject, Options(rounds=1, min_seconds=0.2), 1, 16, 0)
    command = [time, "-v", sys.executable, "-P", "-m", "sparse_export.measure.worker"]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=True)
    used = json.loads(done.stdout)["memory"]
    match = re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)
    assert match
    return max(used["before"]["peak"], used["end"]["peak"]), int(match[1]) * 1024.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", nargs="?", type=Path, help="model to measure against itself (default: made here)"
    )
    parser.add_argument("--runs", type=int, default=20, help="how often (default 20)")
    parser.add_argument("--rounds", type=int, default=8, help="fresh processes a model (default 8)")
    parser.add_argument("--seconds", type=float, default=3.0, help="timed seconds a model (default 3)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        made = chain(Path(name) / "chain20.onnx", 20)
        model = args.model or made
        options = Options(batch=(16,), rounds=args.rounds, min_seconds=args.seconds)
        own = Options(rounds=args.rounds, min_seconds=args.seconds) if args.model else options
        results = []
        for number in range(args.runs):
            results.append(ratio(model, model, own))
            print(f"itself {number + 1:2}/{args.runs}: {describe(results[-1])}", flush=True)
        delayed = ratio(made, chain(Path(name) / "chain22.onnx", 22), options)
        peaks = memory_agrees(made)
    held = sum(r["low"] <= 1 <= r["high"] for r in results)
    enough = held >= np.floor(0.95 * args.runs)
    print(f"interval holds 1 in {held} of {args.runs}: {'ok' if enough else 'FAILED'}")
    slower = delayed["verdict"] == "slower"
    print(f"10 % more layers: {describe(delayed)}: {'ok' if slower else 'FAILED'}")
    agrees = peaks is None or abs(peaks[0] / peaks[1] - 1) < 0.05
    shown = (
        "skipped (apt install time)" if peaks is None else f"{peaks[0] / 1e6:.1f} and {peaks[1] / 1e6:.1f} MB"
    )
    print(f"VmHWM and /usr/bin/time -v: {shown}: {'ok' if agrees else 'FAILED'}")
    if args.json:
        figures = {
            "machine": machine.describe(),
            "command": " ".join(sys.argv),
            "itself": results,
            "held": held,
            "delayed": delayed,
            "peaks": peaks,
        }
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if enough and slower and agrees else 1


if __name__ == "__main__":
    sys.exit(main())
