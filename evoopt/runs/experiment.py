"""What a run is an experiment on, kept when it begins: a resumption that would mix two is refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoopt.config import RunConfig, parse_config
from evoopt.errors import EvooptError, command, read_as_data
from evoopt.tasks.source_files import source_digests, task_files

if TYPE_CHECKING:
    from evoopt.runs.run import Run
    from evoopt.runs.store import RunStore

EXPERIMENT, CHANGES = "experiment", "changes"
"""What the database keeps it under, and what has changed since."""

_FREE = {"execution", "description", "version"}
_MOST_SHOWN = 5


def experiment_of(config: RunConfig) -> dict[str, Any]:
    """What makes a run the experiment that it is: its settings, and digests of the files of its own tasks."""
    return {"config": config.to_toml(), "files": source_digests(config.every_task)}


def kept_config(store: RunStore, folder: Path) -> RunConfig | None:
    """The settings that a run began with; None for one of an earlier version, which kept none.

    Raises:
        EvooptError: The run's database holds something else.
    """
    kept = store.meta(EXPERIMENT)
    if kept is None:
        return None
    with read_as_data(str(folder)):
        return parse_config(str(kept["config"]), f"{folder}, where it keeps the settings that it began with,")


def refuse_another_type(path: Path, config: RunConfig, database: str, began: RunConfig) -> None:
    """Compare the individual types of a run's configuration and of the database beside it.

    Args:
        path: Of the configuration.
        config: What it holds.
        database: The database's name.
        began: The settings that it says the run began with.

    Raises:
        EvooptError: They differ.
    """
    if config.individual != began.individual:
        raise EvooptError(
            f"{path} is of individuals of type {config.individual!r}, but {database} beside it of type "
            f"{began.individual!r}: put back the one that belongs there"
        )


def refuse_changes(run: Run, allowed: bool = False) -> None:
    """Compare a run's settings and the files of its own tasks with those that it began with.

    Settings of the section ``execution`` may change, and all while nothing is done; task files may be
    elsewhere. A run of an earlier version, which kept nothing, passes.

    Args:
        run: Open for writing.
        allowed: Go on all the same, and note in the run what has changed.

    Raises:
        EvooptError: Something has changed, which is not allowed, or which no run can go on with.
    """
    before = kept_config(run.store, run.folder)
    if before is None:
        return
    with read_as_data(str(run.folder)):
        kept = run.store.meta(EXPERIMENT)
        now = experiment_of(run.config)
        moved = _moved(before.every_task, run.config.every_task)
        before = before.with_task_files(lambda task: moved.get(task, task))
        settings = differing_settings(before, run.config)
        changes = [*settings.values(), *_files(_where_now(kept["files"], moved, now["files"]), now["files"])]
    if not (changes or moved):
        return
    if gone := [file for file in task_files(run.config.every_task) if not file.is_file()]:
        raise EvooptError(
            f"task file {gone[0]} is gone: put it back, or write where it is now into "
            f"{run.folder / 'config.toml'}"
        )
    if run.store.begun and changes:
        _refuse_settled(run, settings)
        _refuse_generations(run, before)
        _refuse_finished(run, changes)
        if not allowed:
            more = f" and {len(changes) - _MOST_SHOWN} more" if len(changes) > _MOST_SHOWN else ""
            go_on = command("resume", run.folder, "--changed")
            raise EvooptError(
                f"since {run.folder} began, this has changed: {'; '.join(changes[:_MOST_SHOWN])}{more}. Undo "
                f"it, or go on all the same, of which a note is kept: {go_on}"
            )
        done = len(run.generations)
        when = f"after generation {done}" if done else "in the first generation"
        run.store.forget_unfinished(done)
        run.store.set_meta(CHANGES, [*run.changes, *(f"{when}: {change}" for change in changes)])
    if moved:
        run.store.rename_tasks(moved)
    run.store.set_meta(EXPERIMENT, now)


def differing_settings(before: RunConfig, now: RunConfig) -> dict[str, str]:
    """What two configurations, of one type or not, do not have in common: by setting, in words."""
    old, new = (
        dict(_flat(config.model_dump(mode="json", exclude=_FREE, exclude_none=True)))
        for config in (before, now)
    )
    return {
        key: f"{key} {_shown(old.get(key))} -> {_shown(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    }


def _refuse_settled(run: Run, settings: Mapping[str, str]) -> None:
    rests = [
        words
        for key, words in settings.items()
        if any(f"{key}.".startswith(f"{name}.") for name in run.config.settled)
    ]
    if rests:
        raise EvooptError(
            f"since {run.folder} began, this has changed: {rests[0]}. All that it has done rests on that: "
            "undo it, or begin another run"
        )


def _refuse_finished(run: Run, changes: Sequence[str]) -> None:
    if run.finished:  # nothing but its comparison is left, which is to be about what it has found
        raise EvooptError(
            f"since {run.folder} began, this has changed: {changes[0]}. It has its winner already: undo "
            "it, or begin another run"
        )


def _refuse_generations(run: Run, before: RunConfig) -> None:
    done, then, now = len(run.generations), before.option("generations"), run.config.option("generations")
    if then == now or done < min(then, now):
        return
    if done < then:
        sooner = command("resume", run.folder, "--max-trainings", "1")
        advice = f"undo it; to end the run where it is, then: {sooner}"
    else:
        advice = "the last one is among them: undo it, or begin another run"
    raise EvooptError(f"{run.folder} cannot have {now} generations, {done} are done: {advice}")


def _moved(before: Sequence[str], now: Sequence[str]) -> dict[str, str]:
    """Task files that are in another folder now: what they were called, and what they are."""
    pairs = zip(before, now, strict=True) if len(before) == len(now) else ()
    return {old: new for old, new in pairs if old != new and Path(old).name == Path(new).name}


def _where_now(digests: Mapping[str, str], moved: Mapping[str, str], now: Collection[str]) -> dict[str, str]:
    """Digests by path, those of moved task files and of what lies beside them by the paths of now."""
    folders = [tuple(file.parent for file in task_files(pair)) for pair in moved.items()]
    folders.sort(key=lambda pair: len(pair[0].parts), reverse=True)  # the inner of folders in each other
    found: dict[str, str] = {}
    for path, digest in digests.items():
        file = Path(path)
        places = [str(new / file.relative_to(old)) for old, new in folders if file.is_relative_to(old)]
        # One file of several in a folder may have moved, and what it imports with it or not.
        places.append(path)
        found |= dict.fromkeys([place for place in places if place in now] or places[:1], digest)
    return found


def _files(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for path in dict.fromkeys([*before, *now]):
        if before.get(path) != now.get(path):
            what = "is gone" if path not in now else "is new" if path not in before else "has other contents"
            yield f"task file {path} {what}"


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
