"""``evoopt plot`` draws every figure of every individual type, and says what it cannot draw."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoopt.cli import app
from evoopt.errors import EvooptError
from evoopt.report import figure_names, save_plot
from evoopt.report.drawing import save_figure
from evoopt.report.figures import Lines, Panel, Series, thinned
from evoopt.runs import Run
from tests.report.runs import search_optimizer

OF_EACH_CLASS = {"optimizer": ("fitness", "differences", "genealogy"), "genetic": ("chromosome",)}


def test_every_figure_that_is_offered_is_drawn(any_run: Path, tmp_path: Path) -> None:
    with Run(any_run) as run:
        kinds = figure_names(run)
    for kind in kinds:
        picture = save_plot(any_run, kind, tmp_path / f"{kind}.svg").read_bytes()
        assert picture.startswith(b"<?xml"), kind
        assert len(picture) > 3000, kind
        assert b"mathdefault" not in picture, kind
    for kind in OF_EACH_CLASS.get(any_run.name, ()):
        picture = save_plot(any_run, kind, tmp_path / f"{kind}.png").read_bytes()
        assert picture.startswith(b"\x89PNG"), kind
        assert len(picture) > 3000, kind


def test_a_missing_comparison_is_answered_with_a_command_that_makes_it(tmp_path: Path) -> None:
    search_optimizer(tmp_path / "run")
    with pytest.raises(EvooptError, match=r"no comparison.*evoopt compare (\S+/run) --out \1"):
        save_plot(tmp_path / "run", "curves", tmp_path / "x.png")


def test_a_vector_picture_is_the_same_every_time_and_has_its_text_as_text(
    optimizer_run: Path, tmp_path: Path
) -> None:
    first = save_plot(optimizer_run, "fitness", tmp_path / "a.svg").read_text()
    assert first == save_plot(optimizer_run, "fitness", tmp_path / "b.svg").read_text()
    assert "generation" in first
    assert save_plot(optimizer_run, "fitness", tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_an_unknown_kind_is_answered_with_those_there_are(optimizer_run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plot", str(optimizer_run), "fitnes", "-o", str(tmp_path / "x.png")])
    assert isinstance(result.exception, EvooptError)
    message = str(result.exception)
    assert "Did you mean 'fitness'?" in message
    assert "genealogy" in message
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_picture_is_refused(optimizer_run: Path, tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match=r"\.png, \.svg, \.pdf"):
        save_plot(optimizer_run, "fitness", tmp_path / "x.docx")
    with pytest.raises(EvooptError, match="cannot write"):
        save_plot(optimizer_run, "fitness", tmp_path / "absent" / "x.png")


def test_dollars_in_names_are_no_formulas(tmp_path: Path) -> None:
    series = (Series(r"$\frac{", [1.0, 2.0]), Series("_hidden", [2.0, 1.0]))
    figure = Lines((Panel([0.0, 1.0], series, r"$x_{$"),), "")
    save_figure(figure, tmp_path / "x.svg")
    assert r"$x_{$" in (tmp_path / "x.svg").read_text()


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    x = [float(k) for k in range(12_345)]
    panel = thinned(Panel(x, (Series("a", x, x, x),)), most=1000)
    assert len(panel.x) <= 1001
    assert (panel.x[0], panel.x[-1]) == (0.0, 12_344.0)
    assert list(panel.series[0].y) == list(panel.x) == list(panel.series[0].low or ())
    short = Panel(x[:10], (Series("a", x[:10]),))
    assert thinned(short, most=10) is short
