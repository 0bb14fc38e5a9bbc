"""The application: what all commands share, and the way errors reach people."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from evoopt.errors import EvooptError, EvooptWarning
from evoopt.version import __version__

_ORDER = (
    "search", "resume", "watch", "show", "report", "plot", "schedule", "replay",
    "export", "compare", "reproduce", "spaces", "tasks",
)  # fmt: skip


class _InOrderOfUse(typer.core.TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=_ORDER.index)


app = typer.Typer(
    cls=_InOrderOfUse,
    epilog="To begin with: evoopt search, which takes a minute at most and needs no data.",
    help="Discover deep-learning optimizers by evolution.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Typer brings a parser of its own, in some versions under another name.
_PARSER_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

_usual_format = warnings.formatwarning

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_READER_GONE = 2, 130, 141

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="<int>", help="Worker processes; one per core by default.")
]
Executor = Annotated[str | None, typer.Option(help="serial, process or dask.")]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A running Dask scheduler, e.g. tcp://host:8786.")
]
Precision = Annotated[str | None, typer.Option(help="full, tf32 (on CUDA) or bf16 products.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with data sets; EVOOPT_DATA by default, then the user's cache.")
]
LogDir = Annotated[
    Path | None, typer.Option(help="Write TensorBoard scalars to this folder (extra 'tensorboard').")
]
Callbacks = Annotated[
    list[str] | None,
    typer.Option("--callback", metavar="MODULE:CLASS", help="Logger, or a class of yours: see docs/cli.md."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")]


def _version(show: bool) -> None:
    if show:
        typer.echo(f"evoopt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main(commands: typer.Typer = app) -> NoReturn:
    """Entry point: known errors become one line on standard error and exit code 2, known warnings one line.

    If the reader of the output went away (``evoopt show RUN | head``), the exit code alone says it.
    """
    # Stopping a service or a batch job sends SIGTERM; it deserves the same clean stop as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.formatwarning = _one_line_for_ours
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # A name that is no text, or a sign that the terminal has not, is shown, as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            status = commands(standalone_mode=False)
        finally:
            if sys.stdout:  # unless it was closed before the start
                sys.stdout.flush()
    except EvooptError as error:
        _fail(str(error))
    except _PARSER_ERROR as error:
        _fail_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except (BrokenPipeError, SystemExit) as error:
        if BrokenPipeError not in (type(error), type(error.__context__)):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be written
        sys.exit(EXIT_READER_GONE)
    except RuntimeError as error:
        if "home directory" not in str(error):
            raise
        _fail(f"a path that begins with ~: {error}")
    except OSError as error:  # a full disk, a folder that one may not enter, a name that is too long
        if error.errno is None:
            raise
        if error.errno == errno.ENOSPC and error.filename is None and sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(": ".join(str(one) for one in (error.filename, error.strerror) if one is not None))
    sys.exit(status if isinstance(status, int) else 0)


def executor_kind(executor: str | None, scheduler: str | None) -> str | None:
    """The kind of executor asked for; the address of a scheduler asks for Dask.

    Raises:
        EvooptError: Another kind with the address of a scheduler.
    """
    if scheduler is not None and executor not in (None, "dask"):
        raise EvooptError(
            f"--scheduler goes with --executor dask, not with {executor!r}: leave one of them out"
        )
    return "dask" if scheduler is not None else executor


def list_lines(lines: dict[str, str]) -> None:
    """Print names with their explanations in two columns."""
    width = max(len(name) for name in lines)
    for name, text in lines.items():
        typer.echo(f"{name:<{width}}  {text}")


def _fail_usage(error: Any) -> NoReturn:
    """What the parser has to say, in the style of all other errors."""
    context = getattr(error, "ctx", None)
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help(), err=True)
        sys.exit(EXIT_ERROR)
    message = error.format_message().rstrip(".")
    _fail(f"{message}; see: {context.command_path} --help" if context is not None else message)


def _one_line_for_ours(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    if issubclass(category, EvooptWarning):
        return f"warning: {message}\n"
    return _usual_format(message, category, filename, lineno, line)


def _fail(message: str) -> NoReturn:
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(EXIT_ERROR)
