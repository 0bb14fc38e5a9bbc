"""What the Tab key offers, asked as bash asks."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from evoopt.cli import app
from evoopt.runs import Run
from tests.report.runs import CONFIGS


@pytest.fixture
def offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], list[str]]:
    def ask(line: str) -> list[str]:
        words = shlex.split(line)
        at = len(words) if line.endswith(" ") else len(words) - 1
        with monkeypatch.context() as patch:
            patch.setenv("_EVOOPT_COMPLETE", "complete_bash")
            patch.setenv("COMP_WORDS", line)
            patch.setenv("COMP_CWORD", str(at))
            with pytest.raises(SystemExit):
                app(prog_name="evoopt")
        said, errors = capsys.readouterr()
        assert not errors
        return said.split()

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("evoopt re", ["resume", "report", "replay", "reproduce"]),
        ("evoopt search --popu", ["--population"]),
        ("evoopt search genetic-m", ["genetic-mnist", "genetic-mnist-paper"]),
        ("evoopt search --task digits_c", ["digits_cnn"]),
        ("evoopt plot no-such-run ", []),
    ],
)
def test_names_are_completed(line: str, expected: list[str], offered: Callable[[str], list[str]]) -> None:
    assert offered(line) == expected


def test_figures_are_those_of_the_run_on_the_line(
    tmp_path: Path, offered: Callable[[str], list[str]]
) -> None:
    Run.create(tmp_path / "run", CONFIGS["optimizer"]).close()
    assert "genealogy" in offered(f"evoopt plot {tmp_path / 'run'} ge")
    Run.create(tmp_path / "other", CONFIGS["genetic"]).close()
    assert offered(f"evoopt plot {tmp_path / 'other'} ch") == ["chromosome"]


def test_every_command_has_its_place_in_the_help() -> None:
    from typer.main import get_command

    group = get_command(app)
    context = group.make_context("evoopt", [], resilient_parsing=True)
    assert group.list_commands(context)[:3] == ["search", "resume", "watch"]  # type: ignore[attr-defined]
