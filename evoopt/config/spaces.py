"""Search-space files: TOML, validated into the configuration of the individual type they name."""

from __future__ import annotations

import os
import pkgutil
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from evoopt.config.sections import RunConfig
from evoopt.errors import EvooptError, unknown_name
from evoopt.individuals import RENAMED, individual_type
from evoopt.version import PACKAGE


def parse_config(text: str, source: str) -> RunConfig:
    """Read a space file's text.

    Args:
        text: TOML.
        source: Name of the file, for messages.

    Raises:
        EvooptError: Malformed TOML, an unknown setting, or a bad value; the message names the place.
    """
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))  # the mark that some editors begin a file with
    except (ValueError, RecursionError) as error:  # not only what is no TOML: also what is too long or deep
        raise EvooptError(f"{source} is not valid TOML: {error}") from None
    individual = data.get("individual", "optimizer")
    if isinstance(individual, str) and individual in RENAMED:
        data = pkgutil.resolve_name(RENAMED[individual])(data)
        individual = data["individual"]
    config: type[RunConfig] = individual_type(str(individual), f" in {source}").config
    return config.validated(data, source)


def load_space(name: str) -> RunConfig:
    """Load a shipped search space by name, or a person's own by the path of its TOML file.

    Task files that a TOML file names are those beside it; if there is none, its name is kept.

    Raises:
        EvooptError: No such space or file, or a bad one.
    """
    path = Path(name).expanduser()
    if path.suffix == ".toml" or os.sep in name:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EvooptError(f"cannot read search space {name}: {error}") from None
        config = parse_config(text, name)
        return config.with_task_files(partial(_beside, path))
    shipped = {file.stem: file for file in spaces_folder().glob("*.toml")}
    if name not in shipped:
        raise unknown_name("search space", name, shipped)
    return parse_config(shipped[name].read_text(encoding="utf-8"), shipped[name].name)


def resolve(space: str | Path | RunConfig, overrides: dict[str, dict[str, Any]] | None = None) -> RunConfig:
    """The configuration that a search would run with.

    Raises:
        EvooptError: An unknown space or a bad value.
    """
    if isinstance(space, RunConfig):
        config = space
    else:
        config = load_space(str(space)).model_copy(update={"name": Path(space).stem})
    config = config.override(overrides or {})
    return config.with_task_files(_absolute)


def _absolute(task: str) -> str:
    file, separator, function = task.rpartition(":")
    if not separator or not file.endswith(".py"):
        return task
    path = Path(file).expanduser()
    if not path.is_file():
        raise EvooptError(
            f"task file {file} does not exist: --task names one from the working folder, "
            "a space file one from its own folder or else from the working folder"
        )
    return f"{path.resolve()}:{function}"


def list_spaces() -> dict[str, RunConfig]:
    """All shipped search spaces by name."""
    return {file.stem: load_space(file.stem) for file in sorted(spaces_folder().glob("*.toml"))}


def describe_spaces() -> dict[str, str]:
    """What all shipped search spaces say of themselves, by name; nothing else in them is looked at."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(spaces_folder().glob("*.toml"))}
    return {name: str(tomllib.loads(text).get("description", "")) for name, text in texts.items()}


def _beside(space: Path, task: str) -> str:
    file, _, function = task.rpartition(":")
    path = space.parent.resolve() / Path(file).expanduser()
    return f"{path}:{function}" if file.endswith(".py") and path.is_file() else task


def spaces_folder() -> Path:
    """Where the shipped search spaces lie: in the installed package, or beside it in a checkout."""
    inside = PACKAGE / "search_spaces"
    return inside if inside.is_dir() else PACKAGE.parent / "search_spaces"
