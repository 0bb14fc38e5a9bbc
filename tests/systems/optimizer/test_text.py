"""What the terminal says of a rule names every constant that its formula leaves to be told."""

from __future__ import annotations

import re

import pytest

from evoopt.systems.optimizer.text import _rule_lines
from tests.rules import random_rule, random_staged_rule

NUMBERS = r"\b(?:lr|beta[123]|nesterov_beta|eps|weight_decay|gradient_difference|clip_norm|slow_beta|power)\b"
OF_STAGES = r"\b(?:iterations|decay_power|ema_decay|mean_fraction)\b"


@pytest.mark.parametrize("make", [random_rule, random_staged_rule])
def test_every_constant_in_the_formula_of_a_rule_is_told(make) -> None:  # type: ignore[no-untyped-def]
    for seed in range(40):
        formula, told = _rule_lines({"rule": make(seed).canonical().to_json()})
        named = set(re.findall(f"{NUMBERS}|{OF_STAGES}", formula))
        assert named <= set(re.findall(r"(\w+)=", told)), seed
