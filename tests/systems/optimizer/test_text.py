"""What the terminal says of a rule names every constant that its formula leaves to be told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evoopt.runs import Run
from evoopt.systems.optimizer.text import _rule_lines, describe_run
from tests.report.runs import search_optimizer
from tests.rules import random_rule, random_staged_rule

NUMBERS = r"\b(?:lr|beta[123]|nesterov_beta|eps|weight_decay|gradient_difference|clip_norm|slow_beta|power)\b"
OF_STAGES = r"\b(?:iterations|decay_power|ema_decay|mean_fraction)\b"


@pytest.mark.parametrize("make", [random_rule, random_staged_rule])
def test_every_constant_in_the_formula_of_a_rule_is_told(make) -> None:  # type: ignore[no-untyped-def]
    for seed in range(40):
        formula, told = _rule_lines({"rule": make(seed).canonical().to_json()})
        named = set(re.findall(f"{NUMBERS}|{OF_STAGES}", formula))
        assert named <= set(re.findall(r"(\w+)=", told)), seed


def test_what_the_lineage_leaves_out_and_what_diverged_in_the_final_is_told(tmp_path: Path) -> None:
    search_optimizer(tmp_path / "run", search={"generations": 12})
    with Run(tmp_path / "run", writable=True) as run:
        winner, told = run.winner, describe_run(run)
        ancestors = len(run.store.ancestors(winner["id"]))
        assert ancestors > 12
        assert told.endswith(f"\n        and {ancestors - 12} earlier ones")
        assert "of them diverged" not in told
        run.store.set_meta("winner", {**winner, "final": {**winner["final"], "unfinished_rate": 0.25}})
        assert " on 5 fresh seeds per task (25% of them diverged) (mean " in describe_run(run)
