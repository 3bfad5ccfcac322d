"""The report as one self-contained page: no script, no request, light and dark, laptop and phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...text import clean
from . import charts, table
from .table import megabytes, milliseconds

Document = dict[str, Any]
_SIZE_WORDS = ("smaller", "larger")
_SPEED_WORDS = ("faster", "slower")
_TEMPLATES = Path(__file__).with_name("templates")


def _render(template: str, **values: Any) -> str:
    """A template with everything escaped: names come from files."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def _shown(value: Any) -> Any:
    """Names as they look on a terminal: what cannot be seen is spelled out. Markup of our own stays."""
    return clean(value) if type(value) is str else value


def render_bench(document: Document) -> str:
    """The page of a bench document (docs/bench.schema.json)."""
    models = {m["id"]: m for m in document["models"]}
    base = models[document["baseline"]]
    hero = _hero_model(document)
    return _render(
        "bench.html.j2",
        title=_title(hero, base),
        document=document,
        tiles=_tiles(document, hero, base),
        groups=_groups(document, models),
        sizes=charts.sizes(document["models"], base["id"]),
        waterfalls=_waterfalls(document, base),
        layers=_layers(document),
        accuracy=_accuracy(document, models),
        tables=table.tables(document),
        machine=_machine(document),
    )


def _hero_model(document: Document) -> dict[str, Any]:
    """The model the page is about: the first packed one given, else the first beside the baseline."""
    given = [m for m in document["models"] if m["origin"] == "given"]
    others = [m for m in given if m["id"] != document["baseline"]]
    found: dict[str, Any] = next((m for m in others if m["packed"]), (others or given)[0])
    return found


def _title(hero: dict[str, Any], base: dict[str, Any]) -> str:
    label = str(hero["label"])
    return label if hero["id"] == base["id"] else f"{label} against {base['label']}"


def _tiles(document: Document, hero: dict[str, Any], base: dict[str, Any]) -> list[dict[str, str]]:
    """The figures to take away, each with what it compares."""
    rows = {r["model"]: r for r in reversed(document["results"])}
    ours, theirs = rows[hero["id"]], rows[base["id"]]
    size, dense = hero["bytes"]["total"], base["bytes"]["total"]
    alone = hero["id"] == base["id"]
    files = (megabytes(dense), megabytes(size))
    tiles = [_tile("on disk", None if alone else dense / size, files, _SIZE_WORDS)]
    if ours["latency"] and theirs["latency"]:
        times = tuple(milliseconds(r["latency"]["median_ms"]) for r in (theirs, ours))
        tiles.append(_latency_tile(ours["speedup"], times))
    if ours["memory"] and theirs["memory"]:
        used = [r["memory"]["steady_added_bytes"] for r in (theirs, ours)]
        shown = tuple(megabytes(u, 1) for u in used)
        known = not alone and min(used) > 0
        tiles.append(_tile("memory", used[0] / used[1] if known else None, shown, ("less", "more")))
    if ours["load"] and theirs["load"]:
        tiles += _load_tile([r["load"] for r in (theirs, ours)], alone)
    return tiles


def _latency_tile(quick: dict[str, Any] | None, times: tuple[str, ...]) -> dict[str, str]:
    """How much faster, claimed only where the interval lets one say so."""
    tile = _tile("latency", quick["value"] if quick else None, times, _SPEED_WORDS)
    if quick and quick["low"] and quick["high"] < 100 * quick["low"]:
        tile["note"] = f"99 % interval {quick['low']:.2f}–{quick['high']:.2f}x: {quick['verdict']}"
    if quick and quick["verdict"] == "same":
        tile |= {"value": "1.00x", "word": "the same", "tone": ""}
    elif quick and quick["verdict"] == "inconclusive":
        tile |= {"value": "unclear", "word": "too noisy to tell", "tone": ""}
    return tile


def _load_tile(loads: list[dict[str, Any]], alone: bool) -> list[dict[str, str]]:
    """Load times of the same kind: both with the files on disk only, or both with them in the page cache."""
    for kind, key in (("cold", "cold_ms"), ("warm", "warm_ms")):
        times = [load[key] for load in loads]
        if all(times):
            shown = tuple(milliseconds(value) for value in times)
            return [_tile(f"load, {kind}", None if alone else times[0] / times[1], shown, _SPEED_WORDS)]
    return []


