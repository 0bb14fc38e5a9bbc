"""The report on a GADAM run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from scipy import stats

from evoopt.optim.rule import UpdateRule
from evoopt.report.blocks import Block, Column, Facts, Formulas, Section, Shown, Text
from evoopt.report.common import (
    Draw,
    Figured,
    Record,
    generations_table,
    unless_zero,
    values,
    values_x,
)
from evoopt.report.evolution import basis, genealogy_section, middle_half, origin
from evoopt.report.figures import Lines, Panel, Series, Tree
from evoopt.report.formula import formulas
from evoopt.report.mathml import typeset
from evoopt.report.models import not_compared, score_facts, task_name, winner_code
from evoopt.report.pedigree import Ancestor, Pedigree, load_pedigree, tree
from evoopt.runs.run import Run
from evoopt.systems.gadam.config import GadamConfig

GENERATION: Sequence[Figured] = (
    Figured("best loss", "best", ".4f"),
    Figured("median", "median", ".4f"),
    Figured("metric of the best", "metric", ".4f"),
    Figured("children adopted", "adopted", ".0%"),
    Figured("untrained kept", "untrained", ".0%"),
    Figured("steps", "steps", ",d"),
)

_GENES = """
SELECT id, json_extract(genome, '$.p_inherit'), json_extract(genome, '$.mutation_rate'),
    json_extract(genome, '$.loss'), json_extract(genome, '$.adopted') FROM individuals
