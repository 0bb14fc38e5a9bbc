"""What is said of a stage of an update rule, all in one place: its formula, what it keeps, what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


SMALLEST = 1e-15
"""Norms and roots of mean squares below it count as it; its square is still a normal number in float32."""


class StageInputs(NamedTuple):
    """What a stage may look at, besides the tensor that it changes.

    Tensors are those of ``P`` members: ``[P, ...]``, but ``[P, rows, columns]`` for a stage that acts on
    matrices.

    Attributes:
        g: Gradient, as the terms see it.
        w: Parameter, before the step.
        denom: ``sqrt(v) + eps``, for stages after the second moment.
        state: Tensors that the stage keeps, by name; it updates them in place.
        constants: Those of the rule by the names of its fields; a number, or a tensor ``[P, 1, ...]`` that
            broadcasts to the members' own. ``weight_decay`` is that of the step.
        step: 1-based step, likewise.
    """

    g: Tensor
    w: Tensor
    denom: Tensor
    state: Mapping[str, Tensor]
    constants: Mapping[str, Any]
    step: int | Tensor


WIDE = ("square", "lying")
"""Shapes of what a stage keeps in float32 at least."""


@dataclass(frozen=True)
class State:
    """A tensor that a stage keeps for each parameter, zeros at first.

    Attributes:
        name: Its name in the optimizer's state.
        shape: That of the parameter, one number a row ``[rows, 1]`` or one a column ``[1, columns]``; with
            ``n`` for the smaller of the two, ``[n, n]`` (``"square"``), or the matrix itself lying down
            (``"lying"``, ``[n, larger]``), both in float32 at least.
    """

    name: str
    shape: Literal["parameter", "rows", "columns", "square", "lying"] = "parameter"

    def zeros(self, like: Tensor) -> Tensor:
        """A fresh state for one parameter."""
        import torch  # by those alone who compute

        if self.shape == "parameter":
            return torch.zeros_like(like, memory_format=torch.preserve_format)
        rows, columns = as_matrix(like).shape
        if self.shape not in WIDE:
            return like.new_zeros((rows, 1) if self.shape == "rows" else (1, columns))
        smaller, larger = sorted((rows, columns))
        wide = torch.promote_types(like.dtype, torch.float32)
        return like.new_zeros((smaller, smaller if self.shape == "square" else larger), dtype=wide)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the way from a gradient to a step; members of a stack never touch each other.

    Attributes:
        name: Value of the rule's field that asks for it, or the field itself.
        part: Where in the pipeline it stands.
        source: Where it was published.
        formula: The definition in plain text: what it changes (``g``, ``v``, ``u``) and what that becomes.
        latex: The right side for typesetting.
        state: What it keeps for each parameter.
        acts_on: What it needs whole: one element, a parameter's tensor, or one with rows and columns.
        scale: What becomes of the result when all tensors it reads but the weights are multiplied by
            ``c > 0``: it too (``"equal"``), nothing (``"free"``), by ``c**2`` (``"square"``), or something
            else (``"own"``).
        beta2: What it keeps the moving average of at the rule's beta2, in words; empty for nothing.
        decomposes: Whether it takes eigenvectors, which need full precision and no CUDA graph can hold.
        function: The formula on what it changes and `StageInputs`.
        code: The same for an exported class, in Python for one tensor: ``grad`` or ``update`` (of a second
            moment ``exp_avg_sq``, of a decay ``decayed``) is what it changes; it may read ``param``,
            ``grad``, ``denom``, ``step``, and by their names constants and what the stage keeps.
    """

    name: str
    part: Literal["gradient", "moments", "mask", "shape", "scale", "decay"]
    source: str
    formula: str
    latex: str
    state: tuple[State, ...] = ()
    acts_on: Literal["element", "tensor", "matrix"]
    scale: Literal["equal", "free", "square", "own"]
    beta2: str = ""
    decomposes: bool = False
    function: Callable[[Tensor, StageInputs], Tensor]
    code: tuple[str, ...]


def as_matrix(x: Tensor) -> Tensor:
    """A parameter of two or more dimensions as ``[out, rest]``: a kernel is one row for each channel."""
    return x.flatten(1)


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of each member's tensor, ``[P, 1, ...]``."""
    import torch  # by those alone who compute

    return per_member(torch.linalg.vector_norm(x.reshape(x.shape[0], -1), dim=1), x)


def mean(x: Tensor) -> Tensor:
    """Mean of each member's tensor, ``[P, 1, ...]``."""
    return per_member(x.reshape(x.shape[0], -1).mean(dim=1), x)


def per_member(values: Tensor, like: Tensor) -> Tensor:
    """One number a member, ``[P]``, as ``[P, 1, ...]`` with the dimensions of ``like``."""
    return values.view(-1, *[1] * (like.dim() - 1))


def average_(average: Tensor, x: Tensor, beta: float | Tensor) -> Tensor:
    """Move an exponential average towards ``x`` in place."""
    return average.mul_(beta).add_(x * (1 - beta))
