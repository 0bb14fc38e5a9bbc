"""The configuration of an optimizer search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field

if TYPE_CHECKING:
    from evoopt.runs.run import Run

from evoopt.config.sections import LimitsSection, RunConfig, Section, limit_options
from evoopt.errors import EvooptError, unknown_name
from evoopt.jobs.records import FUNNEL_REPEAT
from evoopt.optim.presets import PRESETS, STAGED_PRESETS
from evoopt.runs.finalists import Preference
from evoopt.systems.optimizer.config_checks import check_front, check_funnel, check_judging
from evoopt.systems.optimizer.judging_settings import EvaluationSection, FunnelLevel
from evoopt.systems.optimizer.optimizer_space import OptimizerSpace
from evoopt.systems.optimizer.stage_genes import StageGenes


class SearchSection(LimitsSection):
    """How generations follow each other."""

    population: int = Field(24, ge=2, description="individuals per generation")
    generations: int = Field(12, ge=1, description="generations to evaluate")
    elites: int = Field(3, ge=0, description="best individuals copied unchanged")
    survivors: Literal["best", "youngest", "pareto"] = Field(
        "best",
        description="who the elites are; youngest: regularised evolution, in which everybody dies of age; "
        "pareto: NSGA-II on gain, memory and time of a step, in which half of the population survives",
    )
    prefer: Preference = Field(
        "accuracy", description="who of a front wins: the best, or the cheapest that gains over the baseline"
    )
    tournament: int = Field(3, ge=1, description="individuals per tournament")
    seed: int = Field(42, ge=0, description="root of all randomness of the run")
    elite_policy: Literal["reaverage", "reevaluate"] = Field(
        "reaverage",
        description="reaverage: elites gain a fresh seed per generation; reevaluate: the same again",
    )
    max_replicates: int = Field(8, ge=1, description="most seeds an elite is averaged over")
    compare: bool = Field(True, description="end with a short comparison against the tuned baseline")
    finalists: int = Field(5, ge=0, description="best individuals re-scored before a winner is named")
    final_replicates: int = Field(5, ge=1, description="fresh seeds per finalist and task")
    funnel: tuple[Literal["longer", "larger"], ...] = Field(
        (), description="where finalists must still gain over the baseline: longer trainings, larger tasks"
    )


class GenomeSection(Section):
    """What an individual looks like and how it varies."""

    operators: Literal["robust", "literal"] = "robust"
    terms: tuple[str, ...] | None = Field(None, description="allowed terms, all by default")
    max_terms: int = Field(4, ge=1, description="longest genome")
    initial: tuple[str, ...] = Field(
        ("sgd", "adam", "adamw", "rmsprop", "lion"), description="presets in the initial population"
    )
    nesterov: Literal["beta1", "notebook"] = Field(
        "beta1", description="Nesterov term with beta1, or the published notebook's constant 0.9"
    )
    fill: Literal["random", "mutants"] = Field(
        "random", description="the rest of the initial population: drawn, or mutants of its presets"
    )
    vary: Literal["all", "constants"] = Field(
        "all", description="constants: terms, switches and stages of the initial presets stay as they are"
    )
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict, description="range of number genes")
    stages: dict[str, tuple[bool | float | str, ...]] = Field(
        default_factory=dict, description="stages that vary: their choices, or the range of a number"
    )

    def space(self) -> OptimizerSpace:
        """The search space this section describes."""
        given = {} if self.terms is None else {"terms": self.terms}
        return OptimizerSpace(
            max_terms=self.max_terms,
            ranges=self.ranges,
            nesterov_beta=0.9 if self.nesterov == "notebook" else None,
            stages=StageGenes.of(self.stages),
            **given,
        )


_MEASURE = tuple(f"evaluation.{name}" for name in ("fitness", "target", "replicates", "meta_tasks", "seeds"))
_OF_THE_BASELINE = (
    "search.max_replicates",
    *(f"evaluation.{name}" for name in ("baseline", "baseline_trials", "steps", "rungs")),
    *(f"evaluation.{name}" for name in ("train_size", "batch_size", "drop_last")),
)


class OptimizerConfig(RunConfig):
    """A search for an optimizer: individuals are update rules."""

    options: ClassVar[Mapping[str, str]] = {
        "population": "search.population",
        "generations": "search.generations",
        "seed": "search.seed",
        "compare": "search.compare",
        "prefer": "search.prefer",
        "funnel": "search.funnel",
        **limit_options("search"),
        "steps": "evaluation.steps",
        "engine": "evaluation.engine",
    }
    tasks_setting = "evaluation.tasks"

    individual: Literal["optimizer"] = "optimizer"
    search: SearchSection = SearchSection()
    evaluation: EvaluationSection = EvaluationSection()
    genome: GenomeSection = GenomeSection()

    @property
    def settled(self) -> tuple[str, ...]:
        """See `RunConfig.settled`; gains are relative to trainings of the baseline when the run began."""
        judged = _MEASURE if not self.evaluation.judged_by_gain else (*_MEASURE, *_OF_THE_BASELINE)
        return (*super().settled, "search.population", "search.survivors", *judged)

    @property
    def compares(self) -> bool:
        """With tuned Adam, or with its baseline."""
        return self.search.compare and self.evaluation.fitness != "noise"

    @property
    def selects_on_test(self) -> bool:
        """As in the published search."""
        return self.evaluation.fitness == "paper"

    @property
    def every_task(self) -> tuple[str, ...]:
        """See `RunConfig.every_task`."""
        more = self.evaluation.funnel_tasks if "larger" in self.search.funnel else ()
        return (*self.judged_tasks, *more)

    @property
    def judged_tasks(self) -> tuple[str, ...]:
        """The tasks of search and final."""
        return (*self.evaluation.tasks, *self.evaluation.meta_tasks)

    @property
    def funnel_levels(self) -> tuple[FunnelLevel, ...]:
        """What finalists pass, one after the other."""
        evaluation = self.evaluation
        final = evaluation.meta_tasks or evaluation.tasks
        levels = []
        for name in dict.fromkeys(self.search.funnel):
            larger = name == "larger"
            repeat = FUNNEL_REPEAT + (larger and not evaluation.funnel_tasks)
            tasks = evaluation.funnel_tasks or final if larger else final
            levels.append(FunnelLevel(name, tuple(dict.fromkeys(tasks)), evaluation.steps_at(repeat), repeat))
        return tuple(levels)

    def with_task_files(self, locate: Callable[[str], str]) -> Self:
        """See `RunConfig.with_task_files`."""
        located = {
            name: tuple(map(locate, getattr(self.evaluation, name)))
            for name in ("meta_tasks", "funnel_tasks")
        }
        return super().with_task_files(locate).override({"evaluation": located})

    @property
    def trainings_per_individual(self) -> float:
        """What a new individual costs on average, in whole trainings."""
        return sum(count * part for count, part in self._trainings())

    @property
    def trainings_per_generation(self) -> int:
        """How many trainings, short ones too, a generation of new individuals takes."""
        return round(self.search.population * sum(count for count, _ in self._trainings()))

    def _trainings(self) -> Iterator[tuple[float, float]]:
        """On each rung, the number of trainings per new individual and their part of the steps."""
        evaluation = self.evaluation
        count = float(evaluation.rates * evaluation.decays * len(evaluation.tasks) * evaluation.replicates)
        for k, part in enumerate((*evaluation.rungs, 1.0)):
            yield count, part
            count *= evaluation.promote / (1 if k else evaluation.rates * evaluation.decays)

    def whole_trainings(self, generation: int, repeat: int) -> float:
        """Nothing for the baseline's, which every search trains alike."""
        return self.evaluation.steps_at(repeat) / self.evaluation.steps if generation >= 0 else 0.0

    def random_search(self, trainings: float, first_generation: float | None = None) -> Self:
        """All individuals in one generation; the same space, seeds, tasks and re-scoring of finalists."""
        of_first = first_generation or self.search.population * self.trainings_per_individual
        individuals = max(2, round(self.search.population * trainings / of_first))
        search = {"population": individuals, "generations": 1, "elites": 0, "tournament": 1, "compare": False}
        return self.override({"search": search})

    def tuned_start(self) -> Self:
        """See `RunConfig.tuned_start`: everybody descends from the baseline, and no structure varies."""
        genome = {"initial": [self.evaluation.baseline], "fill": "mutants", "vary": "constants"}
        return self.override({"genome": genome, "search": {"compare": False}})

    def noise(self) -> Self:
        """See `RunConfig.noise`."""
        return self.override({"evaluation": {"fitness": "noise"}, "search": {"compare": False, "funnel": []}})

    def cross_check(self, source: str) -> None:
        """Check sizes against each other, and names of presets and terms."""
        search = self.search
        if search.elites >= search.population:
            raise EvooptError(
                f"{source}: search.elites ({search.elites}) must be smaller than "
                f"search.population ({search.population})"
            )
        if self.genome.operators == "literal" and search.tournament > search.population:
            raise EvooptError(
                f"{source}: search.tournament ({search.tournament}) draws without replacement and cannot "
                f"exceed search.population ({search.population})"
            )
        presets = PRESETS | STAGED_PRESETS
        for name in self.genome.initial:
            if name not in presets:
                raise unknown_name(f"preset in {source}, genome.initial:", name, presets)
        genome = self.genome
        if genome.fill == "mutants" and (not genome.initial or genome.operators == "literal"):
            raise EvooptError(
                f'{source}: genome.fill = "mutants" needs presets in genome.initial and robust operators'
            )
        if genome.vary == "constants" and genome.fill != "mutants":
            raise EvooptError(f'{source}: genome.vary = "constants" needs genome.fill = "mutants"')
        check_judging(search, self.evaluation, source)
        check_front(search, self.evaluation, genome, source)
        check_funnel(search, self.evaluation, source)
        genome.space()  # raises on unknown terms and bad ranges


def config_of(run: Run) -> OptimizerConfig:
    """The configuration of a search for an optimizer."""
    assert isinstance(run.config, OptimizerConfig), "only asked of runs of this type"
    return run.config
