from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evoopt.tasks.models import Transformer
from evoopt.tasks.models.transformer import Attention


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_that_of_torch(causal: bool) -> None:
    torch.manual_seed(0)
    attention, x = Attention(6, 2, causal), torch.randn(3, 5, 6)
    query, key, value = (
        part.view(3, 5, 2, 3).transpose(1, 2) for part in attention.mixed(x).split(6, dim=-1)
    )
    heads = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    torch.testing.assert_close(attention(x), attention.joined(heads.transpose(1, 2).reshape(3, 5, 6)))


def test_only_a_causal_transformer_does_not_see_what_follows() -> None:
    for causal in (True, False):
        torch.manual_seed(0)
        model = Transformer(nn.Embedding(7, 8), 5, 3, causal, width=8)
        tokens, other = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[1, 2, 3, 6, 5]])
        a, b = model(tokens), model(other)
        assert a.shape == ((1, 3, 5) if causal else (1, 3))
        if causal:
            assert torch.equal(a[..., :3], b[..., :3])
            assert not torch.isclose(a[..., 3:], b[..., 3:]).any()
        else:
            assert not torch.isclose(a, b).any()
