"""What comparisons of single tasks say together, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from evoopt.compare.result import Comparison
from evoopt.compare.table import trials_in_words
from reproductions.discovery.together import Against, against, joined
from reproductions.markdown import section, spread_of, table


def report(rule: str, comparisons: Sequence[Comparison]) -> str:
    """Budgets and scores by task, then a contender of all comparisons against each of the others.

    Raises:
        EvooptError: Comparisons that do not fit together, or without that contender.
    """
    whole = joined(comparisons)
    held = [against(rule, name, whole) for name in whole.names if name != rule]
    budgets = [
        [task, f"{one.protocol['steps']:,}", trials_in_words(one.protocol), str(one.protocol["seeds"])]
        for one in comparisons
        for task in one.tasks
    ]
    lines = [
        *section("Budgets", *table(["task", "steps", "tuning of each contender", "seeds"], budgets)),
        *section("Test metric in percent, mean ± standard deviation over seeds", *_scores(whole)),
        *section(f"{rule} minus each opponent, points (95 % interval)", *_differences(whole, held)),
        *section("Over all tasks", *_overall(held)),
    ]
    return "\n".join(lines)


def _scores(whole: Comparison) -> list[str]:
    rows = [
        [name, *(spread_of(whole.scores[task][name].metric, 100, 2) for task in whole.tasks)]
        for name in whole.names
    ]
    return table(["", *whole.tasks], rows)


def _differences(whole: Comparison, held: Sequence[Against]) -> list[str]:
    sign = {"better": "**+**", "worse": "**-**"}
    rows = []
    for opponent in held:
        cells = []
        for one in opponent.tasks.values():
            d, mark = one.difference, sign.get(one.finding, "")
            cells.append(f"{100 * d.mean:+.2f} ({100 * d.low:+.2f} to {100 * d.high:+.2f}) {mark}".rstrip())
        rows.append([opponent.opponent, *cells])
    return [
        *table(["", *whole.tasks], rows),
        "",
        "**+** and **-**: better and worse after Holm's correction over the tasks, opponent by opponent.",
    ]


def _overall(held: Sequence[Against]) -> list[str]:
    rows = [
        [
            one.opponent, str(one.count("better")), str(one.count("worse")),
            f"{one.gain:+.2f} ({one.gain_interval[0]:+.2f} to {one.gain_interval[1]:+.2f})",
            f"{one.error_ratio:.3f} ({one.ratio_interval[0]:.3f} to {one.ratio_interval[1]:.3f})",
            f"{one.cost:.2f}x",
        ]
        for one in held
    ]  # fmt: skip
    header = [
        "opponent",
        "better",
        "worse",
        "mean gain, its standard deviations",
        "error by its",
        "step's time",
    ]
    return table(header, rows)
