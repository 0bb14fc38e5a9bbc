"""The numbers behind tables and figures of a report are right, and so are their colours and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evoopt.compare.analysis import analyse
from evoopt.compare.command import Report, json_text
from evoopt.jobs.records import Evaluation
from evoopt.report.against import against, differences, verdict_texts
from evoopt.report.blocks import Table, Text
from evoopt.report.common import MOST_ROWS, Figured, generations_table, quartiles, wilson
from evoopt.report.evolution import around_mean
from evoopt.report.figures import HeatMap, Interval, Intervals
from evoopt.report.html import heat_colours, interval_scale
from evoopt.report.training_cost import cost_section
from evoopt.runs import Run
from evoopt.training.plan import Outcome, TrainingResult
from tests.compare.stubs import comparison_of
from tests.report.runs import CONFIGS


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create(tmp_path / "run", CONFIGS["optimizer"]) as made:
        yield made


def compared(run: Run, gain: float, searched_here: tuple[str, ...] = ()) -> None:
    """Leave a comparison on eight seeds in which the winner is so much better than Adam."""
    adam = [0.8 + 0.01 * k for k in range(8)]
    made = comparison_of({"digits": {"mine": [score + gain for score in adam], "adam": adam}})
    mine, *others = made.participants
    made = replace(made, participants=(replace(mine, searched_here=searched_here), *others))
    (run.folder / "comparison.json").write_text(json_text(Report(made, analyse(made))))


@pytest.mark.parametrize(
    ("gain", "tone", "firm", "text"),
    [
        (0.02, "good", True, "+2.00 (+2.00 to +2.00)"),
        (-0.02, "bad", True, "-2.00 (-2.00 to -2.00)"),
        (0.0, "plain", False, "+0.00 (+0.00 to +0.00)"),
    ],
)
def test_a_difference_is_in_points_and_only_a_significant_one_is_coloured_and_filled(
    gain: float, tone: str, firm: bool, text: str, run: Run
) -> None:
    compared(run, gain)
    [row] = differences(run).rows
    assert (row.mean, row.low, row.high) == pytest.approx((100 * gain,) * 3)
    assert (row.firm, row.text) == (firm, text)
    assert [verdict.tone for verdict in verdict_texts(run)] == [tone]


@pytest.mark.parametrize("searched_here", [(), ("digits",)])
def test_a_winner_that_was_found_on_the_tasks_of_its_comparison_is_no_evidence_for_others(
    searched_here: tuple[str, ...], run: Run
) -> None:
    compared(run, 0.02, searched_here)
    last = against(run)[0].blocks[-1]
    assert isinstance(last, Text)
    assert ("found on these very tasks" in last.text) == bool(searched_here)


def test_the_cost_of_a_search_is_counted_by_outcome(run: Run) -> None:
    counts: dict[Outcome, int] = {"ok": 1, "diverged": 2, "stopped": 3, "failed": 4}
    results = [
        TrainingResult(outcome, "", 50, 1.0, 1.0, 0.5, seconds=0.25)
        for outcome, count in counts.items()
        for _ in range(count)
    ]
    run.store.add_evaluations(
        [Evaluation(0, 0, k, "key", "digits", 0, 0, k, "batched", result) for k, result in enumerate(results)]
    )
    by_task, why, *_ = cost_section(run).blocks
    assert isinstance(by_task, Table)
    assert isinstance(why, Table)
    shown = [column.show(cell) for column, cell in zip(by_task.columns, by_task.rows[0], strict=True)]
    assert shown == ["digits", "batched", "10", "1", "2", "3", "4", "500", "2.5", "5,000"]
    assert [row[::2] for row in why.rows] == [("failed", 4), ("stopped", 3), ("diverged", 2)]


def test_shares_have_the_interval_of_wilson_and_rows_their_quartiles() -> None:
    assert wilson(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert quartiles([[1, 2, 3, 4, 5, None], [None]]) == ([2, None], [3, None], [4, None])
    spread = around_mean([{"mean": 0.5, "std": 0.1}, {"mean": None, "std": None}])
    assert (spread.low, spread.y, spread.high) == ([0.4, None], [0.5, None], [0.6, None])


@pytest.mark.parametrize(("count", "every"), [(MOST_ROWS, 1), (2 * MOST_ROWS + 2, 3)])
def test_of_very_many_generations_every_kth_and_the_last_are_listed(count: int, every: int) -> None:
    table = generations_table([{"generation": k} for k in range(count)], [Figured("x", "x", "d")])
    assert MOST_ROWS >= 100
    assert [row[0] for row in table.rows] == [*range(0, count - 1, every), count - 1]


def test_the_largest_cell_of_a_heat_map_has_the_last_colour_of_its_scale() -> None:
    drawn = heat_colours(HeatMap((("a", (0.01, 1.0)), ("b", (0.1,))), "x"))
    (smallest, largest), (middle,) = ([colour for colour, _ in cells] for _, cells in drawn["rows"])
    assert [smallest, middle, largest] == [drawn["scale"][k] for k in (0, 12, 24)]
    assert (drawn["low"], drawn["high"]) == ("0.01", "1")


@pytest.mark.parametrize(
    ("ends", "places"), [((-1.0, 0.0, 1.0), (3.7, 50.0, 96.3)), ((0.0, 0.0, 0.0), (50.0, 50.0, 50.0))]
)
def test_intervals_fill_the_width_and_have_zero_in_view(
    ends: tuple[float, float, float], places: tuple[float, float, float]
) -> None:
    low, mean, high = ends
    [drawn] = interval_scale(Intervals((Interval("t", "x", mean, low, high, False, ""),), ""))
    assert (drawn["low"], drawn["mean"], drawn["high"]) == pytest.approx(places)
    assert drawn["zero"] == 50.0
