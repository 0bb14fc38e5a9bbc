from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from evoopt.errors import EvooptError, SealedTestError
from evoopt.tasks import EMBEDDED, TASKS, DataOptions, Task, TaskData, get_task, load_task_data
from tests.tasks.synthetic import needs_h5py

EXAMPLE = Path(__file__).parent / "fixtures" / "breast_cancer.py"
ALL = [
    pytest.param(name, marks=needs_h5py) if name == "rpv" else name
    for name in (*TASKS, f"{EXAMPLE}:make_task")
]
# What is said of data is said once for all tasks that share them.
ONE_PER_LOADER = list({TASKS[name].load: name for name in reversed(TASKS)}.values())
LOADERS = [one for one in ALL if not isinstance(one, str) or one in ONE_PER_LOADER or one not in TASKS]


def write(tmp_path: Path, code: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(code)
    return f"{path}:make_task"


def error_of(name: str) -> str:
    with pytest.raises(EvooptError) as caught:
        get_task(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- the contract of every task


@pytest.mark.parametrize("name", ALL)
def test_one_step_of_training_gives_finite_gradients_and_a_metric_in_0_to_1(
    name: str, synthetic_data: Path
) -> None:
    task = get_task(name)
    data = load_task_data(task, DataOptions(data_dir=synthetic_data))
    torch.manual_seed(0)
    model = task.make_model()
    x, y = data.train.x[: task.batch_size], data.train.y[: task.batch_size]
    if task.augment is not None:
        x = task.augment(x, torch.Generator().manual_seed(0))
    outputs = model(x)
    loss = task.loss(outputs, y)
    loss.backward()
    assert loss.ndim == 0
    assert 0 < loss.item() < 100
    for parameter in (p for p in model.parameters() if p.requires_grad):
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())
    # The one filter of that network's last convolution is dead for about half of all initial weights.
    if not name.startswith("genetic_mnist"):
        assert any(bool((p.grad != 0).any()) for p in model.parameters() if p.grad is not None)
    assert 0 <= task.metric(outputs, y).item() <= 1


@pytest.mark.parametrize("name", LOADERS)
def test_loading_seals_the_test_part_and_obeys_subset_fraction_and_seed_alone(
    name: str, synthetic_data: Path
) -> None:
    task = get_task(name)
    torch.manual_seed(0)
    before = torch.get_rng_state()

    def load(seed: int, unseal_test: bool = False) -> TaskData:
        options = DataOptions(synthetic_data, 40, 0.25, seed, unseal_test=unseal_test)
        data = load_task_data(task, options)
        assert (len(data.train), len(data.validation)) == (30, 10)
        return data

    sealed, opened, other = load(0), load(0, unseal_test=True), load(1)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(SealedTestError):
        sealed.test.open()
    assert len(opened.test.open()) == len(sealed.test) > 0
    assert torch.equal(sealed.train.x, opened.train.x)
    assert torch.equal(sealed.validation.x, opened.validation.x)
    assert not torch.equal(sealed.train.x, other.train.x)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_described_under_their_own_name(name: str) -> None:
    assert TASKS[name].name == name
    assert TASKS[name].description
    assert TASKS[name].family != "own"


@pytest.mark.parametrize("name", LOADERS)
def test_embedded_tasks_are_those_that_load_without_files(name: str, no_data: Path) -> None:
    try:
        get_task(name).load(DataOptions(download=False))
    except EvooptError as error:
        assert "is not in" in str(error)
        assert name not in EMBEDDED
    else:
        assert name in EMBEDDED or name not in TASKS


def test_a_small_network_learns_the_digits() -> None:
    task = TASKS["digits"]
    data = load_task_data(task, DataOptions())
    torch.manual_seed(0)
    model = task.make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        task.loss(model(data.train.x), data.train.y).backward()
        optimizer.step()
    assert task.metric(model(data.validation.x), data.validation.y).item() > 0.9


# --- names and people's own files


def test_a_task_of_ones_own_is_of_a_family_of_its_own() -> None:
    assert get_task(f"{EXAMPLE}:make_task").family == "own"


def test_misspelt_name_suggests_the_nearest() -> None:
    assert "unknown task 'fashon_mnist'. Did you mean 'fashion_mnist'?" in error_of("fashon_mnist")


def test_own_task_is_found_by_a_path_relative_to_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLE.parent)
    assert get_task("breast_cancer.py:make_task").name == "breast_cancer"


