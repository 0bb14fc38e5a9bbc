"""The evolution of weights: what it promises per generation, exact resume, and `GeneticTrainer`."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evoopt.errors import EvooptError, NoScoreError
from evoopt.evolution.selection import Scores
from evoopt.evolution.stages import evolve
from evoopt.execution import make_executor
from evoopt.jobs.weight_scoring import ScoringSetup, make_scoring_worker, score_on
from evoopt.systems.genetic.genetic_trainer import GeneticTrainer
from evoopt.systems.genetic.scheme import GeneticScheme, initial_population
from evoopt.systems.genetic.succession import SCHEMES, Child, Elitist, SteadyState
from evoopt.systems.genetic.weight_genome import WeightGenome
from evoopt.training.scoring import Scorer
from tests.systems.genetic.networks import evolution, stripes, tiny_network, worst_class


def final(scheme: GeneticScheme) -> tuple[bytes, ...]:
    state, tensors = scheme.snapshot()
    return json.dumps(state).encode(), *(tensors[name].numpy().tobytes() for name in sorted(tensors))


def test_the_best_of_an_elitist_population_never_falls() -> None:
    best = [record["best"] for record in evolve(evolution(generations=25))]
    assert best == sorted(best)
    assert best[-1] > best[0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_best_ever_never_falls_and_is_the_model_that_comes_out(scheme: str) -> None:
    evolved = evolution(scheme, generations=8)
    records = evolve(evolved)
    ever = [record["best_ever"] for record in records]
    assert ever == np.maximum.accumulate([record["best"] for record in records]).tolist()
    examples = stripes()
    hits = evolved.best_model()(examples.x).argmax(dim=1) == examples.y
    assert float(hits.float().mean()) == ever[-1] == evolved.winner()["fitness"]


@pytest.mark.parametrize(
    ("scheme", "children"), [("elitist", 11), ("generational", 12), ("steady_state", 12)]
)
def test_only_new_networks_are_scored(scheme: str, children: int) -> None:
    records = evolve(evolution(scheme, generations=4))
    assert [record["generation"] for record in records] == [0, 1, 2, 3]
    assert [record["evaluations"] for record in records] == [12 + k * children for k in range(4)]
    assert records[-1]["forward_samples"] == 60 * records[-1]["evaluations"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_cached_fitness_is_that_of_the_weights(scheme: str) -> None:
    evolved = evolution(scheme, generations=5)
    evolve(evolved)
    fresh = Scorer(tiny_network(), stripes(), "accuracy")(evolved.weights)
    assert evolved.fitness.tolist() == fresh


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_resumed_evolution_ends_with_the_same_bytes(scheme: str, stop: int) -> None:
    whole = evolution(scheme)
    expected = evolve(whole)
    first = evolution(scheme)
    before = [first.advance().record for _ in range(stop)]
    state, tensors = first.snapshot()
    state, tensors = json.loads(json.dumps(state)), {name: t.clone() for name, t in tensors.items()}
    first.advance()
    resumed = evolution(scheme)
    resumed.advance()
    resumed.restore(state, tensors)
    assert before + evolve(resumed) == expected
    assert final(resumed) == final(whole)


def test_another_population_is_not_restored() -> None:
    with pytest.raises(EvooptError, match="another number of networks"):
        evolution(size=12).restore(*evolution(size=10).snapshot())


def test_every_network_is_recorded_with_its_parents() -> None:
    evolved = evolution(Elitist(p_mutate=1.0))
    first, second = evolved.advance(), evolved.advance()
    assert [ind.id for ind in (*first.created, *second.created)] == list(range(23))
    assert {ind.operation for ind in first.created} == {"random"}
    for child in second.created:
        assert child.operation in ("mate+mutate", "mutate")
        assert set(child.parents) <= set(range(12))
        assert child.born == 1
        assert WeightGenome.from_json(child.genome.to_json()) == child.genome


def test_children_are_made_of_their_parents_as_planned() -> None:
    class Clones(Elitist):
        """The children are copies of two members, and a pair of complements."""

        def breed(self, fitness: Scores, rng: np.random.Generator) -> list[Child]:
            return [Child((5, 5), 1), Child((7, 7), 2), Child((0, 1), 3), Child((0, 1), 3, complement=True)]

        def survivors(self, fitness: Scores, offspring: Scores) -> list[int]:
            return [0, 1, 12, 13, 14, 15, *range(6)]

    evolved = evolution(Clones())
    evolved.advance()
    before = evolved.weights.clone()
    evolved.advance()
    after = evolved.weights
    assert torch.equal(after[[0, 1, 2, 3]], before[[0, 1, 5, 7]])
    assert torch.equal(after[4] + after[5], before[0] + before[1])
    assert not torch.equal(after[4], before[0])
    assert torch.equal(after[6:], before[:6])


def test_scores_do_not_depend_on_chunks() -> None:
    initial = initial_population(tiny_network, 7, 0)
    setup = ScoringSetup(initial.architecture.model, stripes(), worst_class)
    expected = setup.scorer()(initial.packed())
    assert len(set(expected)) > 1
    with make_executor("serial", make_scoring_worker, setup) as executor:
        for chunk in (5, 2):
            assert score_on(executor, chunk)(initial.packed()) == expected


def test_a_fitness_that_fails_is_reported() -> None:
    def broken(outputs: Tensor, targets: Tensor) -> float:
        raise ValueError("no such class")

    setup = ScoringSetup(tiny_network(), stripes(), broken)
    with (
        make_executor("serial", make_scoring_worker, setup) as executor,
        pytest.raises(
            EvooptError, match=r"scoring networks failed: the fitness fails on .*: ValueError: no such"
        ),
    ):
        score_on(executor)(torch.zeros(1, 4 * 5 + 17 * 6 + 21))


def test_networks_without_fitness_are_counted_and_never_win() -> None:
    initial = initial_population(tiny_network, 6, 0)
    initial.weights[:5, 0] = math.nan
    evolved = evolution(size=6)
    evolved.weights = initial.packed()
    record = evolved.advance().record
    assert record is not None
    assert record["without_fitness"] == 5
    assert record["best"] == record["worst"] == evolved.winner()["fitness"]
    nobody = evolution(size=6)
    nobody.weights.fill_(math.nan)
    with pytest.raises(NoScoreError, match="no network has a finite fitness"):
        nobody.advance()


def test_a_later_generation_without_any_fitness_does_not_end_a_run() -> None:
    evolved = evolution(size=6)
    evolved.advance()
    evolved.weights.fill_(math.nan)
    evolved.fitness.fill(math.nan)
    record = evolved.advance().record
    assert record is not None
    assert record["best_ever"] == evolved.winner()["fitness"] is not None
    assert json.dumps(record, allow_nan=False)


def trained(**settings: Any) -> GeneticTrainer:
    return GeneticTrainer(tiny_network, **{"population": 20, "generations": 15, "seed": 1} | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scheme": "generational", "selection": "roulette"},
        {"scheme": SteadyState(replace_if_better=True)},
        {"encoding": "traditional", "selection": "tournament"},
        {"fitness": "cross_entropy"},
        {"fitness": worst_class},
    ],
)
def test_a_trainer_improves_networks_on_ones_own_data(settings: dict[str, Any]) -> None:
    before = torch.random.get_rng_state()
    trainer, examples = trained(**settings), stripes(90)
    model = trainer.fit((examples.x, examples.y), stripes(30))
    assert isinstance(model, nn.Sequential)
    assert not model.training
    history = trainer.history_
    assert len(history) == 15
    assert history[-1]["best_ever"] > history[0]["best"]
    score = Scorer(model, examples, settings.get("fitness", "accuracy"))
    row = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert score(row.unsqueeze(0))[0] == history[-1]["best_ever"]
    assert 0 <= history[-1]["validation"] <= 1
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_same_seed_gives_the_same_network_with_any_number_of_workers() -> None:
    networks = [trained(generations=3, workers=workers).fit(stripes()) for workers in (1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(*(model.parameters() for model in networks)))


def test_the_head_start_goes_on_with_adam() -> None:
    examples = stripes(90)
    plain = trained(generations=3).fit(examples)
    started = trained(generations=3, head_start=200).fit(examples)

    def loss(model: nn.Module) -> float:
        return nn.functional.cross_entropy(model(examples.x), examples.y).item()

    assert loss(started) < 0.7 * loss(plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "elite"}, "unknown scheme 'elite'"),
        ({"selection": "rank"}, "unknown selection 'rank'"),
        ({"fitness": "f1"}, "unknown fitness 'f1'"),
        ({"population": 1}, "population must be at least 2, not 1"),
        ({"generations": 0}, "generations must be at least 1, not 0"),
    ],
)
def test_a_trainer_refuses_what_makes_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        trained(**settings)


def test_a_trainer_refuses_data_and_networks_that_do_not_fit() -> None:
    with pytest.raises(EvooptError, match="training data is empty"):
        trained().fit((torch.zeros(0, 1, 5, 5), torch.zeros(0)))
    with pytest.raises(EvooptError, match=r"layer '1' \(LayerNorm\) has no encoding"):
        GeneticTrainer(lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(25), nn.Linear(25, 3))).fit(stripes())
    with pytest.raises(EvooptError, match="the folded encoding only describes"):
        trained(encoding="folded").fit(stripes())
