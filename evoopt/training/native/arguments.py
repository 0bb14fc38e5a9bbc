"""Addresses and strides that the compiled functions are called with."""

from __future__ import annotations

import torch
from torch import Tensor

TYPES = {torch.float32: "float", torch.float64: "double"}
"""Suffix of a function's name by the type of its numbers."""


def address(tensor: Tensor, member: int) -> int:
    """Where a member's part of ``[P or 1, ...]`` begins."""
    start = tensor.data_ptr()
    return start + stride(tensor) * member * tensor.element_size() if member else start


def stride(tensor: Tensor) -> int:
    """Numbers from one member to the next, 0 where all share one part."""
    return tensor.stride(0) if tensor.size(0) > 1 else 0


def in_rows(tensor: Tensor) -> Tensor:
    """The tensor, copied unless each member's part is contiguous."""
    strides, size = tensor.stride(), 1
    for k in range(tensor.dim() - 1, 0, -1):
        if strides[k] != size:
            return tensor.contiguous()
        size *= tensor.shape[k]
    return tensor
