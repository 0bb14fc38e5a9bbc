"""The update of a whole population: one elementwise program over all weights, whatever each member's rule."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from evoopt.errors import EvooptError, EvooptWarning, one_line
from evoopt.optim.rule import UpdateRule
from evoopt.optim.term import TermInputs
from evoopt.optim.terms import weighted_sum
from evoopt.training.coefficients import CONSTANTS, Program, Step, StepTable, step_table
from evoopt.training.native import cuda_update, update
from evoopt.training.staged_update import has_stages

Compile = Literal["auto", "always", "never"]
"""Whether the update is compiled: a kernel in C++, on a GPU in CUDA, runs all rules; where it does not
compile, torch compiles a program, with ``auto`` when the training is long enough to repay it."""

Kernel = Callable[[Tensor, Tensor, Tensor | None, Tensor | None, Tensor], None]

_SHORT_ROW = 8192
_WORTH_COMPILING = 1e6  # weights of one member times steps; uncompiled code takes some 10 ns more for each


class BatchedUpdate:
    """Moves the weights of P members, each by its own rule, and keeps their moments.

    A member's weights do not depend on whoever is updated beside it, to the last bit: the kernel computes its
    own terms only, and a larger program makes the same IEEE operations in the same order and adds exact zeros
    for the terms of others.

    Attributes:
        recordable: Whether a step can be recorded, on a device or on tape.

    Args:
        rules: One per member, without stages; a readout is not its concern.
        total_steps: Length of the schedules.
        like: Weights ``[P, D]``; moments get their shape, dtype and device.
        compile: Whether to compile the program.
        steps: How many steps are expected, for ``compile="auto"``.
        moments: First and second moments ``[P, D]`` to go on with, changed in place; zeros by default.
        done: Steps each member's moments have seen.

    Raises:
        EvooptError: Rules with stages, see `evoopt.training.population_update`.
    """

    recordable = True

    def __init__(
        self,
        rules: Sequence[UpdateRule],
        total_steps: int,
        like: Tensor,
        compile: Compile = "auto",
        steps: int | None = None,
        moments: tuple[Tensor, Tensor] | None = None,
        done: Sequence[int] | None = None,
    ) -> None:
        self.rules = [rule.canonical() for rule in rules]
        if staged := next((rule for rule in self.rules if has_stages(rule)), None):
            raise EvooptError(f"this update knows no stages: {', '.join(staged.stages)}")
        self.total_steps = total_steps
        self._program = Program.of(self.rules)
        self._own = [Program.of([rule]) for rule in self.rules]
        m, v = moments or (None, None)
        self.m = None if not self._program.m else torch.zeros_like(like) if m is None else m
        self.v = None if not self._program.v else torch.zeros_like(like) if v is None else v
        self._done = None if done is None else list(done)
        work = like.shape[1] * (total_steps if steps is None else steps)
        compiled = compile == "always" or (compile == "auto" and work >= _WORTH_COMPILING)
        kernels = (kernel for kernel in (update, cuda_update) if kernel.suits(like, self._program.terms))
        self._native = None if compile == "never" else next(kernels, None)
        self._kernel = compiled_kernel(self._program) if compiled and self._native is None else None
        self._like = like[:0]
        self._table = self._new_table()

    def _new_table(self) -> StepTable:
        return step_table(self.rules, self._program.terms, self.total_steps, self._done, self._like)

    def select(self, index: Tensor) -> None:
        """Keep copies of the members at ``index``, which may repeat; moments go with them."""
        self.rules = [self.rules[i] for i in index.tolist()]
        self._own = [self._own[i] for i in index.tolist()]
        self._done = None if self._done is None else [self._done[i] for i in index.tolist()]
        self.m = None if self.m is None else self.m[index.to(self.m.device)]
        self.v = None if self.v is None else self.v[index.to(self.v.device)]
        self._table = self._new_table()

    def readout(self, weights: Tensor) -> Tensor:
        """The weights themselves: what members are scored with."""
        return weights

    def tensors(self) -> dict[str, Tensor]:
        """All that changes from step to step, by name: to be kept, or written."""
        return {name: x for name, x in (("m", self.m), ("v", self.v)) if x is not None}

    def reach(self, step: int) -> None:
        """Have ready what a recording reads at a step."""
        self._table.reach(step)

    def step(
        self, weights: Tensor, gradients: Tensor, step: Step, start: int = 0, stop: int | None = None
    ) -> None:
        """Update the weights of members ``start`` to ``stop - 1`` in place.

        Args:
            weights: Of those members, ``[n, D]``.
            gradients: Likewise; may be overwritten.
            step: See `Step`.
            start: First member.
            stop: Member after the last one, by default all the rest.
        """
        rows = slice(start, len(self.rules) if stop is None else stop)
        coefficients = self._table.at(step)[:, rows]
        m = None if self.m is None else self.m[rows]
        v = None if self.v is None else self.v[rows]
        if self._native is not None:
            self._native.step(self._program.terms, weights, gradients, m, v, coefficients)
            return
        coefficients = coefficients.unsqueeze(-1)
        if self._kernel is not None:
            self._kernel(weights, gradients, m, v, coefficients)
        elif weights.device.type == "cpu" and weights.shape[1] > _SHORT_ROW:
            # Row by row each member's few passes stay in the cache and skip the terms of others.
            self._by_row(weights, gradients, m, v, coefficients, rows.start)
        else:
            run_program(self._program, weights, gradients, m, v, coefficients)

    def _by_row(
        self,
        weights: Tensor,
        gradients: Tensor,
        m: Tensor | None,
        v: Tensor | None,
        table: Tensor,
        start: int,
    ) -> None:
        for i in range(len(weights)):
            row, own = slice(i, i + 1), self._own[start + i]
            run_program(
                own,
                weights[row],
                gradients[row],
                m[row] if m is not None and own.m else None,
                v[row] if v is not None and own.v else None,
                _rows_of(table, self._program, own)[:, row],
            )


def run_program(
    program: Program, w: Tensor, g: Tensor, m: Tensor | None, v: Tensor | None, coefficients: Tensor
) -> None:
    """One step of all members, in the order of `evoopt.optim.evolved.apply_rule_`.

    Args:
        program: What to compute.
        w: Weights ``[P, D]``, changed in place.
        g: Gradients ``[P, D]``.
        m: First moments ``[P, D]``, changed in place, or None if none are kept.
        v: Second moments, likewise.
        coefficients: One step of `coefficient_table`, ``[rows, P, 1]``.
    """
    c = dict(zip(CONSTANTS, coefficients.unbind(), strict=False))
    g = torch.maximum(torch.minimum(g, c["clip"]), -c["clip"])
    m_hat = m_prev = g
    if m is not None:
        m_prev = m.clone() if program.reads_m_prev else m
        m.copy_(c["beta1"] * m + c["one_minus_beta1"] * g)
        m_hat = m * c["m_scale"]
    denominator = g
    if program.reads_v:
        v_hat = g * g
        if v is not None:
            v.copy_(c["beta2"] * v + c["one_minus_beta2"] * v_hat)
            v_hat = v * c["v_scale"]
        denominator = v_hat.sqrt() + c["eps"]
    inputs = TermInputs(g, m_hat, denominator, m_prev, c["eps"], c["nesterov_beta"], c["beta3"])
    w.mul_(c["decay"])
    direction = weighted_sum(zip(program.terms, coefficients[len(CONSTANTS) :], strict=True), inputs)
    if direction is not None:
        w.sub_(direction * c["lr"])


@functools.cache
def compiled_kernel(program: Program) -> Kernel | None:
    """The program compiled for any number of members and weights; None, with one notice, if that fails.

    Compiling takes seconds and is remembered on disk by torch; the first call in a process tries it out.
    """
    if not _compiler_works():
        return None
    kernel: Kernel = torch.compile(functools.partial(run_program, program), dynamic=True)
    return kernel


@functools.cache
def _compiler_works() -> bool:
    try:
        # Within a daemonic worker process inductor's own pool of compile processes cannot start.
        torch._inductor.config.compile_threads = 1
        torch.compile(lambda x: x * 2 + 1, dynamic=True)(torch.ones(2, 3))
    except Exception as error:
        warnings.warn(
            f"torch.compile does not work here, updates run uncompiled and slower: {one_line(error)}",
            EvooptWarning,
            stacklevel=2,
        )
        return False
    return True


def _rows_of(table: Tensor, program: Program, own: Program) -> Tensor:
    names = [program.terms.index(name) + len(CONSTANTS) for name in own.terms]
    return table[[*range(len(CONSTANTS)), *names]]
