"""Small programs on CUDA are limited by their launches: recorded once as a graph, they are one launch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from evoopt.training.minibatches import Minibatch

Compute = Callable[[Minibatch], Tensor]


class Replayed:
    """What is computed of a minibatch, launched at once on CUDA.

    The first minibatch of a shape is computed as usual, which warms up libraries; the second is recorded, and
    from then on the recording is replayed. It holds what the GPU does and nothing else, so a computation must
    read and write the same memory each time and decide nothing on the CPU. What cannot be recorded (it waits
    for the GPU, say) is computed as usual.

    Args:
        compute: Of a minibatch; its result is read before the next call.
        pool: Memory that recordings share, see `torch.cuda.graph_pool_handle`.
    """

    def __init__(self, compute: Compute, pool: Any) -> None:
        self._compute, self._pool = compute, pool
        self._recorded: dict[object, _Recording | None] = {}
        self._possible = True

    def __call__(self, batch: Minibatch) -> Tensor:
        """The result for a minibatch on a CUDA device."""
        shapes = (batch.x.shape, batch.y.shape)
        stream = _stream(batch.x.device)
        if not self._possible:
            return self._compute(batch)
        if shapes not in self._recorded:
            self._recorded[shapes] = None
            stream.wait_stream(torch.cuda.current_stream(batch.x.device))
            with torch.cuda.stream(stream):
                result = self._compute(batch)
            torch.cuda.current_stream(batch.x.device).wait_stream(stream)
            result.record_stream(torch.cuda.current_stream(batch.x.device))
            return result
        recording = self._recorded[shapes]
        if recording is None:
            try:
                recording = self._recorded[shapes] = _Recording(self._compute, batch, self._pool, stream)
            except RuntimeError:
                self._possible = False
                torch.cuda.synchronize(batch.x.device)  # raises if it is the device that has failed
                return self._compute(batch)
        return recording.replay(batch)


class _Recording:
    """One graph, and the memory it reads a minibatch from."""

    def __init__(self, compute: Compute, batch: Minibatch, pool: Any, stream: torch.cuda.Stream) -> None:
        self._batch = batch._replace(
            x=batch.x.clone(), y=batch.y.clone(), uniform={n: t.clone() for n, t in batch.uniform.items()}
        )
        self._graph = torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream(batch.x.device))
        with torch.cuda.stream(stream):
            # Threads that have to do with other devices or runs go on meanwhile.
            self._graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                self._result = compute(self._batch)
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream(batch.x.device).wait_stream(stream)

    def replay(self, batch: Minibatch) -> Tensor:
        self._batch.x.copy_(batch.x)
        self._batch.y.copy_(batch.y)
        for name, numbers in batch.uniform.items():
            self._batch.uniform[name].copy_(numbers)
        self._graph.replay()
        return self._result


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    # One for all: libraries keep workspaces for each stream they see.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
