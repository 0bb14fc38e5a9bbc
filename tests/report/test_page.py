"""The page is whole, says what it must, and needs nothing else, whatever the run."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoopt.cli import app
from evoopt.errors import EvooptError
from evoopt.report import write_report
from evoopt.report.blocks import Column
from evoopt.report.html import sort_value
from evoopt.report.models import score_facts
from evoopt.report.noise_runs import BIRTHS
from evoopt.runs import Run
from tests.report.big import big_run
from tests.report.pages import parse
from tests.report.runs import CONFIGS, Interrupting, make_run, search_optimizer

EXPECTED = {
    "optimizer": [
        "On fresh seeds",
        "Against tuned Adam",
        "Terms and genes",
        "noise runs",
        "Finalists",
        "µs per step",
    ],
    "gadam": ["Adoption rate", "mean of the weights", "blindly", "Not compared with tuned Adam"],
    "genetic": ["Chromosome of the winner", "Founders by generation", "no update rule"],
    "pbt": ["Schedule of the winner", "against drift", "the way of the winner's weights"],
    "hpo": ["against drift", "of different genomes", "The winner as JSON"],
}


def page_of(run: Path, tmp_path: Path) -> str:
    return read(write_report(run, tmp_path / "page.html"))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_kind_of_run_explains_itself(any_run: Path, any_page: Path) -> None:
    page = parse(read(any_page))
    text = page.text.casefold()
    for part in (
        "Result",
        "What this rests on",
        "Genealogy",
        "Settings",
        "This is one run",
        *EXPECTED[any_run.name],
    ):
        assert part.casefold() in text, part
    assert "<math" not in page.text
    assert page.all("math")
    assert page.all("code")


def test_page_and_terminal_tell_the_scores_of_a_model(any_run: Path) -> None:
    with Run(any_run) as run:
        facts, test = score_facts(run), run.winner.get("test")
    if test is None:
        assert any_run.name in ("hpo", "optimizer"), "whose winners are no models"
        assert not facts
        return
    metric = f"{test['metric']:.4f}"
    assert [label for label, _, _ in facts] == ["validation accuracy", "test accuracy"]
    assert facts[1][1] == metric
    assert facts[1][2].startswith("360 examples; 95 % interval 0.")
    shown = CliRunner().invoke(app, ["show", str(any_run)]).output
    assert f"test loss {test['loss']:.4f}, accuracy {metric} (360 examples)" in shown


def test_links_ids_and_charts_belong_together(any_page: Path) -> None:
    page = parse(read(any_page))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    assert links
    assert {f"#{name}" for name in ids} >= set(links)
    drawn = [attributes["data-figure"] for attributes in page.all("div") if "data-figure" in attributes]
    assert sorted(drawn) == sorted(page.data)
    for panels in page.data.values():
        for panel in panels:
            for own in panel["series"]:
                assert len(own["y"]) == len(panel["x"]) == len(own.get("low", own["y"]))


def test_nothing_is_loaded_from_anywhere(any_page: Path) -> None:
    html = read(any_page)
    page = parse(html)
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "srcset", "poster", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
        assert not [name for name in attributes if name.startswith("on")]
    styles = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in styles
    assert "@import" not in styles


def test_only_the_pages_own_scripts_are_allowed(optimizer_page: Path) -> None:
    page = parse(read(optimizer_page))
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    own = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[1:]]
    assert allowed == own


def test_a_page_of_an_unfinished_run_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        search_optimizer(folder, Interrupting(2))
    text = parse(page_of(folder, tmp_path)).text
    assert "unfinished: 2 of 4 generations" in text
    assert "unfinished run run" in text  # in the code of the best so far
    assert "Against tuned" not in text


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_run_without_a_generation_has_a_page_too(kind: str, tmp_path: Path) -> None:
    Run.create(tmp_path / "run", CONFIGS[kind]).close()
    assert "No generation is finished yet" in parse(page_of(tmp_path / "run", tmp_path)).text


def test_a_control_run_of_random_fitness_has_a_page_too(tmp_path: Path) -> None:
    search_optimizer(tmp_path / "run", Interrupting(9), evaluation={"fitness": "noise"})
    assert "its winner means nothing" in parse(page_of(tmp_path / "run", tmp_path)).text


def test_the_page_lies_in_the_run_folder_and_replaces_an_older_one_but_no_link(tmp_path: Path) -> None:
    run = make_run("hpo", tmp_path / "hpo")
    (run / "report.html").write_text("older")
    assert write_report(run) == run / "report.html"
    assert "<h1>hpo</h1>" in (run / "report.html").read_text()
    (run / "report.html").unlink()
    (run / "report.html").symlink_to(tmp_path / "elsewhere.html")
    with pytest.raises(EvooptError, match="is a symbolic link"):
        write_report(run)
    assert not (tmp_path / "elsewhere.html").exists()


def test_no_run_and_no_place_to_write_are_told_in_a_line(optimizer_run: Path, tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match="not a run folder"):
        write_report(tmp_path)
    with pytest.raises(EvooptError, match="cannot write"):
        write_report(optimizer_run, tmp_path / "absent" / "page.html")


@pytest.mark.parametrize(
    ("population", "generations", "births"),
    [(25, 40, 2000), pytest.param(500, 100, BIRTHS, marks=pytest.mark.slow)],
)
def test_many_evaluations_make_a_small_page(
    population: int, generations: int, births: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evoopt.report.noise_runs.BIRTHS", births)
    count = big_run(tmp_path / "run", population, generations)
    assert count == 4 * population * generations
    html = page_of(tmp_path / "run", tmp_path)
    assert len(html.encode()) < 1_000_000
    assert f"{count:,}" in html


def test_the_command_says_where_the_page_is_and_opens_it(
    optimizer_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", str(optimizer_run), "-o", str(page)])
    assert result.output == f"wrote {page}\n"
    assert not opened
    CliRunner().invoke(app, ["report", str(optimizer_run), "-o", str(page), "--open"])
    assert opened == [page.as_uri()]


def test_infinite_and_missing_numbers_are_shown_and_sorted_as_such() -> None:
    column = Column("x", ".2f")
    values = [1.234, math.inf, -math.inf, math.nan, None]
    assert [column.show(value) for value in values] == ["1.23", "∞", "-∞", "–", "–"]
    assert [sort_value(column, value) for value in values] == ["1.234", "Infinity", "-Infinity", None, None]
    assert sort_value(Column("name"), "b") is None
