"""transformers' Trainer makes exported classes, schedules them and goes on from its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evoopt.integrations import trainer_optimizer
from evoopt.optim import Marfinetz2025
from tests.export.subjects import scheduled
from tests.integrations.problem import SOME, weights

pytestmark = pytest.mark.slow
some_classes = pytest.mark.parametrize("cls", SOME.values(), ids=SOME)

STEPS = 8


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate")


def make_trainer(folder: Path, optimizer: Any, **options: Any) -> Any:
    """A Trainer of a tiny GPT-2 on a few fixed sequences."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    torch.manual_seed(0)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 6, "vocab_size": 12}
    model = GPT2LMHeadModel(
        GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
    )
    sequences = torch.randint(12, (4 * STEPS, 6), generator=torch.Generator().manual_seed(0))
    arguments = {
        "max_steps": STEPS, "per_device_train_batch_size": 4, "weight_decay": 0.1, "use_cpu": True,
        "report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no",
        "max_grad_norm": 0.0,
    }  # fmt: skip
    return Trainer(
        model,
        TrainingArguments(str(folder), **(arguments | options)),
        train_dataset=[{"input_ids": tokens, "labels": tokens} for tokens in sequences],
        optimizer_cls_and_kwargs=optimizer,
    )


def trained(folder: Path, optimizer: Any, **options: Any) -> list[Tensor]:
    trainer = make_trainer(folder, optimizer, **options)
    trainer.train()
    return weights(trainer.model)


@some_classes
def test_the_trainer_decays_and_schedules_a_class(cls: type[Any], tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, trainer_optimizer(cls, lr=0.02))
    rates: list[float] = []
    plain = trainer.create_optimizer()
    plain.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    trainer.train()
    assert type(trainer.optimizer.optimizer) is cls
    assert rates == pytest.approx([0.02 * (1 - k / STEPS) for k in range(STEPS)])  # its linear schedule alone
    decays = {
        id(p): group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]
    }
    for name, p in trainer.model.named_parameters():
        assert decays[id(p)] == (0.0 if "ln_" in name or "bias" in name else 0.1), name


@some_classes
@pytest.mark.parametrize("options", [{}, {"bf16": True, "gradient_accumulation_steps": 2}], ids=["", "bf16"])
def test_a_training_goes_on_from_a_checkpoint(
    cls: type[Any], options: dict[str, Any], tmp_path: Path
) -> None:
    optimizer = trainer_optimizer(cls, lr=0.02)
    whole = trained(tmp_path, optimizer, save_strategy="steps", save_steps=STEPS // 2, **options)
    resumed = make_trainer(tmp_path / "resumed", optimizer, **options)
    before = weights(resumed.model)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{STEPS // 2}"))
    torch.testing.assert_close(weights(resumed.model), whole)
    assert all(bool(torch.isfinite(p).all()) for p in whole)
    assert any(bool((p != old).any()) for p, old in zip(whole, before))


def test_a_classes_own_schedule_runs_beneath_a_constant_one(tmp_path: Path) -> None:
    optimizer = trainer_optimizer(Marfinetz2025, schedule=True, total_steps=STEPS, warmup_steps=1)
    trainer = make_trainer(tmp_path, optimizer, lr_scheduler_type="constant")
    rates: list[float] = []
    trainer.create_optimizer().register_step_post_hook(
        lambda optimizer, *_: rates.append(float(optimizer.param_groups[0]["scheduled_lr"]))
    )
    trainer.train()
    assert rates[0] > rates[STEPS // 2] > rates[-1] > 0


@some_classes
def test_a_class_without_a_schedule_is_not_told_of_one(cls: type[Any]) -> None:
    assert trainer_optimizer(cls) == (cls, {"schedule": False} if scheduled(cls) else {})
