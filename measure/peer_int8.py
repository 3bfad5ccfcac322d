"""The dense model as integers: what most would pick for a CPU, and the same integers packed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import SparseExportError
from ..text import one_line
from . import inputs
from .onnx_files import all_files
from .silence import silence
from .subjects import Subject

#: Batches of seeded calibration inputs for static INT8; a single one leaves ranges to chance.
CALIBRATION_BATCHES = 8
#: Samples of a data set of the lab to calibrate on, at most.
_SAMPLES = 256
LABEL = "INT8 (static QDQ)"


def make_int8(dense: Path, target: Path, seed: int, given: str | None, calibrate: str | None = None) -> None:
    """Static INT8 in QDQ form, weights per channel and symmetric, calibrated as `calibration` says."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from ..exporter.quantize import static_int8

    batches = calibration(dense, seed, given, calibrate)
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(dense), str(prepared), skip_symbolic_shape=True)
    static_int8(str(prepared), target, batches)
    prepared.unlink()


def calibration(
    dense: Path, seed: int, given: str | None, calibrate: str | None = None
) -> list[inputs.Feeds]:
    """What the ranges of activations are taken from: calibration data, `--input`, or several seeded inputs.

    Raises
    ------
    InputError
        If the calibration data do not fit the model.
    """
    from ..exporter.files.onnx_read import read_onnx
    from ..exporter.prove.demands import inputs_of
    from ..runtime import trials
    from ..runtime.inputs import given as named
    from ..runtime.inputs import sizes_in
    from ..runtime.stock import Session

    model = read_onnx(dense)
    if calibrate:
        from ..exporter.quantize import batches_of
        from ..training.calibration import read

        dims = model.graph.input[0].type.tensor_type.shape.dim
        return batches_of(model, read(calibrate, _SAMPLES, [dim.dim_value for dim in dims]))
    specs = inputs_of(model)
    arrays = named(inputs.read_npz(given), specs, given) if given else {}
    sizes = sizes_in(arrays, specs)
    sampling = trials.search(specs, Session(dense).run, given=arrays, sizes=sizes, seed=seed, batches=(1,))
    batch = (sampling.batches or (1,))[0]
    count = 1 if specs and len(arrays) == len(specs) else CALIBRATION_BATCHES
    return [sampling.feeds(specs, arrays, seed + place, batch) for place in range(count)]


def make_packed(int8: Path, target: Path) -> None:
    """The integers packed.

    Raises
    ------
    ValueError
        If packing would make no weight smaller.
    """
    from ..exporter import api

    report = api.export(int8, output=target, verify=False)
    if all(row["format"] == "dense" for row in report.layers):
        raise ValueError("no weight gets smaller")


def packed(int8: Path, folder: Path) -> Iterator[tuple[Subject | None, str]]:
    """The packed integers in stock onnxruntime and with the library, or why there are none."""
    target = folder / "int8.packed.onnx"
    try:
        with silence():
            make_packed(int8, target)
    except (SparseExportError, ValueError) as error:
        yield None, f"INT8, packed: not made ({one_line(str(error))})"
        return
    files = tuple(all_files(target))
    for name, label, runtime in (
        ("pint8s", "INT8, packed [stock onnxruntime]", "onnxruntime-stock"),
        ("pint8", "INT8, packed", "onnxruntime"),
    ):
        yield Subject(name, label, target, runtime, "peer", packed=True, files=files), ""
