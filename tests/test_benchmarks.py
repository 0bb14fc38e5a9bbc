"""That benchmarks measure what they say, and that their pages say what was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import cases, efficiency, scaling, shares, spending, stages
from benchmarks.problems import PROBLEMS
from evoopt.training.memory import members_in_cache

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "benchmarks" / "README.md").read_text()


def results(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def fits(problem: Any, members: int) -> bool:
    return members <= members_in_cache(sum(p.numel() for p in problem.make_model().parameters()), 4)


def test_no_case_times_more_members_than_a_training_takes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[tuple[Any, int]] = []

    def steps(problem: Any, groups: Any) -> dict[str, list[float]]:
        timed.extend((problem, len(rules)) for _, rules in groups)
        return {label: [1.0] for label, _ in groups}

    def share(problem: Any, rules: Any) -> float:
        timed.append((problem, len(rules)))
        return 0.1

    monkeypatch.setattr(cases, "_steps", steps)
    monkeypatch.setattr(cases, "_update_share", share)
    monkeypatch.setattr(cases, "product_flops", lambda: 1e9)
    for case in (cases.population_sizes, cases.model_sizes, cases.update_share):
        case()
    timed.append((PROBLEMS["mlp"], stages.MEMBERS))
    assert len(timed) > 15
    assert all(fits(problem, members) for problem, members in timed)


def test_stages_divide_by_the_members_that_they_train(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(contenders: Any, rounds: int) -> dict[str, list[float]]:
        assert all(len(rules) * stages.STEPS == work for rules, work in contenders.values())
        return {name: [float(name == "muon") + 1] for name in contenders}

    monkeypatch.setattr(stages, "_steps", lambda problem, rules, make=None: rules)
    monkeypatch.setattr(stages, "side_by_side", check)
    monkeypatch.setattr(stages, "product_flops", lambda: 1e9)
    figures = [row.figure for row in stages.stages().rows]
    assert figures[3] == "2.00x (2.00 to 2.00)"


def test_every_case_is_in_the_table_of_the_page() -> None:
    named = re.findall(r"`([\w-]+)`", "".join(re.findall(r"^\| (`[^|]*)\|", PAGE, re.MULTILINE)))
    assert set(cases.CASES) <= set(named)


@pytest.mark.parametrize("name", ["cpu-2-cores", "cuda-h200"])
def test_committed_tables_are_those_of_their_figures(name: str) -> None:
    assert (RESULTS / f"{name}.md").read_text() == command.table(results(f"{name}.json"))


def case_on(cpu: str) -> dict[str, Any]:
    machine = {"cpu": cpu, "cores": 2, "torch": "2", "python": "3", "date": "today", "load_before": 0.5}
    return {"machine": machine, "rows": [{"what": "it", "figure": "1", "target": ""}]}


def test_figures_stand_under_the_machine_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"of old": case_on("A"), "update": case_on("A")}))
    command.keep(path, "mlp", case_on("B"))
    assert list(json.loads(path.read_text())) == ["mlp", "update", "of old"]
    of_b, of_a = path.with_suffix(".md").read_text().split("\nA, 2 cores")
    assert of_b.startswith("B, 2 cores")
    assert "| mlp |" in of_b
    assert "| update |" not in of_b
    assert "| update |" in of_a
    assert "| of old |" in of_a


def test_a_search_of_another_budget_is_another_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficiency, "search", lambda config, out: (out, config.search.generations))
    found: list[Any] = [
        efficiency.finished("without rate axis", 1, budget, tmp_path) for budget in (1000, 2000)
    ]
    assert len({folder for folder, _ in found}) == 2
    assert found[0][1] < found[1][1]


def test_gains_are_kept_by_what_they_were_judged_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [efficiency.Judge(tmp_path)._file for _ in range(2)]
    monkeypatch.setitem(efficiency._ALIKE["evaluation"], "steps", efficiency.STEPS + 1)
    files.append(efficiency.Judge(tmp_path)._file)
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--budget", "90"], "--budget 90: this search may need "), (["--only", "magic"], "unknown way magic")],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_searched(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["efficiency", str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit, match="2"):
        efficiency.main()
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_first_generation_of_every_committed_search_is_within_the_least_budget() -> None:
    ways = results("efficiency.json")["ways"]
    assert list(ways) == list(efficiency.SHOWN)
    for way, runs in ways.items():
        assert max(run["curve"][0][0] for run in runs) <= efficiency.least_budget(way) < efficiency.BUDGET


def table_of_rules(better: int) -> spending.Table:
    """Ten rules on four tasks, all best at the highest of their rates; one of them better than the others."""
    rules = np.full((10, 4, spending.RATES, spending.SEEDS), np.nan)
    rules[..., :5, :] = 0.5 + 0.05 * np.arange(5)[:, None]
    rules[better, :, 4] = 0.85
    baseline = np.tile(0.7 + 0.01 * np.arange(spending.SEEDS) % 0.02, (4, 1))
    return spending.Table(rules, np.full(10, 4), np.full(10, 5), baseline)


@pytest.mark.parametrize("fitness", ["validation", "gain", "error"])
def test_spending_selects_the_best_rule_and_says_what_it_is_worth_elsewhere(fitness: Any) -> None:
    table = table_of_rules(better=3)
    everybody, nobody = (spending.Spending(tasks=2, seeds=1, rates=3, rules=n) for n in (10, 1))
    rng = np.random.default_rng(0)
    for rule, judges in spending.selections(table, everybody, fitness, 20, rng):
        assert rule == 3
        assert len(set(judges)) == spending.JUDGES
    assert spending.worth(table, everybody, fitness, 20)[0] == pytest.approx(0.15 / 0.295, rel=0.01)
    assert spending.worth(table, nobody, fitness, 200)[0] > 0.9
    table.rules[3, :, 4] = np.nan  # diverged there, and behind everybody at its other rates
    assert 3 not in {rule for rule, _ in spending.selections(table, everybody, fitness, 20, rng)}


def test_the_tables_of_spending_are_of_the_kept_figures() -> None:
    kept, page = results("spending.json"), (ROOT / "docs" / "spaces.md").read_text()
    shown = page.split("<!-- spending -->")[1].split("<!-- end spending -->")[0]

    def counted(number: int, name: str) -> str:
        return f"{number} {name}{'s' * (number > 1)}"

    def told(row: Any, *names: str) -> str:
        return ", ".join(counted(row[name], name.removesuffix("s")) for name in names)

    rows = [line for line in shown.splitlines() if re.match(r"\| \d+ tasks?,", line)]
    equal = {
        f"| {told(row, 'tasks', 'rates', 'seeds', 'rules')} | {row['error']:.3f} |"
        for row in kept["equal"]["432"]
    }
    fitness = {
        f"| {told(row, 'tasks', 'seeds')} | "
        + " | ".join(f"{row[name]:.3f}" for name in get_args(spending.Fitness))
        + " |"
        for row in kept["fitness"]
    }
    assert len(rows) == 13
    assert set(rows) <= equal | fitness


def test_rates_lie_around_a_rules_own_and_inside_their_range() -> None:
    table = table_of_rules(better=3)
    assert np.flatnonzero(table.at(1)[0]).tolist() == [4]
    assert np.flatnonzero(table.at(3)[0]).tolist() == [2, 3, 4]
    assert np.flatnonzero(table.at(9)[0]).tolist() == list(range(9))  # those that a rule has not are NaN


def test_the_tables_of_workers_are_those_of_the_kept_figures() -> None:
    kept, page = results("scaling.json"), (ROOT / "docs" / "scaling.md").read_text()
    found = []
    for kind in scaling.KINDS:
        seconds = {int(n): value for n, value in kept[kind].pop("seconds").items()}
        found.append(scaling.Measured(**kept[kind], seconds=seconds))
    assert kept["leader_ms_per_evaluation"] == scaling.LEADER_MS
    assert scaling.measured_table(found, 16) in page
    assert scaling.projected_table(found, 12, scaling.LEADER_MS) in page


def test_steps_of_exported_classes_are_told_by_their_own_names() -> None:
    kept = results("export_step.json")

    def of(name: str) -> str:
        return " / ".join(f"{kept[model]['ratios'][name]:.2f}" for model in ("resnet18", "transformer"))

    ours, published = (
        [of(f"{name}, {way}") for way in ("loop", "foreach", "fused")]
        for name in ("evoopt adamw", "marfinetz2025")
    )
    told = " ".join(PAGE.split())
    assert f"AdamW rule by default {ours[0]}, `foreach` {ours[1]}, `fused` {ours[2]};" in told
    assert f"published rule `foreach` {published[1]}, `fused` {published[2]};" in told
    assert f"Lion `fused` {of('lion, fused')}" in told


def test_shares_are_of_trainings_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[tuple[str, int]] = []
    monkeypatch.setattr(shares, "_training", lambda name, members, steps: timed.append((name, members)))
    monkeypatch.setattr(shares, "_scoring", lambda name, members, count: None)
    monkeypatch.setattr(shares, "_own_seconds", lambda call: 1.0)
    monkeypatch.setattr(shares, "product_flops", lambda: 1e9)
    shares.shares()
    assert timed
    assert all(fits(PROBLEMS[name], members) for name, members in timed)
