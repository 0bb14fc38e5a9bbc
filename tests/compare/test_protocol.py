"""Tuning and final seeds never meet, and comparisons that cannot be honest are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoopt.compare.contender import Contender
from evoopt.compare.protocol import Protocol, check_trials, refuse_seen_tests
from evoopt.compare.sources import contender
from evoopt.errors import EvooptError
from tests.compare.stubs import preset_contender

DIGITS = Protocol(("digits",))


@given(st.integers(0, 2**40), st.integers(1, 10), st.integers(2, 20))
def test_tuning_and_final_seeds_are_disjoint_over_all_tasks(root: int, tuning: int, final: int) -> None:
    protocol = Protocol(
        ("digits", "digits_cnn"), seed=root, tuning_seeds=tuning, seeds=final, tune_each_seed=True
    )
    seeds = [
        seed
        for task in protocol.tasks
        for of_stage in (
            *(protocol.tuning_seeds_of(task, k, again) for k in range(final) for again in (False, True)),
            protocol.final_seeds_of(task),
        )
        for seed in of_stage
    ]
    assert len(set(seeds)) == len(seeds) == 2 * final * (3 * tuning + 1)


def test_seeds_depend_on_root_and_task_name_alone() -> None:
    more = Protocol(("digits_cnn", "digits"), seeds=30, trials=9)
    assert more.final_seeds_of("digits")[:12] == DIGITS.final_seeds_of("digits")
    assert replace(DIGITS, seed=1).final_seeds_of("digits") != DIGITS.final_seeds_of("digits")
    assert DIGITS.final_seeds_of("a/my.py:task") == DIGITS.final_seeds_of("b/my.py:task")


@pytest.mark.parametrize("seeds", [1, 0, -3])
def test_fewer_than_two_seeds_are_refused(seeds: int) -> None:
    with pytest.raises(EvooptError, match="at least 2 final seeds"):
        Protocol(("digits",), seeds=seeds)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"tasks": ()}, "at least one task"),
        ({"tasks": ("digits", "digits")}, "named twice"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"tuning_seeds": 0}, "tuning_seeds must be at least 1"),
    ],
)
def test_bad_budgets_are_refused(bad: dict[str, object], message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        replace(DIGITS, **bad)  # type: ignore[arg-type]


def selected_on(*tasks: str) -> Contender:
    return preset_contender("lion", saw_test=frozenset(tasks))


@pytest.mark.parametrize("seen", ["digits", "digits_cnn"])
def test_a_task_whose_test_data_decided_the_search_is_refused_under_any_model(seen: str) -> None:
    with pytest.raises(EvooptError, match="selected by its score on the test data of digits"):
        refuse_seen_tests([contender("adam"), selected_on(seen)], DIGITS)


def test_other_tasks_are_allowed_and_an_explicit_exception_is_told() -> None:
    assert refuse_seen_tests([selected_on("mnist")], DIGITS) == []
    (line,) = refuse_seen_tests([selected_on("digits")], replace(DIGITS, allow_seen_test=True))
    assert "an advantage that the baselines do not have" in line


def test_too_few_trials_for_the_schedules_are_refused() -> None:
    two, three = contender("adam"), contender("marfinetz2025")
    check_trials([two, three], replace(DIGITS, trials=9))
    check_trials([two], replace(DIGITS, trials=6))
    with pytest.raises(EvooptError, match="8 tuning trials are too few: 3 schedules"):
        check_trials([two, three], replace(DIGITS, trials=8))
