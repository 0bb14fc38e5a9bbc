"""The update of all members by one CUDA kernel, which computes of each member's rule only what it uses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.coefficients import CONSTANTS
from evoopt.training.native.arguments import TYPES
from evoopt.training.native.cuda import kernel
from evoopt.training.native.update import LISTS, PLACES

_THREADS = 256
_PER_THREAD = 8  # numbers, so that reading a rule's coefficients costs little beside them
_LARGEST = 2**31 - 1


def suits(weights: Tensor, terms: Sequence[str]) -> bool:
    """Whether the kernel can update such weights by these terms."""
    known = weights.is_cuda and weights.dtype in TYPES and PLACES.keys() >= set(terms)
    return known and kernel("update", weights.dtype, weights.device.index or 0, LISTS) is not None


def step(
    terms: Sequence[str], w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
) -> None:
    """One step of all members; arguments are those of `evoopt.training.native.update.step`, on the device.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    arguments, grid = launch(tuple(terms), w, g, m, v, coefficients)
    if w.numel() == 0:
        return
    run = kernel("update", w.dtype, w.device.index or 0, LISTS)
    if run is None:
        raise EvooptError("the CUDA kernel of updates does not compile here")
    with torch.cuda.device(w.device):
        run(grid=grid, block=(_THREADS, 1, 1), args=arguments)


def launch(
    terms: tuple[str, ...], w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
) -> tuple[list[Tensor | int], tuple[int, int, int]]:
    """Arguments of the kernel, and its blocks.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    rows = (w, g, w if m is None else m, w if v is None else v)
    if w.dim() != 2 or not all(_fits(x, w) for x in rows):
        raise EvooptError(
            "weights, gradients and moments must be rows [members, numbers] of one type and device"
        )
    members, size = w.shape
    columns = coefficients.stride(0)
    like = coefficients.dtype == w.dtype and coefficients.device == w.device
    if (
        not like
        or coefficients.shape != (len(CONSTANTS) + len(terms), members)
        or coefficients.stride(1) != 1
    ):
        raise EvooptError(
            f"the coefficients must be {len(CONSTANTS) + len(terms)} rows of {members} numbers of type and "
            f"device of the weights, not {list(coefficients.shape)}"
        )
    strides = [x.stride(0) if members > 1 else 0 for x in rows]
    if max(*strides, size, columns) > _LARGEST:
        raise EvooptError(f"a model of {size} weights is too large for the CUDA kernel of updates")
    wide = size % 4 == 0 and all(n % 4 == 0 for n in strides) and all(x.data_ptr() % 32 == 0 for x in rows)
    blocks = min(65_535, max(1, -(-size // (_THREADS * _PER_THREAD))))
    places = _places(terms, w.device)
    numbers = [m is not None, v is not None, size, *strides, columns, wide]
    return [*rows, coefficients, places, *map(int, numbers)], (members, blocks, 1)


def _fits(x: Tensor, w: Tensor) -> bool:
    own = x.shape == w.shape and x.dtype == w.dtype and x.device == w.device
    return own and (x.stride(1) == 1 or x.shape[1] == 1) and (len(x) <= 1 or x.stride(0) >= x.shape[1])


@cache
def _places(terms: tuple[str, ...], device: torch.device) -> Tensor:
    """Where each term that the kernel knows stands among the weights of a table; -1 for no place.

    Raises:
        EvooptError: Terms that it does not know, or one twice.
    """
    if len(set(terms)) < len(terms) or not PLACES.keys() >= set(terms):
        raise EvooptError(f"the kernel of updates knows each of {', '.join(PLACES)} once, not {terms}")
    return torch.tensor(
        [terms.index(name) if name in terms else -1 for name in PLACES], dtype=torch.int32, device=device
    )
