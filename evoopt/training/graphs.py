"""Small programs on CUDA are limited by their launches: recorded once as a graph, they are one launch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

Compute = Callable[..., Tensor | None]


def records(device: torch.device) -> bool:
    """Whether work on a device is recorded."""
    return device.type == "cuda"


class Replayed:
    """What is computed of some tensors on CUDA, launched at once.

    The first inputs of a shape are computed with as usual, which warms up libraries; the second time the work
    is recorded, and from then on the recording is replayed. It holds what the GPU does and nothing else, so a
    computation must read and write the same memory each time, apart from its inputs, and decide nothing on
    the CPU. What cannot be recorded (it waits for the GPU, say) is computed as usual.

    Args:
        compute: Takes tensors; what it returns is read before the next call.
        device: Theirs.
        pool: Memory that recordings share, see `torch.cuda.graph_pool_handle`; its own by default.
    """

    def __init__(self, compute: Compute, device: torch.device, pool: Any = None) -> None:
        self._compute, self._device, self._pool = compute, device, pool
        self._recorded: dict[tuple[torch.Size, ...], _Recording | None] = {}
        self._possible = True

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        """What is computed of inputs on the device."""
        if not self._possible:
            return self._compute(*inputs)
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._recorded:
            self._recorded[shapes] = None
            return self._warmed_up(inputs)
        recording = self._recorded[shapes]
        if recording is None:
            try:
                recording = _Recording(self._compute, inputs, self._device, self._pool)
            except RuntimeError:
                self._possible = False
                torch.cuda.synchronize(self._device)  # raises if it is the device that has failed
                return self._compute(*inputs)
            self._recorded[shapes] = recording
        return recording.replay(inputs)

    def _warmed_up(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        stream, current = _stream(self._device), torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self._compute(*inputs)
        current.wait_stream(stream)
        if result is not None:
            result.record_stream(current)
        return result


class _Recording:
    """One graph, and the memory it reads its inputs from."""

    def __init__(self, compute: Compute, inputs: tuple[Tensor, ...], device: torch.device, pool: Any) -> None:
        self._inputs = tuple(x.clone() for x in inputs)
        self._graph = torch.cuda.CUDAGraph()
        stream, current = _stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            # Threads that have to do with other devices or runs go on meanwhile.
            self._graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                self._result = compute(*self._inputs)
            finally:
                self._graph.capture_end()
        current.wait_stream(stream)

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._result


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    # One for all: libraries keep workspaces for each stream they see.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
