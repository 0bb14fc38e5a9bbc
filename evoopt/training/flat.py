"""All weights of a population in one matrix: where each parameter lies in a row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_ALIGNED = 32  # numbers: 128 bytes of float32, what vectorised CUDA kernels read and write at once


def slot(count: int) -> int:
    """Numbers that a parameter of ``count`` takes of a row, so that the next one is aligned."""
    return -(-count // _ALIGNED) * _ALIGNED


@dataclass(frozen=True)
class FlatLayout:
    """Order and place of named parameters in a row of ``size`` numbers, so that an update is one operation.

    Every parameter begins at a multiple of 32 numbers, and so does every row: cuDNN and CUTLASS take aligned
    memory for granted, and read beyond it where it is not. What lies between is zero and stays so.

    Attributes:
        shapes: Shape of each parameter by name, in order.
        channels_last: Store convolution kernels with the channels innermost, as channels-last kernels want.
    """

    shapes: Mapping[str, torch.Size]
    channels_last: bool = False

    @property
    def size(self) -> int:
        """Length of a row."""
        return sum(self._slots)

    @property
    def count(self) -> int:
        """Numbers of all parameters."""
        return sum(shape.numel() for shape in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Split rows ``[P, size]`` into views ``[P, *shape]``, by name."""
        blocks = flat.split_with_sizes(self._slots, dim=1)
        return {
            name: self._shaped(block, shape)
            for (name, shape), block in zip(self.shapes.items(), blocks, strict=True)
        }

    def runs(self, names: Collection[str]) -> list[slice]:
        """Where in a row some parameters lie; neighbours as one run."""
        runs: list[slice] = []
        start = 0
        for name, size in zip(self.shapes, self._slots, strict=True):
            if name in names:
                joined = runs.pop().start if runs and runs[-1].stop == start else start
                runs.append(slice(joined, start + size))
            start += size
        return runs

    @cached_property
    def _slots(self) -> list[int]:
        return [slot(shape.numel()) for shape in self.shapes.values()]

    def packed(self, rows: Tensor) -> Tensor:
        """Rows ``[P, size]`` without what lies between parameters, ``[P, count]``."""
        return rows[:, self._used.to(rows.device)]

    def spread(self, packed: Tensor) -> Tensor:
        """Rows of what `packed` gave."""
        rows = packed.new_zeros(len(packed), self.size)
        rows[:, self._used.to(rows.device)] = packed
        return rows

    @cached_property
    def _used(self) -> Tensor:
        starts = torch.tensor([0, *self._slots]).cumsum(0).tolist()
        runs = zip(starts, self.shapes.values(), strict=False)
        numbers = [torch.arange(start, start + shape.numel()) for start, shape in runs]
        return torch.cat(numbers) if numbers else torch.empty(0, dtype=torch.int64)

    def rows_in(self, other: FlatLayout, rows: Tensor) -> Tensor:
        """Rows ``[P, size]`` of this layout in the order of another layout of the same parameters."""
        if self == other:
            return rows
        moved, source = torch.zeros_like(rows), self.views(rows)
        for name, view in other.views(moved).items():
            view.copy_(source[name])
        return moved

    def _shaped(self, block: Tensor, shape: torch.Size) -> Tensor:
        block = block[:, : shape.numel()]
        if self.channels_last and len(shape) == 4:
            out, inner, height, width = shape
            return block.view(len(block), out, height, width, inner).permute(0, 1, 4, 2, 3)
        return block.view(len(block), *shape)
