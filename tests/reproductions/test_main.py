"""The command line of the reproductions, and what the package's own says about them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from evoopt.cli import app as package
from evoopt.errors import EvooptError
from reproductions.__main__ import app
from reproductions.publication import command_line
from tests.stubs import interrupt

COMMANDS = ("marfinetz2025", "gadam", "gacnn", "three_parent")
TINY = "--parts digits --population 2 --generations 1 --steps 2 --seeds 1 --replays 1"


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_fits_80_columns_and_says_something_about_everything(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "…" not in result.output


@pytest.mark.usefixtures("undrawn")
def test_recombination_is_another_name_of_three_parent_with_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["recombination", *TINY.split(), "--executor", "serial", "-q"])
    assert result.exit_code == 0, result.output
    report = (tmp_path / "runs" / "recombination" / "reproduction.md").read_text()
    assert result.output == report
    assert f"`python -m reproductions three_parent {TINY}`" in report


@pytest.mark.usefixtures("undrawn")
def test_marfinetz2025_takes_its_options(tmp_path: Path) -> None:
    options = "--tasks digits --steps 3 --seeds 1 --trials 0 --executor serial -q"
    result = CliRunner().invoke(app, ["marfinetz2025", *options.split(), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "3 steps, 1 seeds" in result.output


@pytest.mark.usefixtures("undrawn")
def test_three_parent_takes_another_target_and_other_widths(tmp_path: Path) -> None:
    options = TINY.replace("digits", "p3b1_stand_in") + " --train-size 200 --target 0.4 --narrower 32"
    command = ["three_parent", *options.split(), "--methods", "default", "--executor", "serial", "-q"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for told in (
        "Target: a score of 40.0% in",
        "are divided by 32.",
        "| 200 |",
        "--target 0.4 --narrower 32`",
    ):
        assert told in result.output


def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reproductions.publication.reproduce", interrupt)
    result = CliRunner().invoke(app, ["gadam", "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert f"the same command with --out {tmp_path} goes on from here" in result.output


RESULTS = Path(__file__).parents[2] / "runs" / "results"


@pytest.mark.parametrize("name", [path.parent.name for path in sorted(RESULTS.glob("*/reproduction.json"))])
def test_the_command_in_a_result_file_asks_for_the_budget_beside_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = json.loads((RESULTS / name / "reproduction.json").read_text(encoding="utf-8"))
    asked: dict[str, Any] = {}

    def noted(publication: Any = None, **given: Any) -> None:
        asked.update(given, publication=publication)
        raise EvooptError("that is all")

    monkeypatch.setattr("reproductions.publication.reproduce", noted)
    monkeypatch.setattr("reproductions.marfinetz2025.experiment.reproduce_marfinetz2025", noted)
    words = kept["command"].split()
    assert words[:3] == ["python", "-m", "reproductions"]
    CliRunner().invoke(app, words[3:])
    if words[3] == "marfinetz2025":
        assert (asked["steps"], asked["tasks"]) == (kept["steps"], tuple(kept["literal"]))
        assert {len(own["fitness"]) for task in kept["literal"].values() for own in task.values()} == {
            asked["seeds"]
        }
        report = (RESULTS / name / "reproduction.md").read_text(encoding="utf-8")
        honest = asked["honest"]
        assert (honest is None) == (not kept["verdict"])
        if honest is None:
            return
        assert f"{honest.trials} tuning trials of {honest.tuning_seeds} seeds" in report
        assert f"{honest.seeds} fresh seeds on test data, {honest.steps} steps each" in report
        assert f"--train-size {honest.train_size} " in report
        return
    publication, paper = asked["publication"], asked.get("paper", False)
    parts = asked["parts"] or (publication.paper_parts if paper else publication.small_parts)
    # The oldest of the files does not have figures among its parts.
    assert list(kept["parts"]) == [part for part in parts if part != "figures" or part in kept["parts"]]
    for part in kept["parts"]:
        budget = publication.budget(part, paper)
        fixed = getattr(budget, "fixed", ())
        given = {n: asked[n] for n in vars(budget) if asked.get(n) is not None and n not in fixed}
        wanted = json.loads(json.dumps(asdict(replace(budget, **given))))
        found = kept["parts"][part]["budget"]
        assert {n: found[n] for n, value in wanted.items() if value is not None} == {
            n: value for n, value in wanted.items() if value is not None
        }, part


def test_another_publication_is_refused() -> None:
    result = CliRunner().invoke(app, ["marfinetz2024"])
    assert result.exit_code == 2
    assert "marfinetz2024" in result.output


def test_a_command_line_names_what_was_asked_for_and_nothing_else() -> None:
    assert command_line(
        "gadam", parts=("digits", "yeast"), paper=True, scale=0.5, final_seeds=3, steps=None
    ) == ("python -m reproductions gadam --parts digits,yeast --paper --scale 0.5 --final-seeds 3")


def test_the_package_says_that_a_checkout_is_needed() -> None:
    result = CliRunner().invoke(package, ["reproduce", "gadam", "--paper"])
    assert isinstance(result.exception, EvooptError)  # which `main` turns into a line and exit code 2
    assert str(result.exception) == "a checkout is needed: python -m reproductions gadam --paper"
    assert set(COMMANDS) < set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
