"""Which tasks tell optimizers apart: the figures, and the whole way from the command line."""

from __future__ import annotations

import math

import numpy as np
import pytest
from typer.testing import CliRunner

from evoopt.cli import app
from evoopt.compare.discrimination import OPTIMIZERS, describe_discriminations, discriminations
from evoopt.compare.protocol import Protocol
from evoopt.execution import place
from tests.compare.stubs import FormulaExecutor, comparison_of

NAN = math.nan
RUNNER = CliRunner()


def test_gains_and_distances_are_in_units_of_the_pooled_deviation_over_seeds() -> None:
    scores = {"adamw": (0.5, 0.7), "lion": (0.9, 0.9), "sgd": (0.2, 0.6)}
    [found] = discriminations(comparison_of({"digits": scores}, "adamw"))
    unit = math.sqrt((0.02 + 0.0 + 0.08) / 3)
    assert found.deviation == pytest.approx(unit)
    assert found.gains == pytest.approx({"lion": 0.3 / unit, "sgd": -0.2 / unit})
    assert found.apart == pytest.approx(np.std([0.6, 0.9, 0.4], ddof=1) / unit)
    told = describe_discriminations([found], Protocol(("digits",), seeds=2)).splitlines()[-1]
    assert told.split() == ["digits", "images", "1.38", "+1.64", "-1.10", "18.26"]


@pytest.mark.parametrize(
    ("scores", "apart", "gain"),
    [
        ({"adamw": (0.5, 0.5), "lion": (0.5, 0.5)}, 0.0, 0.0),
        ({"adamw": (0.5, 0.5), "lion": (0.6, 0.6)}, math.inf, math.inf),
        ({"adamw": (0.5, 0.7), "lion": (0.6, NAN)}, 0.0, NAN),
        ({"adamw": (NAN, NAN), "lion": (0.5, 0.7)}, 0.0, NAN),
        ({"adamw": (NAN, NAN), "lion": (NAN, NAN)}, 0.0, NAN),
    ],
)
def test_seeds_that_agree_or_diverge_have_a_figure_too(
    scores: dict[str, tuple[float, ...]], apart: float, gain: float
) -> None:
    [found] = discriminations(comparison_of({"digits": scores}, "adamw"))
    assert found.apart == apart
    assert found.gains["lion"] == pytest.approx(gain, nan_ok=True)


def test_the_command_prints_the_tasks_that_tell_most_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "make_executor", lambda *a, **k: FormulaExecutor())
    arguments = "tasks digits wine --discriminate --budget 12 --trials 8 --seeds 3 --quiet"
    result = RUNNER.invoke(app, arguments.split())
    assert result.exit_code == 0, result.output
    head, *rows = [line.split() for line in result.output.splitlines() if line and " " in line][2:]
    assert head[3:8] == [*OPTIMIZERS]
    assert {row[0] for row in rows} == {"digits", "wine"}
    assert float(rows[0][2]) >= float(rows[1][2])


def test_tasks_are_listed_with_their_families_all_or_some() -> None:
    assert "wine                     tables " in RUNNER.invoke(app, ["tasks"]).output
    assert RUNNER.invoke(app, ["tasks", "digits"]).output.split()[:2] == ["digits", "images"]
