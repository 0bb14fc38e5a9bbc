"""The update of all members by a compiled kernel, which computes of each member's rule only what it uses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from evoopt.optim.terms import TERMS
from evoopt.training.coefficients import CONSTANTS
from evoopt.training.native.arguments import TYPES, address, stride
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_TERMS = [term for term in TERMS if term.cpp is not None]
_PLACES = {term.name: place for place, term in enumerate(_TERMS)}
_FIELDS = ("members", "size", "w_stride", "g_stride", "moments_stride", "columns", "terms")


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in _FIELDS]


def suits(weights: Tensor, terms: Sequence[str]) -> bool:
    """Whether the compiled kernel can update such weights by these terms."""
    known = weights.is_cpu and weights.dtype in TYPES and _PLACES.keys() >= set(terms)
    return known and _library() is not None


def step(
    terms: Sequence[str], w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
) -> None:
    """One step of all members; arguments are those of `evoopt.training.batched_update.run_program`.

    Of a matrix ``[P, D]`` every row is contiguous; ``coefficients`` ``[rows, P]`` may be some columns of a
    contiguous table.
    """
    moments = m if m is not None else v
    run = _function(w.dtype)
    places = (ctypes.c_long * len(terms))(*(_PLACES[name] for name in terms))

    def part(start: int, stop: int) -> None:
        shape = _Shape(
            stop - start, w.shape[1], stride(w), stride(g), 0 if moments is None else stride(moments),
            coefficients.stride(0), len(terms),
        )  # fmt: skip
        table = coefficients.data_ptr() + start * coefficients.element_size()
        run(ctypes.byref(shape), _at(w, start), _at(g, start), _at(m, start), _at(v, start), table, places)

    over_members(len(w), part)


def _at(tensor: Tensor | None, member: int) -> int | None:
    return None if tensor is None else address(tensor, member)


@cache
def _function(dtype: torch.dtype) -> Callable[..., None]:
    found = _library()
    assert found is not None, "asked for by `suits`"
    function = getattr(found, f"update_{TYPES[dtype]}")
    function.argtypes, function.restype = [ctypes.c_void_p] * 7, None
    return function  # type: ignore[no-any-return]


def _library() -> ctypes.CDLL | None:
    constants = (f"CONSTANT({name})" for name in CONSTANTS)
    terms = (f"TERM({place}, {'v' in term.uses:d}, {term.cpp})" for place, term in enumerate(_TERMS))
    lists = {"CONSTANTS": constants, "TERMS": terms}
    return library("update", "".join(f"#define EVOOPT_{name} {' '.join(x)}\n" for name, x in lists.items()))
