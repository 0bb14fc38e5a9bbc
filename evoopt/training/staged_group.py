"""One program of torch for all members whose rules have equal structure.

`evoopt.optim.step.apply_rule_` is the definition. Here elementwise stages run on whole rows of weights, and
stages that need tensors or matrices on stacks of all parameters of one shape of all members.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages import Stage, StageInputs
from evoopt.optim.step import keeps
from evoopt.optim.term import TermInputs
from evoopt.optim.terms import TERM_BY_NAME, weighted_sum
from evoopt.training.coefficients import CONSTANTS, Step, step_table
from evoopt.training.flat import FlatLayout
from evoopt.training.graphs import Replayed, records
from evoopt.training.native import staged
from evoopt.training.native import update as native
from evoopt.training.stacks import Stack, StackInputs, Subset

# `nesterov_beta` may be a number in one rule and absent in the next: a step's table holds what it means.
_NUMBERS = tuple(f.name for f in fields(UpdateRule) if f.name not in ("terms", "iterations", "nesterov_beta"))

_Given = tuple[Tensor, Tensor, Tensor]


class _OnDemand(dict[str, Any]):
    """Values by name, each made when it is first asked for: stages look at few."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Any:
        value = self[name] = self._make(name)
        return value


class _Part(NamedTuple):
    """Members of a group that go through a step at once."""

    constants: Mapping[str, Any]
    kept: Mapping[str, Tensor]
    moments: Sequence[Tensor | None]  # first and second, as far as the kernel is told of them
    stacks: Sequence[tuple[Stack, Mapping[int, Mapping[str, Any]]]]  # constants by a stack's dimensions
    done: int | Tensor
    done_by_member: Tensor