"""


def fitness(run: Run) -> Lines:
    """Validation loss and metric of parents, children and the best survivor."""
    records = run.generations
    loss = Panel(
        values_x(records),
        (Series("best survivor", values(records, "best")), *_groups(records, "loss")),
        "validation loss",
        y_label="loss",
        log=True,
    )
    metric = Panel(
        values_x(records),
        (Series("best survivor", values(records, "metric")), *_groups(records, "metric")),
        "validation metric",
        y_label="metric",
    )
    return Lines(
        (loss, metric), "Median of parents and of children after their training, and the middle half."
    )


def adoption(run: Run) -> Lines:
    """Share of children among the survivors, beside what blind selection gives."""
    records, section = run.generations, _config(run).gadam
    g, groups = section.population, 3 if section.keep_untrained else 2
    chance = stats.hypergeom(groups * g, g, g)
    low, high = (float(chance.ppf(q)) / g for q in (0.05, 0.95))
    count = len(records)
    series = (
        Series("blind selection", [1 / groups] * count, [low] * count, [high] * count, "reference"),
        Series("children", values(records, "adopted")),
        Series("parents as before training", values(records, "untrained"), role="extra"),
    )
    return Lines(
        (Panel(values_x(records), series, y_label="share of the survivors", percent=True),),
        "Grey: where the share of children lies in 90 % of cases if survivors are drawn blindly. Above it, "
        "crossover, mutation and a further phase of training made models better; below, worse.",
    )


def divergence(run: Run) -> Lines:
    """Share of models without a finite loss."""
    records = run.generations
    rates = {
        group: [_missing(record[group]["loss"]) for record in records] for group in ("parents", "children")
    }
    panel = Panel(
        values_x(records), tuple(Series(k, y) for k, y in rates.items()), y_label="share", percent=True
    )
    return Lines(
        (panel,),
        "Models whose validation loss is not finite. They are no parents, and survive if too few others do.",
    )


def genealogy(run: Run) -> Tree:
    """Ancestors of the best model."""
    pedigree, about = _pedigree(run)
    return _tree(pedigree, about)


_FIGURES: Mapping[str, Draw] = {
    "fitness": fitness,
    "adoption": adoption,
    "divergence": divergence,
    "genealogy": genealogy,
}


def figures(run: Run) -> Mapping[str, Draw]:
    """By the name that ``evoopt plot`` knows them by."""
    return _FIGURES


def sections(run: Run) -> list[Section]:
    """The page, part by part."""
    return [
        Section("Result", _result(run)),
        Section(
            "The evolution",
            [
                Shown("fitness", "Loss and metric by generation", fitness(run)),
                Shown("adoption", "Adoption rate", adoption(run)),
                unless_zero("divergence", "Diverged models", divergence(run), "No model diverged."),
                generations_table(run.generations, GENERATION),
            ],
        ),
        _genealogy_section(run),
        _basis(run),
    ]


def _result(run: Run) -> list[Block]:
    records, section = run.generations, _config(run).gadam
    last = records[-1]
    facts = [
        ("validation loss", f"{last['best']:.4f}" if last["best"] is not None else "–", "of the best model")
    ]
    if run.finished:
        facts += score_facts(run)
        if "average" in run.winner:
            of_mean = score_facts(run, run.winner["average"])
            facts += [(f"{name}, mean of the weights", value, note) for name, value, note in of_mean]
    facts.append(("gradient steps", f"{last['steps']:,}", f"of all {section.population} models together"))
    rule = UpdateRule(
        (("adam", 1.0),), lr=section.lr, beta1=section.beta1, beta2=section.beta2, eps=section.eps
    )
    inheritance = r"p_{ij} = \frac{1}{1+\operatorname{exp}(\hat L_i-\hat L_j)}"
    crossover = (
        r"w_{\operatorname{child}} = b\odot w_i + (1-b)\odot w_j,\quad b\sim\operatorname{Bernoulli}(p_{ij})"
    )
    blocks: list[Block] = [
        Facts(facts),
        not_compared(
            f"One model trained by Adam would have {last['steps']:,} steps for the same number of "
            "gradients; how good it gets with them, tuned, was not measured here.",
        ),
        Text("All models are trained by Adam:"),
        formulas(rule),
    ]
    if section.crossover and section.children == "crossover":
        blocks += [
            Text("Between phases of training, children are made of pairs by their normalised losses:"),
            Formulas([typeset(inheritance), typeset(crossover)]),
        ]
    return blocks + winner_code(run)


def _genealogy_section(run: Run) -> Section:
    pedigree, about = _pedigree(run)
    columns = (
        Column("from the first parent", ".1%"), Column("mutated scalars", ".2%"),
        Column("loss when selected", ".4f"),
    )  # fmt: skip
    return genealogy_section(
        _tree(pedigree, about), pedigree, "model", columns, lambda k: about[k][:3], winner="the best model"
    )


def _basis(run: Run) -> Section:
    config = _config(run)
    gadam, training = config.gadam, config.training
    from_ = "a held-out part of the training data" if gadam.validation == "held_out" else "the training data"
    return basis(
        f"Budget: {gadam.population} models of {task_name(run)}, {len(run.generations)} of at most "
        f"{gadam.generations} generations with two phases of {training.steps:,} Adam steps each.",
        f"Seeds: root {gadam.seed}. Survivors are chosen on batches of {gadam.validation_size:,} "
        f"examples of {from_}; test data was opened once, at the end, for one model.",
        unmeasured="How much its result differs between root seeds, and what as many gradient steps would do "
        "for a single model or for the best of several restarts, was not measured.",
    )


About = Mapping[int, tuple[float | None, float | None, float | None, int | None]]


def _pedigree(run: Run) -> tuple[Pedigree, About]:
    about: About = {row[0]: row[1:] for row in run.store.select(_GENES)}

    def main_parent(child: Ancestor, _: Mapping[int, Ancestor]) -> int:
        share = about[child.id][0]
        return child.parents[0] if share is None or share >= 0.5 else child.parents[-1]

    return load_pedigree(run, run.generations[-1]["best_id"], main_parent), about


def _tree(pedigree: Pedigree, about: About) -> Tree:
    def describe(one: Ancestor) -> str:
        loss = about[one.id][2]
        return f"model {one.id}, {origin(one)}" + ("" if loss is None else f", loss {loss:.4f}")

    return tree(pedigree, describe, "from each model to the parent that gave more of its weights")


def _groups(records: Sequence[Record], what: str) -> list[Series]:
    return [middle_half(group, [r[group][what] for r in records]) for group in ("parents", "children")]


def _missing(losses: Sequence[float | None]) -> float:
    return sum(loss is None for loss in losses) / len(losses)


def _config(run: Run) -> GadamConfig:
    return cast(GadamConfig, run.config)
