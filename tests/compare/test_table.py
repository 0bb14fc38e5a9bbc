"""What a comparison prints and writes are the figures that its scores give."""

from __future__ import annotations

import csv
import io
import math

from evoopt.compare.analysis import analyse
from evoopt.compare.statistics import ALPHA, minimum_detectable_effect
from evoopt.compare.table import describe_comparison, to_csv, to_csv_seeds
from tests.compare.stubs import comparison_of

SCORES = {
    "x": [0.50, 0.52, 0.51, 0.53, 0.55, 0.57, 0.56, math.nan],
    "y": [0.41, 0.40, 0.42, 0.43, 0.44, 0.45, 0.46, 0.47],
    "adam": [0.40, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46, 0.47],
}


def test_the_table_has_the_figures_of_every_contender() -> None:
    comparison = comparison_of({"t": SCORES})
    analysis = analyse(comparison)
    row = analysis.row("t", "x")
    assert row.difference is not None
    assert row.detectable == minimum_detectable_effect(row.difference.spread, 7, ALPHA / 2)
    lines = describe_comparison(comparison, analysis).splitlines()
    assert lines[3].split()[:5] == ["contender", "score", "±sd", "vs", "adam"]
    cells = [cell.strip() for cell in lines[4].split("  ") if cell.strip()]
    assert cells == [
        "x", "53.43", "2.64", "+10.43", "+9.53 to +11.33", "0.328", "1.45", "12%", "2", "1", "0.8",
    ]  # fmt: skip
    assert lines[6].split() == ["adam", "43.50", "2.45", "reference", "0%", "2", "1", "0.8"]
    assert "no detectable difference from tuned adam on t (smallest detectable: 1.45 points)" in lines[-2]


def test_the_files_for_a_spreadsheet_have_every_figure_under_its_name() -> None:
    comparison = comparison_of({"t": SCORES})
    analysis = analyse(comparison)
    [line, _, reference] = csv.DictReader(io.StringIO(to_csv(comparison, analysis)))
    difference = analysis.row("t", "x").difference
    assert difference is not None
    names = ("pairs", "compared", "mean", "low", "high", "spread", "p_value")
    written = {name: float(line[f"difference_{name}"]) for name in names}
    assert written == {name: getattr(difference, name) for name in names}
    assert reference["difference_mean"] == reference["finding"] == ""
    first = next(csv.DictReader(io.StringIO(to_csv_seeds(comparison))))
    assert first == {
        "task": "t", "contender": "x", "seed": "0", "outcome": "ok", "metric": "0.5", "eval_loss": "0.5",
        "train_loss": "1.5",
    }  # fmt: skip
