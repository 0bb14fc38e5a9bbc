"""Search for hyperparameters with a fresh network per genome: trials, their grouping, the search."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evoopt.config import list_spaces, load_space
from evoopt.errors import EvooptError
from evoopt.evolution.scored import ScoredScheme
from evoopt.evolution.stages import evolve
from evoopt.execution import make_executor
from evoopt.jobs.phase_worker import PhaseSetup
from evoopt.systems.hyperparameters import torch_classes
from evoopt.systems.hyperparameters.breeding import Parent
from evoopt.systems.hyperparameters.config import HpoConfig, HpoSection
from evoopt.systems.hyperparameters.generations import HyperparameterGenerations
from evoopt.systems.hyperparameters.hpo_scheme import Trials, hpo_scheme
from evoopt.systems.hyperparameters.hyperparameter_operators import gaussian_fitness
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.schedules import data_seed, initial_seed
from evoopt.systems.hyperparameters.three_parent_ga import ThreeParentGA
from evoopt.systems.hyperparameters.trial import Trial, TrialPlan, missed
from evoopt.systems.hyperparameters.trial_runner import (
    TrialChunk,
    TrialRunner,
    TrialSetup,
    make_network,
    make_trial_worker,
)
from evoopt.tasks import get_task
from evoopt.tasks.own_data import own_task
from evoopt.tasks.task import Task, TaskData
from evoopt.training.forward import evaluate_population
from evoopt.training.member_hyperparameters import Value, update_rule
from evoopt.training.members import Members
from evoopt.training.phase import train_phase
from evoopt.training.plan import PhasePlan, derive_seed
from evoopt.training.population import ModelPopulation
from evoopt.training.sequential import evaluate
from evoopt.training.streams import minibatches

LR = {"min": 1e-4, "max": 0.3, "default": 1e-2, "scale": "log"}
SPACE = HyperparameterSpace.parse(
    {
        "lr": LR,
        "width": {"type": "integer", "min": 2, "max": 32, "default": 8},
        "dropout": {"min": 0, "max": 0.9, "default": 0.1},
    }
)


class Net(nn.Sequential):
    def __init__(self, width: int = 8, deep: tuple[int, ...] = ()) -> None:
        layers: list[nn.Module] = [nn.Linear(10, width), nn.ReLU(), nn.Dropout(0.5)]
        for out in deep:
            layers += [nn.Linear(width, out), nn.ReLU()]
            width = out
        super().__init__(*layers, nn.Linear(width, 4))


def problem() -> tuple[Task, TaskData]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(260, 10, generator=generator)
    return own_task(Net, train=(x, x[:, :4].argmax(dim=1)), batch_size=13)


def setup(fom: Any = "error", **settings: Any) -> TrialSetup:
    task, data = problem()
    return TrialSetup(PhaseSetup(task, data), TrialPlan(fom, settings.pop("steps", 40), 0, **settings))


def values(**changes: Value) -> dict[str, Value]:
    return {**SPACE.default().values(), **changes}


class Counting:
    """Scores by a formula and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Value]] = []

    def __call__(self, wanted: Sequence[Mapping[str, Value]], seed: int) -> list[Trial]:
        self.asked += wanted
        return [
            Trial((math.log(float(v["lr"])) + 2) ** 2 + abs(int(v["width"]) - 11), 1.0, 0.5, 7)
            for v in wanted
        ]


def test_equal_phenotypes_are_never_trained_twice() -> None:
    counting = Counting()
    trials = Trials(counting, 42)
    scheme = hpo_scheme(HpoSection(population=12, generations=8), SPACE, trials)
    records = [scheme.advance().record for _ in range(8)]
    asked = [json.dumps(v, sort_keys=True) for v in counting.asked]
    assert len(asked) == len(set(asked)) < 12 * 8
    winner = trials.winner(scheme.generations)
    assert sum(record["trained"] for record in records if record) == len(asked) == winner["evaluations"]
    assert winner["steps"] == 7 * len(asked)
    for record in records:
        assert record is not None
        again = counting(record["hyperparameters"], 0)
        assert record["fom"] == [trial.fom for trial in again]


