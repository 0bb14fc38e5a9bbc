"""Formulas are well-formed MathML that shows every term, constant and step of a rule."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from evoopt.optim import MORE_TERMS, PRESETS, STAGES, TERMS, UpdateRule, preset
from evoopt.optim.stages.annealing import DECAY_SHAPES
from evoopt.optim.stages.readout import READOUTS
from evoopt.report.formula import _raw_moments, formulas
from evoopt.report.mathml import typeset
from tests.rules import random_rule, random_staged_rule


def words(latex: str) -> str:
    return "".join(ET.fromstring(typeset(latex)).itertext())


@pytest.mark.parametrize(
    "entry", [*TERMS, *MORE_TERMS, *STAGES, *DECAY_SHAPES, *READOUTS], ids=lambda entry: entry.name
)
def test_every_entry_of_the_registries_can_be_typeset(entry: Any) -> None:
    assert ET.fromstring(typeset(entry.latex)).tag == "math"
    if entry in TERMS:
        assert "g" in words(entry.latex) or "m" in words(entry.latex)


def test_structure_follows_the_latex() -> None:
    root = ET.fromstring(typeset(r"\frac{\hat m}{\sqrt{\hat v}+\epsilon}"))
    assert [part.tag for part in root[0]] == ["mover", "mrow"]
    assert root.find(".//msqrt/mover/mi") is not None
    both = ET.fromstring(typeset(r"\beta_1^t"))
    assert [part.text for part in both[0]] == ["β", "1", "t"]
    assert words(r"\operatorname{sign}(x_{t-1})") == "sign(xt−1)"


def test_a_sign_after_a_bracket_belongs_to_its_number() -> None:
    assert [mo.get("form") for mo in ET.fromstring(typeset("(-a-b)")).iter("mo") if mo.text == "−"] == [
        "prefix",
        None,
    ]


def test_text_in_a_formula_is_escaped() -> None:
    assert "<b>" not in typeset(r"a < b > c \text{<b>&}")
    assert words(r"\text{<b>&}") == "<b>&"


@pytest.mark.parametrize("latex", [r"\unknown", "{a", "a}", r"\frac{a}", "a_", r"\text x"])
def test_what_cannot_be_typeset_is_refused(latex: str) -> None:
    with pytest.raises(ValueError, match="formula"):
        typeset(latex)


@pytest.mark.parametrize("seed", range(60))
def test_any_rule_shows_its_terms_and_constants(seed: int) -> None:
    rule = random_rule(seed).canonical()
    block = formulas(rule)
    lines = ["".join(ET.fromstring(line).itertext()) for line in block.lines]
    names = {name for _, name, _ in block.constants}
    assert lines[-1].startswith("wt=")
    assert ("weight decay" in names) == (rule.weight_decay > 0) == ("λ" in lines[-1])
    assert ("steps of warmup" in names) == (rule.warmup_steps > 0) == any("tw" in line for line in lines)
    assert any("cos" in line for line in lines) == rule.cosine
    assert any(line.startswith("mt=") for line in lines) == rule.use_m
    assert any("1−β" in line and line.startswith(("m^=", "v^=")) for line in lines) == rule.bias_correction
    for _, weight in rule.terms:
        digits = f"{abs(weight):.4g}".partition("e")[0]
        assert digits in lines[-1] or abs(weight) == 1
    assert {name: value for _, name, value in block.constants}["learning rate"] == f"{rule.lr:.6g}"


@pytest.mark.parametrize("seed", range(40))
def test_every_stage_of_a_rule_is_shown(seed: int) -> None:
    rule = random_staged_rule(seed).canonical()
    block = formulas(rule)
    symbols = [symbol for symbol, *_ in block.constants]
    assert len(set(symbols)) == len(symbols)
    lines = ["".join(ET.fromstring(line).itertext()) for line in block.lines]
    for stage in rule.active:
        if stage.name not in ("trust", "cautious_decay"):  # the one may be in the other
            shown = words(_raw_moments(stage.latex, rule))
            assert any(line.endswith(shown) for line in lines), (shown, lines)
    assert any(line.startswith("read") for line in lines) == (rule.readout != "last")
    assert any(line.startswith("x=") for line in lines) == (rule.decay_shape != "none")
    assert any("Adam" in line for line in lines) == (rule.others == "adam")
    assert sum(line.startswith("wt=") for line in lines) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("muon", "mt=β1mt−1+(1−β1)g u=(mt+0.05(g−mt)) u←NS(unorm(u)) u←0.2max(rows,columns)u "
         "wt=(1−ηλ)wt−1−ηu what is no matrix: Adam"),
        ("laprop", "vt=β2vt−1+(1−β2)g2 v^=vt1−β2t g←gv^+ε mt=β1mt−1+(1−β1)g m^=mt1−β1t wt=wt−1−ηm^"),
        ("adamw_ema", "mt=β1mt−1+(1−β1)g vt=β2vt−1+(1−β2)g2 m^=mt1−β1t v^=vt1−β2t "
         "wt=(1−ηλ)wt−1−ηm^v^+ε readema(w)1−βemat"),
    ],
)  # fmt: skip
def test_presets_with_stages_look_like_their_publications(name: str, expected: str) -> None:
    lines = ["".join(ET.fromstring(line).itertext()) for line in formulas(preset(name)).lines]
    assert " ".join(lines) == expected


def test_adam_looks_like_adam() -> None:
    *_, last = formulas(PRESETS["adam"]).lines
    assert "".join(ET.fromstring(last).itertext()) == "wt=wt−1−ηm^v^+ε"


def test_a_rule_without_terms_is_shown_as_one_that_does_nothing() -> None:
    assert "".join(ET.fromstring(formulas(UpdateRule(())).lines[-1]).itertext()) == "wt=wt−1−η[0]"
