"""Which claims hold at the budget given, by the 95 % interval of a difference paired by search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evoopt.reproduce.recombination_published import DRIFTS, PUBLISHED
from evoopt.reproduce.recombination_results import (
    NAMES,
    SUBJECTS,
    PartResult,
    compare,
    drift,
    one_by_one,
    verdict_of,
)
from evoopt.reproduce.recombination_tables import percent


@dataclass(frozen=True)
class Claim:
    """A statement that results of three parents on fresh seeds are lower than a rival's."""

    text: str
    source: str
    rival: str


CLAIMS = (
    Claim("better than the default hyperparameters", "the paper's table 4", "default"),
    Claim("better than population-based training by truncation", "claimed in the paper, not measured", "truncation"),
    Claim("better than random search", "not examined in the paper", "random"),
)  # fmt: skip


def verdicts(parts: Sequence[PartResult]) -> list[str]:
    """A line per claim and kind of three-parent search, then schedules one by one and how they drift."""
    lines = ["Percentages are how much lower results on fresh seeds are than the rival's; few searches detect "
             "large differences only.", ""]  # fmt: skip
    for claim in CLAIMS:
        for subject in SUBJECTS:
            found = [(part, compare(part, subject, claim.rival)) for part in parts]
            told = [
                f"{part.name}: **{f.verdict}**, {percent(f.relative)}" for part, f in found if f is not None
            ]
            if told:
                lines.append(f"- {NAMES[subject]}: {claim.text} ({claim.source}): {'; '.join(told)}.")
    lines += _controls(parts)
    for subject in SUBJECTS:
        told = [
            f"{part.name}: {_counted(one_by_one(part, subject))}" for part in parts if subject in part.found
        ]
        if told:
            lines.append(
                f"- {NAMES[subject]}: what a single search found, better than the defaults on its own fresh seeds (the "
                f"paper's comparison): {'; '.join(told)}."
            )
    return [*lines, *_drifts(parts)]


def _controls(parts: Sequence[PartResult]) -> list[str]:
    lines = []
    for method in ("truncation", "random"):
        found = [(part, compare(part, method, "default")) for part in parts]
        told = [f"{part.name}: {f.verdict}, {percent(f.relative)}" for part, f in found if f is not None]
        if told:
            lines.append(
                f"- Control, {NAMES[method]}: better than the default hyperparameters: {'; '.join(told)}."
            )
    return lines


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{verdict} for {count}" for verdict, count in counts.items()) or "-"


def _drifts(parts: Sequence[PartResult]) -> list[str]:
    lines = []
    for part in parts:
        source = "the paper's text" if part.name in PUBLISHED else "ResNet-20's in the paper"
        for name, direction in DRIFTS.get(part.name, {}).items():
            told = []
            for subject in SUBJECTS:
                d = drift(part, subject, name)
                if d is None:
                    continue
                interval = f" ({d.low:+.2f} to {d.high:+.2f})" if math.isfinite(d.low) else ""
                told.append(
                    f"{NAMES[subject]}: **{verdict_of(d, direction)}**, {d.mean:+.2f}{interval} powers of ten"
                )
            if told:
                way = "grows" if direction > 0 else "falls"
                lines.append(f"- {part.name}, {name} {way} along the schedule ({source}): {'; '.join(told)}.")
    return lines
