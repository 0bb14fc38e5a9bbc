"""The update of members whose rules have stages: one program of torch for all members of equal structure.

`evoopt.optim.step.apply_rule_` is the definition. Here elementwise stages run on whole rows of weights, and
stages that need tensors or matrices on stacks of all parameters of one shape of all members of a group.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evoopt.optim.groups import parameter_roles
from evoopt.optim.rule import UpdateRule
from evoopt.optim.stages import Stage, StageInputs
from evoopt.optim.step import keeps
from evoopt.optim.term import TermInputs
from evoopt.optim.terms import MORE_TERMS, TERM_BY_NAME, weighted_sum
from evoopt.training.coefficients import CONSTANTS, StepTable
from evoopt.training.flat import FlatLayout
from evoopt.training.native import update as native
from evoopt.training.population import Architecture

_NUMBERS = tuple(f.name for f in fields(UpdateRule) if f.name not in ("terms", "iterations"))
_MORE_TERMS = {term.name for term in MORE_TERMS}


def has_stages(rule: UpdateRule) -> bool:
    """Whether a step of a canonical rule is more than the weighted sum that the kernel computes."""
    more = any(name in _MORE_TERMS for name, _ in rule.terms)
    return bool(rule.active) or rule.tells_matrices_apart or more


class StagedUpdate:
    """Moves the weights of some members of a population, each by its own rule, and keeps their state.

    A member's weights do not depend on whoever is updated beside it. Products of matrices in Newton-Schulz
    iterations of float32 weights are computed in bfloat16 on CUDA.

    Args:
        rules: In canonical form, by the members' places in the population.
        architecture: Says where parameters lie in a row of weights, and which of them are matrices.
        like: Weights ``[P, D]``, for dtype and device.
        total_steps: Length of the schedules.
        done: Steps each member of the population has made before.
        kernel: Whether the kernel in C++ may compute what it knows.
    """

    def __init__(
        self,
        rules: Mapping[int, UpdateRule],
        architecture: Architecture,
        like: Tensor,
        total_steps: int,
        done: Sequence[int] | None = None,
        kernel: bool = True,
    ) -> None:
        layout = architecture.layout
        roles = parameter_roles(architecture.model)
        members: dict[tuple[Any, ...], dict[int, UpdateRule]] = {}
        for place, rule in rules.items():
            wanted = {"matrix", "output"} if rule.shape_output else {"matrix"}
            apart = rule.tells_matrices_apart
            whole = tuple(name for name in layout.shapes if not apart or roles[name] in wanted)
            others = tuple(name for name in layout.shapes if name not in whole)
            for names, own in ((whole, rule), (others, rule.others_rule)):
                if names:
                    members.setdefault((names, *_structure(own)), {})[place] = own
        self._groups = [
            _Group(own, layout, names, like[:0], total_steps, done and [done[k] for k in own], kernel)
            for (names, *_), own in members.items()
        ]

    def select(self, index: Sequence[int]) -> None:
        """Keep copies of the members at ``index`` of the population, which may repeat."""
        selected = [group.selected(index) for group in self._groups]
        self._groups = [group for group in selected if group is not None]

    def step(self, weights: Tensor, gradients: Tensor, step: int, start: int, stop: int) -> None:
        """Update in place those members among ``start`` to ``stop - 1`` that have stages.

        Args:
            weights: Of these members of the population, ``[n, D]``.
            gradients: Likewise.
            step: 0-based step.
            start: First member.
            stop: Member after the last one.
        """
        for group in self._groups:
            group.step(weights, gradients, step, start, stop)

    def state(self) -> Iterator[tuple[str, str, list[int], Tensor]]:
        """What is kept, to be read or written: name, parameter, members, and their view ``[n, ...]``."""
        for group in self._groups:
            yield from ((kind, name, group.subset.members, view) for kind, name, view in group.views())


def _structure(rule: UpdateRule) -> tuple[Any, ...]:
    """What members of one program have in common; all else are constants of each."""
    return (
        tuple(name for name, _ in rule.terms),
        rule.use_m, rule.use_v, rule.bias_correction, rule.clip_value is None,
        tuple((stage.part, stage.name) for stage in rule.active),
        rule.iterations,
    )  # fmt: skip


class Subset:
    """Some members of a population, found among those that go through a step at once.

    Args:
        members: Their places in the population, in ascending order.
        device: Where the weights are.
    """

    def __init__(self, members: Sequence[int], device: torch.device) -> None:
        self.members, self._device = list(members), device
        self._parts: dict[tuple[int, int], tuple[slice, slice | Tensor] | None] = {}

    def part(self, start: int, stop: int) -> tuple[slice, slice | Tensor] | None:
        """Which of them are among ``start`` to ``stop - 1``, and their rows there; None for no one.

        Rows that are neighbours are a slice, so that taking them copies nothing.
        """
        if (start, stop) not in self._parts:
            own = slice(bisect_left(self.members, start), bisect_left(self.members, stop))
            rows = [member - start for member in self.members[own]]
            together = rows and rows[-1] - rows[0] + 1 == len(rows)
            index = slice(rows[0], rows[-1] + 1) if together else torch.tensor(rows, device=self._device)
            self._parts[start, stop] = (own, index) if rows else None
        return self._parts[start, stop]

    def selected(self, index: Sequence[int]) -> tuple[Subset, list[int]]:
        """Those at ``index`` of the population that are among these, and which of these they are."""
        places = {member: k for k, member in enumerate(self.members)}
        chosen = {new: places[old] for new, old in enumerate(index) if old in places}
        return Subset(list(chosen), self._device), list(chosen.values())


@dataclass(frozen=True)
class _Stack:
    """Parameters of one shape as one stack of all members, those of a member beside each other.

    Attributes:
        names: The ``k`` parameters.
        kept: What stages for matrices keep of them, ``[n, k, ...]`` by name.
    """

    names: tuple[str, ...]
    kept: Mapping[str, Tensor]

    def of(self, views: Mapping[str, Tensor], matrix: bool) -> Tensor:
        """Views ``[n, *shape]`` as ``[n * k, rows, columns]``, or else ``[n * k, size]``."""
        kept = 2 if matrix else 1
        own = [view.reshape(*view.shape[:kept], -1) for view in (views[name] for name in self.names)]
        return own[0] if len(own) == 1 else torch.stack(own, dim=1).flatten(0, 1)

    def per_tensor(self, numbers: Any, dimensions: int) -> Any:
        """Numbers ``[n, 1]`` as ``[n * k, 1, ...]``; what is no tensor is the same for all."""
        if not isinstance(numbers, Tensor):
            return numbers
        return numbers.repeat_interleave(len(self.names), 0).view(-1, *[1] * (dimensions - 1))

    def put(self, x: Tensor, views: Mapping[str, Tensor]) -> None:
        """Write what `of` may have given into views ``[n, *shape]``."""
        for k, name in enumerate(self.names):
            views[name].copy_(x[k :: len(self.names)].reshape(views[name].shape))


class _Part(NamedTuple):
    """Members of a group that go through a step at once."""

    constants: Mapping[str, Any]
    kept: Mapping[str, Tensor]
    stacks: Sequence[tuple[_Stack, Mapping[int, Mapping[str, Any]]]]  # constants by a stack's dimensions
    done: int | Tensor


class _Group:
    """Members whose rules compute the same on the same parameters."""

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
        self._stages = {(stage.part, stage.name): stage for stage in rule.active}
        self._done = None if done is None else list(done)
        self._total_steps, self._like = total_steps, like
        self._layout = FlatLayout({name: layout.shapes[name] for name in names}, layout.channels_last)
        self._runs = layout.runs(names)
        uses = {quantity for name in self._terms for quantity in TERM_BY_NAME[name].uses}
        self._reads_denom = "v" in uses or rule.normalize_first
        early = any(part in ("gradient", "moments") for part, _ in self._stages)
        known = kernel and bool(self._terms) and not early
        self._native = known and native.suits(like, self._terms)
        n, states = len(own), keeps(rule)
        sizes = {state.name: self._layout.size for state in states if state.shape == "parameter"}
        self._kept = {name: like.new_zeros(n, size) for name, size in sizes.items()}
        by_shape: dict[torch.Size, list[str]] = {}
        for name in names:
            by_shape.setdefault(layout.shapes[name], []).append(name)
        self._stacks = []
        for shape, alike in by_shape.items():
            one = {s.name: s.zeros(like.new_empty(shape)) for s in states if s.name not in sizes}
            kept = {name: x.new_zeros(n, len(alike), *x.shape) for name, x in one.items()}
            self._stacks.append(_Stack(tuple(alike), kept))
        self._renumber()

    def _renumber(self) -> None:
        self._table = StepTable(self._rules, self._terms, self._total_steps, self._done)
        self._parts: dict[tuple[int, int], _Part] = {}

    def selected(self, index: Sequence[int]) -> _Group | None:
        """A group of copies of those at ``index`` of the population that are in this one, if any."""
        subset, chosen = self.subset.selected(index)
        if not chosen:
            return None
        other, k = copy.copy(self), torch.tensor(chosen, device=self._like.device)
        other.subset = subset
        other._rules = [self._rules[i] for i in chosen]
        other._done = None if self._done is None else [self._done[i] for i in chosen]
        other._kept = {name: x[k] for name, x in self._kept.items()}
        other._stacks = [_Stack(s.names, {name: x[k] for name, x in s.kept.items()}) for s in self._stacks]
        other._renumber()
        return other

    def views(self) -> Iterator[tuple[str, str, Tensor]]:
        """Name and parameter of what is kept, and its view ``[n, ...]``."""
        for state, flat in self._kept.items():
            yield from ((state, name, view) for name, view in self._layout.views(flat).items())
        for stack in self._stacks:
            for state, kept in stack.kept.items():
                yield from ((state, name, kept[:, k]) for k, name in enumerate(stack.names))

    def step(self, weights: Tensor, gradients: Tensor, step: int, start: int, stop: int) -> None:
        """See `StagedUpdate.step`."""
        found = self.subset.part(start, stop)
        if found is None:
            return
        own, index = found
        part = self._part(own)
        rows, gradients = weights[index], gradients[index]
        w, g = self._columns(rows), self._columns(gradients)
        table = self._table.at(step, w)[:, own]
        if self._native and not self._stages:
            native.step(self._terms, w, g, part.kept.get("exp_avg"), part.kept.get("exp_avg_sq"), table)
        else:
            self._move(w, g, part, table, step + 1 + part.done)
        if len(self._runs) > 1:
            sizes = [run.stop - run.start for run in self._runs]
            for run, x in zip(self._runs, w.split(sizes, dim=1), strict=True):
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
        constants: dict[str, Any] = dict(vars(self._rule))
        for name in _NUMBERS:
            if isinstance(constants[name], float | int) and not isinstance(constants[name], bool):
                constants[name] = like.new_tensor([getattr(rule, name) for rule in rules])[:, None]
        stacks = []
        for whole in self._stacks:
            stack = _Stack(whole.names, {name: x[own] for name, x in whole.kept.items()})
            by_dimensions = {
                k: {name: stack.per_tensor(x, k) for name, x in constants.items()} for k in (2, 3)
            }
            stacks.append((stack, by_dimensions))
        self._parts[own.start, own.stop] = part = _Part(
            constants,
            {name: x[own] for name, x in self._kept.items()},
            stacks,
            done[0] if len(set(done)) == 1 else like.new_tensor(done)[:, None],
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
            for name in ("gradient_difference", "clip_norm"):
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
                w.sub_(decayed * (1 - c["decay"]))
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

    def _passed(
        self, stage: Stage, x: Tensor, given: Sequence[Tensor], part: _Part, step: int | Tensor
    ) -> Tensor:
        if stage.acts_on == "element":
            return stage.function(x, StageInputs(*given, part.kept, part.constants, step))
        matrix, made = stage.acts_on == "matrix", torch.empty_like(x, memory_format=torch.contiguous_format)
        of_x, of_made, *of_given = (self._layout.views(tensor) for tensor in (x, made, *given))
        halved = x.is_cuda and x.dtype == torch.float32
        dimensions = 3 if matrix else 2
        for stack, constants in part.stacks:
            kept = {state.name: stack.kept[state.name].flatten(0, 1) for state in stage.state}
            stacked = [stack.of(views, matrix) for views in of_given]
            at = stack.per_tensor(step, dimensions)
            inputs = StageInputs(*stacked, kept, constants[dimensions], at)
            with torch.autocast("cuda", torch.bfloat16, enabled=halved):
                stack.put(stage.function(stack.of(of_x, matrix), inputs), of_made)
        return made
