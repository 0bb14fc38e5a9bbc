"""The update of all members by a compiled kernel, which computes of each member's rule only what it uses."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.optim.terms import TERMS
from evoopt.training.coefficients import CONSTANTS
from evoopt.training.native.arguments import NONE, NUMBER, POINTER, TYPES, expect, function, sizes, structure
from evoopt.training.native.build import library
from evoopt.training.native.threads import over_members

_TERMS = [term for term in TERMS if term.cpp is not None]
_PLACES = {term.name: place for place, term in enumerate(_TERMS)}
_MACROS = {
    "CONSTANTS": (f"CONSTANT({name})" for name in CONSTANTS),
    "TERMS": (f"TERM({place}, {'v' in term.uses:d}, {term.cpp})" for place, term in enumerate(_TERMS)),
}
LISTS = "".join(f"#define EVOOPT_{name} {' '.join(items)}\n" for name, items in _MACROS.items())
_update = function("update", "update", (*(POINTER, NUMBER) * 4, POINTER, POINTER), before=LISTS)
_shape = structure("size columns terms")


def suits(weights: Tensor, terms: Sequence[str]) -> bool:
    """Whether the compiled kernel can update such weights by these terms."""
    known = weights.is_cpu and weights.dtype in TYPES and _PLACES.keys() >= set(terms)
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
    shape = members, size = tuple(sizes("the weights", w, "members numbers"))
    dtype, places = w.dtype, _places(tuple(terms))
    weights = expect("the weights", w, dtype, shape, written=True)
    gradients = expect("the gradients", g, dtype, shape)
    first = NONE if m is None else expect("the first moments", m, dtype, shape, written=True)
    second = NONE if v is None else expect("the second moments", v, dtype, shape, written=True)
    rows = len(CONSTANTS) + len(places)
    table = expect("the coefficients", coefficients, dtype, (rows, members))
    over_members(
        members, _update(dtype), _shape(size, table[2], len(places)),
        *weights[1:], *gradients[1:], *first[1:], *second[1:], table[1], places,
    )  # fmt: skip


@cache
def _places(terms: tuple[str, ...]) -> ctypes.Array[ctypes.c_long]:
    if len(set(terms)) < len(terms) or not _PLACES.keys() >= set(terms):
        raise EvooptError(f"the kernel of updates knows each of {', '.join(_PLACES)} once, not {terms}")
    return (ctypes.c_long * len(terms))(*(_PLACES[name] for name in terms))
