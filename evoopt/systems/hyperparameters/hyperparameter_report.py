"""The report on an evolution of hyperparameters: population-based training, or a search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evoopt.optim.rule import is_number
from evoopt.report.blocks import Block, Cell, Code, Column, Facts, Section, Shown, Table, Text
from evoopt.report.common import Draw, Figured, generations_table, unless_zero
from evoopt.report.evolution import basis, genealogy_section
from evoopt.report.formula import formulas
from evoopt.report.models import Fact, not_compared, score_facts, task_name, winner_code
from evoopt.runs.run import Run
from evoopt.systems.hyperparameters import hyperparameter_figures as draw
from evoopt.systems.hyperparameters.torch_classes import TORCH_CLASSES, torch_class
from evoopt.training.member_hyperparameters import update_rule

_FIGURES: Mapping[str, Draw] = {
    "fitness": draw.fitness,
    "failures": draw.failures,
    "schedule": draw.schedule,
    "hyperparameters": draw.hyperparameters,
    "genealogy": draw.genealogy,
}

GENERATION: Sequence[Figured] = (
    Figured("best", "best", ".4f"),
    Figured("median", "median", ".4f"),
    Figured("best ever", "best_ever", ".4f"),
    Figured("failed", "failed", "d"),
    Figured("steps", "steps", ",d"),
    Figured("trainings", "evaluations", ",d"),
)

MOST_MEMBERS = 200
"""Rows of the table of members or trainings."""

_SCHEDULE = '''\
"""Hyperparameters by optimizer step, found by population-based training."""

OPTIMIZER = {optimizer!r}
STEPS = {steps}  # of each stretch
SCHEDULE = {schedule}


def hyperparameters(step):
    """Values at a step, counted from 0; the last ones go on."""
    return SCHEDULE[min(step // STEPS, len(SCHEDULE) - 1)]
'''


def figures(run: Run) -> Mapping[str, Draw]:
    """By the name that ``evoopt plot`` knows them by."""
    scheduled = draw.has_schedule(run)
    return {name: figure for name, figure in _FIGURES.items() if name != "schedule" or scheduled}


def sections(run: Run) -> list[Section]:
    """The page, part by part."""
    path = [Shown("schedule", "Schedule of the winner", draw.schedule(run))] if draw.has_schedule(run) else []
    return [
        Section("Result", _result(run)),
        Section(
            "Hyperparameters",
            [
                *path,
                Shown("hyperparameters", "The population against drift", draw.hyperparameters(run)),
                *_members(run),
            ],
        ),
        Section(
            "The evolution",
            [
                Shown("fitness", "Figure of merit by generation", draw.fitness(run)),
                unless_zero("failures", "Failed members", draw.failures(run), "No member failed."),
                generations_table(run.generations, GENERATION),
            ],
        ),
        _genealogy(run),
        _basis(run),
    ]


def _result(run: Run) -> list[Block]:
    config, last = draw.config_of(run), run.generations[-1]
    section, best = config.recombination, draw.best_values(run)
    facts: list[Fact] = [
        (section.fom, _number(last["best_ever"]), "of the best, on validation data; minimised")
    ]
    if run.finished:
        facts += score_facts(run)
    work = ("steps", "gradient steps", "of all members together")
    if not section.inherits:
        work = ("evaluations", "trainings", "of different genomes")
    facts.append((work[1], f"{last[work[0]]:,}", work[2]))
    blocks: list[Block] = [
        Facts(facts),
        not_compared(
            "Whether the same steps with hyperparameters tuned by hand, or by random search, give as much "
            "was not measured in this run; scheme 'random' is the control that costs as much."
            + (" How the schedule does on fresh seeds tells: evoopt replay." if section.inherits else ""),
        ),
        Table(
            (Column("hyperparameter"), Column("value of the winner"), Column("smallest"), Column("largest")),
            [(name, _shown(value), *_bounds(config.space.get(name, {}))) for name, value in best.items()],
            "The winner",
        ),
    ]
    if (name := torch_class(best)) is not None:
        blocks.append(Text(f"It was trained by torch.optim.{TORCH_CLASSES[name]}."))
    else:
        by = "It was trained by this rule"
        by += ", with the values of its last generation:" if section.inherits else ":"
        blocks += [Text(by), formulas(update_rule(best, section.optimizer))]
    if run.finished:
        blocks += _code(run)
    return blocks


def _code(run: Run) -> list[Block]:
    schedule = run.winner.get("schedule")
    if schedule:
        stretches = ",\n".join(f"    {values!r}" for values in schedule["values"])
        text = _SCHEDULE.format(
            optimizer=schedule["optimizer"], steps=schedule["steps"], schedule=f"[\n{stretches},\n]"
        )
        return [Code("The schedule as Python", text), *winner_code(run)]
    return [Code("The winner as JSON", json.dumps(run.winner["hyperparameters"], indent=2))]


def _members(run: Run) -> list[Block]:
    """Everybody of the newest generation; or all trainings of a search, the best of them."""
    records = run.generations
    search = not draw.config_of(run).recombination.inherits
    rows: dict[str, tuple[Any, ...]] = {}
    for record in records if search else records[-1:]:
        trials = record.get("trials") or [{}] * len(record["fom"])
        for number, fom, values, trial in zip(
            record["ids"], record["fom"], record["hyperparameters"], trials, strict=True
        ):
            # Equal genomes are trained once.
            key = json.dumps(values, sort_keys=True) if search else str(number)
            about = (trial.get("metric"), trial.get("steps")) if search else ()
            rows.setdefault(key, (number, fom, *about, *values.values()))
    kept = sorted(rows.values(), key=lambda row: (row[1] is None, row[1]))[:MOST_MEMBERS]
    columns = [Column("individual", "d"), Column(draw.config_of(run).recombination.fom, ".4g")]
    columns += [Column("metric", ".4f"), Column("steps", ",d")] if search else []
    for name, value in records[0]["hyperparameters"][0].items():
        columns.append(Column(name, ".4g" if is_number(value) else None))
    of = f"The best {len(kept)} of {len(rows)} genomes" if search else "Members of the newest generation"
    return [Table(columns, [[_plain(value) for value in row] for row in kept], of, folded=True)]


def _genealogy(run: Run) -> Section:
    pedigree, known = draw.pedigree_of(run)
    columns, figure = [Column("figure of merit", ".4g")], draw.tree_of(run, pedigree, known)
    return genealogy_section(figure, pedigree, "individual", columns, lambda k: [known.get(k)], draw.origin)


def _basis(run: Run) -> Section:
    config = draw.config_of(run)
    section = config.recombination
    each = f"{config.training.steps:,} steps" if config.training.steps else "an epoch"
    kind = "members that train on" if section.inherits else "genomes, each trained afresh"
    return basis(
        f"Budget: {section.population} {kind}, on {task_name(run)}; {len(run.generations)} of "
        f"{section.generations} generations, {each} each; scheme {section.scheme}.",
        f"Seeds: root {section.seed}; all members see the same minibatches. The validation data "
        "that selects was looked at in every generation, so the winner's figure there is flattered.",
    )


def _bounds(table: Mapping[str, Any]) -> tuple[str, str]:
    if "choices" in table:
        return ", ".join(map(str, table["choices"])), ""
    return _shown(table.get("min", "")), _shown(table.get("max", ""))


def _shown(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Cell:
    return str(value) if isinstance(value, bool) else value


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
