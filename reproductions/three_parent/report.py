"""The report on a reproduction of Vose et al.: verdicts, published and own numbers."""

from __future__ import annotations

from collections.abc import Sequence

from reproductions.claims import RULE, Claim, bold, claims_table, from_zero
from reproductions.markdown import picture, section, spread_of, table
from reproductions.results import Found
from reproductions.three_parent.budget import PARTS
from reproductions.three_parent.published import DRIFTS, PRINTED_AS, PUBLISHED, REMARKS, Number
from reproductions.three_parent.results import NAMES, SUBJECTS, SearchResult
from reproductions.three_parent.tables import measure_of, scale, schedules_table, trials_table

CLAIMS = (
    Claim("better than the {rival}", "table 4", SUBJECTS, ("default",)),
    Claim("better than the {rival}", "table 4, the baseline of ResNet-20", SUBJECTS, ("stepwise",)),
    Claim(
        "better than {rival} of the same budget",
        "claimed in the paper, not measured",
        SUBJECTS,
        ("truncation",),
    ),
    Claim("better than {rival} of the same budget", "not examined in the paper", SUBJECTS, ("random",)),
    Claim("better than the {rival}", "control", ("truncation", "random"), ("default",)),
)

_HOW = """\
A search starts from one seed, which decides the division into training and validation examples too. What it
has found, a schedule along the weight lineage of its winner or a set of hyperparameters, is trained by from
scratch on fresh seeds that no search has seen, and so are the default hyperparameters on the same seeds;
test data is opened there, once for each network, and decides nothing. Differences are paired by search,
each with the mean over its fresh seeds. The publication's "ten training runs" may be such trainings or ten
searches; it does not say.

*Default hyperparameters*: constant, stopped at the generation that is best on the search's own seed, since
searches choose their winner's generation too; this costs one member. *Rate in steps*: likewise, but the rate
falls to a tenth after 40, 60 and 80 % of the generations and to half of that after 90 %. All others have
the same members, generations and most steps. *Random search*: the defaults and random hyperparameters, each
constant from start to end. *Truncation PBT*: exploit and explore as in Ray Tune; the worst quarter takes
weights and hyperparameters of one of the best and multiplies the latter by 0.8 or 1.2, or draws them anew
with probability 0.25. *Three parents, as published*: mutation with rate 0.05, a first generation of the
defaults and their mutants, literal fitness. *Robust*: rate 0.2, a random first generation, winsorised
fitness. Both draw parents a and b, whose hyperparameters are crossed and mutated, and alpha, whose weights
the child goes on with, in proportion to fitness with sigma = 10."""


def report(found: Found[SearchResult]) -> list[str]:
    """All sections but the head."""
    lines, parts = [], found.parts
    if parts:
        lines += [*section("What holds at this budget", *_verdicts(parts)), *picture("differences")]
    lines += section("Table 4", *_table_4(parts))
    if parts:
        lines += section("Budget", *_budget(parts), "", _HOW)
        lines += picture("searches", _SEARCHES)
    for part in parts:
        lines += _part(part)
    return lines


_SEARCHES = "Best so far on validation data by generation: means between the smallest and the largest."
_SCHEDULES = (
    "Left: trainings on fresh seeds, means between the smallest and the largest. Right: schedules along the "
    "winners' weight lineages, likewise over searches; black: the defaults."
)


def _verdicts(parts: Sequence[SearchResult]) -> list[str]:
    """Claims by part, searches one by one, and whether schedules move as published."""
    counts = [
        [f"{NAMES[subject]}: searches by verdict", *(_counted(part, subject) for part in parts)]
        for subject in SUBJECTS
        if any(part.one_by_one(subject) for part in parts)
    ]
    return [
        f"{RULE} Percentages are how much lower test results on fresh seeds are than the rival's.",
        "",
        *claims_table(CLAIMS, parts, NAMES, _judge),
        "",
        "What one search found is better than the defaults, by its own fresh seeds, as the paper compares:",
        "",
        *table(["", *(part.name for part in parts)], counts),
        "",
        *(line for part in parts for line in _drifts(part)),
    ]


