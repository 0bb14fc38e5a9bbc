"""Genes of stages: varied without drift where a space asks for it, absent where it does not."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from evoopt.errors import EvooptError
from evoopt.optim import preset
from evoopt.optim.pipeline import Pipeline
from evoopt.optim.presets import STAGED_PRESETS
from evoopt.systems.optimizer.config import GenomeSection
from evoopt.systems.optimizer.optimizer_genome import OptimizerGenome
from evoopt.systems.optimizer.robust import RobustOperators
from evoopt.systems.optimizer.stage_genes import StageGenes

VARIED: dict[str, tuple[Any, ...]] = {
    "mask": ("none", "cautious"),
    "shape": ("none", "rms", "orthogonal"),
    "cautious_decay": (False, True),
    "others": ("adam",),
    "clip_norm": (0.1, 10.0),
    "decay_shape": ("none", "cosine", "linear"),
    "decay_start": (0.0, 0.9),
    "warmup_fraction": (0.0, 0.2),
    "ema_decay": (0.9, 0.999),
}
OPERATORS = RobustOperators(GenomeSection(stages=VARIED).space(), p_structure=0.3, p_flag=0.2)


def test_a_space_without_stages_draws_none() -> None:
    rng, operators = np.random.default_rng(0), RobustOperators(GenomeSection().space())
    parents = [operators.random(rng) for _ in range(2)]
    child = operators.mutate(operators.mate(*parents, rng), rng)
    assert {genome.stages for genome in (*parents, child)} == {Pipeline()}
    assert child.to_json()["version"] == 1
    assert not set(vars(Pipeline())) & set(child.to_json())


def test_variation_without_selection_keeps_choices_and_numbers_uniform() -> None:
    rng = np.random.default_rng(0)
    population = [OPERATORS.random(rng) for _ in range(1200)]
    for generation in range(10):
        if generation in (0, 9):
            check_uniform([genome.stages for genome in population])
        pairs = rng.permutation(1200).reshape(-1, 2)
        population = [
            OPERATORS.mutate(OPERATORS.mate(population[a], population[b], rng), rng)
            for a, b in (*pairs, *pairs)
        ]
    assert len({genome.key for genome in population}) > 1000


def check_uniform(stages: list[Pipeline]) -> None:
    for name in ("mask", "shape", "cautious_decay", "others", "decay_shape"):
        shares = Counter(getattr(genes, name) for genes in stages)
        assert set(shares) == set(VARIED[name])
        for count in shares.values():
            assert count / len(stages) == pytest.approx(1 / len(VARIED[name]), abs=0.07), name
    norms = [genes.clip_norm for genes in stages]
    assert norms.count(None) / len(norms) == pytest.approx(0.5, abs=0.07)
    assert np.median([np.log10(x) for x in norms if x is not None]) == pytest.approx(0.0, abs=0.15)
    assert np.median([genes.decay_start for genes in stages]) == pytest.approx(0.45, abs=0.07)
    assert np.median([np.log10(1 - genes.ema_decay) for genes in stages]) == pytest.approx(-2.0, abs=0.15)
    for name in ("clip_norm", "decay_start", "warmup_fraction", "ema_decay"):
        low, high = VARIED[name]
        assert all(low <= x <= high for genes in stages if (x := getattr(genes, name)) is not None), name


def test_a_genome_with_stages_is_written_and_read_exactly() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        genome = OPERATORS.random(rng)
        assert OptimizerGenome.from_json(json.loads(json.dumps(genome.to_json()))) == genome
        assert OPERATORS.mate(genome, genome, rng) == genome


@pytest.mark.parametrize("name", STAGED_PRESETS)
def test_a_staged_preset_is_a_genome(name: str) -> None:
    rule = preset(name).canonical()
    assert OptimizerGenome.from_rule(rule).rule().canonical().stages == rule.stages
    (seed,) = RobustOperators(GenomeSection().space(), initial=(name,)).seeds()
    assert OptimizerGenome.from_json(seed.to_json()) == seed


def test_a_schedule_in_fractions_silences_the_one_in_steps() -> None:
    genome = OptimizerGenome(("adam",), (1.0,), use_warmup=True, use_cosine_decay=True)
    assert genome.rule().cosine
    staged = OptimizerGenome(
        ("adam",), (1.0,), use_warmup=True, use_cosine_decay=True, stages=Pipeline(decay_shape="linear")
    )
    assert (staged.rule().cosine, staged.rule().warmup_steps, staged.rule().decay_shape) == (
        False,
        0,
        "linear",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shap": ("none",)}, "unknown stage 'shap'.*shape"),
        ({"shape": ()}, "genome.stages.shape allows nothing"),
        ({"shape": ("round",)}, "unknown choice of genome.stages.shape 'round'"),
        ({"cautious_decay": ("yes",)}, "unknown choice of genome.stages.cautious_decay 'yes'"),
        ({"clip_norm": (1.0,)}, r"genome.stages.clip_norm must be \[lowest, highest\], not \[1.0\]"),
        ({"clip_norm": (2.0, 1.0)}, "genome.stages.clip_norm must be"),
        ({"clip_norm": (0.0, 1.0)}, "clip_norm must be positive"),
        ({"slow_beta": (0.9, 1.0)}, "slow_beta must lie in"),
    ],
    ids=str,
)
def test_what_no_rule_can_say_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        StageGenes.of(given)
