"""The configurations of HPO, a search for hyperparameters, and of PBT, one for schedules of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from evoopt.config.sections import LimitsSection, OneOf, RunConfig, TrainingSection, limit_options
from evoopt.errors import EvooptError
from evoopt.systems.hyperparameters.breeding import SCHEMES
from evoopt.systems.hyperparameters.hyperparameter_space import HyperparameterSpace
from evoopt.systems.hyperparameters.loci import Locus, NumberLocus
from evoopt.systems.hyperparameters.torch_classes import TORCH_CLASSES, check_settings
from evoopt.training.member_hyperparameters import check_value


class RecombinationSection(LimitsSection):
    """Scheme, operators and figure of merit; defaults of the operators are those of the publication."""

    inherits: ClassVar[bool]
    """Whether members train on and children inherit weights."""

    scheme: Annotated[str, OneOf(SCHEMES)] = Field(
        "three_parent",
        description="parents a, b and alpha; the exploit and explore of Ray Tune; or a control",
    )
    population: int = Field(20, ge=2, description="members per generation")
    generations: int = Field(10, ge=1, description="generations to evaluate")
    seed: int = Field(42, ge=0, description="root of all randomness of the run")
    optimizer: Literal["adam", "sgd", "adamw", "rmsprop", "lion"] = Field(
        "adam", description="what hyperparameters such as lr are set on"
    )
    fom: str
    crossover_rate: float = Field(0.33, ge=0, le=1, description="probability of a swap, by locus")
    crossover: Literal["uniform", "run_length"] = Field(
        "uniform", description="run_length: a swap is of a locus and all that follow"
    )
    recombinants: Literal["one", "both"] = Field(
        "one", description="both: both are born, and the fitter one of the two may become a parent"
    )
    mutation_rate: float = Field(0.05, ge=0, le=1, description="probability of a mutation, by locus")
    initial: Literal["mutants", "random"] = Field(
        "mutants", description="three_parent's first generation, beside the defaults; others draw at random"
    )
    initial_mutations: int = Field(3, ge=0, description="how often every locus of those mutants is mutated")
    sigma: float = Field(10.0, gt=0, description="selection pressure")
    winsorise: float = Field(
        0.2, ge=0, lt=1, description="share of the worst that counts as the worst of the rest; 0: literal"
    )
    quantile: float = Field(0.25, gt=0, le=0.5, description="share that truncation exploits and replaces")
    resample: float = Field(0.25, ge=0, le=1, description="probability that truncation redraws a locus")
    factors: tuple[float, ...] = Field(
        (0.8, 1.2), min_length=1, description="what truncation multiplies a locus by"
    )
    demes: int = Field(1, ge=1, description="parts that the population breeds in; random has none")
    topology: Literal["ring", "grid"] = Field("ring", description="which demes are neighbours")
    migration_interval: int = Field(5, ge=1, description="generations between migrations")
    migrants: int = Field(1, ge=1, description="how many of a deme's best migrate")

    def check(self, source: str = "recombination") -> None:
        """Check settings against each other.

        Raises:
            EvooptError: Settings that do not fit each other.
        """
        size, left = divmod(self.population, self.demes)
        if left or (self.demes > 1 and size < 2):
            raise EvooptError(
                f"{source}: population ({self.population}) must be a multiple of demes ({self.demes}), "
                "with 2 or more members in each"
            )
        if self.demes > 1 and self.migrants >= size:
            raise EvooptError(f"{source}: migrants ({self.migrants}) must be fewer than a deme ({size})")


class PbtSection(RecombinationSection):
    """Members train on, and children inherit weights."""

    inherits = True

    fom: Literal["error", "loss", "perplexity"] = Field(
        "error", description="figure of merit, on validation data"
    )


class HpoSection(RecombinationSection):
    """Each genome trains a network afresh."""

    inherits = False

    fom: Literal["error", "loss", "perplexity", "steps", "seconds"] = Field(
        "error", description="figure of merit, on validation data; steps and seconds are those to the target"
    )
    target: float | None = Field(None, gt=0, le=1, description="accuracy to reach, for steps and seconds")
    every: int = Field(100, ge=1, description="minibatches between two looks at the accuracy")
    limit: float | None = Field(
        None, gt=0, description="most seconds of a training, for seconds; whoever misses the target has more"
    )

    def check(self, source: str = "recombination") -> None:
        """See `RecombinationSection.check`."""
        super().check(source)
        if self.fom in ("steps", "seconds") and self.target is None:
            raise EvooptError(f"{source}: fom {self.fom!r} needs a target, the accuracy to reach")
        if self.fom == "seconds" and self.limit is None:
            raise EvooptError(f"{source}: fom 'seconds' needs a limit, the most seconds of a training")


class RecombinationTraining(TrainingSection):
    """How the models are trained."""

    steps: int | None = Field(  # type: ignore[assignment]
        None, ge=1, description="pbt: optimizer steps per generation, one epoch by default; hpo: most steps"
    )


class RecombinationConfig(RunConfig):
    """Hyperparameters evolve: what PBT and HPO have in common."""

    options: ClassVar[Mapping[str, str]] = {
        "population": "recombination.population",
        "generations": "recombination.generations",
        "seed": "recombination.seed",
        **limit_options("recombination"),
        "steps": "training.steps",
        "engine": "training.engine",
    }

    recombination: RecombinationSection
    training: RecombinationTraining = RecombinationTraining()
    space: dict[str, dict[str, Any]] = Field(default_factory=dict, description="one table per hyperparameter")

    @property
    def settled(self) -> tuple[str, ...]:
        """See `RunConfig.settled`; the best that ever was is only the best by one figure of merit."""
        return (*super().settled, "space", "recombination.fom")

    def loci(self) -> HyperparameterSpace:
        """The space of hyperparameters.

        Raises:
            EvooptError: One that is not sound.
        """
        return HyperparameterSpace.parse(self.space, "space")

    def cross_check(self, source: str) -> None:
        """Check settings against each other, and the space."""
        for locus in HyperparameterSpace.parse(self.space, f"{source}, space").loci:
            _check_range(locus, self.recombination, f"{source}, space")
        self.recombination.check(f"{source}, recombination")
        if self.training.validation_fraction == 0:
            raise EvooptError(f"{source}: training.validation_fraction must be above 0: it is what selects")


class PbtConfig(RecombinationConfig):
    """Hyperparameters evolve while a population of models trains."""

    individual: Literal["pbt"] = "pbt"
    recombination: PbtSection = PbtSection()

    @property
    def settled(self) -> tuple[str, ...]:
        """See `RunConfig.settled`; models live on, and all steps of a schedule are of one kind."""
        of_training = ("train_size", "validation_fraction", "steps", "batch_size")
        parts = (f"training.{name}" for name in of_training)
        return (*super().settled, "recombination.population", "recombination.optimizer", *parts)


class HpoConfig(RecombinationConfig):
    """Hyperparameters evolve, and each genome trains a network afresh."""

    individual: Literal["hpo"] = "hpo"
    recombination: HpoSection = HpoSection()

    @property
    def settled(self) -> tuple[str, ...]:
        """See `RunConfig.settled`."""
        return (*super().settled, "recombination.target")

    def cross_check(self, source: str) -> None:
        """See `RecombinationConfig.cross_check`."""
        super().cross_check(source)
        for choice in self.space.get("optimizer", {}).get("choices", ()):
            if choice in TORCH_CLASSES:
                check_settings(choice, self.space)
        if self.training.steps is None:
            raise EvooptError(f"{source}: type 'hpo' needs training.steps, the most steps of a training")


def renamed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Read a space file from when both types were one, ``recombination``, with a setting ``mode``."""
    section = data.get("recombination", {})
    if not isinstance(section, dict):  # refused when it is validated
        return {**data, "individual": "pbt"}
    rest = {name: value for name, value in section.items() if name != "mode"}
    return {**data, "individual": section.get("mode", "pbt"), "recombination": rest}


def _check_range(locus: Locus, section: RecombinationSection, source: str) -> None:
    # Mutation multiplies, and so comes near a bound of 0 but never there.
    low = math.ulp(0.0)
    for value in (locus.low or low, locus.high) if isinstance(locus, NumberLocus) else locus.choices:
        try:
            if locus.name == "optimizer" and value in TORCH_CLASSES:
                if section.inherits:
                    raise EvooptError("only searches of type 'hpo' train by this class of torch")
                continue
            if value is None:
                raise EvooptError("None is nothing that a training can use")
            check_value(locus.name, value, section.optimizer)
        except EvooptError as error:
            raise EvooptError(
                f"{source}: hyperparameter {locus.name!r} may become {value!r}: {error}"
            ) from None
