"""Search-space files: what is shipped is sound, what is wrong is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from evoopt.config import list_spaces, load_space, parse_config, resolve
from evoopt.errors import EvooptError
from evoopt.systems.optimizer.config import OptimizerConfig
from evoopt.tasks import get_task


@pytest.mark.parametrize("name", list_spaces())
def test_shipped_spaces_are_sound_and_described(name: str) -> None:
    config = load_space(name)
    assert config.description
    for task in config.tasks:
        get_task(task)
    assert parse_config(config.to_toml(), name) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[search]\npopulation = = 5\n", r"my.toml is not valid TOML: .*line 2"),
        ("[search]\npopulatoin = 5", r"unknown setting in my.toml: 'search.populatoin'.*'search.population'"),
        (
            "[serach]\npopulation = 5",
            r"'serach'. Did you mean 'search'\? Known: description, evaluation, exec",
        ),
        (
            "[search]\nsteps = 5",
            r"'search.steps'. Did you mean 'evaluation.steps'\? Known: evaluation.steps\.",
        ),
        ("[search]\npopulation = 1", r"my.toml: search.population: .*greater than or equal to 2 \(found 1\)"),
        ("[search]\npopulation = 'x'", r"search.population"),
        ("[search]\npopulation = 4\nelites = 4", r"elites \(4\) must be smaller"),
        ("[genome]\nterms = ['adm']", r"unknown term 'adm'.*'adam'"),
        ("[genome]\ninitial = ['adm']", r"unknown preset.*'adam'"),
        ("[genome.ranges]\nlr_log10 = [-1, -4]", r"'lr_log10' is upside down"),
        ("[genome.ranges]\nlr = [-4, -1]", r"unknown gene 'lr'"),
        ("[evaluation]\ntasks = []", r"evaluation.tasks"),
        ("[execution]\ndevice = 'gpu'", r"execution.device"),
        ("[search]\npopulation = nan", r"search.population"),
        ("version = 7", r"configuration version 7"),
        (
            "[search]\npopulation = 9\ntournament = 10\n[genome]\noperators = 'literal'",
            r"search.tournament \(10\) draws without replacement and cannot exceed search.population \(9\)",
        ),
        ("[genome]\nfill = 'mutants'\ninitial = []", r'fill = "mutants" needs presets .* robust operators'),
        ("[genome]\nfill = 'mutants'\noperators = 'literal'", r'fill = "mutants" needs presets .* robust'),
        ("[genome]\nvary = 'constants'", r'vary = "constants" needs genome.fill = "mutants"'),
        (
            "individual = 'gadam'\n[gadam]\nvalidation = 'held_out'\n[training]\nvalidation_fraction = 0",
            r"'held_out' needs training.validation_fraction above 0",
        ),
    ],
)
def test_a_bad_file_is_refused_in_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(EvooptError, match=message) as caught:
        parse_config(text, "my.toml")
    assert "\n" not in str(caught.value)


def test_unknown_spaces_are_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(EvooptError, match=r"unknown search space 'quik'.*'quick'"):
        load_space("quik")
    with pytest.raises(EvooptError, match=r"cannot read search space .*absent.toml"):
        load_space(str(tmp_path / "absent.toml"))


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[search]\npopulation = 7\n", encoding="utf-8-sig")
    assert load_space(str(tmp_path / "mine.toml")).option("population") == 7


@pytest.mark.parametrize("individual", ["optimizer", "gadam"])
def test_task_files_are_those_beside_the_space_file_or_else_in_the_working_folder(
    individual: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "both.py").touch()
        (folder / f"only_{folder.name}.py").touch()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(there))

    def task(name: str, space: str = "../there/mine.toml") -> str:
        setting = (
            f'[evaluation]\ntasks = ["{name}"]'
            if individual == "optimizer"
            else f'[training]\ntask = "{name}"'
        )
        (there / "mine.toml").write_text(f'individual = "{individual}"\n{setting}\n')
        return resolve(space).tasks[0]

    assert task("digits") == "digits"
    assert task("both.py:make") == f"{there}/both.py:make"
    assert task("both.py:make", "~/mine.toml") == f"{there}/both.py:make"
    assert task("../there/only_there.py:make") == f"{there}/only_there.py:make"
    assert task("only_here.py:make") == f"{here}/only_here.py:make"
    assert task("~/only_there.py:make") == f"{there}/only_there.py:make"
    assert task(f"{here}/both.py:make") == f"{here}/both.py:make"
    with pytest.raises(
        EvooptError, match=r"^task file none.py does not exist: --task names one from the working"
    ):
        task("none.py:make")
    config = resolve("quick").with_tasks(("~/both.py:make",))
    assert resolve(config).tasks == (f"{there}/both.py:make",)
    assert resolve(config.with_tasks(("both.py:make",))).tasks == (f"{here}/both.py:make",)


SIZES = st.integers(-2, 60)
STRANGE = st.booleans() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
SEARCHES = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(SIZES, SIZES, STRANGE) for name in ("population", "elites", "seed", "tournament")
    },
)


@given(SEARCHES, st.booleans())
def test_any_settings_give_a_config_or_a_clear_error(values: dict[str, Any], as_text: bool) -> None:
    try:
        if as_text:
            config = parse_config(tomli_w.dumps({"individual": "optimizer", "search": values}), "any.toml")
        else:
            config = OptimizerConfig().override({"search": values})
    except EvooptError as error:
        sound = OptimizerConfig().search.model_dump() | values
        whole = all(type(value) is int for value in values.values())
        possible = whole and 0 <= sound["elites"] < sound["population"] >= 2 and sound["tournament"] >= 1
        assert not (possible and sound["seed"] >= 0), error
        return
    assert isinstance(config, OptimizerConfig)
    assert 0 <= config.search.elites < config.search.population
    assert all(getattr(config.search, name) == value for name, value in values.items())
