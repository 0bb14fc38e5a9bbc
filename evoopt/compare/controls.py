"""What a search is held against: random search, a search without information, the luckiest of n runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evoopt.compare.ablation import ablations
from evoopt.compare.comparison import LOCAL
from evoopt.compare.contender import Contender, RuleSubject
from evoopt.compare.protocol import Protocol
from evoopt.compare.result import Comparison
from evoopt.compare.sources import run_contender
from evoopt.compare.space import Setting
from evoopt.compare.training_queue import Training, TrainingQueue
from evoopt.config import RunConfig
from evoopt.errors import EvooptError, unknown_name
from evoopt.execution import Place
from evoopt.individuals import individual_type
from evoopt.jobs.records import FINAL_REPLICATE
from evoopt.jobs.rule_worker import WorkerSetup, make_worker
from evoopt.runs.run import CONFIG_FILE, Run
from evoopt.training.plan import derive_seed

ABLATION, RANDOM_SEARCH, NOISE, BEST_OF_N = "ablation", "random_search", "noise", "best_of_n"
CONTROLS = (ABLATION, RANDOM_SEARCH, NOISE, BEST_OF_N)

_LUCK = 303


def check_controls(
    names: Sequence[str], candidates: Sequence[Contender], runs: Mapping[str, Path], out: Path | None
) -> None:
    """Refuse controls that cannot be made; the arguments are those of `control_contenders`.

    Raises:
        EvooptError: An unknown control, or one that does not apply to any candidate.
    """
    for name in names:
        if name not in CONTROLS:
            raise unknown_name("control", name, CONTROLS)
        if name == ABLATION and not any(isinstance(c.subject, RuleSubject) for c in candidates):
            raise EvooptError("the control 'ablation' takes rules apart, and no candidate is a rule")
        if name in (RANDOM_SEARCH, NOISE) and (not runs or out is None):
            raise EvooptError(
                f"the control {name!r} needs a run folder as candidate, and a folder to write to"
            )


def control_contenders(
    names: Sequence[str],
    candidates: Sequence[Contender],
    runs: Mapping[str, Path],
    out: Path | None,
) -> list[Contender]:
    """The contenders that controls add to a comparison.

    Args:
        names: Some of `CONTROLS`; ``best_of_n`` adds none, see `best_of_n`.
        candidates: The comparison's candidates.
        runs: Run folder of each candidate that is a run, by its name.
        out: Folder of the comparison; searches for controls are kept below it.
    """
    controls: list[Contender] = []
    if ABLATION in names:
        rules = [c for c in candidates if isinstance(c.subject, RuleSubject)]
        controls += [variant for c in rules for variant in ablations(c)]
    for name, configure in ((RANDOM_SEARCH, random_search_config), (NOISE, lambda run: run.config.noise())):
        if name not in names or out is None:
            continue
        for candidate, folder in runs.items():
            with Run(folder) as run:
                config = configure(run)
            label = f"{name.replace('_', ' ')} of {candidate}"
            with control_search(config, out / "controls" / label.replace(" ", "-")) as control:
                controls.append(replace(run_contender(control), name=label, note=""))
    return controls


def random_search_config(run: Run) -> RunConfig:
    """The configuration of a random search that costs as many trainings as a run did.

    It is the same search with all individuals in its first generation: the same space, seeds, tasks and
    re-scoring of finalists, but no selection before the end.
    """
    return run.config.random_search(sum(row.replicate < FINAL_REPLICATE for row in run.store.evaluations()))


def control_search(config: RunConfig, folder: Path) -> Run:
    """Run a search for a control, or open the one that lies there, finished or not.

    Raises:
        EvooptError: See `evoopt.api.search`.
    """
    begun = (folder / CONFIG_FILE).exists()
    with Run(folder, writable=True) if begun else Run.create(folder, config) as run:
        individual_type(config.individual).search(run, run.config, quiet=True)
    return Run(folder)


def best_of_n(
    comparison: Comparison, contender: Contender, protocol: Protocol, n: int = 20, place: Place = LOCAL
) -> dict[str, dict[str, Any]]:
    """What picking the best of ``n`` trainings looks like when nothing but luck differs between them.

    A contender is trained ``n`` times at its tuned setting. The training with the best validation metric is
    chosen, as a search chooses, and its test metric is set beside the mean.

    Returns:
        By task: ``validation_best`` and ``validation_mean``, whose difference is the winner's curse, and
        ``test_of_best`` and ``test_mean``; ``diverged`` counts trainings without a score.
    """
    setup = WorkerSetup(protocol.tasks, protocol.data_options(place.data_dir), place.device)
    luck = {}
    with place.start(make_worker, setup) as executor:
        queue = TrainingQueue(executor, protocol.engine, protocol.chunk_size)
        for number, task in enumerate(protocol.tasks):
            values = dict(comparison.tuning[task][contender.name].values)
            setting = Setting(values.pop("schedule"), tuple(values.items()))
            member = contender.member(setting, protocol.steps)
            plans = [
                protocol.plan(derive_seed(protocol.seed, _LUCK, number, k), "validation") for k in range(n)
            ]
            by_split = [
                queue.train([Training(task, member, replace(plan, split=split)) for plan in plans])
                for split in ("validation", "test")
            ]
            pairs = [
                (validation.metric, test.metric)
                for validation, test in zip(*by_split, strict=True)
                if validation.outcome == "ok" and test.outcome == "ok"
            ]
            luck[task] = _luck(pairs, n)
    return luck


def _luck(pairs: list[tuple[float, float]], n: int) -> dict[str, Any]:
    if not pairs:
        return {"n": n, "diverged": n}
    best = max(pairs)
    return {
        "n": n,
        "diverged": n - len(pairs),
        "validation_best": best[0],
        "validation_mean": sum(validation for validation, _ in pairs) / len(pairs),
        "test_of_best": best[1],
        "test_mean": sum(test for _, test in pairs) / len(pairs),
    }
