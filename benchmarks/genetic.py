"""Genetic training of weights against a loop over eager models and against pygad.torchga."""

from __future__ import annotations

import functools
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import product_flops, rates, ratio, shown, side_by_side
from evoopt.execution import make_executor
from evoopt.execution.process_setup import thread_limits_for_children, torch_threads, usable_cores
from evoopt.jobs.weight_scoring import ScoringSetup, make_scoring_worker, score_on
from evoopt.systems.genetic.chromosome import Encoding
from evoopt.systems.genetic.scheme import GeneticScheme, initial_population
from evoopt.systems.genetic.succession import Elitist
from evoopt.systems.genetic.weight_operators import WeightOperators
from evoopt.tasks import Split
from evoopt.tasks.genetic_models import GeneticLeNet, GeneticMNISTNet
from evoopt.training.population import ModelPopulation

if TYPE_CHECKING:
    from benchmarks.cases import Outcome

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "mnist": (GeneticMNISTNet, (1, 28, 28), "MNIST network of 4,540 weights"),
    "lenet": (GeneticLeNet, (1, 32, 32), "LeNet of 291,870 weights"),
}


@functools.cache
def images(network: str, count: int) -> Split:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, *NETWORKS[network][1], generator=generator)
    return Split(x, torch.randint(0, 10, (count,), generator=generator))


@functools.cache
def networks(network: str, count: int) -> list[nn.Module]:
    torch.manual_seed(0)
    return [NETWORKS[network][0]() for _ in range(count)]


class Elsewhere:
    """A process of its own with the allocator's default settings, which is what others have."""

    def __init__(self, threads: int) -> None:
        with thread_limits_for_children(threads):
            self._pool = multiprocessing.get_context("spawn").Pool(1)

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._pool.apply(function, arguments)

    def close(self) -> None:
        self._pool.terminate()


def score_eagerly(network: str, members: int, count: int, batch: int) -> None:
    """Score eager models one after another, each on all images."""
    split = images(network, count)
    for model in networks(network, members):
        with torch.no_grad():
            outputs = torch.cat([model.eval()(x) for x in torch.split(split.x, batch)])
        (outputs.argmax(dim=1) == split.y).float().mean().item()


def scoring(
    network: str = "mnist", members: int = 100, count: int = 10_000, target: str = ">= 5x"
) -> Outcome:
    """Scoring a population on our pool against a loop over eager models with all threads."""
    from benchmarks.cases import Outcome, Row

    cores, split = usable_cores(), images(network, count)
    population = ModelPopulation.from_models(networks(network, members))
    eager = Elsewhere(cores)
    setup = ScoringSetup(population.architecture.model, split)
    batches, few = (1000, 100), 2  # a loop costs the same for each model
    with make_executor("process", make_scoring_worker, setup, workers=cores) as executor:
        score = score_on(executor)
        try:
            times = side_by_side(
                {"ours": (lambda: score(population.packed()), members)}
                | {
                    f"eager {b}": (partial(eager, score_eagerly, network, few, count, b), few)
                    for b in batches
                }
            )
        finally:
            eager.close()
    with torch_threads(1):
        limit = forward_flops(network) * count / product_flops() / cores
    share = limit / statistics.median(times["ours"])
    title, found = NETWORKS[network][2], {b: ratio(times, f"eager {b}", "ours") for b in batches}
    rows = [
        Row(
            f"{title}: {members} on {count:,} images, {cores} processes of one thread / eager models in "
            f"batches of {b}, {cores} threads",
            shown(found[b]),
            target,
        )
        for b in batches
    ]
    rows.append(Row(f"{title}: scoring, share of the limit of products", f"{share:.0%}"))
    return Outcome(rows, {"rates": rates(times), "ratios": found, "limit_share": share})


def generation_of_pygad(count: int, members: int) -> float:
    """Seconds of the second generation of pygad.torchga, set up like the elitist scheme."""
    import pygad
    import pygad.torchga

    split, (model,) = images("mnist", count), networks("mnist", 1)
    first = [pygad.torchga.model_weights_as_vector(other) for other in networks("mnist", members)]

    def fitness(ga: Any, solution: Any, index: Any) -> float:
        outputs = pygad.torchga.predict(model=model, solution=solution, data=split.x)
        return (outputs.argmax(dim=1) == split.y).float().mean().item()

    times: list[float] = []
    ga = pygad.GA(
        num_generations=2,
        num_parents_mating=members // 5,
        initial_population=first,
        fitness_func=fitness,
        keep_elitism=members // 10,
        parent_selection_type="rws",
        crossover_type="uniform",
        mutation_type="random",
        mutation_percent_genes=10,
        mutation_by_replacement=False,
        on_generation=lambda ga: times.append(time.perf_counter()),
        random_seed=0,
        suppress_warnings=True,
    )
    ga.run()
    return times[1] - times[0]


def whole_generation(count: int = 500, members: int = 100, rounds: int = 5) -> Outcome:
    """A generation of the elitist scheme on our pool against one of pygad.torchga with all threads."""
    from benchmarks.cases import Outcome, Row

    cores, split = usable_cores(), images("mnist", count)
    initial = initial_population(GeneticMNISTNet, members, 0)
    model = initial.architecture.model
    other = Elsewhere(cores)
    with make_executor("process", make_scoring_worker, ScoringSetup(model, split), workers=cores) as executor:
        scheme = GeneticScheme(
            initial,
            WeightOperators(Encoding.of(model)),
            Elitist(),
            score_on(executor),
            generations=10**6,
            seed=0,
            examples=count,
        )
        scheme.advance()
        try:
            times: dict[str, list[float]] = {"ours": [], "pygad": []}
            for _ in range(rounds):
                started = time.perf_counter()
                children = len(scheme.advance().created)
                times["ours"].append(time.perf_counter() - started)
                times["pygad"].append(other(generation_of_pygad, count, members))
        finally:
            other.close()
    found = ratio(times, "pygad", "ours")
    with torch_threads(1):
        limit = children * forward_flops("mnist") * count / product_flops() / cores
    share = limit / statistics.median(times["ours"])
    what = f"a generation of {members} MNIST networks on {count:,} images"
    rows = [
        Row(f"{what} / pygad.torchga, {cores} threads", shown(found), ">= 4x"),
        Row(f"{what}: share of the limit of products", f"{share:.0%}"),
    ]
    return Outcome(rows, {"rates": rates(times), "ratio": found, "limit_share": share})


def forward_flops(network: str) -> int:
    """Operations in the matrix products and convolutions of one image's forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        networks(network, 1)[0](images(network, 1).x)
    return int(counter.get_total_flops())


CASES: dict[str, Callable[[], Outcome]] = {
    "genetic-scoring": scoring,
    "genetic-lenet": partial(scoring, "lenet", 20, 2000, ""),
    "genetic-generation": whole_generation,
}
"""Merged into those of `benchmarks.cases`."""