def _tile(what: str, ratio: float | None, change: tuple[str, ...], words: tuple[str, str]) -> dict[str, str]:
    """One figure: the ratio where there is one, the plain value otherwise.

    Parameters
    ----------
    change
        Before and after, as text.
    words
        What a ratio above 1 is called, and one below.
    """
    if ratio is None:
        return {"what": what, "value": change[1], "word": "", "detail": "", "note": "", "tone": ""}
    word, shown = (words[0], ratio) if ratio >= 1 else (words[1], 1 / ratio)
    even = shown < 1.005
    return {
        "what": what,
        "value": "1.00x" if even else f"{shown:.2f}x" if shown < 10 else f"{shown:.1f}x",
        "word": "the same" if even else word,
        "detail": " → ".join(change),
        "note": "",
        "tone": "" if even else "good" if ratio > 1 else "bad",
    }


def _groups(document: Document, models: dict[str, Any]) -> list[dict[str, Any]]:
    """The charts that depend on a setting, one group for each threads x batch."""
    settings = list(dict.fromkeys((r["threads"], r["batch"]) for r in document["results"]))
    groups = []
    for threads, batch in settings:
        rows = [r for r in document["results"] if (r["threads"], r["batch"]) == (threads, batch)]
        plural = "s" if threads > 1 else ""
        groups.append(
            {
                "title": f"{threads} thread{plural}, batch {batch}",
                "latency": charts.latencies(rows, models, document["baseline"]),
                "memory": charts.memory(rows, models, document["baseline"]),
                "loads": charts.loads(rows, models, document["baseline"]),
            }
        )
    return groups


def _waterfalls(document: Document, base: dict[str, Any]) -> list[dict[str, Any]]:
    """A size waterfall for each model whose file differs from the baseline's."""
    found = []
    seen: list[Any] = [base["bytes"]]
    for model in document["models"]:
        rows = charts.size_waterfall(base, model)
        if rows and model["bytes"] not in seen:
            seen.append(model["bytes"])
            found.append({"label": model["label"], "open": model["origin"] == "given", "rows": rows})
    return found


def _layers(document: Document) -> list[dict[str, Any]]:
    """The layers of every given model, once a file."""
    found, seen = [], []
    for model in document["models"]:
        if model["origin"] == "given" and model["layers"] and model["path"] not in seen:
            seen.append(model["path"])
            rows = charts.layer_rows(model["layers"])
            reasons = any(row["reason"] for row in rows)
            found.append({"label": model["label"], "open": model["packed"], "rows": rows, "reasons": reasons})
    return found


def _accuracy(document: Document, models: dict[str, Any]) -> list[dict[str, Any]]:
    """Top-1 accuracy of each model, where a data set was given."""
    rows = {r["model"]: r["accuracy"] for r in document["results"] if r["accuracy"]}
    return [
        {
            "label": models[name]["label"],
            "kind": charts.kind_of(models[name], document["baseline"]),
            "w": 100 * value["accuracy"],
            "text": f"{value['accuracy']:.2%}",
            "more": f"of {value['samples']:,} samples",
        }
        for name, value in rows.items()
    ]


def _machine(document: Document) -> list[tuple[str, str]]:
    """The machine as label and text."""
    m = document["machine"]
    pinned = sorted({cpu for row in document["results"] for cpu in row["affinity"] or []})
    options = document["options"]
    return [
        ("Processor", f"{m['cpu']}, {m['cpus']} CPUs, {m['memory_bytes'] / 2**30:.0f} GiB"),
        ("Instruction sets", " ".join(m["flags"]) or "unknown"),
        (
            "Kernels",
            ", ".join(sorted({r["target"] for r in document["results"] if r["target"]})) or "none of ours",
        ),
        ("Pinned to CPUs", ", ".join(map(str, pinned)) or "none"),
        ("System", f"{m['system']} {m['kernel']}, {m['architecture']}"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in m["versions"].items())),
        ("Load of the machine", f"{m['load_at_start']} at the start, {m['load_at_end']} at the end"),
        ("Schedule", f"{options['rounds']} rounds of fresh processes, interleaved; seed {options['seed']}"),
        ("Date", document["created"]),
    ]