class StagedGroup:
    """Members whose rules compute the same on the same parameters, with their state.

    Args:
        own: Rules of equal structure by their members' places in the population.
        layout: Where parameters lie in a row of weights.
        names: Parameters that these rules move.
        like: A tensor of the weights' dtype and device.
        total_steps: Length of the schedules.
        done: Steps each member has made before.
        kernel: Whether the kernel in C++ may compute what it knows.
    """

    def __init__(
        self,
        own: Mapping[int, UpdateRule],
        layout: FlatLayout,
        names: tuple[str, ...],
        like: Tensor,
        total_steps: int,
        done: Sequence[int] | None,
        kernel: bool,
    ) -> None:
        self.subset = Subset(list(own), like.device)
        self._rules = list(own.values())
        self._rule = rule = self._rules[0]
        self._terms = tuple(name for name, _ in rule.terms)
        self.recordable = not rule.decomposes
        self._stages: dict[tuple[str, str], Stage] = {(s.part, s.name): s for s in rule.active}
        self._done = None if done is None else list(done)
        self._total_steps, self._like = total_steps, like
        self._layout = FlatLayout({name: layout.shapes[name] for name in names}, layout.channels_last)
        self._runs = layout.runs(names)
        uses = {quantity for name in self._terms for quantity in TERM_BY_NAME[name].uses}
        self._reads_denom = "v" in uses or rule.normalize_first
        early = any(part in ("gradient", "moments") for part, _ in self._stages)
        self._native = kernel and bool(self._terms) and not early and staged.suits(like, self._terms)
        self._pieces = staged.pieces_of(rule, layout, names) if self._native else None
        n, states = len(own), keeps(rule)
        sizes = {state.name: self._layout.size for state in states if state.shape == "parameter"}
        self._kept = {name: like.new_zeros(n, size) for name, size in sizes.items()}
        by_shape: dict[torch.Size, list[str]] = {}
        for name in names:
            if layout.shapes[name].numel():
                by_shape.setdefault(layout.shapes[name], []).append(name)
        self._stacks = []
        for shape, alike in by_shape.items():
            one = {s.name: s.zeros(like.new_empty(shape)) for s in states if s.name not in sizes}
            kept = {name: x.new_zeros(n, len(alike), *x.shape) for name, x in one.items()}
            self._stacks.append(Stack(tuple(alike), kept))
        self._renumber()

    def _renumber(self) -> None:
        self._table = step_table(self._rules, self._terms, self._total_steps, self._done, self._like)
        self._parts: dict[tuple[int, int], _Part] = {}
        self._replayed: dict[tuple[int, ...], Replayed] = {}

    def selected(self, index: Sequence[int]) -> StagedGroup | None:
        """A group of copies of those at ``index`` of the population that are in this one, if any."""
        subset, chosen = self.subset.selected(index)
        if not chosen:
            return None
        other, k = copy.copy(self), torch.tensor(chosen, device=self._like.device)
        other.subset = subset
        other._rules = [self._rules[i] for i in chosen]
        other._done = None if self._done is None else [self._done[i] for i in chosen]
        other._kept = {name: x[k] for name, x in self._kept.items()}
        other._stacks = [Stack(s.names, {name: x[k] for name, x in s.kept.items()}) for s in self._stacks]
        other._renumber()
        return other

    def views(self) -> Iterator[tuple[str, str, Tensor]]:
        """Name and parameter of what is kept, and its view ``[n, ...]``."""
        for state, flat in self._kept.items():
            yield from ((state, name, view) for name, view in self._layout.views(flat).items())
        for stack in self._stacks:
            for state, kept in stack.kept.items():
                yield from ((state, name, kept[:, k]) for k, name in enumerate(stack.names))

    def tensors(self) -> dict[str, Tensor]:
        """See `BatchedUpdate.tensors`."""
        stacks = enumerate(self._stacks)
        return {**self._kept, **{f"{k}.{name}": x for k, s in stacks for name, x in s.kept.items()}}

    def reach(self, step: int) -> None:
        """See `BatchedUpdate.reach`."""
        self._table.reach(step)

    def step(self, weights: Tensor, gradients: Tensor, step: Step, start: int, stop: int) -> None:
        """See `StagedUpdate.step`."""
        found = self.subset.part(start, stop)
        if found is None:
            return
        own, index = found
        part = self._part(own)
        table = self._table.at(step)[:, own]
        if self.recordable and records(weights.device) and not isinstance(step, Tensor):
            at = cast(Tensor, part.done + (step + 1))
            # Rows that lie elsewhere are another program.
            where = (start, stop, weights.data_ptr(), gradients.data_ptr())
            if where not in self._replayed:
                work = functools.partial(self._move_rows, weights, gradients, index, part)
                self._replayed[where] = Replayed(work, weights.device)
            self._replayed[where](table, at)
        elif self._pieces is not None:
            rows, gradients = weights[index], gradients[index]
            m, v = part.moments
            masked = self._rule.mask == "cautious"
            staged.step(self._terms, rows, gradients, m, v, table, self._pieces, masked)
            if isinstance(index, Tensor):
                weights[index] = rows
        else:
            done = part.done_by_member if isinstance(step, Tensor) else part.done
            self._move_rows(weights, gradients, index, part, table, step + 1 + done)

    def _move_rows(
        self,
        weights: Tensor,
        gradients: Tensor,
        index: slice | Tensor,
        part: _Part,
        table: Tensor,
        step: int | Tensor,
    ) -> None:
        rows, gradients = weights[index], gradients[index]
        w, g = self._columns(rows), self._columns(gradients)
        self._move(w, g, part, table, step)
        if len(self._runs) > 1:
            sizes = [run.stop - run.start for run in self._runs]
            for run, x in zip(self._runs, w.split_with_sizes(sizes, dim=1), strict=True):
                rows[:, run] = x
        if isinstance(index, Tensor):
            weights[index] = rows

    def _columns(self, rows: Tensor) -> Tensor:
        runs = [rows[:, run] for run in self._runs]
        return runs[0] if len(runs) == 1 else torch.cat(runs, dim=1)

    def _part(self, own: slice) -> _Part:
        if (own.start, own.stop) in self._parts:
            return self._parts[own.start, own.stop]
        rules, like, done = self._rules[own], self._like, (self._done or [0] * len(self._rules))[own]

        def constant(name: str) -> Any:
            value = getattr(self._rule, name)
            if name not in _NUMBERS or isinstance(value, bool) or not isinstance(value, float | int):
                return value
            return like.new_tensor([getattr(rule, name) for rule in rules])[:, None]

        constants = _OnDemand(constant)

        def per_tensor(stack: Stack, dimensions: int) -> Callable[[str], Any]:
            return lambda name: stack.per_tensor(constants[name], dimensions)

        kept = {name: x[own] for name, x in self._kept.items()}
        known = staged.width(self._pieces or ())
        stacks = []
        for whole in self._stacks:
            stack = Stack(whole.names, {name: x[own] for name, x in whole.kept.items()})
            stacks.append((stack, {k: _OnDemand(per_tensor(stack, k)) for k in (2, 3)}))
        by_member = like.new_tensor(done)[:, None]
        self._parts[own.start, own.stop] = part = _Part(
            constants,
            kept,
            [None if (x := kept.get(name)) is None else x[:, :known] for name in ("exp_avg", "exp_avg_sq")],
            stacks,
            done[0] if len(set(done)) == 1 and not records(like.device) else by_member,
            by_member,
        )
        return part

    def _move(self, w: Tensor, g: Tensor, part: _Part, table: Tensor, step: int | Tensor) -> None:
        """One step in the order of `evoopt.optim.step.apply_rule_`."""
        rule, stages = self._rule, self._stages
        c = dict(zip(CONSTANTS, table[..., None], strict=False))

        def passed(key: tuple[str, str], x: Tensor, denom: Tensor | None = None) -> Tensor:
            stage = stages.get(key)
            given = (g, w, x if denom is None else denom)
            return x if stage is None else self._passed(stage, x, given, part, step)

        u: Tensor | None
        if self._native:
            u = self._direction_by_kernel(g, part, table)
        else:
            if rule.clip_value is not None:
                g = torch.maximum(torch.minimum(g, c["clip"]), -c["clip"])
            for name in ("gradient_difference", "clip_norm", "l2"):
                g = passed(("gradient", name), g)
            v, m, denom = part.kept.get("exp_avg_sq"), part.kept.get("exp_avg"), g
            if v is not None:
                v.mul_(c["beta2"]).add_(g * g * c["one_minus_beta2"])
            if self._reads_denom:
                v_hat = g * g if v is None and not rule.use_v else v
                v_hat = passed(("moments", rule.second_moment), g) if v_hat is None else v_hat
                denom = (v_hat * c["v_scale"]).sqrt() + c["eps"]
            g = passed(("moments", "normalize_first"), g, denom)
            m2 = passed(("moments", "slow_beta"), g)
            m_hat = m_prev = g
            if m is not None:
                m_prev = m.clone() if rule.uses("m_prev") else m
                m.mul_(c["beta1"]).add_(g * c["one_minus_beta1"])
                m_hat = m * c["m_scale"]
            inputs = TermInputs(
                g, m_hat, denom, m_prev, c["eps"], c["nesterov_beta"], c["beta3"], m2, part.constants["power"]
            )
            weights = table[len(CONSTANTS) :, :, None]
            u = weighted_sum(zip(self._terms, weights, strict=True), inputs)
        if u is None:
            u = torch.zeros_like(w) if stages else None
        if u is not None:
            u = passed(("mask", rule.mask), u)
            u = passed(("shape", rule.shape), u)
            decayed = passed(("decay", "cautious_decay"), u) if rule.cautious_decay else w
            if rule.scale == "trust":
                u = u + part.constants["weight_decay"] * decayed
            elif rule.cautious_decay:
                w.sub_(decayed * (c["lr"] * part.constants["weight_decay"]))
            u = passed(("scale", rule.scale), u)
        if rule.scale != "trust" and not rule.cautious_decay:
            w.mul_(c["decay"])
        if u is not None:
            w.sub_(u * c["lr"])

    def _direction_by_kernel(self, g: Tensor, part: _Part, table: Tensor) -> Tensor:
        """The step from zero, at the learning rate -1."""
        table, u = table.clone(), torch.zeros_like(g)
        table[CONSTANTS.index("lr")] = -1
        native.step(self._terms, u, g, part.kept.get("exp_avg"), part.kept.get("exp_avg_sq"), table)
        return u

    def _passed(self, stage: Stage, x: Tensor, given: _Given, part: _Part, step: int | Tensor) -> Tensor:
        """What a stage makes of ``x`` ``[n, size]``, given gradients, weights and denominators likewise."""
        if stage.acts_on == "element":
            return stage.function(x, StageInputs(*given, part.kept, part.constants, step))
        dimensions = 3 if stage.acts_on == "matrix" else 2
        made = torch.zeros_like(x, memory_format=torch.contiguous_format)
        of_x, of_made = self._layout.views(x), self._layout.views(made)
        halved = x.is_cuda and x.dtype == torch.float32 and not stage.decomposes
        with torch.autocast("cuda", torch.bfloat16) if halved else nullcontext():
            for stack, constants in part.stacks:
                kept = {state.name: stack.kept[state.name].flatten(0, 1) for state in stage.state}
                at = stack.per_tensor(step, dimensions)
                inputs = StackInputs(stack, self._layout, given, kept, constants[dimensions], at, dimensions)
                stack.put(stage.function(stack.of(of_x, dimensions), cast(StageInputs, inputs)), of_made)
        return made
