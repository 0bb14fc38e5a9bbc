"""A run as text for the terminal."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from evoopt.errors import command
from evoopt.optim.rule import UpdateRule
from evoopt.runs.run import Run
from evoopt.systems.models_text import Columns, ended, state, table
from evoopt.systems.optimizer.best_rule import baseline_of, best_of, front_of
from evoopt.systems.optimizer.config import config_of
from evoopt.systems.optimizer.scores import meaning

_COLUMNS: Columns = {
    "best": ("best", ".4f"),
    "median": ("median", ".4f"),
    "mean": ("mean", ".4f"),
    "meta": ("meta", ".4f"),
    "diverged": (" diverged", ".0%"),
    "stopped": ("stopped", ".0%"),
    "trainings": (" trainings", "d"),
}

_NAMED = (
    "nesterov_beta", "gradient_difference", "clip_norm", "l2", "slow_beta", "power", "iterations",
    "decay_power", "ema_decay", "mean_fraction",
)  # fmt: skip
_OF_ADAM = ("others_beta1", "others_beta2", "others_eps")


def describe_result(run: Run) -> str:
    """The outcome of a finished run in a few lines."""
    winner = run.winner
    lines = [
        f"run      {run.folder}",
        *ended(run),
        *_rule_lines(winner),
        f"fitness  {_fitness(run, winner)}",
        f"budget   {_budget(run)}",
        *_funnel(run),
        *_verdict(run),
    ]
    return "\n".join(lines)


def describe_run(run: Run) -> str:
    """Everything `evoopt show` prints: state, best rule, generations, term counts, lineage."""
    search = config_of(run).search
    records = run.generations
    lines = [
        state(run),
        f"space    {run.config.name}: population {search.population}, "
        f"generations {len(records)} of {search.generations}, seed {search.seed}",
        f"tasks    {', '.join(config_of(run).evaluation.tasks)}",
        *_baseline(run),
        f"budget   {_budget(run)}",
    ]
    best = best_of(run)
    if best is None:
        return "\n".join([*lines, "no generation is finished yet"])
    lines += [*_rule_lines(best), f"fitness  {_fitness(run, best)}", *_funnel(run), *_verdict(run), ""]
    lines += _front(run)
    lines += _tables(records)
    lines += _lineage(run, best["id"])
    return "\n".join(lines)


def _baseline(run: Run) -> list[str]:
    known = baseline_of(run).items()
    return [f"baseline {entry['name']} on {task}: {entry['setting']}" for task, entry in known]


def _front(run: Run) -> list[str]:
    rows = front_of(run)
    if not rows:
        return []
    lines = [
        "front: nobody is better, smaller and faster than one of these",
        "individual    gain  B/weight  passes",
    ]
    for row in rows:
        gain = row["search_fitness"] if row["score"] is None else row["score"]
        figures = f"{row['id']:>10} {gain:>+7.2f} {row['bytes_per_weight']:>9.2f} {row['passes']:>7,.0f}"
        by = f"  (by {row['preferred']})" if row["preferred"] else ""
        lines.append(f"{figures}  {row['formula']}{by}")
    return [*lines, ""]


def _funnel(run: Run) -> list[str]:
    levels = (run.store.winner() or {}).get("funnel", [])
    return [
        f"funnel   {level['name']}: {len(level['kept'])} of {len(level['gains'])} gain "
        f"({level['steps']:,} steps on {', '.join(level['tasks'])})"
        for level in levels
    ]


def _verdict(run: Run) -> list[str]:
    missing = (
        f"missing: the comparison was interrupted; {command('resume', run.folder)}"
        if run.uncompared
        else None
    )
    said = " ".join(filter(None, [(run.store.winner() or {}).get("lost"), run.verdict or missing]))
    return [f"verdict  {said}"] if said else []


def _rule_lines(winner: dict[str, Any]) -> list[str]:
    rule = UpdateRule.from_json(winner["rule"])
    facts = [f"lr={rule.lr:.3g}"]
    facts += [f"beta1={rule.beta1:.4g}"] if rule.reads_beta1 else []
    facts += [f"beta2={rule.beta2:.4g}"] if rule.reads_beta2 else []
    facts += [f"beta3={rule.beta3:.4g}"] if rule.uses("m_prev") else []
    facts += [f"eps={rule.eps:.2g}"] if rule.uses("eps") or rule.normalize_first else []
    facts.append(f"weight_decay={rule.weight_decay:.3g}")
    facts += ["bias correction"] if rule.bias_correction else []
    facts += [f"gradients clipped at {rule.clip_value:.3g}"] if rule.clip_value is not None else []
    facts += [f"warmup {rule.warmup_steps} steps"] if rule.warmup_steps else []
    facts += ["cosine decay"] if rule.cosine else []
    formula = rule.formula()
    read = [name for name in _NAMED if re.search(rf"\b{name}\b", formula)]
    read += _OF_ADAM if rule.others == "adam" else ()
    facts += [f"{name}={getattr(rule, name):.4g}" for name in read]
    return [f"rule     {formula}", f"with     {', '.join(facts)}"]


def _fitness(run: Run, winner: dict[str, Any]) -> str:
    text, evaluation = f"{winner['search_fitness']:.4f} in the search", config_of(run).evaluation
    final = winner.get("final")
    if final:
        gained = " gained" if evaluation.meta_tasks else ""
        text += f", {final['score']:.4f}{gained} on {config_of(run).search.final_replicates} fresh seeds "
        text += f"of each of {', '.join(evaluation.meta_tasks)}" if evaluation.meta_tasks else "per task"
        if final["unfinished_rate"]:
            text += f" ({final['unfinished_rate']:.0%} of them diverged)"
    return f"{text} ({meaning(evaluation.fitness, evaluation.target)})"


def _budget(run: Run) -> str:
    counts = run.store.outcome_counts()
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    steps = config_of(run).evaluation.steps
    spared = saved(run)
    more = f"; saved {sum(spared.values())} more: {saved_by(spared)}" if spared else ""
    longer = ", longer in the funnel" if "funnel" in (run.store.winner() or {}) else ""
    return f"{sum(counts.values())} trainings of {steps} steps{longer} ({outcomes or 'none yet'}){more}"


def saved(run: Run) -> Counter[str]:
    """Trainings that were not needed, see `Evaluator.saved` and `Evaluator.spared`; empty by default."""
    spared: Counter[str] = Counter()
    for record in run.generations:
        spared.update(record.get("saved", {}))
    return spared


def saved_by(spared: Counter[str]) -> str:
    """The same in words."""
    names = {"form": "by equal form", "steps": "by equal steps", "racing": "by racing"}
    return ", ".join(f"{spared[name]:,} {words}" for name, words in names.items() if name in spared)


def _tables(records: list[dict[str, Any]]) -> list[str]:
    absent = {"diverged": 0.0, "stopped": 0.0}
    generations = [{**record, **absent, **record["outcomes"]} for record in records]
    names = sorted({name for record in records for name in record["terms"]})
    terms = [
        {**dict.fromkeys(names, 0), **record["terms"], "generation": record["generation"]}
        for record in records
    ]
    columns = {name: (name, "d") for name in names}
    return [*table(generations, _COLUMNS, 8), "", "terms by generation", *table(terms, columns, 0), ""]


def _lineage(run: Run, number: int, most: int = 12) -> list[str]:
    ancestors = run.store.ancestors(number)
    lines = [f"lineage of individual {number} ({len(ancestors) - 1} ancestors)"]
    for ind in reversed(run.store.individuals(ancestors[:most])):
        origin = f"{ind.operation} of {' and '.join(map(str, ind.parents))}" if ind.parents else ind.operation
        lines.append(f"{ind.id:>6}  generation {ind.born:>3}  {origin:<28}  {ind.genome.rule().formula(3)}")
    if len(ancestors) > most:
        lines.append(f"        and {len(ancestors) - most} earlier ones")
    return lines
