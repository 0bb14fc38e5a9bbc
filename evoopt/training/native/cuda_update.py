"""The update of all members by one CUDA kernel, which computes of each member's rule only what it uses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.coefficients import CONSTANTS
from evoopt.training.native import cuda
from evoopt.training.native.arguments import TYPES
from evoopt.training.native.update import LISTS, PLACES

_THREADS = 256
_PER_THREAD = 8  # numbers, so that reading a rule's coefficients costs little beside them
_LARGEST = 2**31 - 1


def suits(weights: Tensor, terms: Sequence[str]) -> bool:
    """Whether the kernel can update such weights by these terms."""
    known = weights.dtype in TYPES and PLACES.keys() >= set(terms)
    return known and cuda.compiles("update", "update", weights, LISTS)


def step(
    terms: Sequence[str], w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
) -> None:
    """One step of all members; arguments are those of `evoopt.training.native.update.step`, on the device.

    Raises:
        EvooptError: Tensors that do not fit each other.
    """
    how = launch(tuple(terms), w, g, m, v, coefficients)
    if w.numel():
        cuda.run("update", "update", w, how, LISTS)


def launch(
    terms: tuple[str, ...], w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
) -> cuda.Launch:
    """How the kernel is called.

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
    arguments: list[Tensor | int] = [*rows, coefficients, places, *map(int, numbers)]
    return cuda.Launch(arguments, (members, blocks, 1), (_THREADS, 1, 1))


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
