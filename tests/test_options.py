"""Every option of every command arrives where it is meant to, and changes nothing else."""

from __future__ import annotations

import inspect
import pkgutil
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from typer.main import get_command

import evoopt.callbacks
from evoopt.callbacks import Callback
from evoopt.cli import app
from evoopt.cli.search import seconds
from evoopt.config import RunConfig
from evoopt.runs import Run
from tests.report.runs import CONFIGS

CALLED = (
    "evoopt.api:search", "evoopt.api:search_restarts", "evoopt.api:resume", "evoopt.compare:compare",
    "evoopt.compare:discriminate", "evoopt.export:write_export", "evoopt.report:write_report",
    "evoopt.report:save_plot", "evoopt.report.watch:follow", "evoopt.report.serving:ReportServer",
    "evoopt.systems.hyperparameters.pbt_search:replay_run",
)  # fmt: skip
"""What does the work of the commands."""

Rows = dict[str, dict[str, Any]]
COMMANDS: Any = get_command(app)


def places(prefix: str, *absent: str, data_dir: Any = Path("/here/../data")) -> Rows:
    """The options that say where to train, under one name."""
    rows: Rows = {
        "--workers 3": {"workers": 3},
        "--executor serial": {"executor": "serial"},
        "--executor dask --scheduler tcp://a:1": {"executor": "dask", "scheduler": "tcp://a:1"},
        "--scheduler tcp://a:1": {"executor": "dask", "scheduler": "tcp://a:1"},
        "--device cuda:1": {"device": "cuda:1"},
        "--precision tf32": {"precision": "tf32"},
        "--data-dir /here/../data": {"data_dir": data_dir},
    }
    return {
        words: {f"{prefix}.{name}": value for name, value in changes.items()}
        for words, changes in rows.items()
        if not any(option in words for option in absent)
    }


def limits(prefix: str, time: str) -> Rows:
    return {
        "--max-time 2h": {f"{prefix}.{time}": 7200.0},
        "--max-trainings 90": {f"{prefix}.max_trainings": 90},
        "--patience 4": {f"{prefix}.patience": 4},
    }


SPACE = CONFIGS["optimizer"].override(
    {
        "search": {"survivors": "pareto", "tournament": 2, "finalists": 3},
        "evaluation": {"fitness": "gain", "meta_tasks": ["yeast"]},
        "genome": {"fill": "mutants"},
    }
)
"""One that all options of ``search`` fit."""

HEARD: Rows = {
    "--callback evoopt.callbacks:CSV": {"callbacks": ["CSV"]},
    "--callback evoopt.callbacks:CSV --log-dir log": {"callbacks": ["CSV", "log"]},
}
QUIET: Rows = {"--quiet": {"quiet": True}}

OPTIONS: dict[str, Rows] = {
    "search mine.toml --out run": {
        "--task wine --task digits": {"space.evaluation.tasks": ("wine", "digits")},
        "--population 9": {"space.search.population": 9},
        "--generations 7": {"space.search.generations": 7},
        "--steps 11": {"space.evaluation.steps": 11},
        "--seed 5": {"space.search.seed": 5},
        "--prefer memory": {"space.search.prefer": "memory"},
        "--funnel 'longer, larger'": {"space.search.funnel": ("longer", "larger")},
        "--funnel ''": {"space.search.funnel": ()},
        "--restarts 3": {"called": "search_restarts", "count": 3},
        "--engine sequential": {"space.evaluation.engine": "sequential"},
        "--no-compare": {"space.search.compare": False},
        "--compare": {},
        "--out other": {"out": Path("other")},
        **limits("space.search", "max_seconds"),
        **places("space.execution", data_dir="/data"),
        **HEARD,
        **QUIET,
    },
    "resume run": {
        "--from-backup": {"from_backup": True},
        "--changed": {"changed": True},
        **limits("limits", "max_time"),
        **places("overrides", data_dir="/data"),
        **HEARD,
        **QUIET,
    },
    "compare adam --out out": {
        "lion": {"candidates": ["adam", "lion"]},
        "--baselines 'sgd, lion,'": {"baselines": ("sgd", "lion")},
        "--tasks wine": {"protocol.tasks": ("wine",)},
        "--budget 30": {"protocol.steps": 30},
        "--trials 9": {"protocol.trials": 9},
        "--seeds 4": {"protocol.seeds": 4},
        "--seed 5": {"protocol.seed": 5},
        "--train-size 60": {"protocol.train_size": 60},
        "--max-loss 7": {"protocol.max_loss": 7.0},
        "--control noise --control ablation": {"controls": ["noise", "ablation"]},
        "--tune-each-seed": {"protocol.tune_each_seed": True},
        "--allow-seen-test": {"protocol.allow_seen_test": True},
        "--out other": {"out": Path("other")},
        **places("place"),
        **QUIET,
    },
    "tasks --discriminate": {
        "wine": {"protocol.tasks": ("wine",)},
        "--budget 30": {"protocol.steps": 30},
        "--trials 9": {"protocol.trials": 9},
        "--seeds 4": {"protocol.seeds": 4},
        "--train-size 60": {"protocol.train_size": 60},
        **places("place", "--scheduler", "--precision"),
        **QUIET,
    },
    "export run": {
        "--out mine.py": {"out": Path("mine.py")},
        "--name Mine": {"name": "Mine", "out": Path("mine.py")},
        "--force": {"force": True},
        "--prefer memory": {"prefer": "memory"},
        "--member 3": {"member": "3"},
    },
    "report run": {"--out page.html": {"out": Path("page.html")}},
    "plot run fitness": {"--out fitness.svg": {"out": Path("fitness.svg")}},
    "replay run": {"--seeds 2": {"seeds": [1_000_000, 1_000_001]}, "--first 7": {"seeds": [7, 8, 9, 10, 11]}},
    "watch run": {"--every 3": {"every": 3.0}},
    "watch run --serve": {
        "--every 3": {"every": 3.0},
        "--port 80": {"port": 80},
        "--host ::1": {"host": "::1"},
    },
}
"""For a command line, further words and what they change in that which is called."""

