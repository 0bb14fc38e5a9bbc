"""Compiled functions, and what they are handed, which is checked at every call: in C nothing is."""

from __future__ import annotations

import ctypes
import math
import operator
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from evoopt.errors import EvooptError
from evoopt.training.native.build import library

TYPES = {torch.float32: "float", torch.float64: "double"}
"""Suffix of a function's name by the type of its numbers."""

POINTER, NUMBER, FLAG = ctypes.c_void_p, ctypes.c_long, ctypes.c_int

F = TypeVar("F")

Rows = tuple[Tensor | None, int | None, int]
"""A tensor ``[P or 1, ...]``, its address, and how many numbers it is from one member to the next (0 where
all share one part)."""

NONE: Rows = (None, None, 0)
"""What is not there."""

_LARGEST = 2**31 - 1
_MOST_NUMBERS = 2**48  # far more than any memory holds, far less than overflows


def function(
    source: str, name: str, arguments: tuple[Any, ...], before: str = ""
) -> Callable[[torch.dtype], Callable[..., bool]]:
    """A function of ``source.cpp``, by the type of its numbers; called only where the file compiles.

    It is called with its first member and the one after its last, a `structure`, and what follows. It returns
    False if it refuses its input, and raises MemoryError.

    Args:
        source: Name of the file.
        name: Of the function, without its suffix.
        arguments: Types of the arguments that follow in C.
        before: Lines before the file's own.
    """

    @cache
    def for_numbers(dtype: torch.dtype) -> Callable[..., bool]:
        if dtype not in TYPES:
            raise EvooptError(f"the {source} kernel computes in float32 or float64, not in {_name(dtype)}")
        compiled = library(source, before)
        assert compiled is not None, "asked for by `suits`"
        entry = getattr(compiled, f"{name}_{TYPES[dtype]}")
        entry.argtypes, entry.restype = (NUMBER, NUMBER, POINTER, *arguments), _done
        return entry  # type: ignore[no-any-return]

    return for_numbers


def structure(names: str) -> Callable[..., Any]:
    """Makes pointers to a structure of some sizes, which functions only read; equal ones once."""
    fields = [(name, NUMBER) for name in names.split()]
    kind = type("Sizes", (ctypes.Structure,), {"_fields_": fields})

    @cache
    def of(*sizes: int) -> Any:
        return ctypes.byref(kind(*sizes))

    return of


def by_layout(
    check: Callable[..., tuple[F, tuple[Rows, ...]]],
) -> Callable[..., tuple[F, Sequence[int | None], object]]:
    """A check of tensors, made once for each layout they come in: their shapes, strides, types and device.

    Args:
        check: Takes the tensors, of which some may be None; returns what follows from their layout, and each
            as the kernel relies on it (see `expect`).

    Returns:
        What takes the tensors and returns what follows, their addresses, and what to keep while these are
        used. It raises what ``check`` does.
    """
    known: dict[tuple[object, ...], F] = {}

    def checked(*tensors: Tensor | None) -> tuple[F, Sequence[int | None], object]:
        layout: list[object] = []
        addresses: list[int | None] = []
        try:
            for t in tensors:
                layout.append(t if t is None else (t.shape, t.stride(), t.dtype, t.is_cpu))
                addresses.append(t if t is None else t.data_ptr())
            if 0 not in addresses and (follows := known.get(tuple(layout))) is not None:
                return follows, addresses, tensors
        except (AttributeError, RuntimeError, TypeError, ValueError):
            pass  # no tensor, or one without strides or memory: the check says so
        follows, rows = check(*tensors)
        if all(row[0] is t for row, t in zip(rows, tensors, strict=True)):
            known[tuple(layout)] = follows
        return follows, [address for _, address, _ in rows], rows

    return checked


def sizes(what: str, tensor: Tensor, dimensions: str) -> torch.Size:
    """The shape of a tensor that others are measured by.

    Args:
        what: Its name in messages.
        tensor: What was handed in.
        dimensions: The names of its dimensions.

    Raises:
        EvooptError: Another number of dimensions, or no tensor.
    """
    try:
        shape = tensor.shape
        if len(shape) == dimensions.count(" ") + 1:
            return shape
    except (AttributeError, RuntimeError):
        pass
    raise EvooptError(f"{what} must be a tensor [{', '.join(dimensions.split())}], not {_found(tensor)}")


