"""What the configurations of all individual types have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import CoreSchema, core_schema

from evoopt.errors import EvooptError, unknown_name
from evoopt.execution import Place
from evoopt.execution.place import Precision

CONFIG_VERSION = 1


@dataclass(frozen=True)
class OneOf:
    """A setting that names an entry of a registry, which thereby is the only place that lists them."""

    names: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


class Section(BaseModel):
    """One table of a space file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LimitsSection(Section):
    """What ends a run before its last generation."""

    patience: int | None = Field(
        None, ge=1, description="generations without a better best after which the search ends"
    )
    max_trainings: int | None = Field(
        None, ge=1, description="trainings, or networks scored, after which no generation follows"
    )
    max_seconds: float | None = Field(
        None, gt=0, description="time after which no generation follows; a resumed run has it anew"
    )


def limit_options(section: str) -> dict[str, str]:
    """Limits by their names on the command line."""
    names = {"patience": "patience", "max_trainings": "max_trainings", "max_time": "max_seconds"}
    return {option: f"{section}.{setting}" for option, setting in names.items()}


class ExecutionSection(Section):
    """Where the work runs; may differ between a run and its resumption, without changing results by more than
    the rounding of another device or precision."""

    executor: Literal["serial", "process", "dask"] = "process"
    scheduler: str | None = Field(
        None, description="address of a Dask scheduler; without one, dask makes a cluster on this machine"
    )
    workers: int | None = Field(None, ge=1, description="worker processes, one per core by default")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    precision: Precision = Field(
        "full", description="of products; tf32 (on CUDA) and bf16 are faster and round more"
    )
    timeout_s: float | None = Field(
        None, gt=0, le=1e8, description="seconds after which a chunk's worker is replaced"
    )
    data_dir: str | None = None
    exchange: str | None = Field(
        None,
        description="folder that all machines see: living models travel in it, not through the scheduler",
    )

    def place(self, threads_per_worker: int) -> Place:
        """Where that is; threads decide how sums are rounded, so they are not settings of a machine."""
        return Place(
            executor=self.executor,
            workers=self.workers,
            threads_per_worker=threads_per_worker,
            device=self.device,
            precision=self.precision,
            data_dir=Path(self.data_dir) if self.data_dir else None,
            timeout_s=self.timeout_s,
            scheduler=self.scheduler,
            exchange=None if self.exchange is None else Path(self.exchange).absolute(),
        )


class WorkSection(Section):
    """What models learn, and in what units of work."""

    task: str = Field("digits", description="task name, or file.py:function")
    train_size: int | None = Field(None, ge=1, description="examples kept, all by default")
    validation_fraction: float = Field(0.2, ge=0, lt=1, description="part held out for validation")
    chunk_size: int = Field(10, ge=1, description="members of a population in one unit of work")
    threads_per_worker: int = Field(1, ge=1, description="torch threads in each worker")


class TrainingSection(WorkSection):
    """How the models of a population are trained, where the models themselves evolve."""

    steps: int = Field(200, ge=1, description="optimizer steps per training phase")
    batch_size: int | None = Field(None, ge=1, description="overrides the task's own")
    engine: Literal["batched", "sequential", "reference"] = Field(
        "batched",
        description="a chunk as one program, its members one after another, or a plain loop with torch.optim",
    )