def _percent(part: SearchResult, subject: str, rival: str = "default") -> str:
    """How many percent lower, with its interval."""
    finding = part.share_lower(subject, rival)
    return "-" if finding is None else finding.told(digits=1, unit=" %")


def _judge(part: SearchResult, claim: Claim, subject: str, rival: str) -> str | None:
    finding = part.lower(subject, rival)
    return None if finding is None else bold(finding, _percent(part, subject, rival))


def _counted(part: SearchResult, subject: str) -> str:
    return ", ".join(f"{verdict}: {n}" for verdict, n in sorted(part.one_by_one(subject).items())) or "-"


def _drifts(part: SearchResult) -> list[str]:
    source = "the paper's text" if part.name in PUBLISHED else "ResNet-20's in the paper"
    lines = []
    for name, direction in DRIFTS.get(part.name, {}).items():
        told = []
        for subject in SUBJECTS:
            grown = part.drift(subject, name)
            finding, moved = from_zero(grown), from_zero([direction * value for value in grown])
            if finding is not None and moved is not None:
                told.append(f"{NAMES[subject]}: **{moved.verdict}**, {finding.told(1)} powers of ten")
        if told:
            way = "grows" if direction > 0 else "falls"
            lines.append(f"- {part.name}: {name} {way} along schedules ({source}): {'; '.join(told)}.")
    return lines


def _table_4(parts: Sequence[SearchResult]) -> list[str]:
    """Published and own improvements side by side."""
    methods = [m for m in NAMES if m != "default" and any(m in part.rows for part in parts)]
    own, rows = {part.name: part for part in parts}, []
    repeated = {PRINTED_AS.get(name, name) for name in own}
    for name in [*own, *(name for name in PUBLISHED if name not in repeated)]:
        number, part = PUBLISHED.get(PRINTED_AS.get(name, name)), own.get(name)
        title, told = (
            (name, ["not in the paper", "-", "-"]) if number is None else (number.title, _told(number))
        )
        here = ["-"] * (2 + len(methods))
        if part is not None:
            default = spread_of(part.means("default").values(), *scale(part.measure))
            here = [f"test {measure_of(part)}", default, *(_percent(part, method) for method in methods)]
        rows.append([title, *told, *here])
    slips, rest = (
        "; ".join(f"{n.title}: {n.note}" for n in PUBLISHED.values() if n.note and n.slipped is slipped)
        for slipped in (True, False)
    )
    header = ["", "published results", "printed", "follows", "measured here", "default here"]
    return [
        "Improvement over the default hyperparameters: as printed, as it follows from the published results, "
        "and here on fresh seeds, the mean over searches with its 95 % interval.",
        "",
        *table([*header, *(NAMES[method] for method in methods)], rows),
        "",
        f"Slips of the publication: {slips}. Further: {rest}.",
    ]


def _told(number: Number) -> list[str]:
    slip = " (slip)" if number.slipped else ""
    results = f"{number.default:g} to {number.evolved:g} {number.unit}"
    return [results, f"{number.printed:.1f} %{slip}", f"{number.improvement:.1f} %"]


def _budget(parts: Sequence[SearchResult]) -> list[str]:
    rows = []
    for part in parts:
        b, paper = part.budget, PARTS[part.name].paper
        known = PRINTED_AS.get(part.name, part.name) in PUBLISHED
        told = f"{paper.population} members, {paper.replays} trainings" if known else "-"
        steps = (
            f"at most {b.steps} a training" if not PARTS[part.name].schedules else f"{b.steps} a generation"
        )
        counts = [b.population, b.generations, steps, b.train_size or "all", b.seeds, f"{b.replays} a search"]
        rows.append([part.name, *map(str, counts), told])
    header = ["part", "members", "generations", "steps", "examples", "searches by method", "fresh seeds"]
    return table([*header, "published"], rows)


def _part(part: SearchResult) -> list[str]:
    remark = [REMARKS[part.name], ""] if part.name in REMARKS else []
    if not PARTS[part.name].schedules:
        return section(PARTS[part.name].title, *remark, *trials_table(part))
    lines = section(PARTS[part.name].title, *remark, *schedules_table(part))
    drawn = any(part.schedules(method) for method in SUBJECTS)
    return lines + (picture(f"schedules_{part.name}", _SCHEDULES) if drawn else [])
