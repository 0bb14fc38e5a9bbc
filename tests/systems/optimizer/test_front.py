"""A search by NSGA-II: its front, who of it wins, and what is shown and exported of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evoopt.errors import EvooptError
from evoopt.evolution.elitist import Elitism
from evoopt.export import load_rule
from evoopt.optim.rule import UpdateRule
from evoopt.report.writing import make_page, save_plot
from evoopt.runs import Run
from evoopt.runs.finalists import member, preferred
from evoopt.runs.run import COMPARISON_FILE
from evoopt.systems.optimizer.best_rule import front_of
from evoopt.systems.optimizer.scheme import rule_generations
from evoopt.systems.optimizer.text import describe_run
from tests.systems.optimizer.test_optimizer_search import JUDGED, PARETO, config, whole


def finalist(number: int, score: float, memory: float, passes: float, front: bool = True) -> dict[str, Any]:
    return {
        "id": number,
        "key": f"{number}{number}aa",
        "final": {"unfinished_rate": 0.0, "score": score, "loss": 0.0},
        "costs": {"bytes_per_weight": memory, "passes": passes},
        "front": front,
    }


ROWS = [
    finalist(1, 3.0, 12, 60), finalist(2, 2.0, 4, 90), finalist(3, 1.0, 8, 10), finalist(4, -1.0, 0, 3),
    finalist(5, 0.5, 2, 5, front=False),
]  # fmt: skip


@pytest.mark.parametrize(("prefer", "wins"), [("accuracy", 1), ("memory", 2), ("speed", 3)])
def test_a_preference_takes_the_cheapest_on_the_front_that_gained(prefer: str, wins: int) -> None:
    assert preferred(ROWS, prefer)["id"] == wins
    assert preferred([ROWS[0], ROWS[3]], prefer)["id"] == 1
    losers = [finalist(7, -1.0, 8, 9), finalist(8, -2.0, 0, 1)]
    assert preferred(losers, prefer)["id"] == 7, "where nobody gained, the best"


@pytest.mark.parametrize("name", ["3", "33aa", "33"])
def test_a_finalist_is_found_by_number_and_by_the_beginning_of_its_hash(name: str) -> None:
    assert member({**ROWS[0], "finalists": ROWS}, name=name)["id"] == 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"prefer": "beauty"}, "unknown preference 'beauty'"),
        ({"prefer": "memory", "name": "1"}, "leave one of them out"),
        ({"name": "99"}, r"no finalists are called '99'; there are 1 \(11aa\), 2"),
        ({"name": ""}, "5 finalists are called ''"),
    ],
)
def test_who_is_not_there_is_said_in_one_line(asked: dict[str, str], words: str) -> None:
    with pytest.raises(EvooptError, match=words) as caught:
        member({**ROWS[0], "finalists": ROWS}, **asked)
    assert "\n" not in str(caught.value)


COMPARED = {
    "verdict": ["x beats y."],
    "protocol": {"steps": 10, "trials": 6},
    "participants": [{"name": "x"}],
    "tuning": {"digits": {"x": {"setting": "lr 1"}}},
}
TUNED = "lr 1 on digits (of 6 settings each, 10 steps)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("front") / "run"
    whole(path, PARETO)
    (path / COMPARISON_FILE).write_text(json.dumps(COMPARED))
    return path


def test_every_generation_keeps_the_front_of_the_run(folder: Path) -> None:
    with Run(folder) as run:
        fronts = [record["front"] for record in run.generations]
        rules = {ind.id: ind.genome.rule() for ind in run.store.individuals([row[0] for row in fronts[-1]])}
    assert all(fronts)
    for _, gain, memory, passes in fronts[-1]:
        better = [row for row in fronts[-1] if row[1] > gain and row[2] <= memory and row[3] <= passes]
        assert not better
    for number, _, memory, _ in fronts[-1]:
        moments = sum((rules[number].canonical().use_m, rules[number].canonical().use_v))
        assert memory == pytest.approx(4 * moments, abs=0.1)


def test_the_final_is_about_the_front_and_preferences_lead_to_members_of_it(folder: Path) -> None:
    with Run(folder) as run:
        rows, winner = run.winner["finalists"], run.winner
        front, shown, page = front_of(run), describe_run(run), make_page(run)
    assert winner["id"] == rows[0]["id"]
    assert 1 <= len(front) == sum(row["front"] for row in rows)
    assert "accuracy" in front[0]["preferred"]
    assert "front: nobody is better, smaller and faster" in shown
    assert f"{front[0]['bytes_per_weight']:>9.2f} {front[0]['passes']:>7,.0f}  {front[0]['formula']}" in shown
    blocks = [block for section in page.sections for block in section.blocks]
    assert [b.title for b in blocks if getattr(b, "title", "") in ("The front",)] == ["The front"]
    for prefer in ("memory", "speed"):
        found = preferred(rows, prefer)
        rule, provenance = load_rule(folder, prefer)
        assert rule == UpdateRule.from_json(found["rule"])
        assert load_rule(folder, name=str(found["id"]))[0] == load_rule(folder, name=found["key"])[0] == rule
        assert provenance.genome == found["genome"]


def test_an_export_tells_what_the_search_cost_and_names_task_files_without_their_folder(
    tmp_path: Path,
) -> None:
    tasks = [f"{tmp_path}/mine.py:make", "digits"]
    whole(tmp_path / "run", config(search={"generations": 1}, evaluation={"tasks": tasks}))
    with Run(tmp_path / "run") as run:
        count = len(list(run.store.evaluations()))
    _, provenance = load_rule(tmp_path / "run")
    assert (provenance.data, provenance.budget) == ("mine.py:make, digits", f"{count} trainings of 10 steps")


def test_only_of_the_winner_an_export_tells_what_the_comparison_found(folder: Path) -> None:
    with Run(folder) as run:
        winner, *others = run.winner["finalists"]
    for finalist, told in ((winner, ("x beats y.", TUNED)), (others[-1], (None, None))):
        _, provenance = load_rule(folder, name=str(finalist["id"]))
        assert (provenance.comparison, provenance.tuned) == told


def test_the_scatter_is_drawn(folder: Path, tmp_path: Path) -> None:
    assert save_plot(folder, "front", tmp_path / "front.svg").read_text(encoding="utf-8").count("<use") > 1


def test_the_winner_of_a_search_is_whom_it_prefers(folder: Path, tmp_path: Path) -> None:
    whole(tmp_path / "run", PARETO.override({"search": {"prefer": "memory"}}))
    with Run(tmp_path / "run") as small, Run(folder) as best:
        assert small.winner["finalists"] == best.winner["finalists"]
        assert small.winner["id"] == preferred(best.winner["finalists"], "memory")["id"]


def test_parents_survive_and_the_crowded_do_not(folder: Path) -> None:
    generations = rule_generations(PARETO)
    assert isinstance(generations._elitism, Elitism)
    for k, ind in enumerate(generations.population):
        ind.fitness.values, ind.costs = (0.0, float(k), 0.0), (4.0 * (k // 2), 1.0)
    front = {0, 2, 4, 6, 1, 3, 5, 7} - {0, 2, 4, 6}
    children = generations.breed()
    assert {ind.id for ind in generations.population if ind.survivor} == front
    assert {parent for child in children for parent in child.parents} <= front


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"search": {"survivors": "pareto"}}, 'needs evaluation.fitness = "gain"'),
        ({"search": {"prefer": "memory"}}, 'needs search.survivors = "pareto"'),
        ({"search": {"prefer": "beauty"}}, "'accuracy', 'memory' or 'speed'"),
    ],
)
def test_settings_that_contradict_a_front_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EvooptError, match=words):
        config(**changes)


def test_a_run_without_a_front_says_so(tmp_path: Path) -> None:
    whole(tmp_path / "run", JUDGED)
    with pytest.raises(EvooptError, match="did not keep a front"):
        load_rule(tmp_path / "run", "memory")
    with pytest.raises(EvooptError, match="adam is no run folder"):
        load_rule("adam", "memory")
