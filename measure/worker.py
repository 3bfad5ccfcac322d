"""The process that is measured: one model, one setting, one round; a job as JSON in, figures as JSON out.

NOTES
-----
Import as little as possible here: whatever this process holds is in the memory figures. The affinity is
set before any runtime is imported, because a runtime sizes its thread pool from it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import InputError, SparseExportError
from . import memory

Job = dict[str, Any]


def _measure_load(job: Job) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The loaded runner, how long loading took, and the memory before and after it."""
    from .runners.make import make_runner

    runner = make_runner(job)
    dropped = memory.drop_from_cache([Path(p) for p in job["files"]]) if job["cold"] else False
    gc.collect()
    before = memory.settled()
    resets = memory.reset_peak()
    start = time.perf_counter()
    runner.load()
    seconds = time.perf_counter() - start
    after = memory.settled()
    load = {"ms": seconds * 1e3, "cold": dropped, "cold_refused": bool(job["cold"] and not dropped)}
    return runner, load, {"before": before, "loaded": after, "peak_resets": resets}


def _feeds(job: Job, runner: Any) -> dict[str, Any]:
    """The inputs of this job, ready for the runner."""
    from . import inputs

    specs = runner.inputs()
    if job.get("no_feeds"):
        raise InputError(job["no_feeds"])
    if job.get("feeds"):
        return inputs.arranged(inputs.read_npz(job["feeds"]), specs, job["feeds"])
    return inputs.seeded(specs, job["batch"], job["seed"])


def _time_runs(job: Job, runner: Any, feeds: dict[str, Any]) -> tuple[list[float], float]:
    """Latencies in milliseconds, at least `min_runs` of them and `min_seconds` long; preemptions a second.

    A preemption is an involuntary context switch: other work wanted the CPU that this process measures on.
    """
    import resource

    timed = getattr(runner, "timed_run", None)
    latencies: list[float] = []
    gc.disable()
    clock, run, total = time.perf_counter_ns, runner.run, 0
    enough = int(job["min_seconds"] * 1e9)
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    while len(latencies) < job["min_runs"] or total < enough:
        if timed:
            elapsed = int(timed(feeds) * 1e6)
        else:
            start = clock()
            run(feeds)
            elapsed = clock() - start
        latencies.append(elapsed / 1e6)
        total += elapsed
    gc.enable()
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches
    return latencies, switches / (total / 1e9)


def measure(job: Job) -> dict[str, Any]:
    """Load, first run, warm-up and timed runs of one job."""
    runner, load, used = _measure_load(job)
    feeds = _feeds(job, runner)
    start = time.perf_counter()
    outputs = runner.run(feeds)
    first_ms = (time.perf_counter() - start) * 1e3
    used["first_run"] = memory.settled()
    if job.get("outputs"):
        import numpy as np

        np.savez(job["outputs"], *[np.asarray(output) for output in outputs])
    del outputs
    for _ in range(job["warmup"]):
        runner.run(feeds)
    latencies, preemptions = _time_runs(job, runner, feeds)
    used["end"] = memory.settled()
    device = getattr(runner, "device_memory", None)
    if device:
        used["device"] = device()
    target = getattr(runner, "target", None)
    return {
        "load": load,
        "memory": used,
        "first_ms": first_ms,
        "latencies_ms": latencies,
        "preemptions_per_s": preemptions,
        "cpus": sorted(os.sched_getaffinity(0)),
        "target": target() if target else None,
    }


def evaluate(job: Job) -> dict[str, Any]:
    """Top-1 accuracy on an .npz file of samples and labels."""
    import numpy as np

    from . import inputs

    x, y = inputs.labelled(job["data"])
    runner, _, _ = _measure_load(job)
    (spec,) = runner.inputs()
    fixed = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else None
    step = fixed or 64
    right = 0
    for start in range(0, len(x), step):
        part = x[start : start + step]
        filled = inputs.repeated({spec.name: part}, [_any_batch(spec)], fixed or len(part))
        feeds = inputs.arranged(filled, [spec], job["data"])
        scores = np.asarray(runner.run(feeds)[0])[: len(part)]
        right += int((scores.argmax(axis=-1) == y[start : start + step]).sum())
    return {"accuracy": right / len(x), "samples": len(x)}


def _any_batch(spec: Any) -> Any:
    from dataclasses import replace

    return replace(spec, shape=(None, *spec.shape[1:]))


def find_inputs(job: Job) -> dict[str, Any]:
    """The inputs of a run, written beside it."""
    from . import inputs

    return inputs.find(job)


def export_dense(job: Job) -> dict[str, Any]:
    """Write a checkpoint as a dense ONNX file, out of the parent: a mapped checkpoint is never cold."""
    from ..exporter.files.onnx_write import save
    from ..exporter.source import open_source
    from ..runtime.inputs import as_shapes

    source = open_source(
        Path(job["path"]), arch=job["architecture"], input_shape=as_shapes(job["input_shape"])
    )
    save(source.model, Path(job["export"]), force=True)
    return {"written": job["export"]}


def _brief(error: Exception) -> str:
    """What a runtime says, on one line; its list of source files left out."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith("Exception from "))
    return (said[:300] + " …" if len(said) > 300 else said) or type(error).__name__


def main() -> None:
    """Read the job from stdin, answer with one line of JSON on stdout."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a runtime prints must not mix with the answer
    job = json.load(sys.stdin)
    if job.get("cpus"):
        os.sched_setaffinity(0, job["cpus"])
    try:
        measured = evaluate if job.get("data") else measure
        work = find_inputs if job.get("find") else export_dense if job.get("export") else measured
        result = work(job)
    except SparseExportError as error:
        result = {"error": str(error), "kind": type(error).__name__}
    except Exception as error:  # a row that says so, not the end of the run
        result = {"error": _brief(error), "kind": type(error).__name__}
    json.dump(result, answer)
    answer.close()


if __name__ == "__main__":
    main()
