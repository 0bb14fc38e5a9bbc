"""What a search is held against: a rule without one of its parts, random search, a search of constants
alone, a search without information, the luckiest of n runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evoopt.compare.comparison import LOCAL
from evoopt.compare.contender import CONSTANT, OWN, Contender, RuleSubject
from evoopt.compare.protocol import Protocol
from evoopt.compare.result import Comparison
from evoopt.compare.sources import run_contender
from evoopt.compare.space import RANGES, Setting, TuningSpace, rule_space
from evoopt.compare.training_queue import Training, TrainingQueue
from evoopt.config import RunConfig
from evoopt.errors import EvooptError, unknown_name
from evoopt.execution import Place
from evoopt.individuals import individual_type
from evoopt.jobs.records import FINAL_REPLICATE
from evoopt.jobs.rule_worker import WorkerSetup, make_worker
from evoopt.optim.pipeline import SWITCHES
from evoopt.optim.presets import PRESETS
from evoopt.optim.rule import SCHEDULE, UpdateRule
from evoopt.runs.experiment import refuse_changes
from evoopt.runs.run import Run
from evoopt.training.plan import derive_seed

ABLATION, RANDOM_SEARCH, TUNED_START = "ablation", "random_search", "tuned_start"
NOISE, BEST_OF_N = "noise", "best_of_n"
CONTROLS = (ABLATION, RANDOM_SEARCH, TUNED_START, NOISE, BEST_OF_N)

_LUCK = 303


def check_controls(
    names: Sequence[str], candidates: Sequence[Contender], runs: Mapping[str, Path], out: Path | None
) -> None:
    """Refuse controls that cannot be made; the arguments are those of `control_contenders`.

    Raises:
        EvooptError: An unknown control, or one that does not apply to any candidate.
    """
    for name in names:
        if name not in CONTROLS:
            raise unknown_name("control", name, CONTROLS)
        if name == ABLATION and not any(isinstance(c.subject, RuleSubject) for c in candidates):
            raise EvooptError("the control 'ablation' takes rules apart, and no candidate is a rule")
        if name in (RANDOM_SEARCH, TUNED_START, NOISE) and (not runs or out is None):
            raise EvooptError(
                f"the control {name!r} needs a run folder as candidate, and a folder to write to"
            )


def control_contenders(
    names: Sequence[str],
    candidates: Sequence[Contender],
    runs: Mapping[str, Path],
    out: Path | None,
) -> list[Contender]:
    """The contenders that controls add to a comparison.

    Args:
        names: Some of `CONTROLS`; ``best_of_n`` adds none, see `best_of_n`.
        candidates: The comparison's candidates.
        runs: Run folder of each candidate that is a run, by its name.
        out: Folder of the comparison; searches for controls are kept below it.
    """
    controls: list[Contender] = []
    if ABLATION in names:
        rules = [c for c in candidates if isinstance(c.subject, RuleSubject)]
        controls += [variant for c in rules for variant in ablations(c)]
    searches: tuple[tuple[str, Callable[[Run], RunConfig]], ...] = (
        (RANDOM_SEARCH, random_search_config),
        (TUNED_START, lambda run: run.config.tuned_start()),
        (NOISE, lambda run: run.config.noise()),
    )
    for name, configure in searches:
        if name not in names or out is None:
            continue
        for candidate, folder in runs.items():
            with Run(folder) as run:
                config = configure(run)
            label = f"{name.replace('_', ' ')} of {candidate}"
            with control_search(config, out / "controls" / label.replace(" ", "-")) as control:
                controls.append(replace(run_contender(control), name=label, note=""))
    return controls


def ablations(contender: Contender) -> list[Contender]:
    """Contenders that differ from a rule in one part each, and Adam with the rule's schedule.

    Each is tuned like any contender, its learning rate first: what is left out must not also cost the rule
    the learning rate that suits it. Left out in turn are every term, stage and moment, the bias correction,
    the Nesterov term's look ahead, the schedule, the weight decay and the clipping, as far as the rule has
    them.

    Raises:
        EvooptError: The contender is no rule.
    """
    if not isinstance(contender.subject, RuleSubject):
        raise EvooptError(f"only rules can be taken apart, and {contender.name} is a class")
    name, rule, ranges = contender.name, contender.subject.rule.canonical(), contender.space.ranges
    variants: dict[str, Contender] = {}
    for part, kept in _parts_left_out(rule):
        if kept.key != rule.key and part not in ranges:  # what is tuned varies anyway
            variants.setdefault(kept.key, _variant(contender, f"{name} without {part}", kept, ranges))
    found = list(variants.values())
    if rule.has_schedule:
        constant = _variant(contender, f"{name} without schedule", rule.unscheduled, ranges)
        found.append(replace(constant, schedules=(CONSTANT,)))
        found.append(adam_with_schedule_of(contender))
    if rule.weight_decay:
        kept_ranges = {key: value for key, value in ranges.items() if key != "weight_decay"}
        found.append(
            _variant(contender, f"{name} without decay", replace(rule, weight_decay=0.0), kept_ranges)
        )
    return found


def _parts_left_out(rule: UpdateRule) -> Iterator[tuple[str, UpdateRule]]:
    """Parts that a rule may have, but for schedule and decay, and the rule without each."""
    if len(rule.terms) > 1:
        for term, _ in rule.terms:
            yield term, replace(rule, terms=tuple(pair for pair in rule.terms if pair[0] != term))
    if any(term == "nesterov" for term, _ in rule.terms):
        behind = tuple(("momentum" if term == "nesterov" else term, weight) for term, weight in rule.terms)
        yield "look-ahead", replace(rule, terms=behind)
    yield "first moment", replace(rule, use_m=False)
    yield "second moment", replace(rule, use_v=False)
    yield "bias correction", replace(rule, bias_correction=False)
    for stage in SWITCHES:
        if stage not in SCHEDULE:
            identity: Any = getattr(UpdateRule, stage)
            yield stage, replace(rule, **{stage: identity})
    yield "clipping", replace(rule, clip_value=None)


def adam_with_schedule_of(contender: Contender) -> Contender:
    """Adam under a rule's own schedule, to tell the schedule's merit from the rule's.

    Raises:
        EvooptError: The contender is no rule.
    """
    if not isinstance(contender.subject, RuleSubject):
        raise EvooptError(f"{contender.name} is a class, so that its schedule is not known")
    adam = PRESETS["adam"].scheduled_like(contender.subject.rule)
    space = TuningSpace(adam.lr, {"beta1": (0.8, 0.98), "beta2": (0.9, 0.9995)})
    return Contender(f"adam with schedule of {contender.name}", RuleSubject(adam), space, (OWN,))


def random_search_config(run: Run) -> RunConfig:
    """The configuration of a random search that costs as many steps as a run did.

    It is the same search with all individuals in its first generation: the same space, seeds, tasks and
    re-scoring of finalists, but no selection before the end. Its individuals are taken to cost what those
    of the run's first generation did, whose learning rates have no parent's to begin from either.
    """
    spent: defaultdict[int, float] = defaultdict(float)
    for row in run.store.evaluations():
        if row.replicate < FINAL_REPLICATE:
            spent[row.generation] += run.config.whole_trainings(row.generation, row.repeat)
    return run.config.random_search(sum(spent.values()), spent[0])


def control_search(config: RunConfig, folder: Path) -> Run:
    """Run a search for a control, or open the one that lies there, finished or not.

    Raises:
        EvooptError: See `evoopt.api.search`.
    """
    with Run.begin(folder, config) as run:
        refuse_changes(run)
        individual_type(config.individual).search(run, run.config, quiet=True)
    return Run(folder)


def best_of_n(
    comparison: Comparison, contender: Contender, protocol: Protocol, n: int = 20, place: Place = LOCAL
) -> dict[str, dict[str, Any]]:
    """What picking the best of ``n`` trainings looks like when nothing but luck differs between them.

    A contender is trained ``n`` times at its tuned setting. The training with the best validation metric is
    chosen, as a search chooses, and its test metric is set beside the mean.

    Returns:
        By task: ``validation_best`` and ``validation_mean``, whose difference is the winner's curse, and
        ``test_of_best`` and ``test_mean``; ``diverged`` counts trainings without a score.
    """
    setup = WorkerSetup(protocol.tasks, protocol.data_options(place.data_dir), place.device)
    luck = {}
    with place.start(make_worker, setup) as executor:
        queue = TrainingQueue(executor, protocol.engine, protocol.chunk_size)
        for number, task in enumerate(protocol.tasks):
            values = dict(comparison.tuning[task][contender.name].values)
            setting = Setting(values.pop("schedule"), tuple(values.items()))
            member = contender.member(setting, protocol.steps)
            plans = [
                protocol.plan(derive_seed(protocol.seed, _LUCK, number, k), "validation") for k in range(n)
            ]
            by_split = [
                queue.train([Training(task, member, replace(plan, split=split)) for plan in plans])
                for split in ("validation", "test")
            ]
            pairs = [
                (validation.metric, test.metric)
                for validation, test in zip(*by_split, strict=True)
                if validation.outcome == "ok" and test.outcome == "ok"
            ]
            luck[task] = _luck(pairs, n)
    return luck


def _luck(pairs: list[tuple[float, float]], n: int) -> dict[str, Any]:
    if not pairs:
        return {"n": n, "diverged": n}
    best = max(pairs, key=lambda pair: pair[0])  # of equals the first: tests decide nothing
    return {
        "n": n,
        "diverged": n - len(pairs),
        "validation_best": best[0],
        "validation_mean": sum(validation for validation, _ in pairs) / len(pairs),
        "test_of_best": best[1],
        "test_mean": sum(test for _, test in pairs) / len(pairs),
    }


def _variant(
    contender: Contender, name: str, rule: UpdateRule, ranges: Mapping[str, tuple[float, float]]
) -> Contender:
    # A constant that nothing reads any more would waste trials.
    canonical = rule.canonical()
    read = rule_space(canonical).ranges
    kept = {key: value for key, value in ranges.items() if key in read or key not in RANGES}
    return replace(
        contender, name=name, subject=RuleSubject(canonical), space=TuningSpace(canonical.lr, kept), note=""
    )