def test_a_winner_tells_how_many_generations_are_scored_not_which_is_bred() -> None:
    trials = Trials(Counting(), 42)
    scheme = hpo_scheme(HpoSection(population=4, generations=5), SPACE, trials)
    for done in range(1, 6):
        scheme.advance()
        assert trials.winner(scheme.generations)["generations"] == scheme.generation == done
    again = hpo_scheme(HpoSection(population=4, generations=5), SPACE, trials)
    again.restore(*scheme.snapshot())
    assert trials.winner(again.generations)["generations"] == 5


def test_an_interrupted_search_goes_on_exactly() -> None:
    section = HpoSection(population=8, generations=5)

    def fresh(counting: Counting) -> tuple[Trials, ScoredScheme[HyperparameterGenerations]]:
        trials = Trials(counting, section.seed)
        return trials, hpo_scheme(section, SPACE, trials)

    whole_trials, whole = fresh(Counting())
    expected = [whole.advance() for _ in range(5)]
    for stop in range(6):
        (_, first), counting = fresh(Counting()), Counting()
        for _ in range(stop):
            first.advance()
        state, tensors = first.snapshot()
        assert not tensors
        trials, rest = fresh(counting)
        rest.restore(json.loads(json.dumps(state, allow_nan=False)), {})
        stages = []
        while not rest.finished:
            stages.append(rest.advance())
        assert stages == expected[stop:]
        assert trials.winner(rest.generations) == whole_trials.winner(whole.generations)
        assert len(counting.asked) == sum(s.record["trained"] for s in expected[stop:])  # type: ignore[index]


def test_networks_of_one_topology_are_trained_together_with_the_results_of_each_alone() -> None:
    wanted = [
        values(lr=0.02),
        values(width=5),
        values(lr=0.05, dropout=0.6),
        values(width=5, lr=0.1),
        values(),
    ]
    inner, chunks = make_trial_worker(setup()), []

    def work(given: Sequence[TrialChunk]) -> list[list[Trial]]:
        chunks.extend(given)
        return [inner(chunk) for chunk in given]

    together = TrialRunner(work, setup(), chunk_size=2).run(wanted, 3)
    assert [[v["width"] for v in chunk.values] for chunk in chunks] == [[8, 8], [8], [5, 5]]
    for own, trial in zip(wanted, together, strict=True):
        (alone,) = TrialRunner.here(setup()).run([own], 3)
        assert (trial.loss, trial.fom) == pytest.approx((alone.loss, alone.fom), rel=1e-3, abs=0.021)
        assert trial.fom == 1 - trial.metric
    assert len({trial.loss for trial in together}) == 5


def test_an_executor_gives_the_same() -> None:
    wanted, own = [values(lr=0.02), values(width=5)], setup()
    with make_executor("serial", make_trial_worker, own) as executor:
        assert TrialRunner.on(executor, own).run(wanted, 3) == TrialRunner.here(own).run(wanted, 3)
        with pytest.raises(EvooptError, match=r"training a chunk of networks failed.*lr must be positive"):
            TrialRunner.on(executor, own).run([values(lr=-1.0)], 3)


def test_steps_to_target_are_those_of_two_successive_looks() -> None:
    """Against a plain account of the same training."""
    task, data = problem()
    own = values(lr=0.03, dropout=0.0)
    model = make_network(task, None, own, 5)
    members = Members.fresh(ModelPopulation.from_models([model]), [update_rule(own)])
    members.population.rates["2"].fill_(0.0)
    metrics = []
    for look in range(30):
        train_phase(task, data.train, members, PhasePlan(5, 13, (data_seed(5, look),)))
        metrics.append(float(evaluate_population(members.population, task, data.validation)[1][0]))
    ups = [k for k in range(1, 30) if metrics[k] >= 0.8 and metrics[k - 1] >= 0.8]
    assert 1 < ups[0] < 29
    plan: dict[str, Any] = {"target": 0.8, "every": 5, "steps": 148}
    never = values(lr=1e-4)
    reached, missing = TrialRunner.here(setup("steps", **plan)).run([own, never], 5)
    assert (reached.fom, reached.steps, reached.reached) == (5.0 * (ups[0] + 1), 5 * (ups[0] + 1), True)
    assert (missing.reached, missing.steps) == (False, 148)
    assert 148 < missing.fom <= 296
    (at_once,) = TrialRunner.here(setup("steps", **plan | {"target": 0.0})).run([own], 5)
    assert (at_once.fom, at_once.reached) == (10.0, True)


