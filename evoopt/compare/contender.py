"""Who takes part in a comparison: a rule or an optimizer class, with what may be tuned about it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from torch.optim import Optimizer

from evoopt.compare.optimizer_classes import ClassMember, has_modes, signature_defaults
from evoopt.compare.space import RANGES, Setting, TuningSpace, declared_space, range_around, rule_space
from evoopt.optim.rule import UpdateRule

Member = UpdateRule | ClassMember
"""What a worker can train."""

CONSTANT, WARMUP_COSINE, OWN = "constant", "warmup_cosine", "own"
WARMUP_SHARE = 10
"""The standard schedule warms up for one tenth of the training."""


@dataclass(frozen=True)
class Contender:
    """One participant.

    Attributes:
        name: Unique in a comparison.
        subject: What is trained.
        space: What is tuned.
        schedules: Schedules to try besides its own.
        note: A line that people should know, empty if there is none.
        search_tasks: Tasks it was found on.
        saw_test: Tasks whose test part decided its search: it must not be compared there.
    """

    name: str
    subject: RuleSubject | ClassSubject
    space: TuningSpace
    schedules: tuple[str, ...] = (CONSTANT, WARMUP_COSINE)
    note: str = ""
    search_tasks: tuple[str, ...] = ()
    saw_test: frozenset[str] = field(default=frozenset())

    def schedules_for(self, steps: int) -> tuple[str, ...]:
        """Schedules to try in a training of ``steps`` steps, its own included."""
        extra = (OWN,) if self.subject.own_schedule(steps) and OWN not in self.schedules else ()
        return (*self.schedules, *extra)

    def member(self, setting: Setting, steps: int) -> Member:
        """Set it up for a training."""
        return self.subject.member(setting, steps)


@dataclass(frozen=True)
class RuleSubject:
    """An update rule; rules are trained together."""

    rule: UpdateRule

    def member(self, setting: Setting, steps: int) -> UpdateRule:
        """Set it up for a training of ``steps`` steps."""
        rule = self.rule
        if setting.schedule != OWN:
            warmup_steps, cosine = schedule_parts(setting.schedule, steps)
            rule = replace(rule.unscheduled, warmup_steps=warmup_steps, cosine=cosine)
        values: dict[str, Any] = dict(setting.values)
        if "beta1" in values and rule.nesterov_beta == 1 - rule.beta1:
            values["nesterov_beta"] = 1 - values["beta1"]  # of Muon, where one momentum says both
        return replace(rule, **values).canonical()

    def own_schedule(self, steps: int) -> bool:
        """Whether it has a schedule other than the standard ones of a training of ``steps`` steps."""
        schedule = (self.rule.warmup_steps if self.rule.warmup_steps > 1 else 0, self.rule.cosine)
        return self.rule.has_fractions or schedule not in {
            schedule_parts(name, steps) for name in (CONSTANT, WARMUP_COSINE)
        }

    def value(self, name: str) -> float | None:
        """Its own value of what may be tuned, if it has any."""
        return getattr(self.rule, name, None)

    def formula(self) -> str:
        """What it does, in one line."""
        return self.rule.canonical().formula()


@dataclass(frozen=True)
class ClassSubject:
    """An optimizer class; trained one by one.

    Attributes:
        source: Where to import it from.
        betas: Its own betas, if it takes a pair.
        own: Its own values of what may be tuned, by name.
        scheduled: Whether it has a schedule of its own that can be switched off, as exported classes do.
        needs_steps: Whether it must be told the length of the training whatever the schedule.
        warms_up: Whether its own schedule is a warmup of as many steps as it is told, as in Schedule-Free.
    """

    source: str
    betas: tuple[float, float] | None = None
    own: tuple[tuple[str, float], ...] = ()
    scheduled: bool = False
    needs_steps: bool = False
    warms_up: bool = False

    def member(self, setting: Setting, steps: int) -> ClassMember:
        """See `RuleSubject`, as for all that follows."""
        arguments: dict[str, Any] = dict(setting.values)
        if self.betas is not None:
            names = ("beta1", "beta2")
            arguments["betas"] = tuple(map(arguments.pop, names, self.betas))
        with_own = setting.schedule == OWN
        if self.scheduled:
            arguments["schedule"] = with_own
        if self.warms_up:
            arguments["warmup_steps"] = schedule_parts(WARMUP_COSINE, steps)[0] if with_own else 0
        told = self.needs_steps or (with_own and self.scheduled)
        warmup_steps, cosine = (0, False) if with_own else schedule_parts(setting.schedule, steps)
        return ClassMember(self.source, tuple(arguments.items()), told, warmup_steps, cosine)

    def own_schedule(self, steps: int) -> bool:
        """Whether it has a schedule."""
        return self.scheduled or self.warms_up

    def value(self, name: str) -> float | None:
        """See `RuleSubject`."""
        return dict(self.own).get(name)

    def formula(self) -> str:
        """Where it comes from."""
        return self.source


def schedule_parts(name: str, steps: int) -> tuple[int, bool]:
    """Warmup steps and cosine of a standard schedule in a training of ``steps`` steps."""
    warmup_steps = max(1, steps // WARMUP_SHARE)
    return (warmup_steps if warmup_steps > 1 else 0, True) if name == WARMUP_COSINE else (0, False)


def rule_contender(
    name: str, rule: UpdateRule, declared: dict[str, tuple[float, float]] | None = None, **about: Any
) -> Contender:
    """A rule as a contender; without a declared tuning space, with the default one and a note on it."""
    space = rule_space(rule) if declared is None else TuningSpace(rule.lr, declared)
    note = "" if declared is not None else _default_note(name, space)
    return Contender(name, RuleSubject(rule), space, **{"note": note, **about})


def class_contender(name: str, cls: type[Optimizer], source: str | None = None, **about: Any) -> Contender:
    """An optimizer class as a contender.

    Its class attribute ``tuning_space``, a dict of ranges by argument name, says what is tuned; without one
    it gets the default space and a note that says so.
    """
    defaults = signature_defaults(cls)
    betas = defaults.get("betas")
    betas = betas if isinstance(betas, tuple) and len(betas) == 2 else None
    known = {n for n in defaults if n in RANGES} | ({"beta1", "beta2"} if betas else set())
    lr = defaults.get("lr")
    lr = float(lr) if isinstance(lr, (int, float)) else 1e-3
    own = {**defaults, **dict(zip(("beta1", "beta2"), betas or (), strict=False))}
    declared = getattr(cls, "tuning_space", None)
    if declared is None:
        ranges = {n: range_around(n, own.get(n)) for n in RANGES if n in known and _tunable(n, defaults)}
        space = TuningSpace(lr, ranges)
        about.setdefault("note", _default_note(name, space))
    else:
        space = declared_space(name, declared, lr, known | set(defaults))
    scheduled = "schedule" in defaults and "total_steps" in defaults
    required = defaults.get("total_steps") is inspect.Parameter.empty and not scheduled
    subject = ClassSubject(
        source or f"{cls.__module__}:{cls.__qualname__}",
        betas,
        own=tuple((n, float(own[n])) for n in space.ranges if isinstance(own.get(n), (int, float))),
        scheduled=scheduled,
        # An average may be of a last part of the training.
        needs_steps=required or ("total_steps" in defaults and hasattr(cls, "averaged")),
        warms_up=has_modes(cls) and "warmup_steps" in defaults,
    )
    schedules = (CONSTANT,) if has_modes(cls) else Contender.schedules
    return Contender(name, subject, space, schedules, **about)


def with_unique_names(contenders: Iterable[Contender]) -> list[Contender]:
    """Number the second and later bearers of a name."""
    seen: dict[str, int] = {}
    renamed = []
    for contender in contenders:
        seen[contender.name] = count = seen.get(contender.name, 0) + 1
        renamed.append(contender if count == 1 else replace(contender, name=f"{contender.name} #{count}"))
    return renamed


def _tunable(name: str, defaults: Any) -> bool:
    # A decay whose default is 0 is a feature that is switched off (momentum of SGD, say), not one to tune.
    return name in ("beta1", "beta2", "weight_decay") or bool(defaults.get(name))


def _default_note(name: str, space: TuningSpace) -> str:
    tuned = ", ".join(["lr", *space.ranges])
    return f"{name} declares no tuning space; it gets the default one ({tuned})"
