"""Two processes end with the weights of one: DDP, FSDP2, tensor parallelism, ZeRO and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.integrations.problem import SOME
from tests.integrations.two_processes import PROCESSES, WAYS, main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What each process met with, by case; they are started once, as that takes longest."""
    folder = tmp_path_factory.mktemp("two_processes")
    torch.multiprocessing.spawn(main, (str(folder),), nprocs=PROCESSES)
    return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.mark.parametrize("foreach", [False, True], ids=["loop", "foreach"])
@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("way", [way.__name__ for way in WAYS])
def test_two_processes_end_with_the_weights_of_one(
    way: str, name: str, foreach: bool, outcomes: list[dict[str, str]]
) -> None:
    for rank, met in enumerate(outcomes):
        error = met[f"{way}-{name}-{foreach}"]
        assert not error, f"in process {rank}:\n{error}"
