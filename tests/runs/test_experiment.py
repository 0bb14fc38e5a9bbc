"""A resumption never mixes two experiments in silence: changed settings and task files are told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evoopt
from evoopt.cli import app
from evoopt.config import RunConfig, load_space
from evoopt.errors import EvooptError, NoScoreError
from evoopt.report import write_report
from evoopt.runs import Run
from evoopt.runs.experiment import EXPERIMENT, refuse_changes
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.systems.optimizer.evaluator import Evaluator
from evoopt.systems.optimizer.optimizer_search import evolve_rules
from evoopt.tasks.source_files import source_digests
from tests.stubs import StubExecutor, interrupt

TASK = """
import random
import helper.parts
from evoopt.tasks import TASKS
def make_task(): return TASKS["digits"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run on a task of one's own, stopped after its first generation."""
    (tmp_path / "helper").mkdir()
    for name, text in (("mine.py", TASK), ("helper/__init__.py", ""), ("helper/parts.py", "WIDTH = 1\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "random.py").write_text("raise RuntimeError('not the one that is imported')")
    config = load_space("gadam-digits").override(
        {
            "gadam": {"population": 2, "generations": 2},
            "training": {"steps": 2},
            "execution": {"executor": "serial"},
        }
    )

    task = f"{tmp_path / 'mine.py'}:make_task"
    with pytest.raises(KeyboardInterrupt):
        evoopt.search(config.with_tasks((task,)), out=tmp_path / "run", on_generation=interrupt)
    return tmp_path / "run"


def edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (edit("config.toml", "steps = 2", "steps = 3"), "training.steps 2 -> 3"),
    (edit("config.toml", 'moments = "reset"\n', ""), ""),  # its default
    (edit("config.toml", "[training]", "[training]\nbatch_size = 30"), "training.batch_size not set -> 30"),
    (
        edit("config.toml", "lr = 0.001\nbeta1 = 0.9", "lr = 0.01\nbeta1 = 0.8"),
        "gadam.lr 0.001 -> 0.01; gadam.beta1 0.9 -> 0.8",
    ),
    (edit("../mine.py", "def make", "# another thought\ndef make"), "task file .*mine.py has other contents"),
    (edit("../helper/parts.py", "1", "2"), "task file .*parts.py has other contents"),
    (lambda folder: (folder / "../helper/parts.py").unlink(), "task file .*parts.py is gone"),
    (lambda folder: (folder / "../evoopt_.py").write_text(""), ""),  # not imported
    (edit("config.toml", 'executor = "serial"', 'executor = "process"\nworkers = 1'), ""),
    (edit("config.toml", "description = ", "description = 'mine' #"), ""),
]


@pytest.mark.parametrize(("change", "message"), [case for case in CHANGES if case[1]])
def test_what_has_changed_is_named_and_goes_on_only_when_asked_for(
    change: Callable[[Path], None], message: str, folder: Path
) -> None:
    change(folder)
    with pytest.raises(EvooptError, match=f"has changed: {message}.* resume .*run --changed"):
        evoopt.resume(folder)
    refused = CliRunner().invoke(app, ["resume", str(folder), "-q"])
    assert isinstance(refused.exception, EvooptError)
    if "is gone" in message:
        return
    evoopt.resume(folder, changed=True).close()
    with evoopt.open_run(folder) as run:
        assert re.match(f"after generation 1: {message.partition('; ')[0]}", run.changes[0])
        assert '"changes"' in run.result_json()
    evoopt.resume(folder).close()  # what was accepted once is not asked again


def test_a_run_that_has_its_winner_accepts_no_change_unless_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_space("quick").override(
        {
            "search": {"population": 3, "elites": 1, "generations": 4, "max_seconds": 1e-9},
            "evaluation": {"fitness": "noise"},
        }
    )
    folder = tmp_path / "run"

    def state() -> list[Any]:
        with evoopt.open_run(folder) as run:
            rows = [run.store.select(f"SELECT * FROM {table}") for table in ("meta", "evaluations")]
            return [*rows, run.result_json(), run.changes, (folder / "result.json").read_text()]

    evoopt.search(config.override(SERIAL), out=folder).close()
    edit("config.toml", "elites = 1", "elites = 2")(folder)
    before = state()
    with pytest.raises(EvooptError, match=r"elites 1 -> 2\. It has its winner already: undo it, or begin"):
        evoopt.resume(folder, changed=True)
    assert state() == before

    def lost(*_: Any) -> None:
        raise EvooptError("no scheduler answers")

    with monkeypatch.context() as patch:
        patch.setattr("evoopt.systems.optimizer.optimizer_search.make_run_executor", lost)
        with pytest.raises(EvooptError, match="no scheduler"):
            evoopt.resume(folder, changed=True, limits={"patience": 99})
    assert state()[1:] == before[1:]
    with evoopt.resume(folder, changed=True, limits={"patience": 99}) as run:
        assert (len(run.generations), run.changes) == (4, ["after generation 1: search.elites 1 -> 2"])


def test_without_its_task_file_a_run_cannot_go_on_and_keeps_no_note_of_an_attempt(folder: Path) -> None:
    (folder / "../mine.py").rename(folder / "../moved.py")
    with pytest.raises(
        EvooptError, match=r"mine\.py is gone: put it back, or write where it is now into .*toml"
    ):
        evoopt.resume(folder, changed=True)
    with evoopt.open_run(folder) as run:
        assert not run.changes


def test_a_run_stopped_in_its_first_generation_begins_it_anew_with_what_has_changed(tmp_path: Path) -> None:
    config = load_space("gadam-digits")
    folder = tmp_path / "run"
    with Run.create(folder, config) as run:
        assert not run.store.begun
        run.store.keep_chunk("key", [1])
        assert run.store.begun
    gadam = {"generations": 80, "lr": 0.5, "beta1": 0.5, "beta2": 0.5, "eps": 0.5}
    changed = config.override({"gadam": gadam, "training": {"steps": 70, "chunk_size": 60}})
    (folder / "config.toml").write_text(changed.to_toml())
    with Run(folder, writable=True) as run:
        with pytest.raises(
            EvooptError, match=r"has changed: gadam\.generations .* and 2 more\. Undo"
        ) as refused:
            refuse_changes(run)
        assert str(refused.value).count(" -> ") == 5
        assert run.store.chunk("key") == [1]
        refuse_changes(run, allowed=True)
        assert run.store.chunk("key") is None
        assert len(run.changes) == 7
        assert all(change.startswith("in the first generation: ") for change in run.changes)
        refuse_changes(run)
        changes = run.changes
    shown = CliRunner().invoke(app, ["show", str(folder)]).output
    assert all(change in shown for change in changes)
    assert "Changed in the first generation" in write_report(folder).read_text()


def interrupt_in(generation: int) -> Callable[[dict[str, Any]], None]:
    """Ctrl-C when that generation is done, the first being 0."""

    def hook(record: dict[str, Any]) -> None:
        if record["generation"] == generation:
            interrupt()

    return hook


SERIAL = {"execution": {"executor": "serial"}}
SMALL = {
    "search": {"population": 3, "elites": 1, "generations": 2, "finalists": 1, "compare": False},
    "evaluation": {"steps": 2, "replicates": 1, "fitness": "gain", "baseline_trials": 6, "max_loss": 1e6},
    **SERIAL,
}


def test_a_run_whose_folder_was_moved_with_its_task_file_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (before / "helper.py").write_text("")
    (before / "mine.py").write_text(
        "import helper\nfrom evoopt.tasks import TASKS\ndef make_task(): return TASKS['wine']"
    )
    config = load_space("quick").override(SMALL).with_tasks((f"{before / 'mine.py'}:make_task", "digits"))

    with pytest.raises(KeyboardInterrupt):
        evoopt.search(config, out=before / "run", on_generation=interrupt)
    evoopt.search(config, out=before / "whole").close()
    before.rename(after)
    edit("config.toml", str(before), str(after))(after / "run")
    (after / "helper.py").write_text("# else")
    with pytest.raises(
        EvooptError, match=rf"changed: task file {after}/helper\.py has other contents\. Undo"
    ):
        evoopt.resume(after / "run")
    (after / "helper.py").write_text("")
    with evoopt.resume(after / "run") as run:
        assert run.changes == []
    moved, whole = (json.loads((after / name / "result.json").read_text()) for name in ("run", "whole"))
    assert moved["evaluations"].pop("sha256") != whole["evaluations"].pop("sha256")  # names are part of it
    assert json.dumps(moved) == json.dumps(whole).replace(str(before), str(after))
    evoopt.resume(after / "run").close()


@pytest.mark.parametrize(
    ("tasks", "moves"),
    [
        (["p/a.py", "p/b.py"], {"p/a.py": "q/a.py", "p/b.py": "q/b.py", "p/helper.py": "q/helper.py"}),
        (["p/a.py", "p/b.py"], {"p/a.py": "q/a.py"}),
        (
            ["p/a.py", "p/sub/b.py"],
            {"p/a.py": "q/a.py", "p/sub/b.py": "r/b.py", "p/helper.py": "q/helper.py"},
        ),
        (["p/a.py", "s/a.py"], {"p/a.py": "q/a.py", "s/a.py": "t/a.py", "p/helper.py": "q/helper.py"}),
    ],
)
def test_task_files_may_move_together_or_one_by_one(
    tasks: list[str], moves: dict[str, str], tmp_path: Path
) -> None:
    for name in [*tasks, "p/helper.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"import helper\nNAME = {name!r}")

    def config(of: dict[str, str]) -> RunConfig:
        return load_space("quick").with_tasks(
            tuple(f"{tmp_path / of.get(name, name)}:make" for name in tasks)
        )

    with Run.create(tmp_path / "run", config({})) as run:
        run.store.keep_chunk("key", [1])
    for old, new in moves.items():
        (tmp_path / new).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / old).rename(tmp_path / new)
    (tmp_path / "run" / "config.toml").write_text(config(moves).to_toml())
    with Run(tmp_path / "run", writable=True) as run:
        refuse_changes(run)
        refuse_changes(run)
        assert run.changes == []
    moved = tmp_path / moves[tasks[0]]
    moved.write_text("NAME = 'another'")
    with (
        Run(tmp_path / "run", writable=True) as run,
        pytest.raises(EvooptError, match=rf"{moved} has other contents"),
    ):
        refuse_changes(run)


GAIN = {"evaluation": {"fitness": "gain"}}
VALIDATION = {"evaluation": {"fitness": "validation"}}


@pytest.mark.parametrize(
    ("space", "begun_with", "change", "allowed"),
    [
        ("gadam-digits", {}, {"gadam": {"population": 9}}, False),
        ("gadam-digits", {}, {"training": {"task": "wine"}}, False),
        ("gadam-digits", {}, {"gadam": {"lr": 0.5}}, True),
        ("genetic-digits", {}, {"genetic": {"population": 9}}, False),
        ("genetic-digits", {}, {"scoring": {"task": "genetic_mnist"}}, False),
        ("pbt-digits", {}, {"recombination": {"population": 9}}, False),
        ("pbt-digits", {}, {"recombination": {"mutation_rate": 0.9}}, True),
        *(
            (space, {}, change, False)
            for space, change in (
                ("gadam-digits", {"gadam": {"seed": 9}}),
                ("gadam-digits", {"training": {"train_size": 300}}),
                ("gadam-digits", {"training": {"validation_fraction": 0.3}}),
                ("genetic-digits", {"genetic": {"fitness": "accuracy"}}),
                ("genetic-digits", {"scoring": {"train_size": 300}}),
                ("genetic-digits", {"scoring": {"validation_fraction": 0.3}}),
                ("pbt-digits", {"training": {"train_size": 300}}),
                ("pbt-digits", {"training": {"validation_fraction": 0.3}}),
                ("pbt-digits", {"training": {"batch_size": 30}}),
                ("pbt-digits", {"training": {"steps": 77}}),
                ("pbt-digits", {"recombination": {"fom": "error"}}),
                ("pbt-digits", {"recombination": {"optimizer": "adamw"}}),
                ("hpo-lenet", {"recombination": {"fom": "loss"}}),
                ("hpo-lenet", {"recombination": {"target": 0.7}}),
                ("quick", {"search": {"seed": 9}}),
            )
        ),
        ("pbt-digits", {}, {"training": {"task": "wine"}}, False),
        ("pbt-digits", {}, {"space": {"lr": {"min": 1e-5, "max": 1.0, "default": 1e-3}}}, False),
        ("quick", {}, {"search": {"population": 9}}, False),
        ("quick", {}, {"evaluation": {"tasks": ["digits", "wine"]}}, False),
        ("quick", GAIN, {"search": {"survivors": "pareto"}}, False),
        ("quick", GAIN, {"search": {"max_replicates": 9}}, False),
        ("quick", VALIDATION, {"search": {"max_replicates": 9}}, True),
        *(
            ("quick", GAIN, {"evaluation": {name: 77}}, False)
            for name in ("steps", "replicates", "train_size")
        ),
        ("quick", VALIDATION, {"evaluation": {"steps": 77}}, True),
        *(
            ("quick", GAIN, {"evaluation": change}, False)
            for change in (
                {"baseline": "lion"},
                {"baseline_trials": 77},
                {"batch_size": 7},
                {"drop_last": False},
                {"fitness": "validation"},
                {"meta_tasks": ["wine"]},
                {"rungs": [0.5]},
                {"seeds": "literal"},
                {"target": "area"},
            )
        ),
        ("quick", GAIN, {"evaluation": {"max_loss": 7.0}}, True),
    ],
)
def test_what_all_rests_on_that_a_run_has_done_cannot_change(
    space: str, begun_with: dict[str, Any], change: dict[str, Any], allowed: bool, tmp_path: Path
) -> None:
    config = load_space(space).override(begun_with)
    with Run.create(tmp_path / "run", config) as run:
        run.store.keep_chunk("key", [1])
    (tmp_path / "run" / "config.toml").write_text(config.override(change).to_toml())
    with Run(tmp_path / "run", writable=True) as run:
        if allowed:
            refuse_changes(run, allowed=True)
            return
        setting = ".".join(next((section, *values) for section, values in change.items()))
        with pytest.raises(
            EvooptError, match=rf"changed: {setting}.* rests on that: undo it, or begin another"
        ):
            refuse_changes(run, allowed=True)
        assert (run.changes, run.store.chunk("key")) == ([], [1])


def test_what_changes_inside_a_generation_has_all_of_that_generation_done_anew(tmp_path: Path) -> None:
    config = OptimizerConfig().override(
        {
            "search": {"population": 8, "generations": 1},
            "evaluation": {"replicates": 1, "chunk_size": 3, "engine": "sequential"},
        }
    )
    folder = tmp_path / "run"

    def evolve(folder: Path, executor: StubExecutor) -> str:
        with Run(folder, writable=True) as run:
            refuse_changes(run, allowed=True)
            assert isinstance(run.config, OptimizerConfig)
            evolve_rules(run, run.config, Evaluator(run.config, executor, run.store))
            body = json.loads(run.result_json())
            body.pop("changes", None)
            return json.dumps(body)

    Run.create(tmp_path / "whole", config.override({"evaluation": {"chunk_size": 2}})).close()
    whole = evolve(tmp_path / "whole", StubExecutor())
    Run.create(folder, config).close()
    with pytest.raises(KeyboardInterrupt):
        evolve(folder, StubExecutor(stop_at=1))
    edit("config.toml", "chunk_size = 3", "chunk_size = 2")(folder)
    assert evolve(folder, StubExecutor()) == whole


def test_elites_have_no_more_seeds_than_they_may_have_now(tmp_path: Path) -> None:
    config = OptimizerConfig().override(
        {"search": {"population": 3, "elites": 1, "generations": 4}, "evaluation": {"fitness": "noise"}}
    )
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        evoopt.search(config.override(SERIAL), out=folder, on_generation=interrupt_in(2))
    edit("config.toml", "max_replicates = 8", "max_replicates = 2")(folder)
    with evoopt.resume(folder, changed=True) as run:
        state = run.store.checkpoint()
        assert state is not None
        counts = [row["replicates"] for row in state["scheme"]["generations"]["population"]]
        assert (len(run.generations), max(counts)) == (4, 2)


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (2, r"cannot have 2 generations, 2 are done: undo it; .* resume .*run --max-trainings 1$"),
        (1, "cannot have 1 generations, 2 are done: undo it"),
        (3, None),
        (5, None),
    ],
)
def test_generations_may_be_more_or_fewer_but_not_fewer_than_are_done(
    now: int, message: str | None, tmp_path: Path
) -> None:
    config = load_space("quick").override(
        {"search": {"population": 3, "elites": 1, "generations": 4}, "evaluation": {"fitness": "noise"}}
    )
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        evoopt.search(config.override(SERIAL), out=folder, on_generation=interrupt_in(1))
    edit("config.toml", "generations = 4", f"generations = {now}")(folder)
    if message is None:
        with evoopt.resume(folder, changed=True) as run:
            assert len(run.generations) == now
        edit("config.toml", f"generations = {now}", "generations = 9")(folder)
        message = f"cannot have 9 generations, {now} are done: the last one is among them: undo it, or begin"
    with pytest.raises(EvooptError, match=message):
        evoopt.resume(folder, changed=True)


