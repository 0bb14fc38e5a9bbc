from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evoopt.tasks.models import Translator, token_accuracy, token_loss
from evoopt.tasks.models.translation import GRU


def test_gated_units_compute_what_torch_computes() -> None:
    torch.manual_seed(0)
    own, torchs = GRU(3, 4).double(), nn.GRU(3, 4, batch_first=True).double()
    with torch.no_grad():
        for mine, theirs in ((own.inputs, "ih_l0"), (own.recurrent, "hh_l0")):
            mine.weight.copy_(getattr(torchs, f"weight_{theirs}"))
            mine.bias.copy_(getattr(torchs, f"bias_{theirs}"))
    x, state = torch.randn(2, 6, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    expected, _ = torchs(x, state.unsqueeze(0))
    torch.testing.assert_close(own(x, state, torch.ones(2, 6, dtype=torch.bool)), expected)


def test_padding_leaves_the_state_as_it_is() -> None:
    layer = GRU(3, 4)
    x, present = torch.randn(1, 5, 3), torch.tensor([[True, True, False, True, False]])
    states = layer(x, torch.zeros(1, 4), present)
    assert torch.equal(states[:, 2], states[:, 1])
    assert torch.equal(states[:, 4], states[:, 3])
    assert not torch.equal(states[:, 3], states[:, 2])


def test_more_padding_behind_the_source_changes_nothing() -> None:
    torch.manual_seed(0)
    short, long = Translator(9, 8, 4, hidden=5).eval(), Translator(9, 8, 7, hidden=5).eval()
    long.load_state_dict(short.state_dict())
    source, padding, target = (
        torch.tensor([[4, 5, 6, 0]]),
        torch.zeros(1, 3).long(),
        torch.tensor([[2, 5, 3]]),
    )
    found = long(torch.cat([source, padding, target], dim=1))
    torch.testing.assert_close(found, short(torch.cat([source, target], dim=1)))


def test_a_word_is_predicted_from_the_whole_source_and_the_words_before_it() -> None:
    torch.manual_seed(0)
    model = Translator(9, 8, 4, hidden=5).eval()
    tokens = torch.tensor([[4, 5, 6, 7, 2, 5, 3, 6]])
    later, source = tokens.clone(), tokens.clone()
    later[0, 6], source[0, 3] = 7, 8
    before, after = model(tokens)[0], model(later)[0]
    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2])
    assert not torch.allclose(before[0], model(source)[0, 0])


def test_loss_and_accuracy_leave_padding_out() -> None:
    logits = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[5, 2, 3, 0], [1, 3, 0, 0]])
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)
    torch.testing.assert_close(token_loss(logits, targets), expected)
    best = F.one_hot(targets, 6).float()
    assert token_accuracy(best, targets).item() == 1
    best[0, 0, 4] = 2.0
    assert token_accuracy(best, targets).item() == pytest.approx(4 / 5)
    best[1, 3, 4] = 2.0
    assert token_accuracy(best, targets).item() == pytest.approx(4 / 5)
