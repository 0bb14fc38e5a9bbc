"""Names from a run folder are text, whatever they contain."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from evoopt.evolution.stages import evolve
from evoopt.report import write_report
from evoopt.report.blocks import Code, Column, Facts, Page, Section, Shown, Table, Text
from evoopt.report.figures import HeatMap, Interval, Intervals, Lines, Node, Panel, Series, Tree
from evoopt.report.html import render_page
from evoopt.runs import Run
from evoopt.runs.checkpoints import Checkpoints
from evoopt.runs.database import checksum
from evoopt.systems.hyperparameters.config import HpoConfig
from evoopt.systems.hyperparameters.hpo_scheme import Trials, hpo_scheme
from evoopt.systems.hyperparameters.trial import Trial
from evoopt.training.member_hyperparameters import Value
from tests.report.pages import parse
from tests.report.runs import compare, search_optimizer

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror=alert(1)>\"' onfocus='x' "
    "<!-- {{ 7*7 }} \u2028 &amp; %}"
)


def assert_harmless(html: str, times: int) -> None:
    page = parse(html)
    assert len(page.scripts) == 3, "the data and the page's two scripts"
    assert not page.all("img")
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on")}
    assert page.text.count("window.hacked=1") >= times
    assert "<script>window" not in html
    assert "{{ 7*7 }}" in page.text


def test_every_block_escapes_what_it_shows() -> None:
    series = (Series(HOSTILE, [1.0, 2.0], [0.5, 1.0], [2.0, 3.0], "reference"),)
    panels = tuple(Panel([0.0, 1.0], series, HOSTILE, HOSTILE, HOSTILE) for _ in range(5))
    interval = Interval(HOSTILE, HOSTILE, 1.0, 0.5, 1.5, True, HOSTILE)
    node = Node(0, 0, 0.5, True, HOSTILE)
    blocks = [
        Text(HOSTILE), Facts([(HOSTILE, HOSTILE, HOSTILE)]), Code(HOSTILE, HOSTILE),
        Table((Column(HOSTILE), Column(HOSTILE, ".2f")), [(HOSTILE, 1.0), (HOSTILE, None)], HOSTILE),
        Shown("lines", HOSTILE, Lines(panels, HOSTILE)),
        Shown("intervals", HOSTILE, Intervals((interval,), HOSTILE, HOSTILE)),
        Shown("heat", HOSTILE, HeatMap(((HOSTILE, (1.0, 2.0)),), HOSTILE, HOSTILE)),
        Shown("tree", HOSTILE, Tree((node,), (), HOSTILE)),
    ]  # fmt: skip
    html = render_page(Page(HOSTILE, HOSTILE, [Section(HOSTILE, blocks)], HOSTILE))
    assert_harmless(html, times=20)
    assert parse(html).data["lines"][0]["title"] == HOSTILE


def test_hostile_names_in_a_run_folder_stay_text(tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE.replace("/", "|")
    search_optimizer(folder)
    config = Run(folder).config.model_copy(update={"name": HOSTILE})
    (folder / "config.toml").write_text(config.to_toml())
    compare(folder, {HOSTILE: {HOSTILE: [0.9, 0.8, 0.7], "adam": [0.5, 0.6, 0.7]}})
    with sqlite3.connect(folder / "run.sqlite") as database:
        database.execute(
            "UPDATE evaluations SET reason = ?, outcome = 'failed' WHERE position = 0", (HOSTILE,)
        )
        for row in database.execute("SELECT * FROM evaluations WHERE position = 0").fetchall():
            database.execute(
                "UPDATE evaluations SET checksum = ? WHERE (generation, chunk, position) = (?, ?, ?)",
                (checksum(row[:-1]), *row[:3]),
            )
    html = write_report(folder, tmp_path / "page.html").read_text(encoding="utf-8")
    assert_harmless(html, times=8)


def test_hostile_hyperparameters_stay_text(tmp_path: Path) -> None:
    space = {HOSTILE: {"choices": [HOSTILE, "b"], "default": HOSTILE}}
    settings = {"population": 4, "generations": 3}
    config = HpoConfig(space=space, recombination=settings, training={"steps": 1})

    def evaluate(values: Sequence[Mapping[str, Value]], seed: int) -> list[Trial]:
        return [Trial(float(k), 1.0, 0.5, 1) for k, _ in enumerate(values)]

    with Run.create(tmp_path / "run", config) as run:
        trials = Trials(evaluate, config.seed)
        scheme = hpo_scheme(config.recombination, config.loci(), trials)
        evolve(scheme, Checkpoints(run))
        run.store.save_winner(trials.winner(scheme.generations))
    html = write_report(tmp_path / "run", tmp_path / "page.html").read_text(encoding="utf-8")
    assert_harmless(html, times=3)
