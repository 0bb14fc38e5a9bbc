"""The one exception family that people see as a single line instead of a traceback."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 300


class EvooptError(Exception):
    """Something the user can mend; its message says what is wrong and what to do about it."""


class SealedTestError(EvooptError):
    """Search code tried to read the test split."""


class NoScoreError(EvooptError):
    """Training came to nothing that could be selected or compared; a run folder keeps the message."""


class RunLockedError(EvooptError):
    """Another process is writing to the run folder."""


class EvooptWarning(UserWarning):
    """Something people should know that stops nothing; told once for each text, wherever the work runs."""


def one_line(error: BaseException) -> str:
    """An exception as ``Type: message`` without line breaks, cut if long; our own as its message alone."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # a person's own class
        message = ""
    if message and isinstance(error, EvooptError):
        return message
    line = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def command(name: str, folder: str | Path, *options: str | Path) -> str:
    """A command on a run folder as it can be copied into a shell."""
    return " ".join(["evoopt", name, in_shell(folder), *map(in_shell, options)])


def in_shell(word: str | Path) -> str:
    """A word as a shell takes it for one."""
    return shlex.quote(str(word))


@contextmanager
def read_as_data(what: str) -> Iterator[None]:
    """Blame what cannot be made sense of inside on the data: files are not to be trusted to be ours.

    Args:
        what: The data, e.g. a run folder.

    Raises:
        EvooptError: A missing name, a wrong type, a value or a shape that does not fit.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise EvooptError(f"{what} holds something that evoopt did not write ({one_line(error)})") from error


def unknown_name(kind: str, name: str, known: Iterable[str]) -> EvooptError:
    """Build the error for a misspelt name, with the nearest valid one.

    Args:
        kind: What was named, e.g. ``"task"``.
        name: What the user wrote.
        known: All valid names.

    Returns:
        An error to raise.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return EvooptError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