ELSEWHERE = {
    "report": {"--open"}, "export": {"--list-formats"}, "schedule": {"--json", "--ray", "--plot"},
}  # fmt: skip
"""Options that are tested with what they do."""


def parts(name: str, value: Any) -> dict[str, Any]:
    """Each single value of something by its place in it."""
    if isinstance(value, RunConfig):
        value = value.model_dump()
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {k: v for inner, held in value.items() for k, v in parts(f"{name}.{inner}", held).items()}
    if isinstance(value, (list, range)):
        value = [
            getattr(one, "said", type(one).__name__) if isinstance(one, Callback) else one for one in value
        ]
    return {name: value.folder.name if isinstance(value, Run) else value}


class Enough(BaseException):
    """Nothing is to be done."""


class Logged(Callback):
    """In the place of TensorBoard."""

    def __init__(self, log_dir: Path) -> None:
        self.said = str(log_dir)


@pytest.fixture(scope="module")
def called_by(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Gives what a command calls, and with what, in a folder with a search space and an unfinished run."""
    found: list[dict[str, Any]] = []

    def noting(place: str) -> Callable[..., NoReturn]:
        signature = inspect.signature(pkgutil.resolve_name(place))

        def note(*given: Any, **more: Any) -> NoReturn:
            arguments = signature.bind(*given, **more).arguments
            flat = {k: v for name, value in arguments.items() for k, v in parts(name, value).items()}
            found.append({"called": place.partition(":")[2], **flat})
            raise Enough

        return note

    @cache
    def ask(line: str) -> dict[str, Any]:
        with pytest.raises(Enough):
            COMMANDS.main(shlex.split(line), "evoopt", standalone_mode=False)
        return found.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("options"))
        Path("mine.toml").write_text(SPACE.to_toml())
        Run.create("run", CONFIGS["pbt"]).close()
        patch.setattr(evoopt.callbacks, "TensorBoard", Logged)
        for place in CALLED:
            patch.setattr(place.replace(":", "."), noting(place))
        yield ask


@pytest.mark.parametrize(
    ("line", "words", "changes"),
    [
        pytest.param(line, words, changes, id=f"{line} {words}")
        for line, rows in OPTIONS.items()
        for words, changes in rows.items()
    ],
)
def test_an_option_arrives_and_changes_nothing_else(
    line: str, words: str, changes: dict[str, Any], called_by: Callable[[str], dict[str, Any]]
) -> None:
    assert called_by(f"{line} {words}") == called_by(line) | changes


def test_a_search_has_the_name_of_its_space_file(called_by: Callable[[str], dict[str, Any]]) -> None:
    assert called_by("search mine.toml --out run")["space.name"] == "mine"


def test_no_option_is_left_out() -> None:
    for name, command in COMMANDS.commands.items():
        rows = [(line, words) for line, words_of in OPTIONS.items() for words in ("", *words_of)]
        tested = {
            word
            for line, words in rows
            for word in shlex.split(f"{line} {words}")
            if line.split()[0] == name and word.startswith("--")
        }
        missing = {p.opts[-1] for p in command.params if p.param_type_name == "option"} - tested
        assert missing == ELSEWHERE.get(name, set()), name


def test_a_time_has_a_unit() -> None:
    assert [seconds(text) for text in ("90s", "0.5m", "2h")] == [90.0, 30.0, 7200.0]
    for text in ("", "s", "5", "1d", "0s", "-1h", "infh", "nanm"):
        with pytest.raises(typer.BadParameter, match="is no time: write"):
            seconds(text)
