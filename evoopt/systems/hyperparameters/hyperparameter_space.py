"""The hyperparameter genome, and the space it is drawn from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Any

import numpy as np

from evoopt.errors import EvooptError, unknown_name
from evoopt.optim.rule import check_header, is_number
from evoopt.systems.hyperparameters.loci import CategoricalLocus, Locus, NumberLocus
from evoopt.training.member_hyperparameters import Value

HYPERPARAMETERS_VERSION = 1

_TYPES = ("float", "integer", "categorical")
_SCALES = ("linear", "log")
_NUMBER = ("type", "min", "max", "default", "scale")
_CATEGORY = ("type", "choices", "default")


@dataclass(frozen=True)
class Hyperparameters:
    """One genome: a value at every locus of a space.

    Attributes:
        genotype: Pairs of name and value in the order of the space's loci; integers as floats.
        integers: Names of those that are rounded where they are used.
    """

    genotype: tuple[tuple[str, Value], ...]
    integers: tuple[str, ...] = ()

    def values(self) -> dict[str, Value]:
        """The phenotype: what the hyperparameters are set to, by name."""
        return {
            name: round(value) if name in self.integers else value  # type: ignore[arg-type]
            for name, value in self.genotype
        }

    @cached_property
    def key(self) -> str:
        """Hash of the phenotype, 16 hex digits."""
        text = json.dumps(self.values(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Versioned JSON object; `from_json` reads it back exactly."""
        return {
            "kind": "hyperparameters",
            "version": HYPERPARAMETERS_VERSION,
            "genotype": dict(self.genotype),
            "integers": list(self.integers),
        }

    @classmethod
    def from_json(cls, data: Any) -> Hyperparameters:
        """Read a genome written by `to_json`.

        Raises:
            EvooptError: Not such a genome, or one of another version.
        """
        body = check_header(data, "hyperparameters", HYPERPARAMETERS_VERSION)
        genotype, integers = body.get("genotype"), body.get("integers")
        if (
            not isinstance(genotype, dict)
            or not isinstance(integers, list)
            or not all(isinstance(v, (bool, int, float, str, NoneType)) for v in genotype.values())
            or not all(isinstance(name, str) and _is_finite(genotype.get(name)) for name in integers)
        ):
            raise EvooptError("hyperparameters need a genotype, values by name, and the names of integers")
        return cls(tuple(genotype.items()), tuple(integers))


@dataclass(frozen=True)
class HyperparameterSpace:
    """The loci of a genome.

    Attributes:
        loci: In order, which run-length crossover follows.

    Raises:
        EvooptError: No loci, or two of one name.
    """

    loci: tuple[Locus, ...]

    def __post_init__(self) -> None:
        if not self.loci:
            raise EvooptError("the space has no hyperparameters: give at least one")
        if len(set(self.names)) < len(self.loci):
            raise EvooptError(f"the space names a hyperparameter twice: {', '.join(self.names)}")

    @classmethod
    def parse(cls, tables: Mapping[str, Any], source: str = "the space") -> HyperparameterSpace:
        """Make a space of plain data, as a TOML file gives it.

        Args:
            tables: One table per hyperparameter: ``min``, ``max``, ``default`` and optionally
                ``scale = "log"`` and ``type = "integer"``; or ``choices`` and ``default``.
            source: Where it comes from, for messages.

        Raises:
            EvooptError: An unknown setting, a missing one or a bad value.
        """
        try:
            return cls(tuple(_locus(name, table) for name, table in tables.items()))
        except EvooptError as error:
            raise EvooptError(f"{source}: {error}") from None

    def tables(self) -> dict[str, dict[str, Any]]:
        """The space as plain data, which `parse` reads."""
        return {locus.name: locus.table() for locus in self.loci}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the hyperparameters."""
        return tuple(locus.name for locus in self.loci)

    def genome(self, values: Mapping[str, Value]) -> Hyperparameters:
        """The genome with these values, numbers clipped to their bounds; what is left out has its default.

        Raises:
            EvooptError: A name the space does not have.
        """
        for name in values:
            if name not in self.names:
                raise unknown_name("hyperparameter", name, self.names)
        genotype: list[tuple[str, Value]] = []
        for locus in self.loci:
            value = values.get(locus.name, locus.default)
            number = isinstance(locus, NumberLocus)
            genotype.append((locus.name, locus.clip(float(value)) if number else value))  # type: ignore[union-attr]
        return self._of(genotype)

    def default(self) -> Hyperparameters:
        """The genome of all defaults."""
        return self.genome({})

    def draw(self, rng: np.random.Generator) -> Hyperparameters:
        """Draw a genome, every locus uniformly on its scale."""
        return self._of([(locus.name, locus.draw(rng)) for locus in self.loci])

    def _of(self, genotype: list[tuple[str, Value]]) -> Hyperparameters:
        integers = (locus.name for locus in self.loci if isinstance(locus, NumberLocus) and locus.integer)
        return Hyperparameters(tuple(genotype), tuple(integers))


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _locus(name: str, table: Any) -> Locus:
    where = f"hyperparameter {name!r}"
    if not isinstance(table, Mapping):
        raise EvooptError(f"{where} must be a table with min, max and default, or choices and default")
    kind = table.get("type", "categorical" if "choices" in table else "float")
    if kind not in _TYPES:
        raise unknown_name(f"type of {where}", str(kind), _TYPES)
    known = _CATEGORY if kind == "categorical" else _NUMBER
    for setting in table:
        if setting not in known:
            raise unknown_name(f"setting of {where}", str(setting), known)
    for setting in known:
        if setting not in (*table, "type", "scale"):
            raise EvooptError(f"{where} needs {setting}")
    if kind == "categorical":
        if not isinstance(table["choices"], (list, tuple, range, np.ndarray)):
            raise EvooptError(f"{where}: choices must be a list of strings, numbers, booleans or None")
        return CategoricalLocus(name, tuple(table["choices"]), table["default"])
    scale = table.get("scale", "linear")
    if scale not in _SCALES:
        raise unknown_name(f"scale of {where}", str(scale), _SCALES)
    return NumberLocus(
        name, table["min"], table["max"], table["default"], scale == "log", integer=kind == "integer"
    )