def test_what_does_not_belong_to_the_experiment_may_change(folder: Path) -> None:
    for change, message in CHANGES:
        if not message:
            change(folder)
    with evoopt.resume(folder) as run:
        assert run.changes == []
        assert '"changes"' not in run.result_json()


def test_a_run_that_kept_nothing_of_how_it_began_resumes_as_before(folder: Path) -> None:
    with Run(folder, writable=True) as run:
        run.store.set_meta(EXPERIMENT, None)
    edit("config.toml", "steps = 2", "steps = 3")(folder)
    with evoopt.resume(folder) as run:
        assert (run.finished, run.changes) == (True, [])


def test_the_files_of_a_task_are_those_that_it_imports_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    for name, text in {
        "a.py": "import b\nfrom package import c\nimport numpy",
        "b.py": "import a",
        "package/__init__.py": "",
        "package/c.py": "from . import d\nfrom .e import x",
        "package/d.py": "not python",
        "package/e.py": "x = 1",
        "unused.py": "",
    }.items():
        (tmp_path / name).write_text(text)
    found = source_digests([f"{tmp_path / 'a.py'}:make", "digits", "digits_cnn"])
    names = {str(Path(path).relative_to(tmp_path)) for path in found}
    assert names == {"a.py", "b.py", *(f"package/{name}.py" for name in ("__init__", "c", "d", "e"))}


def test_a_run_of_which_nothing_is_done_may_change_as_its_last_words_advise(tmp_path: Path) -> None:
    config = load_space("quick").override(
        {
            "search": {"population": 3, "elites": 1, "generations": 1, "finalists": 0, "compare": False},
            "evaluation": {"steps": 2, "replicates": 1, "max_loss": 0.1, "engine": "sequential"},
            "execution": {"executor": "serial"},
        }
    )
    folder = tmp_path / "run"
    with pytest.raises(NoScoreError, match="or raise evaluation"):
        evoopt.search(config, out=folder)
    edit("config.toml", "max_loss = 0.1", "max_loss = 50.0")(folder)
    with evoopt.resume(folder) as run:
        assert (run.finished, run.changes) == (True, [])
    with evoopt.search(config.override({"evaluation": {"max_loss": 50.0}}), out=tmp_path / "whole") as whole:
        assert (folder / "result.json").read_bytes() == (whole.folder / "result.json").read_bytes()
