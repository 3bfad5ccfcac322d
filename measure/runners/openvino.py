"""OpenVINO on the CPU."""

from __future__ import annotations

from typing import Any

from ...runtime.inputs import Feeds, InputSpec


class OpenVino:
    """OpenVINO on the CPU with its latency hint; `precision` "f32" keeps it from rounding to bfloat16."""

    def __init__(self, path: str, threads: int, precision: str | None = None) -> None:
        import openvino

        self._core, self._path = openvino.Core(), path
        self._config = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        } | ({"INFERENCE_PRECISION_HINT": precision} if precision else {})

    def load(self) -> None:
        self._model = self._core.compile_model(self._path, "CPU", self._config)
        self._request = self._model.create_infer_request()

    def inputs(self) -> list[InputSpec]:
        return [
            InputSpec(
                port.get_any_name(),
                tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape()),
                port.get_element_type().to_dtype().name,
            )
            for port in self._model.inputs
        ]

    def run(self, feeds: Feeds) -> list[Any]:
        results = self._request.infer(feeds, share_inputs=True)
        return [results[port] for port in self._model.outputs]
