"""The page of a bench run, self-contained: no script, no request, light and dark, laptop and phone."""

from __future__ import annotations

from typing import Any

from . import charts, table
from .rendering import Document, render
from .tiles import bench_tiles


def render_bench(document: Document) -> str:
    """The page of a bench document (docs/bench.schema.json)."""
    models = {m["id"]: m for m in document["models"]}
    base = models[document["baseline"]]
    hero = _hero_model(document)
    return render(
        "bench.html.j2",
        title=_title(hero, base),
        document=document,
        tiles=bench_tiles(document, hero, base),
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