@pytest.mark.parametrize("fom", ["error", "steps"])
def test_a_class_of_torch_trains_as_the_rule_that_it_equals(
    fom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(torch_classes.TORCH_CLASSES, "nadam", "Adam")  # type: ignore[index]
    runner = TrialRunner.here(setup(fom, engine="reference", target=0.8, every=5, steps=60))
    by_class, by_rule, other = (values(lr=0.03, optimizer=name) for name in ("nadam", "adam", "adadelta"))
    together = runner.run([by_class, by_rule, other], 5)
    assert together[0] == together[1] == runner.run([by_class], 5)[0]
    assert together[2].loss > together[0].loss


def test_nadam_is_that_of_torch() -> None:
    task, data = problem()
    own = values(lr=0.02, l2=0.01, dropout=0.0, optimizer="nadam")
    model = make_network(task, None, own, 5)
    model[2].p = 0.0  # type: ignore[index]
    optimizer = torch.optim.NAdam(model.parameters(), lr=0.02, weight_decay=0.01)
    for index in minibatches(len(data.train), PhasePlan(40, 13, (0,)).single(data_seed(5, 0))):
        optimizer.zero_grad()
        task.loss(model(data.train.x[index]), data.train.y[index]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    loss, metric = evaluate(task, model, data.validation)
    (trial,) = TrialRunner.here(setup()).run([own], 5)
    assert (trial.loss, trial.metric) == pytest.approx((loss, metric), rel=1e-6)


def test_what_a_class_does_not_take_is_refused() -> None:
    space = {"optimizer": {"choices": ["adam", "nadam"], "default": "adam"}, "lr": LR}
    base = load_space("hpo-lenet")
    base.override({"space": space})
    beta = {"beta1": {"min": 0.5, "max": 0.99, "default": 0.9}}
    with pytest.raises(EvooptError, match="optimizer 'nadam' takes lr, eps, l2, and no 'beta1'"):
        base.override({"space": {**space, **beta}})
    with pytest.raises(EvooptError, match=r"'optimizer' may become 'nadam': only searches of type 'hpo'"):
        load_space("pbt-digits").override({"space": {"optimizer": space["optimizer"]}})


@pytest.mark.parametrize("fom", ["steps", "seconds"])
def test_a_miss_is_worse_than_any_hit_whatever_the_topology(
    fom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A step of a network takes as long as it is wide, so that narrow ones fail cheaply.
    clock = [0.0]

    def timed(task: Any, train: Any, members: Members, phase: PhasePlan, engine: Any) -> None:
        train_phase(task, train, members, phase, engine)
        clock[0] += phase.steps * members.population.weights.shape[1] / 1000

    monkeypatch.setattr("evoopt.systems.hyperparameters.trial.train_phase", timed)
    monkeypatch.setattr("evoopt.systems.hyperparameters.trial.time.perf_counter", lambda: clock[0])
    wanted = [
        values(width=width, lr=lr, dropout=0.0) for width in (1, 3, 8, 20, 40, 300) for lr in (0.03, 1e-7)
    ]
    trials = TrialRunner.here(setup(fom, steps=150, target=0.8, every=5, seconds=15.0)).run(wanted, 5)
    hits, misses = ([one.fom for one in trials if one.reached is kind] for kind in (True, False))
    wide, slow = trials[10], fom == "seconds"
    assert wide.reached is not slow, "the widest learns, but not in time"
    assert len(hits) > 1
    limit = 15 if fom == "seconds" else 150
    assert max(hits) <= limit < min(misses) <= max(misses) <= 2 * limit
    for own, trial in zip(wanted, trials, strict=True):
        if slow and trial.reached:  # the first stretch is not timed
            row = ModelPopulation.from_models([make_network(problem()[0], None, own, 5)]).weights
            assert trial.fom == pytest.approx((trial.steps - 5) * row.numel() / 1000)


@pytest.mark.parametrize("fom", ["error", "loss", "perplexity", "steps"])
def test_a_failure_is_worse_than_any_figure_of_merit(fom: Any) -> None:
    own = setup(fom, optimizer="sgd", target=0.99, every=10)
    found = [one.fom for one in TrialRunner.here(own).run([values(width=w) for w in (2, 9)], 1)]
    (failed,) = TrialRunner.here(own).run([values(lr=1e30)], 1)
    assert gaussian_fitness([*found, failed.fom])[-1] == 0 < gaussian_fitness(found).min()
    assert not failed.reached
    ranked = [Parent(k, SPACE.default(), one).fitness for k, one in enumerate([*found, failed.fom])]
    assert ranked[-1] < min(ranked[:-1])


@given(limit=st.floats(1e-3, 1e6), best=st.floats(0, 1))
def test_the_figure_of_a_miss_is_above_the_limit_and_lower_the_nearer_it_came(
    limit: float, best: float
) -> None:
    assert limit < missed(limit, best) <= 2 * limit
    assert missed(limit, best) == pytest.approx(limit * (2 - best))
    assert missed(limit, best) <= missed(limit, best / 2)


def test_seconds_need_a_limit_and_a_search_may_have_one_of_its_own() -> None:
    with pytest.raises(EvooptError, match="fom 'seconds' needs a limit, the most seconds of a training"):
        HpoSection(fom="seconds", target=0.9).check()
    section = HpoSection(population=2, generations=9, max_seconds=1e-9)
    scheme = hpo_scheme(section, SPACE, Trials(Counting(), section.seed))
    assert len(evolve(scheme)) == 1


def test_a_diverged_network_fails_and_the_others_do_not() -> None:
    for fom, extra in (("error", {}), ("steps", {"target": 0.99, "every": 10})):
        own = setup(fom, optimizer="sgd", **extra)
        good, bad = TrialRunner.here(own).run([values(), values(lr=1e30)], 1)
        assert math.isfinite(good.fom)
        assert math.isnan(bad.fom)
        assert Trial.from_json(json.loads(json.dumps(good.to_json()))) == good
        assert math.isnan(Trial.from_json(json.loads(json.dumps(bad.to_json(), allow_nan=False))).fom)


def test_what_is_not_of_the_training_goes_to_the_model() -> None:
    task, _ = problem()
    parts: dict[str, Value] = {"lr": 0.1, "dropout": 0.2, "width": 3, "deep.1": 6, "deep.0": 7}
    model = make_network(task, None, parts, 1)
    assert [m.out_features for m in model.modules() if isinstance(m, nn.Linear)] == [3, 7, 6, 4]
    with torch.random.fork_rng():
        torch.manual_seed(initial_seed(1))
        same = Net(3, (7, 6))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    own = make_network(task, lambda v: Net(int(v["width"]) * 2), {"width": 4}, 1)
    assert [m.out_features for m in own.modules() if isinstance(m, nn.Linear)] == [8, 4]
    with pytest.raises(EvooptError, match=r"its model does not take these hyperparameters.*heigth"):
        make_network(task, None, {"heigth": 3}, 1)


def test_a_search_over_topologies_improves_on_the_defaults() -> None:
    section = HpoSection(population=6, generations=4, fom="loss", mutation_rate=0.5)
    runner = TrialRunner.here(setup("loss", steps=60))
    trials = Trials(runner.run, section.seed)
    scheme = hpo_scheme(section, SPACE, trials)
    records = [scheme.advance().record for _ in range(4)]
    assert records[0] is not None
    winner = trials.winner(scheme.generations)
    assert winner["fom"] < records[0]["fom"][0]
    (again,) = runner.run([winner["hyperparameters"]], derive_seed(42, 421))
    assert again.fom == pytest.approx(winner["fom"], rel=1e-3)


def test_an_objective_of_ones_own() -> None:
    calls: list[dict[str, Value]] = []

    def bowl(v: dict[str, Value]) -> float:
        calls.append(v)
        return math.nan if v["kind"] == "bad" else (float(v["x"]) - 3) ** 2 + (int(v["n"]) - 6) ** 2

    space = {
        "x": {"min": 0.1, "max": 10, "default": 1},
        "n": {"type": "integer", "min": 1, "max": 20, "default": 2},
        "kind": {"choices": ["good", "bad"], "default": "good"},
    }
    batches: list[int] = []

    def batch(function: Any, many: Any) -> list[float]:
        batches.append(len(many))
        return [function(one) for one in many]

    result = ThreeParentGA(space, bowl, generations=30, mutation_rate=0.3, map=batch).run()
    assert result.fom < 0.5 < bowl({"x": 1, "n": 2, "kind": "good"})
    assert result.best["kind"] == "good"
    assert result.evaluations == sum(batches) == len(calls) - 1
    assert len(result.history) == 30
    with pytest.raises(EvooptError, match="no finite number for any genome"):
        ThreeParentGA(space, lambda v: math.nan, population=4, generations=2).run()
    with pytest.raises(EvooptError, match=r"ThreeParentGA: recombination.population"):
        ThreeParentGA(space, bowl, population=1)


OF_TWO = {"x": {"min": 0.1, "max": 10.0, "default": 1.0}, "kind": {"choices": ["a", None], "default": None}}


def picky(values: dict[str, Any]) -> Any:
    """An objective that takes a part of its space only."""
    if values["x"] > 5:
        raise ValueError("too\nlarge")
    return None if values["kind"] == "a" else values["x"]


def test_an_objective_that_fails_for_some_genomes_goes_on_and_says_for_which() -> None:
    with pytest.warns(
        UserWarning, match=r"^ThreeParentGA: for \{'x': .*\} the objective (raised|returned)"
    ) as told:
        result = ThreeParentGA(OF_TWO, picky, generations=4, initial="random", seed=1).run()
    assert len(told) == 1
    assert result.best["kind"] is None
    assert result.fom == result.best["x"] < 1
    assert {reason for _, reason in result.failures} == {
        "raised ValueError: too large",
        "returned NoneType, not a number",
    }
    assert all(values["x"] > 5 or values["kind"] == "a" for values, _ in result.failures)  # type: ignore[operator]


def test_failures_come_back_from_other_processes() -> None:
    def as_sent(value: Any) -> Any:
        return pickle.loads(pickle.dumps(value))

    def elsewhere(function: Any, values: Any) -> list[Any]:
        return [as_sent(as_sent(function)(as_sent(value))) for value in values]

    there, here = (
        ThreeParentGA(OF_TWO, picky, population=8, generations=2, initial="random", **own)
        for own in ({"map": elsewhere}, {})
    )
    with pytest.warns(UserWarning, match="raised"):
        found = there.run()
    with pytest.warns(UserWarning, match="raised"):
        assert here.run() == found


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (lambda v: None, "returned NoneType, not a number"),
        (lambda v: (1.0, 2.0), "returned tuple, not a number"),
        (lambda v: v["y"], "raised KeyError: 'y'"),
        (lambda v: torch.ones(2), "returned Tensor, not a number"),
    ],
)
def test_an_objective_that_fails_at_once_for_all_ends_the_search_in_one_line(
    objective: Any, reason: str
) -> None:
    calls: list[Any] = []
    with pytest.raises(
        EvooptError, match=rf"^ThreeParentGA: for \{{'x': 1.0, 'kind': None\}} .*{reason}; it"
    ) as e:
        ThreeParentGA(OF_TWO, lambda v: [calls.append(v), objective(v)][1], population=5).run()
    assert "\n" not in str(e.value)
    assert len(calls) <= 5


def test_names_that_mean_something_in_training_may_mean_another_thing_to_an_objective() -> None:
    exponents = {"lr": {"min": -5, "max": -1, "default": -3}, "dropout": {"min": -1, "max": 7, "default": 2}}
    result = ThreeParentGA(exponents, lambda v: float(v["lr"]), population=6, generations=5).run()
    assert result.fom < -3


@pytest.mark.parametrize(
    "name", [name for name, config in list_spaces().items() if config.individual == "hpo"]
)
def test_a_shipped_space_names_what_its_network_takes(name: str) -> None:
    config = load_space(name)
    assert isinstance(config, HpoConfig)
    values = config.loci().default().values()
    network = make_network(get_task(config.training.task), None, values, 0)
    plain = get_task(config.training.task).make_model()
    assert [p.shape for p in network.parameters()] == [p.shape for p in plain.parameters()]