def render_export_report(report: Document) -> str:
    """The page of one export. Every key of docs/report.schema.json may be missing.

    Parameters
    ----------
    report
        The export report as its JSON form.
    """
    layers = report.get("layers") or []
    report = {**dict.fromkeys(("source", "format", "seconds", "command")), **report}
    return _render(
        "export.html.j2",
        title=Path(str(report.get("output") or report.get("source") or "model")).name,
        report=report,
        tiles=_export_tiles(report),
        waterfall=_export_waterfall(report),
        sizes=_export_sizes(report),
        rows=charts.layer_rows(layers),
        verification=report.get("verification"),
        notes=[_note(note) for note in report.get("notes") or []],
        versions=", ".join(f"{k} {v}" for k, v in (report.get("versions") or {}).items()),
    )


def _note(note: Any) -> dict[str, str]:
    """A note as level and text, also when it is a pair or plain text."""
    if isinstance(note, dict):
        return {"level": str(note.get("level") or "info"), "text": str(note.get("text") or "")}
    if isinstance(note, list | tuple) and len(note) == 2:
        return {"level": str(note[0]), "text": str(note[1])}
    return {"level": "info", "text": str(note)}


def _export_tiles(report: Document) -> list[dict[str, str]]:
    """File ratio, weights ratio, density, and whether it was verified."""
    tiles = []
    dense, packed = report.get("dense_file_bytes"), report.get("file_bytes")
    if dense and packed:
        tiles.append(_tile("file", dense / packed, (megabytes(dense), megabytes(packed)), _SIZE_WORDS))
    dense, packed = report.get("dense_bytes"), report.get("packed_bytes")
    if dense and packed:
        tiles.append(_tile("weights", dense / packed, (megabytes(dense), megabytes(packed)), _SIZE_WORDS))
    layers = report.get("layers") or []
    size, nnz = (
        int(report[key] if key in report else sum(layer.get(key) or 0 for layer in layers))
        for key in ("size", "nnz")
    )
    if size:
        detail = f"{nnz:,} of {size:,} weights"
        share = {"what": "density", "value": f"{nnz / size:.1%}", "word": "non-zero", "detail": detail}
        tiles.append({**share, "note": "", "tone": ""})
    checked = report.get("verification")
    if checked:
        good = bool(checked.get("passed", True))
        error = checked.get("max_abs")
        detail = "" if error is None else f"largest difference {error:.1e}"
        word = "outputs agree" if good else "outputs differ"
        tile = {"what": "verified", "value": "✓" if good else "✗", "word": word, "detail": detail}
        tiles.append({**tile, "note": "", "tone": "good" if good else "bad"})
    return tiles


def _export_waterfall(report: Document) -> list[dict[str, Any]] | None:
    """From the dense file to the packed one: zeros out, positions in, everything around the weights."""
    keys = ("dense_file_bytes", "file_bytes", "dense_bytes", "packed_bytes", "lab_bytes")
    if any(report.get(key) is None for key in keys):
        return None
    dense_file, file, dense, packed, nonzeros = (int(report[key]) for key in keys)
    around = (file - packed) - (dense_file - dense)
    steps = [
        ("zeros", nonzeros - dense),
        ("positions" if packed >= nonzeros else "encoding", packed - nonzeros),
    ]
    return charts.waterfall(
        ("dense file", dense_file), [*steps, ("around the weights", around)], "packed file"
    )


def _export_sizes(report: Document) -> list[dict[str, Any]]:
    """The packed file among what else one could ship."""
    named = [
        ("dense file", "dense_file_bytes", "base"),
        ("gzip -6 of the dense tensors", "gzip_bytes", "peer"),
        ("zstd -19 of the dense tensors", "zstd_bytes", "peer"),
        ("non-zeros × 32 bits (theory)", "lab_bytes", "peer"),
        ("packed file", "file_bytes", "ours"),
    ]
    found = [(label, int(report[key]), kind) for label, key, kind in named if report.get(key)]
    top = max((size for _, size, _ in found), default=1)
    return [
        {"label": label, "kind": kind, "w": 100 * s / top, "text": megabytes(s)} for label, s, kind in found
    ]
