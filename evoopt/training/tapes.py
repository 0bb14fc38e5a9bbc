"""Steps of small models on a CPU cost more Python than arithmetic: put on tape once, they are played again.

A tape holds what is computed, kernels and operations of torch in their order, with the memory that they read
and write; what Python decides on the way is left out. Playing gives the bits that computing gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from evoopt.training.native.threads import written_down

Compute = Callable[..., Tensor | None]

_MOST = 32 * 2**20
"""Bytes that a tape may hold: nothing of a step is freed before its end, and large steps need no tape."""

_BY_DATA = (
    torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.nondeterministic_seeded
)  # fmt: skip
_ALLOCATION = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided")


class Played:
    """What is computed of some tensors on a CPU; has the interface of `evoopt.training.graphs.Replayed`.

    The first inputs of a shape are computed with as usual, while things are made that are kept; the second
    time it is put on tape, which is played from then on. What a tape cannot hold is computed as usual.

    Args:
        compute: Takes tensors; what it returns is read before the next call. It reads and writes the same
            memory each time, apart from its inputs, and does nothing but by kernels and operations of torch.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._tapes: dict[tuple[torch.Size, ...], _Tape | None] = {}
        self._possible = True

    def __call__(self, *inputs: Tensor) -> Tensor | None:
        """What is computed of inputs."""
        shapes = tuple(x.shape for x in inputs)
        if not self._possible or shapes not in self._tapes:
            self._tapes[shapes] = None
            return self._compute(*inputs)
        tape = self._tapes[shapes]
        self._possible = False  # should this fail
        if tape is None:
            tape = self._tapes[shapes] = _Tape()
            tape.write(self._compute, inputs)
            self._possible = tape.holds
            if not tape.holds:
                self._tapes.clear()
        elif tape.play(inputs):
            self._possible = True
        else:  # a kernel refuses these inputs, and whoever called it knows what to do
            return self._compute(*inputs)
        return tape.result


class _Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """One computation.

    Attributes:
        holds: Whether it is all there, and not too much.
        result: What was computed last.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.holds = True
        self.result: Tensor | None = None
        self._calls: list[Callable[[], object]] = []
        self._memory: dict[int, Tensor] = {}  # made on the way, by address
        self._bytes = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # for which torch would import its compiler: seconds in each process

    def write(self, compute: Compute, inputs: tuple[Tensor, ...]) -> None:
        """Compute, of copies of the inputs, in whose place others are to follow."""
        self._inputs = tuple(x.clone() for x in inputs)
        with self, written_down(self._kernel):
            self.result = compute(*self._inputs)

    @torch.no_grad()
    def play(self, inputs: tuple[Tensor, ...]) -> bool:
        """Compute the same of other inputs of these shapes; whether no kernel refuses them."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        return all(call() is not False for call in self._calls)

    def _kernel(self, call: Callable[[], bool], valid: bool) -> None:
        self.holds &= valid
        if self.holds:
            self._calls.append(call)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.holds &= not _goes_by_data(func, args)
        if self.holds:
            self._operation(func, _same_memory(args), _same_memory(kwargs), result)
        return result

    def _operation(self, func: Any, args: Any, kwargs: Any, made: Any) -> None:
        given = {_address(x) for x in (*_tensors(args), *_tensors(kwargs))}
        results = made if isinstance(made, tuple | list) else (made,)
        new = [x.detach() if isinstance(x, Tensor) and _address(x) not in given else None for x in results]
        self._memory.update((_address(x), x) for x in new if x is not None)
        self._bytes += sum(x.untyped_storage().nbytes() for x in new if x is not None)
        if self._bytes > _MOST:
            self.holds = False
            self._memory.clear()
            self._calls.clear()
            return
        again = partial(func, *args, **kwargs)
        if func._schema.is_mutable:
            self._calls.append(again)
        elif not any(x is not None for x in new) or func.overloadpacket.__name__ in _ALLOCATION:
            pass  # views, and memory, are there already
        elif len(new) == 1 and (into := _with_memory(func)):
            self._calls.append(partial(into[0], *args, **kwargs, **{into[1]: new[0]}))
        else:
            self._calls.append(partial(_copied, again, new))


def _goes_by_data(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether more than numbers follows from the numbers that an operation is given, or these from chance."""
    if func is torch.ops.aten.index.Tensor:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return _always_goes_by_data(func)


@cache
def _always_goes_by_data(func: Any) -> bool:
    # What Python makes a tensor of would be the same for ever.
    return func is torch.ops.aten.lift_fresh.default or any(tag in func.tags for tag in _BY_DATA)


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, tuple | list | dict):
        for one in x.values() if isinstance(x, dict) else x:
            yield from _tensors(one)


def _same_memory(x: Any) -> Any:
    """Arguments or results, apart from how they are differentiated."""
    if isinstance(x, Tensor):
        return x.detach() if x.requires_grad else x
    if isinstance(x, dict):
        return {name: _same_memory(one) for name, one in x.items()}
    return type(x)(map(_same_memory, x)) if isinstance(x, tuple | list) else x


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


@cache
def _with_memory(func: Any) -> tuple[Any, str] | None:
    """The overload of an operation that takes memory for its result, too, and by which name."""

    def others(overload: Any) -> list[tuple[str, str]]:
        return [(x.name, str(x.type)) for x in overload._schema.arguments if not x.is_out]

    for name in func.overloadpacket.overloads():
        overload = getattr(func.overloadpacket, name)
        written = [x.name for x in overload._schema.arguments if x.is_out]
        if len(written) == 1 and others(overload) == others(func):
            return overload, written[0]
    return None


def _copied(compute: Callable[[], Any], memory: list[Tensor | None]) -> None:
    results = compute()
    for old, new in zip(memory, results if isinstance(results, tuple | list) else (results,), strict=True):
        if old is not None:
            old.copy_(new)
