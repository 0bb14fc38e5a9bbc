"""The individual types that ``evoopt search`` runs: one line each, found when first needed.

This is the only place that knows all of them. A type is a folder of `evoopt.systems` whose package holds an
`IndividualType`; everything else asks here.
"""

from __future__ import annotations

import pkgutil
from typing import Any

from evoopt.errors import unknown_name

INDIVIDUALS: dict[str, str] = {
    "optimizer": "evoopt.systems.optimizer:OPTIMIZER",
    "gadam": "evoopt.systems.gadam:GADAM",
    "genetic": "evoopt.systems.genetic:GENETIC",
    "hpo": "evoopt.systems.hyperparameters:HPO",
    "pbt": "evoopt.systems.hyperparameters:PBT",
}
"""Where each type is, by the name that space files give it."""

RENAMED: dict[str, str] = {"recombination": "evoopt.systems.hyperparameters.config:renamed"}
"""What reads space files that name a type as it was once called."""


class IndividualType:
    """What an individual type offers, each found when first asked for.

    Attributes:
        about: What evolves, in a few words, for the report.
        config: Class of its configuration, a `RunConfig`.
        read_genome: Rebuilds a genome from its JSON.
        search: ``search(run, config, quiet)``: runs to the end, from the run's checkpoint if there is one,
            and names a winner.
        text: Module with ``describe_result(run)``, the outcome of a finished run in a few lines, and
            ``describe_run(run)``, everything that ``evoopt show`` prints.
        report: Module of its report, see `evoopt.report.common.Sections`; None if nobody has written one.

    They are given as names, ``module:attribute`` or ``module``, so that the table above costs no import.
    """

    def __init__(
        self, about: str, *, config: str, read_genome: str, search: str, text: str, report: str | None = None
    ) -> None:
        self.about = about
        self._names = {
            "config": config, "read_genome": read_genome, "search": search, "text": text, "report": report
        }  # fmt: skip

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_") or attribute not in self._names:
            raise AttributeError(attribute)
        name = self._names[attribute]
        return None if name is None else pkgutil.resolve_name(name)


def individual_type(name: str, where: str = "") -> IndividualType:
    """Find an individual type.

    Args:
        name: As space files give it.
        where: Where it was named, for the message.

    Raises:
        EvooptError: Unknown.
    """
    if name not in INDIVIDUALS:
        raise unknown_name(f"individual type{where}", str(name), INDIVIDUALS)
    kind: IndividualType = pkgutil.resolve_name(INDIVIDUALS[name])
    return kind
