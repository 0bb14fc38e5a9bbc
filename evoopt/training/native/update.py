"""The update of all members by a compiled kernel, which computes of each member's rule only what it uses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.optim.terms import TERMS
from evoopt.training.coefficients import CONSTANTS
from evoopt.training.native.arguments import (
    NONE,
    POINTER,
    TYPES,
    Rows,
    by_layout,
    expect,
    function,
    sizes,
    structure,
)
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_TERMS = [term for term in TERMS if term.cpp is not None]
PLACES = {term.name: place for place, term in enumerate(_TERMS)}
_MACROS = {
    "CONSTANTS": (f"CONSTANT({name})" for name in CONSTANTS),
    "TERMS": (f"TERM({place}, {'v' in term.uses:d}, {term.cpp})" for place, term in enumerate(_TERMS)),
}
LISTS = "".join(f"#define EVOOPT_{name} {' '.join(items)}\n" for name, items in _MACROS.items())
_update = function("update", "update", (POINTER,) * 6, before=LISTS)
_shape = structure("size terms w_stride g_stride m_stride v_stride columns")


def suits(weights: Tensor, terms: Sequence[str]) -> bool:
    """Whether the compiled kernel can update such weights by these terms."""
    known = weights.is_cpu and weights.dtype in TYPES and PLACES.keys() >= set(terms)
    return known and library("update", LISTS) is not None


def step(
    terms: Sequence[str], w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
) -> None:
    """One step of all members; arguments are those of `evoopt.training.batched_update.run_program`.

    Of a matrix ``[P, D]`` every row is contiguous; ``coefficients`` ``[rows, P]`` may be some columns of a
    contiguous table.

    Raises:
        EvooptError: Tensors that do not fit each other, or terms that the kernel does not know.
    """
    own = places(tuple(terms))
    (members, about), addresses, _kept = _of(len(own))(w, g, m, v, coefficients)
    over_members(members, _update(w.dtype), about, *addresses, own)


@cache
def _of(terms: int) -> Callable[..., Any]:
    @by_layout
    def of(
        w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
    ) -> tuple[tuple[int, Any], tuple[Rows, ...]]:
        """The number of members, and what the kernel is told about sizes."""
        shape = members, size = tuple(sizes("the weights", w, "members numbers"))
        rows = (
            expect("the weights", w, w.dtype, shape, written=True),
            expect("the gradients", g, w.dtype, shape),
            NONE if m is None else expect("the first moments", m, w.dtype, shape, written=True),
            NONE if v is None else expect("the second moments", v, w.dtype, shape, written=True),
            expect("the coefficients", coefficients, w.dtype, (len(CONSTANTS) + terms, members)),
        )
        return (members, _shape(size, terms, *(stride for *_, stride in rows))), rows

    return of


@cache
def places(terms: tuple[str, ...]) -> ctypes.Array[ctypes.c_long]:
    """Where terms stand among those that the kernel knows.

    Raises:
        EvooptError: Terms that it does not know, or one twice.
    """
    if len(set(terms)) < len(terms) or not PLACES.keys() >= set(terms):
        raise EvooptError(f"the kernel of updates knows each of {', '.join(PLACES)} once, not {terms}")
    return (ctypes.c_long * len(terms))(*(PLACES[name] for name in terms))