class RunConfig(Section):
    """A whole run, as resolved; written to the run folder. Every individual type has a subclass.

    Attributes:
        individual: Name of the individual type.
        name: Name of the space.
        description: One line for ``evoopt spaces``.
        execution: Where the work runs.
    """

    options: ClassVar[Mapping[str, str]] = {}
    """Settings that the command line offers by name, as ``section.setting``; ``seed`` is among them."""

    tasks_setting: ClassVar[str] = "training.task"
    """The setting that names the task, or the tasks."""

    version: Literal[1] = 1
    individual: str
    name: str = "custom"
    description: str = ""
    execution: ExecutionSection = ExecutionSection()

    @property
    def seed(self) -> int:
        """Root of all randomness of the run."""
        return int(self.option("seed"))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks the run trains on."""
        names = self._setting(self.tasks_setting)
        return (names,) if isinstance(names, str) else tuple(names)

    @property
    def every_task(self) -> tuple[str, ...]:
        """Those, and what else the run loads."""
        return self.tasks

    @property
    def settled(self) -> tuple[str, ...]:
        """Settings, or sections, that all that a run has done rests on, so that they stay as they are."""
        # The seed decides who validates: another one has those select by what they were trained on.
        return ("individual", self.tasks_setting, self.options["seed"])

    @property
    def compares(self) -> bool:
        """Whether the run ends with a comparison of its winner."""
        return False

    @property
    def selects_on_test(self) -> bool:
        """Whether test data decide who is selected, so that the winner must not be compared on them."""
        return False

    def with_tasks(self, names: tuple[str, ...]) -> Self:
        """The same with other tasks.

        Raises:
            EvooptError: More tasks than this individual type takes.
        """
        section, _, setting = self.tasks_setting.partition(".")
        one = isinstance(self._setting(self.tasks_setting), str)
        return self.override({section: {setting: only_task(names, self.individual) if one else names}})

    def with_task_files(self, locate: Callable[[str], str]) -> Self:
        """The same with every task by another name, which says where its file is."""
        return self.with_tasks(tuple(map(locate, self.tasks)))

    def whole_trainings(self, generation: int, repeat: int) -> float:
        """What a training of `evoopt.jobs.records` cost a search, as a part of one of full length."""
        return 1.0

    def random_search(self, trainings: float, first_generation: float | None = None) -> Self:
        """The same search without selection, at the cost of so many whole trainings: a control.

        Args:
            trainings: In all, short ones by their part of a whole one.
            first_generation: What that of the search took of them, whose individuals have no parents to
                begin from either; by default what the settings lead to expect.

        Raises:
            EvooptError: This individual type has no such control.
        """
        raise EvooptError(f"there is no random search for individuals of type {self.individual!r}")

    def tuned_start(self) -> Self:
        """The same search of the constants of its baseline alone: a control.

        Raises:
            EvooptError: This individual type has no such control.
        """
        raise EvooptError(
            f"there is no search of constants alone for individuals of type {self.individual!r}"
        )

    def noise(self) -> Self:
        """The same search with random numbers for fitness: what drift alone makes of it.

        Raises:
            EvooptError: This individual type has no such control.
        """
        raise EvooptError(f"there is no search without information for type {self.individual!r}")

    def cross_check(self, source: str) -> None:
        """Check what no single setting can tell.

        Args:
            source: Name of the file, for messages.

        Raises:
            EvooptError: Settings that do not fit each other.
        """

    def to_toml(self) -> str:
        """TOML text that `parse_config` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def override(self, changes: Mapping[str, Mapping[str, Any]], source: str = "the settings given") -> Self:
        """Replace single values, given per section; None means no change.

        Args:
            changes: Values by section and name.
            source: Where they come from, for messages.

        Raises:
            EvooptError: A value that does not fit, or a setting that this individual type does not have.
        """
        data = self.model_dump(mode="json", exclude_none=True)
        for section, values in changes.items():
            given = {name: value for name, value in values.items() if value is not None}
            if given:
                data.setdefault(section, {}).update(given)
        return type(self).validated(data, source)

    @property
    def limits(self) -> list[str]:
        """Names on the command line of what may end a run before its last generation."""
        return [name for name in limit_options("") if name in self.options]

    @staticmethod
    def flag(name: str) -> str:
        """An option as it is written on the command line."""
        return f"--{name.replace('_', '-')}"

    def without(self, names: Iterable[str]) -> Self:
        """The same with default values for settings, by their names on the command line."""
        data = self.model_dump(mode="json", exclude_none=True)
        for name in names:
            section, _, setting = self.options[name].partition(".")
            data[section].pop(setting, None)
        return type(self).validated(data, self.name)

    def option(self, name: str) -> Any:
        """A setting by its name on the command line."""
        return self._setting(self.options[name])

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Replace settings by their names on the command line; None means no change.

        Raises:
            EvooptError: An option this individual type does not have, or a value that does not fit.
        """
        changes: dict[str, dict[str, Any]] = {}
        for name, value in options.items():
            if value is None:
                continue
            if name not in self.options:
                raise EvooptError(
                    f"{self.flag(name)} means nothing to search space {self.name!r}, "
                    f"whose individuals are of type {self.individual!r}; it takes "
                    f"{', '.join(map(self.flag, self.options))}"
                )
            section, _, setting = self.options[name].partition(".")
            changes.setdefault(section, {})[setting] = value
        try:
            return self.override(changes, "command line")
        except EvooptError as error:
            given = [name for name, value in options.items() if value is not None]
            raise EvooptError(self._in_options(str(error), given)) from None

    @classmethod
    def validated(cls, data: Mapping[str, Any], source: str) -> Self:
        """Make a configuration of plain data.

        Args:
            data: Tables and values.
            source: Where they come from, for messages.

        Raises:
            EvooptError: An unknown setting or a bad value; the message names the place.
        """
        version = data.get("version", CONFIG_VERSION)
        if version != CONFIG_VERSION:
            raise EvooptError(
                f"{source} has configuration version {version!r}, this evoopt reads version {CONFIG_VERSION}"
            )
        try:
            json.dumps(data, ensure_ascii=False, skipkeys=True, default=str).encode()
        except UnicodeEncodeError:
            raise EvooptError(f"{source} holds text that is not Unicode, which no file can hold") from None
        try:
            config = cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            setting = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise unknown_name(f"setting in {source}:", setting, _near(cls, setting)) from None
            raise EvooptError(f"{source}: {setting}: {first['msg']} (found {first['input']!r})") from None
        config.cross_check(source)
        return config

    def _in_options(self, message: str, given: Iterable[str]) -> str:
        """A message about settings that speaks of the options by which they were given."""
        for name in sorted(given, key=lambda name: -len(self.options[name])):
            setting = re.escape(self.options[name])
            message = re.sub(rf"(?<![\w.]){setting}(?![\w.])", self.flag(name), message)
        return message

    def _setting(self, path: str) -> Any:
        section, _, setting = path.partition(".")
        return getattr(getattr(self, section), setting)


def only_task(names: tuple[str, ...], individual: str) -> str:
    """The one task of an individual type that learns on one.

    Raises:
        EvooptError: More than one.
    """
    if len(names) != 1:
        raise EvooptError(f"individuals of type {individual!r} are trained on one task, not {len(names)}")
    return names[0]


def _near(config: type[RunConfig], setting: str) -> list[str]:
    """Settings of the name of one that is unknown, in whatever section; else those beside it."""
    section, _, name = setting.rpartition(".")
    known = list(_settings(config))
    same = [one for one in known if one.rpartition(".")[2] == name]
    beside = [one for one in known if one.rpartition(".")[0] == section] if section else config.model_fields
    return same or list(beside) or known


def _settings(config: type[RunConfig]) -> Iterator[str]:
    for section, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (f"{section}.{name}" for name in kind.model_fields)
        else:
            yield section
