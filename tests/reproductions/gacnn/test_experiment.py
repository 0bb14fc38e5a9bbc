"""The reproduction of GACNN: equal starts, honest counts, verdicts that follow from the numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from evoopt.compare.comparison import Place
from evoopt.errors import EvooptError
from reproductions.gacnn import experiment
from reproductions.gacnn.experiment import Reproduction, reproduce_gacnn
from reproductions.gacnn.methods import VARIANTS, Budget
from reproductions.gacnn.plots import PICTURES
from reproductions.gacnn.results import ROWS, TaskResult, compare_rows, lead

POPULATION, GENERATIONS, EXAMPLES, STEPS = 6, 3, 60, 8
TASK = "genetic_digits"


def reproduce(out: Path, **changes: object) -> Reproduction:
    settings = {
        "tasks": (TASK,), "population": POPULATION, "generations": GENERATIONS, "examples": EXAMPLES,
        "steps": STEPS, "seeds": 2, "place": Place("serial"), **changes,
    }  # fmt: skip
    return reproduce_gacnn(**settings, out=out)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gacnn")


@pytest.fixture(scope="module")
def found(folder: Path) -> Reproduction:
    return reproduce(folder)


def test_it_gives_every_row_and_picture_and_both_files(found: Reproduction, folder: Path) -> None:
    (result,) = found.found.tasks
    assert list(result.rows) == list(ROWS)
    assert {path.stem for path in found.plots} == set(PICTURES)
    assert all(path.stat().st_size > 0 for path in found.plots)
    assert (folder / "reproduction.md").read_text(encoding="utf-8") == found.text
    kept = json.loads((folder / "reproduction.json").read_text(encoding="utf-8"))
    told = kept["tasks"][TASK]["rows"]["elitist"]["0"]["test_accuracy"]
    assert told == result.rows["elitist"][0]["test_accuracy"]
    for title in ROWS.values():
        assert f"| {title} |" in found.text


def test_all_methods_start_at_the_same_accuracy(found: Reproduction) -> None:
    (result,) = found.found.tasks
    for seed in (0, 1):
        # The robust settings' fittest is the one with the highest likelihood, not accuracy.
        others = [row for row in result.rows if not row.startswith("robust")]
        assert len({result.rows[row][seed]["curve"]["accuracy"][0] for row in others}) == 1


def test_iterations_and_examples_are_counted_as_the_report_says(found: Reproduction) -> None:
    (result,) = found.found.tasks
    children = POPULATION * (GENERATIONS - 1)
    counts = {row: (result.rows[row][0]["iterations"], result.rows[row][0]["examples"]) for row in ROWS}
    assert counts["steady_state"] == (children, children * EXAMPLES)
    assert counts["generational"] == (GENERATIONS - 1, children * EXAMPLES)
    elites = 1
    seen = (POPULATION - elites) * (GENERATIONS - 1) * EXAMPLES
    assert counts["elitist"] == (GENERATIONS - 1, seen)
    # 60 examples give one minibatch of 32 per epoch; incomplete ones are left out.
    assert counts["adam"] == counts["sgd"] == (STEPS, STEPS * 32)
    assert counts["elitist_adam"] == (GENERATIONS - 1 + STEPS, seen + STEPS * 32)


def test_a_head_start_goes_on_where_evolution_ended(found: Reproduction) -> None:
    (result,) = found.found.tasks
    for row in ("elitist", "robust"):
        own, whole = (result.rows[name][0]["curve"] for name in (row, f"{row}_adam"))
        for axis in own:
            assert whole[axis][: len(own[axis])] == own[axis]
        assert len(whole["seconds"]) > len(own["seconds"])


def test_schemes_that_keep_their_best_never_fall(found: Reproduction) -> None:
    (result,) = found.found.tasks
    keeping = [row for row, variant in VARIANTS.items() if variant.scheme != "generational"]
    assert all(result.rows[row][seed]["falls"] == 0 for row in keeping for seed in (0, 1))


def test_an_interrupted_reproduction_goes_on_from_its_units(
    found: Reproduction, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("everything is finished")

    monkeypatch.setattr(Place, "start", refuse)
    monkeypatch.setattr(experiment, "save_plots", lambda *_: [])  # drawn before, and slow
    assert reproduce(folder).text == found.text


def test_missing_data_is_a_note_and_the_rest_is_done(tmp_path: Path) -> None:
    place = Place("serial", data_dir=tmp_path / "empty")
    done = reproduce(tmp_path, tasks=("genetic_mnist", TASK), methods=("adam",), seeds=1, place=place)
    assert [result.name for result in done.found.tasks] == [TASK]
    assert "genetic_mnist" in done.text.split("## Missing")[1].split("##")[0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"tasks": ("mnist",)}, "mnist"), ({"methods": ("lion",)}, "lion"), ({"population": 1}, "population")],
)
def test_what_cannot_be_done_is_named(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    with pytest.raises(EvooptError, match=named):
        reproduce(tmp_path, **changes)


def result_of(**rows: dict[int, list[float]]) -> TaskResult:
    """Rows of curves by seed, one point per iteration."""
    made = {
        row: {
            seed: {"accuracy": ys[-1], "curve": {"iterations": list(range(1, len(ys) + 1)), "accuracy": ys}}
            for seed, ys in by_seed.items()
        }
        for row, by_seed in rows.items()
    }
    return TaskResult("made", Budget(2, 2, None, 1, 2), 10, made)


def test_few_seeds_that_agree_do_not_make_a_verdict() -> None:
    result = result_of(elitist={0: [0.5], 1: [0.6]}, adam={0: [0.4], 1: [0.3]})
    finding = compare_rows(result, "elitist", "adam")
    assert finding is not None
    assert finding.mean == pytest.approx(0.2)
    assert finding.higher == 2
    # t(0.975, 1) = 12.706, standard error 0.1
    assert finding.high == pytest.approx(0.2 + 1.2706, abs=1e-4)
    assert finding.verdict == "no detectable difference"


def test_differences_beyond_the_spread_make_a_verdict_either_way() -> None:
    result = result_of(elitist={0: [0.5], 1: [0.51], 2: [0.49]}, adam={0: [0.9], 1: [0.9], 2: [0.9]})
    verdicts = [compare_rows(result, *rows) for rows in (("elitist", "adam"), ("adam", "elitist"))]
    assert [finding and finding.verdict for finding in verdicts] == ["the opposite holds", "holds"]


def test_an_early_lead_is_told_from_a_late_one() -> None:
    result = result_of(elitist={0: [0.1, 0.3, 0.35, 0.4]}, adam={0: [0.1, 0.2, 0.3, 0.5, 0.9, 0.9]})
    evolved = lead(result, "elitist", "adam", "iterations")
    assert evolved.early
    assert evolved.last is not None
    assert 3.9 < evolved.last < 4
    gradients = lead(result, "adam", "elitist", "iterations")
    assert not gradients.early
    assert gradients.last == math.inf
