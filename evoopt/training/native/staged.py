"""The update of members with a mask, a shape and a scale by a compiled kernel, as far as it knows them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.optim.rule import UpdateRule
from evoopt.training.coefficients import CONSTANTS
from evoopt.training.flat import FlatLayout, slot
from evoopt.training.native import update
from evoopt.training.native.arguments import (
    NONE,
    POINTER,
    Rows,
    by_layout,
    expect,
    function,
    sizes,
    structure,
)
from evoopt.training.native.build import library, text_of
from evoopt.training.native.threads import over_members

STAGES = frozenset({("mask", "cautious"), ("shape", "rms"), ("scale", "match_rms")})
"""Part and name of the stages that the kernel computes."""

BEFORE = update.LISTS + text_of("update.cpp")
_staged = function("staged", "staged", (POINTER,) * 8, before=BEFORE)
_shape = structure("size terms w_stride g_stride m_stride v_stride columns pieces masked longest")


class Piece(NamedTuple):
    """A parameter.

    Attributes:
        at: Where it begins in a row of weights.
        kept: Where it begins in a row of moments.
        size: How many numbers it has.
        divided: Whether its direction is divided by its root mean square.
        factor: What its direction is multiplied by at last.
    """

    at: int
    kept: int
    size: int
    divided: bool
    factor: float


def pieces_of(rule: UpdateRule, layout: FlatLayout, names: Sequence[str]) -> tuple[Piece, ...] | None:
    """Parameters by name as the kernel is told of them; None if it does not know a rule's stages."""
    stages = {(stage.part, stage.name) for stage in rule.active}
    if not stages <= STAGES:
        return None
    pieces, kept = [], 0
    for name in names:
        (run,), shape = layout.runs([name]), layout.shapes[name]
        matched = ("scale", "match_rms") in stages
        factor = 0.2 * math.sqrt(max(shape[0], shape[1:].numel())) if matched else 1.0
        pieces.append(Piece(run.start, kept, shape.numel(), ("shape", "rms") in stages, factor))
        kept += slot(shape.numel())
    return tuple(pieces)


def width(pieces: Sequence[Piece]) -> int:
    """How many numbers of moments some pieces take."""
    return max((piece.kept + piece.size for piece in pieces), default=0)


def suits(weights: Tensor, terms: Sequence[str]) -> bool:
    """Whether the compiled kernel can update such weights by these terms."""
    return update.suits(weights, terms) and library("staged", BEFORE) is not None


def step(
    terms: Sequence[str],
    w: Tensor,
    g: Tensor,
    m: Tensor | None,
    v: Tensor | None,
    coefficients: Tensor,
    pieces: tuple[Piece, ...],
    masked: bool,
) -> None:
    """One step of all members; moments ``[P, d]`` are those of the pieces alone, in their order.

    Other arguments are those of `evoopt.training.native.update.step`.

    Args:
        pieces: The parameters that are moved.
        masked: Whether only what agrees in sign with the gradient moves.

    Raises:
        EvooptError: Tensors that do not fit each other or the pieces, or terms that the kernel does not know.
    """
    places = update.places(tuple(terms))
    check, of, factors = _of(len(places), pieces, masked)
    (members, about), addresses, _kept = check(w, g, m, v, coefficients)
    over_members(members, _staged(w.dtype), about, *addresses, places, of, factors)


@cache
def _of(terms: int, pieces: tuple[Piece, ...], masked: bool) -> tuple[Callable[..., Any], Any, Any]:
    kept, longest = width(pieces), max((piece.size for piece in pieces), default=0)

    @by_layout
    def check(
        w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
    ) -> tuple[tuple[int, Any], tuple[Rows, ...]]:
        """The number of members, and what the kernel is told about sizes."""
        members, size = tuple(sizes("the weights", w, "members numbers"))
        for piece in pieces:
            if min(piece[:3]) < 0 or piece.at + piece.size > size:
                raise EvooptError(f"a row of {size} weights has no such parameter: {piece}")
        rows = (
            expect("the weights", w, w.dtype, (members, size), written=True),
            expect("the gradients", g, w.dtype, (members, size)),
            NONE if m is None else expect("the first moments", m, w.dtype, (members, kept), written=True),
            NONE if v is None else expect("the second moments", v, w.dtype, (members, kept), written=True),
            expect("the coefficients", coefficients, w.dtype, (len(CONSTANTS) + terms, members)),
        )
        strides = (stride for *_, stride in rows)
        return (members, _shape(size, terms, *strides, len(pieces), int(masked), longest)), rows

    numbers = [
        number for piece in pieces for number in (piece.at, piece.kept, piece.size, int(piece.divided))
    ]
    factors = (ctypes.c_double * len(pieces))(*(piece.factor for piece in pieces))
    return check, (ctypes.c_long * len(numbers))(*numbers), factors