def expect(
    what: str,
    tensor: Tensor,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    *,
    shared: bool = False,
    whole: bool = False,
    written: bool = False,
) -> Rows:
    """A tensor as a kernel relies on it; copied where only its layout is another and it is not written to.

    Args:
        what: Its name in messages.
        tensor: What was handed in.
        dtype: Type of its numbers.
        shape: Its shape, members first.
        shared: Whether one part for all members, ``[1, ...]``, will do as well.
        whole: Whether members' parts must lie one behind the other; each part alone always lies so.
        written: Whether the kernel writes to it: then it is never copied, and its parts may not overlap.

    Raises:
        EvooptError: Anything else than that.
    """
    try:
        found = tensor.shape
        fits = found == shape or (shared and found == (1, *shape[1:]))
        if fits and tensor.dtype is dtype and tensor.is_cpu and (tensor.data_ptr() or tensor.numel() == 0):
            return _laid_out(what, tensor, whole, written)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        pass  # no tensor, or one without strides or memory
    raise _misfit(what, tensor, dtype, shape, shared)


def setting(what: str, value: object, least: int) -> int:
    """A setting of a layer, such as its stride.

    Raises:
        EvooptError: No whole number, or one out of range.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if not least <= number <= _LARGEST:
        raise EvooptError(f"{what} must be a whole number from {least} to {_LARGEST}, not {value!r}")
    return number


def extent(what: str, size: int, padding: int, window: int, stride: int = 1) -> int:
    """How many windows fit along one side of an image.

    Raises:
        EvooptError: None at all, or an image without any pixel.
    """
    padded = size + 2 * padding
    if size < 1 or window < 1 or padded < window:
        raise EvooptError(
            f"{what}: a window of {window} does not fit an image of {size} with padding {padding}; "
            "larger images or a smaller window do"
        )
    return (padded - window) // stride + 1


def fitting_memory(what: str, *shape: int) -> tuple[int, ...]:
    """The shape of an output.

    Raises:
        EvooptError: More numbers than any memory holds.
    """
    if math.prod(shape) > _MOST_NUMBERS:
        raise EvooptError(f"{what}: an output of {list(shape)} numbers fits no memory")
    return shape


def _done(code: int) -> bool:
    """What a function's result says: whether its input was valid, if there was memory."""
    if code < 0:
        raise MemoryError("a compiled kernel found no memory")
    return code != 0


def _laid_out(what: str, tensor: Tensor, whole: bool, written: bool) -> Rows:
    (members, *shape), (stride, *within) = tensor.shape, tensor.stride()
    if not tensor.is_contiguous():
        size, *inner = (math.prod(shape[k:]) for k in range(len(shape) + 1))
        # Strides along a side of one say nothing.
        in_rows = all(n == 1 or a == b for n, a, b in zip(shape, within, inner, strict=True))
        if written and (whole or not in_rows or stride < size):
            raise EvooptError(f"{what} is written to, so each member's part must be contiguous and its own")
        if whole or not in_rows:
            try:
                tensor, stride = tensor.contiguous(), size
            except RuntimeError as error:
                raise MemoryError(f"no memory for a copy of {what}") from error
    return tensor, tensor.data_ptr(), stride if members > 1 else 0


def _misfit(
    what: str, tensor: object, dtype: torch.dtype, shape: tuple[int, ...], shared: bool
) -> EvooptError:
    members = f"1 or {shape[0]}" if shared and shape[0] != 1 else str(shape[0])
    wanted = f"{_name(dtype)} [{', '.join((members, *map(str, shape[1:])))}] on cpu"
    return EvooptError(f"{what} must be {wanted}, not {_found(tensor)}; model and data must fit each other")


def _found(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    try:
        shape, memory = list(value.shape), "" if value.numel() == 0 or value.data_ptr() else " without memory"
    except RuntimeError:
        return f"{type(value).__name__} of layout {value.layout}"
    return f"{_name(value.dtype)} {shape} on {value.device}{memory}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
