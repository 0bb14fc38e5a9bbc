"""What every reproduction does alike: ask, go on, say what is missing, and write what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from evoopt.compare import Place
from evoopt.errors import EvooptError
from evoopt.execution import Worker
from reproductions.gacnn.experiment import GACNN
from reproductions.gadam.experiment import GADAM
from reproductions.markdown import spread_of
from reproductions.publication import Publication, Reproduction, reproduce
from reproductions.results import Found, PartResult, collect
from reproductions.three_parent.experiment import THREE_PARENT
from reproductions.units import Setup, Unit, UnitFile, units_of

DONE: list[tuple[str, str, int]] = []


@dataclass(frozen=True)
class Budget:
    population: int = 4
    steps: int = 10
    seeds: int = 3


@dataclass(frozen=True)
class Fixed(Budget):
    fixed = ("population",)


def prepare(part: str, budget: Budget, setup: Setup) -> Budget:
    if part == "lost":
        raise EvooptError("the data set lost is missing")
    return budget


def make_worker(setup: Setup) -> Worker:
    def work(chunk: Any) -> Mapping[str, Any]:
        unit: Unit = chunk
        DONE.append((unit.part, unit.method, unit.seed))
        if unit.method == "bad":
            raise ValueError("no luck")
        return {"score": unit.seed + unit.settings["steps"], "nan": float("nan")}

    return work


def gather(part: str, budget: Budget, units: list[Unit], file: UnitFile) -> PartResult:
    return PartResult(part, budget, collect(units, file, ("good", "bad")))


def report(found: Found[PartResult]) -> list[str]:
    return [
        f"{part.name}: {spread_of(part.column('good', 'score').values(), digits=1)}" for part in found.parts
    ]


TOY: Publication[PartResult] = Publication(
    name="toy",
    title="Somebody (2000)",
    intro="Nothing.",
    parts=("first", "second", "fixed", "lost"),
    small_parts=("first", "second"),
    paper_parts=("first",),
    methods=("good",),
    budget=lambda part, paper: Fixed() if part == "fixed" else Budget(steps=1000 if paper else 10),
    prepare=prepare,
    units=units_of,
    worker=make_worker,
    collect=gather,  # type: ignore[arg-type]
    report=report,
    draw=lambda found: {"nothing": None},
)


def do(out: Path, publication: Publication[PartResult] = TOY, **given: Any) -> Reproduction[PartResult]:
    DONE.clear()
    return reproduce(publication, place=Place("serial"), out=out, **given)


def test_report_and_result_file_say_what_was_done_and_with_what_command(tmp_path: Path) -> None:
    done = do(tmp_path, parts=("second",), scale=0.5, seeds=2)
    assert done.text == (
        "# Somebody (2000)\n\nNothing. Trained with a small budget of our own.\n\n"
        "`python -m reproductions toy --parts second --scale 0.5 --seeds 2`\n\nsecond: 5.5 ± 0.7\n"
    )
    assert (tmp_path / "reproduction.md").read_text() == done.text
    kept = json.loads((tmp_path / "reproduction.json").read_text())
    assert kept["command"] == "python -m reproductions toy --parts second --scale 0.5 --seeds 2"
    assert kept["parts"]["second"] == {
        "budget": {"population": 4, "steps": 5, "seeds": 2},
        "rows": {"good": {"0": {"score": 5, "nan": None}, "1": {"score": 6, "nan": None}}},
    }


def test_the_published_scale_has_its_own_parts_and_budget(tmp_path: Path) -> None:
    done = do(tmp_path, paper=True)
    assert [(part.name, part.budget.steps) for part in done.found.parts] == [("first", 1000)]
    assert "the published scale as far as it is given" in done.text
    assert "the published scale as far as it is given" in do(tmp_path, paper=True, seeds=1).text
    assert "a small budget of our own" in do(tmp_path, paper=True, population=5).text


def test_a_number_that_a_part_fixes_stays(tmp_path: Path) -> None:
    done = do(tmp_path, parts=("first", "fixed"), population=9)
    assert [part.budget.population for part in done.found.parts] == [9, 4]


def test_a_second_call_does_nothing_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = do(tmp_path)
    monkeypatch.setattr(Place, "start", lambda *_: pytest.fail("nothing is left to do"))
    assert do(tmp_path).text == first.text
    fewer = do(tmp_path, parts=("first",), seeds=1)
    assert fewer.found.parts[0].rows["good"].keys() == {0}


def test_what_is_new_alone_is_done(tmp_path: Path) -> None:
    do(tmp_path, parts=("first",), seeds=1)
    do(tmp_path, parts=("first", "second"), seeds=2)
    assert DONE == [("first", "good", 1), ("second", "good", 0), ("second", "good", 1)]


def test_missing_data_is_a_note_and_the_rest_is_done(tmp_path: Path) -> None:
    done = do(tmp_path, parts=("lost", "first"))
    assert [part.name for part in done.found.parts] == ["first"]
    assert "## Missing\n\n- the data set lost is missing\n" in done.text


def test_a_failing_method_is_a_note_and_leaves_the_others(tmp_path: Path) -> None:
    done = do(tmp_path, replace(TOY, methods=("bad", "good")), parts=("first",), seeds=1)
    assert list(done.found.parts[0].rows) == ["good"]
    assert "- first, bad, seed 0 failed: ValueError: no luck" in done.text


def test_some_of_the_methods_are_done_and_named_in_the_command(tmp_path: Path) -> None:
    toy = replace(TOY, methods=("bad", "good"))
    done = do(tmp_path, toy, parts=("first",), methods=("good", "good"))
    assert [("first", "good", seed) for seed in range(3)] == DONE
    assert done.found.command == "python -m reproductions toy --parts first --methods good"


def test_what_cannot_be_measured_is_a_note(tmp_path: Path) -> None:
    def measure(*_: Any) -> None:
        raise EvooptError("no clock")

    done = do(tmp_path, replace(TOY, measure=measure))
    assert done.found.notes == ("no clock",)
    assert len(done.found.parts) == 2


@pytest.mark.parametrize("publication", [GADAM, GACNN, THREE_PARENT, TOY], ids=lambda own: own.name)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parts": ["nonsense"]}, r"unknown (part|task) 'nonsense'"),
        ({"methods": ["ray"]}, "unknown method 'ray'"),
        ({"population": 1}, "population must be at least 2, not 1"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"scale": 0}, "scale must be above 0 and finite, not 0"),
        ({"scale": float("nan")}, "scale must be above 0 and finite, not nan"),
        ({"parts": []}, r"--(parts|tasks) names none"),
        ({"methods": ()}, "--methods names none"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(
    publication: Publication[Any], wrong: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(EvooptError, match=message):
        do(tmp_path / "out", publication, **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", [0, 98.6])
def test_a_target_is_a_share(target: float, tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match=f"target must be from 1e-06 to 1, not {target}"):
        do(tmp_path / "out", THREE_PARENT, target=target)


def test_units_of_another_device_or_precision_are_others(tmp_path: Path) -> None:
    on_cpu, in_bf16 = UnitFile(tmp_path / "units"), {"device": "cuda", "precision": "bf16"}
    [unit] = units_of("first", Budget(seeds=1), ["good"])
    on_cpu.keep(unit, {"score": 1})
    assert unit not in UnitFile(tmp_path / "units", in_bf16)
    UnitFile(tmp_path / "units", in_bf16).keep(unit, {"score": 2})
    assert [UnitFile(tmp_path / "units", of)[unit]["score"] for of in ({}, in_bf16)] == [1, 2]


def test_a_device_that_is_not_there_is_refused_though_nothing_is_left_to_do(tmp_path: Path) -> None:
    do(tmp_path, parts=("first",))
    with pytest.raises(EvooptError, match="needs a CUDA device"):
        reproduce(TOY, parts=("first",), place=Place("serial", precision="tf32"), out=tmp_path)


def test_a_misspelt_part_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match=r"Did you mean 'mnist'\?"):
        do(tmp_path, GADAM, parts=("mnits",))


def test_real_data_that_are_missing_are_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVOOPT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for publication, part, data in ((GADAM, "letter", "letter"), (GACNN, "genetic_mnist", "genetic_mnist")):
        done = do(tmp_path / part, publication, parts=(part,))
        assert done.found.parts == ()
        assert data in done.text.split("## Missing")[1].split("##")[0]
