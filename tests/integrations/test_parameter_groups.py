"""Every parameter of a model in one of three groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from evoopt.errors import EvooptError
from evoopt.integrations import ParameterGroups, parameter_groups
from tests.export.subjects import CLASSES, make


class LanguageModel(nn.Module):
    """Tokens to logits; the output layer may share the weights of the embedding."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 8)
        self.position_embedding = nn.Parameter(torch.zeros(1, 4, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.planes = nn.LayerNorm((4, 8))
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.planes(self.block(self.tokens(tokens) + self.position_embedding)))


def names(model: nn.Module, **options: Any) -> dict[str, set[str]]:
    of = {p: name for name, p in model.named_parameters()}
    groups = parameter_groups(model, **options)
    placed = [p for group in groups for p in group["params"]]
    assert len(placed) == len(set(placed)), "a parameter in two groups"
    return {kind: {of[p] for p in group["params"]} for kind, group in groups._asdict().items()}


HIDDEN = {f"block.{n}.weight" for n in ("self_attn.out_proj", "linear1", "linear2")} | {
    "block.self_attn.in_proj_weight"
}


@pytest.mark.parametrize("tied", [False, True])
def test_hidden_matrices_are_told_from_embeddings_the_output_layer_and_vectors(tied: bool) -> None:
    found = names(LanguageModel(tied))
    assert found["matrices"] == HIDDEN
    assert found["others"] == {"tokens.weight", "position_embedding"} | (set() if tied else {"head.weight"})
    assert {"planes.weight", "block.norm1.weight", "block.linear1.bias"} <= found["vectors"]
    assert set.union(*found.values()) == {name for name, _ in LanguageModel(tied).named_parameters()}


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 2)
    )


@pytest.mark.parametrize(
    ("output", "others"),
    [
        (None, {"4.weight"}),
        ("3", {"3.weight"}),
        (["3", "4"], {"3.weight", "4.weight"}),
        ([], set()),
    ],
)
def test_the_output_layer_is_the_last_with_a_matrix_or_what_it_is_said_to_be(
    output: Any, others: set[str]
) -> None:
    found = names(convolutional(), output=output)
    assert found["others"] == others
    assert found["matrices"] == {"0.weight", "3.weight", "4.weight"} - others


def test_what_the_model_spares_joins_the_vectors_and_what_is_frozen_no_group() -> None:
    model = LanguageModel()
    model.no_weight_decay = lambda: {"position_embedding"}  # type: ignore[assignment]
    model.block.requires_grad_(False)
    found = names(model)
    assert found["vectors"] == {"position_embedding", "planes.weight", "planes.bias"}
    assert found["matrices"] == set()


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_every_class_trains_all_groups_and_decays_all_but_the_vectors(cls: type[Any]) -> None:
    torch.manual_seed(0)
    model = LanguageModel()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = make(cls, parameter_groups(model), weight_decay=0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1, 0.0]
    tokens = torch.arange(8).reshape(2, 4)
    F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    optimizer.step()
    moved = [bool((p != old).any()) for p, old in zip(model.parameters(), before)]
    assert all(moved)


def test_a_hybrid_gives_the_matrices_to_another_optimizer() -> None:
    torch.manual_seed(0)
    model = LanguageModel()
    groups = parameter_groups(model)
    optimizers = [torch.optim.Muon([groups.matrices], lr=0.02), make(CLASSES["lion"], groups[1:], lr=1e-2)]
    tokens = torch.arange(8).reshape(2, 4)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    ("model", "output", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2)), "head", "unknown module 'head'"),
        (nn.Sequential(nn.LazyLinear(2)), None, "run it once on an example first"),
    ],
)
def test_what_cannot_be_parted_gives_one_line(model: nn.Module, output: str | None, message: str) -> None:
    with pytest.raises(EvooptError, match=message):
        parameter_groups(model, output)


def test_a_model_without_matrices_has_two_empty_groups() -> None:
    assert [len(group["params"]) for group in parameter_groups(nn.BatchNorm1d(3))] == [0, 0, 2]
    assert isinstance(parameter_groups(nn.Identity()), ParameterGroups)


def vit() -> nn.Module:
    timm = pytest.importorskip("timm", reason="needs timm")
    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, embed_dim=12, depth=1, num_classes=3
    )
    return model


def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 6, "vocab_size": 12}
    model: nn.Module = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make_model", "matrices", "others"),
    [
        (vit, {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"}, {"patch_embed.proj.weight", "head.weight"}),
        (
            gpt2,
            {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"},
            {"transformer.wte.weight", "transformer.wpe.weight"},
        ),
    ],
)
def test_models_of_libraries_are_parted_too(make_model: Any, matrices: set[str], others: set[str]) -> None:
    found = names(make_model())
    assert {name.split(".0.")[1].removesuffix(".weight") for name in found["matrices"]} == matrices
    assert found["others"] == others