def test_own_task_may_define_dataclasses_and_import_modules_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "module_beside_the_task.py").write_text("NAME = 'from beside'")
    name = write(
        tmp_path,
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from module_beside_the_task import NAME\n"
        "from evoopt.tasks import TASKS, Task\n"
        "@dataclass\n"
        "class Settings:\n"
        "    width: int = 3\n"
        "def make_task():\n"
        "    return Task(NAME, TASKS['digits'].make_model, TASKS['digits'].load)\n",
    )
    assert get_task(name).name == "from beside"


def test_files_of_the_same_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names.append(
            write(
                tmp_path / folder,
                "from evoopt.tasks import TASKS, Task\n"
                f"def make_task(): return Task({folder!r}, TASKS['digits'].make_model, TASKS['digits'].load)",
            )
        )
    assert [get_task(name).name for name in names] == ["a", "b"]


def test_each_of_two_files_gets_the_modules_beside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder / "package_beside").mkdir(parents=True)
        (tmp_path / folder / "package_beside" / "part.py").write_text(f"PART = 'part of {folder}'")
        (tmp_path / folder / "helper_beside.py").write_text(f"NAME = 'helper of {folder}'")
        names.append(
            write(
                tmp_path / folder,
                "from evoopt.tasks import TASKS, Task\n"
                "from helper_beside import NAME\n"
                "def make_task():\n"
                "    from package_beside.part import PART\n"
                "    return Task(NAME + ', ' + PART, TASKS['digits'].make_model, TASKS['digits'].load)\n",
            )
        )
    for _ in range(2):
        assert [get_task(name).name for name in names] == ["helper of a, part of a", "helper of b, part of b"]


def test_a_module_beside_a_file_hides_none_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "program"), *sys.path])
    for folder in ("program", "task"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hidden_or_not.py").write_text(f"WHERE = {folder!r}")
        (tmp_path / folder / f"only_{folder}.py").touch()
    name = write(
        tmp_path / "task",
        "import sys\n"
        "sys.path.append('added by the file')\n"
        "from evoopt.tasks import TASKS, Task\n"
        "def make_task(): return Task('mine', TASKS['digits'].make_model, TASKS['digits'].load)\n",
    )
    get_task(name)
    assert importlib.import_module("hidden_or_not").WHERE == "program"
    importlib.import_module("only_task")
    assert "added by the file" in sys.path


def test_a_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(EXAMPLE.parent))
    assert get_task(f"~/{EXAMPLE.name}:make_task").name == "breast_cancer"


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert f"there is no file {tmp_path}/none.py" in error_of(f"{tmp_path}/none.py:make_task")


@pytest.mark.parametrize("name", ["mine.py", "folder/mine", "./mine.py"])
def test_path_without_function_shows_the_form(name: str) -> None:
    assert "write path/to/file.py:function" in error_of(name)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", "defines no function 'make_task'"),
        ("make_task = 3", "defines no function 'make_task'"),
        ("def make_task(:", "importing mine.py raised SyntaxError"),
        ("import nothing_of_that_name", "importing mine.py raised ModuleNotFoundError: No module named"),
        ("raise SystemExit(2)", "importing mine.py raised SystemExit: 2"),
        ("def make_task(): raise ValueError('too\\nwide')", "make_task() raised ValueError: too wide"),
        ("def make_task(size): return size", "make_task() raised TypeError"),
        ("def make_task(): return None", "make_task() returned NoneType, expected evoopt.tasks.Task"),
        ("def make_task(): import evoopt.tasks as t; return t.Task", "returned type, expected"),
    ],
)
def test_faulty_file_gives_one_clear_line(code: str, expected: str, tmp_path: Path) -> None:
    name = write(tmp_path, code)
    message = error_of(name)
    assert expected in message
    assert "mine.py" in message


def test_example_is_a_task_that_scikit_learn_data_fit(no_data: Path) -> None:
    task = get_task(f"{EXAMPLE}:make_task")
    assert isinstance(task, Task)
    data = load_task_data(task, DataOptions(unseal_test=True))
    assert (len(data.train), len(data.validation), len(data.test)) == (364, 91, 114)
