"""The update of all members by a compiled kernel, which computes of each member's rule only what it uses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from evoopt.optim.terms import TERM_BY_NAME
from evoopt.training.native.arguments import TYPES, address, stride
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_FIELDS = ("members", "size", "w_stride", "g_stride", "moments_stride", "columns", "terms")


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in _FIELDS]


def suits(weights: Tensor, terms: Sequence[str]) -> bool:
    """Whether the compiled kernel can update such weights by these terms."""
    found = library("update") if weights.is_cpu and weights.dtype in TYPES else None
    return found is not None and all(TERM_BY_NAME[name].code < found.known_terms() for name in terms)


def step(
    terms: Sequence[str], w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
) -> None:
    """One step of all members; arguments are those of `evoopt.training.batched_update.run_program`.

    Of a matrix ``[P, D]`` every row is contiguous; ``coefficients`` ``[rows, P]`` may be some columns of a
    contiguous table.
    """
    moments = m if m is not None else v
    run = _function(w.dtype)
    codes = (ctypes.c_long * len(terms))(*(TERM_BY_NAME[name].code for name in terms))

    def part(start: int, stop: int) -> None:
        shape = _Shape(
            stop - start, w.shape[1], stride(w), stride(g), 0 if moments is None else stride(moments),
            coefficients.stride(0), len(terms),
        )  # fmt: skip
        table = coefficients.data_ptr() + start * coefficients.element_size()
        run(ctypes.byref(shape), _at(w, start), _at(g, start), _at(m, start), _at(v, start), table, codes)

    over_members(len(w), part)


def _at(tensor: Tensor | None, member: int) -> int | None:
    return None if tensor is None else address(tensor, member)


@cache
def _function(dtype: torch.dtype) -> Callable[..., None]:
    found = library("update")
    assert found is not None, "asked for by `suits`"
    function = getattr(found, f"update_{TYPES[dtype]}")
    function.argtypes, function.restype = [ctypes.c_void_p] * 7, None
    return function  # type: ignore[no-any-return]
