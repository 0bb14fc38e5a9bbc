"""A search in which rules of equal steps count as one: what is trained, kept, told and resumed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from evoopt.optim.equal_steps import steps_key
from evoopt.report.blocks import Facts
from evoopt.runs import Run
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.optimizer_report import sections
from evoopt.systems.optimizer.scheme import rule_generations
from evoopt.systems.optimizer.text import describe_run
from tests.stubs import StubExecutor
from tests.systems.optimizer.test_optimizer_search import assert_resumes, config, go, whole

FIXED = {
    "lr_log10": (-3, -3),
    "weight": (1, 1),
    "wd_log10": (-4, -4),
    "beta1": (0.9, 0.9),
    "warmup_steps": (1, 1),
}
ALIKE = config(
    search={"population": 8, "generations": 3, "elites": 0, "finalists": 3, "final_replicates": 2},
    evaluation={"equivalence": "steps", "tasks": ["digits"]},
    genome={"terms": ["sign_grad", "sign_momentum"], "max_terms": 1, "initial": [], "ranges": FIXED},
)
"""Rules that mostly differ in what a sign does not show."""


def test_what_is_trained_makes_other_steps_and_the_rest_is_counted(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", ALIKE) as run:
        executor = StubExecutor()
        go(run, executor)
        records, shown, winner, page = run.generations, describe_run(run), run.winner, sections(run)
    trained = Counter(
        (chunk.task, chunk.plan.seed, steps_key(rule, 10))
        for chunk in executor.chunks
        for rule in chunk.rules
    )
    assert max(trained.values()) == 1
    assert all(sum(record["saved"].values()) + record["trainings"] == 8 * 2 for record in records)
    form, steps = (sum(record["saved"][name] for record in records) for name in ("form", "steps"))
    assert form > 0 < steps
    assert f"; saved {form + steps} more: {form} by equal form, {steps} by equal steps" in shown
    facts = next(block.facts for block in page[0].blocks if isinstance(block, Facts))
    assert ("trainings saved", str(form + steps), f"{form} by equal form, {steps} by equal steps") in facts
    assert len({row["key"] for row in winner["finalists"]}) == len(winner["finalists"])
    genome = OptimizerGenome.from_json(winner["genome"])
    assert genome.key == winner["key"] == steps_key(genome.rule(), 10)


def test_a_search_by_equal_form_leaves_no_trace_of_steps(tmp_path: Path) -> None:
    text, _ = whole(tmp_path / "form", ALIKE.override({"evaluation": {"equivalence": "form"}}))
    assert "saved" not in text
    assert '"steps"' not in text


def test_rules_of_equal_steps_have_one_place_among_elites() -> None:
    settings = ALIKE.override({"search": {"elites": 3}})
    generations = rule_generations(settings)
    keys = [ind.genome.key for ind in generations.population]
    assert len(set(keys)) < len(keys)
    for ind in generations.population:
        ind.fitness.values = (0.0, int(ind.genome.key, 16) / 16**16, 0.0)
    generations.breed()
    elites = [ind.genome.key for ind in generations.population if ind.survivor]
    assert len(set(elites)) == len(elites) == 3
    assert all(ind.genome.steps == 10 for ind in generations.population)


def test_a_run_interrupted_before_every_other_chunk_resumes_exactly(tmp_path: Path) -> None:
    settings = ALIKE.override({"search": {"elites": 2}})
    expected, reference = whole(tmp_path / "whole", settings)
    for stop in range(0, len(reference.chunks), 2):
        assert_resumes(tmp_path / f"stopped-{stop}", settings, stop, expected, len(reference.chunks))


def test_a_genome_says_in_its_file_how_it_is_compared() -> None:
    genome = OptimizerGenome(("adam",), (1.0,))
    compared = replace(genome, steps=10)
    assert "steps" not in genome.to_json()
    assert OptimizerGenome.from_json(compared.to_json()) == compared
    assert compared.key != genome.key
