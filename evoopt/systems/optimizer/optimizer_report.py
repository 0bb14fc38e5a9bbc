"""The report on a search for an optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evoopt.optim.rule import UpdateRule
from evoopt.report.against import against, curves, differences, verdict_texts
from evoopt.report.blocks import Block, Code, Column, Facts, Section, Shown, Text
from evoopt.report.common import Draw, Figured, generations_table, unless_zero
from evoopt.report.evolution import basis, genealogy_section, origin
from evoopt.report.formula import formulas
from evoopt.report.noise_runs import Drift
from evoopt.report.pedigree import Pedigree
from evoopt.report.training_cost import cost, cost_section
from evoopt.runs.run import Run
from evoopt.systems.optimizer import optimizer_figures as draw
from evoopt.systems.optimizer.best_rule import best_of
from evoopt.systems.optimizer.config import config_of
from evoopt.systems.optimizer.final_report import final_blocks
from evoopt.systems.optimizer.scores import meaning
from evoopt.systems.optimizer.text import saved, saved_by

_FIGURES: Mapping[str, Draw] = {
    "fitness": draw.fitness,
    "front": draw.front,
    "outcomes": draw.outcomes,
    "tasks": draw.tasks,
    "terms": draw.terms,
    "genes": draw.genes,
    "genealogy": draw.genealogy,
    "differences": differences,
    "curves": curves,
    "cost": cost,
}

GENERATION: Sequence[Figured] = (
    Figured("best", "best", ".4f"),
    Figured("median", "median", ".4f"),
    Figured("mean", "mean", ".4f"),
    Figured("meta-validation", "meta", ".4f"),
    Figured("diverged", "outcomes.diverged", ".0%", 0.0),
    Figured("stopped", "outcomes.stopped", ".0%", 0.0),
    Figured("trainings", "trainings", ",d"),
)


def figures(run: Run) -> Mapping[str, Draw]:
    """By the name that ``evoopt plot`` knows them by."""
    pareto = config_of(run).search.survivors == "pareto"
    return {name: figure for name, figure in _FIGURES.items() if name != "front" or pareto}


def sections(run: Run) -> list[Section]:
    """The page, part by part."""
    drift, known = draw.drift_of(run), draw.scores(run)
    pedigree = draw.pedigree_of(run, known)
    return [
        Section("Result", _result(run)),
        *against(run),
        _search(run),
        _frequencies(run, drift),
        _genealogy(run, pedigree, known),
        cost_section(run),
        _basis(run),
    ]


def _result(run: Run) -> list[Block]:
    best, config = best_of(run), config_of(run)
    assert best is not None, "a generation is finished"
    rule = UpdateRule.from_json(best["rule"])
    final = best.get("final")
    what = meaning(config.evaluation.fitness, config.evaluation.target)
    facts = [("fitness in the search", f"{best['search_fitness']:.4f}", what)]
    if final:
        lost = f", {final['unfinished_rate']:.0%} diverged" if final["unfinished_rate"] else ""
        meta = config.evaluation.meta_tasks
        where = f"of {', '.join(meta)}, gained over the tuned baseline" if meta else "per task"
        seeds = f"{config.search.final_replicates} {where}{lost}"
        facts.append(("on fresh seeds", f"{final['score']:.4f}", seeds))
    counts = run.store.outcome_counts()
    steps = f"of {config.evaluation.steps:,} steps"
    facts.append(("trainings", f"{sum(counts.values()):,}", steps))
    if spared := saved(run):
        facts.append(("trainings saved", f"{sum(spared.values()):,}", saved_by(spared)))
    facts.append(("diverged", f"{counts.get('diverged', 0):,}", "of them"))
    blocks: list[Block] = [Facts(facts)]
    if run.finished:
        blocks += [Text(run.winner["lost"], "bad")] if "lost" in run.winner else []
        blocks += verdict_texts(run)
    blocks += [formulas(rule), Text(_in_words(rule))]
    if rule.terms:
        blocks.append(Code("The winner as a torch.optim class", _code(run, rule)))
    return blocks


def _in_words(rule: UpdateRule) -> str:
    notes = ["One step t of T, from top to bottom; g is the gradient."]
    if rule.cosine:
        notes.append("The rule needs to know T, the length of the training.")
    if not rule.terms:
        notes.append("Its terms cancel out: it does nothing.")
    return " ".join(notes)


def _code(run: Run, rule: UpdateRule) -> str:
    from evoopt.export import Provenance, load_rule, render  # by those alone who write code

    if not run.finished:
        return render(rule, "EvolvedOptimizer", Provenance(f"unfinished run {run.folder.resolve().name}"))
    exported, provenance = load_rule(run.folder)
    return render(exported, "EvolvedOptimizer", provenance)


def _search(run: Run) -> Section:
    blocks: list[Block] = [
        Shown("fitness", "Fitness by generation", draw.fitness(run)),
        unless_zero(
            "outcomes", "Trainings without a score", draw.outcomes(run), "All trainings gave a score."
        ),
        Shown("tasks", "Tasks", draw.tasks(run)),
        *final_blocks(run),
        generations_table(run.generations, GENERATION),
    ]
    return Section("The search", blocks)


def _frequencies(run: Run, drift: Drift) -> Section:
    terms = draw.terms(run, drift)
    outside = [
        panel.title
        for panel in terms.panels
        if (band := drift.bands.get(f"term {panel.title}"))
        and not band.low[-1] <= (panel.series[-1].y[-1] or 0.0) <= band.high[-1]
    ]
    leaving = (
        f"In the end {', '.join(outside)} {'lies' if len(outside) == 1 else 'lie'} outside of the band"
        if outside
        else "In the end no term lies outside of the band"
    )
    text = (
        "Terms and genes become frequent or rare by chance alone, because all descend from few. Only what "
        f"leaves the grey band may owe it to selection. {leaving}; by chance alone, one in ten would."
    )
    return Section(
        "Terms and genes",
        [
            Text(text),
            Shown("terms", "Terms", terms),
            Shown("genes", "Genes", draw.genes(run, drift)),
        ],
    )


def _genealogy(run: Run, pedigree: Pedigree, known: dict[int, float]) -> Section:
    formula, figure = draw.formulas_of(run, pedigree.main_line), draw.draw_genealogy(run, pedigree, known)
    columns = (Column("metric in the search", ".4f"), Column("rule"))
    return genealogy_section(
        figure,
        pedigree,
        "individual",
        columns,
        lambda k: (known.get(k), formula[k]),
        lambda one: origin(one, one.operation),
    )


def _basis(run: Run) -> Section:
    config = config_of(run)
    search, evaluation = config.search, config.evaluation
    names = ", ".join(Path(task).name for task in dict.fromkeys(evaluation.tasks))
    sealed = (
        "The search was scored on test data, as published: its fitness is no estimate for unseen data."
        if evaluation.fitness == "paper"
        else "The search never opened the test data; fitness is measured on a validation split."
    )
    return basis(
        f"Budget: {search.population} individuals, {len(run.generations)} of {search.generations} "
        f"generations; every training has {evaluation.steps:,} steps on {names}.",
        f"Seeds: root {search.seed}; a new individual is scored on {evaluation.replicates} per task, an "
        f"elite on up to {max(search.max_replicates, evaluation.replicates)}, finalists on "
        f"{search.final_replicates} fresh ones.",
        sealed,
        unmeasured="Another root seed gives another winner, and how much winners differ was not measured.",
    )
