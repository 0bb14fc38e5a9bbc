"""Search-space files: TOML, validated into one frozen `Config`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import evoopt
from evoopt.errors import EvooptError, unknown_name
from evoopt.genomes.space import OptimizerSpace
from evoopt.optim.presets import PRESETS

CONFIG_VERSION = 1


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SearchSection(_Section):
    """How generations follow each other."""

    population: int = Field(24, ge=2, description="individuals per generation")
    generations: int = Field(12, ge=1, description="generations to evaluate")
    elites: int = Field(3, ge=0, description="best individuals copied unchanged")
    tournament: int = Field(3, ge=1, description="individuals per tournament")
    seed: int = Field(42, ge=0, description="root of all randomness of the run")
    elite_policy: Literal["reaverage", "reevaluate"] = Field(
        "reaverage",
        description="reaverage: elites gain a fresh seed per generation; reevaluate: the same again",
    )
    max_replicates: int = Field(8, ge=1, description="most seeds an elite is averaged over")
    compare: bool = Field(True, description="end with a short comparison against tuned Adam")
    finalists: int = Field(5, ge=0, description="best individuals re-scored before a winner is named")
    final_replicates: int = Field(5, ge=1, description="fresh seeds per finalist and task")


class EvaluationSection(_Section):
    """How an individual is scored."""

    tasks: tuple[str, ...] = Field(("digits",), min_length=1, description="task names, or file.py:function")
    steps: int = Field(200, ge=1, description="optimizer steps per training")
    replicates: int = Field(2, ge=1, description="seeds per task")
    fitness: Literal["validation", "paper", "noise"] = Field(
        "validation", description="validation metric; the published test-set fitness; or a control"
    )
    seeds: Literal["derived", "literal"] = Field(
        "derived", description="derived from the run seed, or 0, 1, 2, ... as published"
    )
    train_size: int | None = Field(None, ge=1, description="examples kept per task, all by default")
    batch_size: int | None = Field(None, ge=1, description="overrides the tasks' own")
    drop_last: bool = Field(True, description="leave out an epoch's incomplete last minibatch")
    chunk_size: int = Field(12, ge=1, description="individuals trained together as one unit of work")
    threads_per_worker: int = Field(1, ge=1, description="torch threads in each worker")
    descent_filter: bool = Field(
        True, description="reject a rule whose update points uphill or nowhere, before any training"
    )
    halve_at: float | None = Field(
        None, gt=0, lt=1, description="part of the steps after which a chunk's worse half stops training"
    )
    engine: Literal["auto", "batched", "sequential"] = Field("auto", description="how a chunk is trained")


class ExecutionSection(_Section):
    """Where the work runs; may differ between a run and its resumption without changing results."""

    executor: Literal["serial", "process"] = "process"
    workers: int | None = Field(None, ge=1, description="worker processes, one per core by default")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    timeout_s: float | None = Field(
        None, gt=0, description="seconds after which a chunk's worker is replaced"
    )
    data_dir: str | None = None


class GenomeSection(_Section):
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
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict, description="range of number genes")

    def space(self) -> OptimizerSpace:
        """The search space this section describes."""
        given = {} if self.terms is None else {"terms": self.terms}
        return OptimizerSpace(
            max_terms=self.max_terms,
            ranges=self.ranges,
            nesterov_beta=0.9 if self.nesterov == "notebook" else None,
            **given,
        )


class Config(_Section):
    """A whole run, as resolved; written to the run folder."""

    version: Literal[1] = 1
    individual: Literal["optimizer"] = "optimizer"
    name: str = "custom"
    description: str = ""
    search: SearchSection = SearchSection()
    evaluation: EvaluationSection = EvaluationSection()
    genome: GenomeSection = GenomeSection()
    execution: ExecutionSection = ExecutionSection()

    def to_toml(self) -> str:
        """TOML text that `parse_config` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def override(self, changes: dict[str, dict[str, Any]]) -> Config:
        """Replace single values, given per section; None means no change.

        Raises:
            EvooptError: A value that does not fit.
        """
        data = self.model_dump(mode="json", exclude_none=True)
        for section, values in changes.items():
            data[section].update({name: value for name, value in values.items() if value is not None})
        return _validate(data, "command line")


def parse_config(text: str, source: str) -> Config:
    """Read a space file's text.

    Args:
        text: TOML.
        source: Name of the file, for messages.

    Raises:
        EvooptError: Malformed TOML, an unknown setting, or a bad value; the message names the place.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EvooptError(f"{source} is not valid TOML: {error}") from None
    return _validate(data, source)


def load_space(name: str) -> Config:
    """Load a shipped search space by name, or a person's own by the path of its TOML file.

    Raises:
        EvooptError: No such space or file, or a bad one.
    """
    path = Path(name)
    if path.suffix == ".toml" or os.sep in name:
        try:
            return parse_config(path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            raise EvooptError(f"cannot read search space {name}: {error}") from None
    shipped = {file.stem: file for file in spaces_folder().glob("*.toml")}
    if name not in shipped:
        raise unknown_name("search space", name, shipped)
    return parse_config(shipped[name].read_text(encoding="utf-8"), shipped[name].name)


def list_spaces() -> dict[str, Config]:
    """All shipped search spaces by name."""
    return {file.stem: load_space(file.stem) for file in sorted(spaces_folder().glob("*.toml"))}


def spaces_folder() -> Path:
    """Where the shipped search spaces lie: in the installed package, or beside it in a checkout."""
    package = Path(evoopt.__file__).parent
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def _validate(data: dict[str, Any], source: str) -> Config:
    found = data.get("version", CONFIG_VERSION)
    if found != CONFIG_VERSION:
        raise EvooptError(
            f"{source} has configuration version {found!r}, this evoopt reads version {CONFIG_VERSION}"
        )
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown_name(f"setting in {source}:", place, _known_settings()) from None
        raise EvooptError(f"{source}: {place}: {first['msg']} (found {first['input']!r})") from None
    _cross_check(config, source)
    return config


def _cross_check(config: Config, source: str) -> None:
    search = config.search
    if search.elites >= search.population:
        raise EvooptError(
            f"{source}: search.elites ({search.elites}) must be smaller than "
            f"search.population ({search.population})"
        )
    if config.genome.operators == "literal" and search.tournament > search.population:
        raise EvooptError(
            f"{source}: search.tournament ({search.tournament}) draws without replacement and cannot exceed "
            f"search.population ({search.population})"
        )
    for name in config.genome.initial:
        if name not in PRESETS:
            raise unknown_name(f"preset in {source}, genome.initial:", name, PRESETS)
    config.genome.space()  # raises on unknown terms and bad ranges


def _known_settings() -> list[str]:
    names = []
    for section, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += [f"{section}.{name}" for name in kind.model_fields]
        else:
            names.append(section)
    return names
