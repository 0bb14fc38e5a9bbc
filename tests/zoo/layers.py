"""Layers that tools for populations know less well."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

from tests.zoo.case import (
    IMAGES,
    NEXT,
    SERIES,
    TOKENS,
    Case,
    between,
    chain,
    embedded,
    encoder,
    on_images,
)
from tests.zoo.modules import (
    Of,
    StepByStep,
    StillNorm,
    TiedWords,
    layer_met_twice,
    tied_layers,
    unpooling,
)

RECURRENT = {
    "lstm": Case(
        lambda: Of(
            lambda m, x: m.out(m.rnn(x)[0][:, -1]), rnn=nn.LSTM(4, 6, batch_first=True), out=nn.Linear(6, 3)
        ),
        SERIES,
    ),
    "gru of words": Case(
        embedded(lambda rnn, h: rnn(h)[1][-1], lambda: nn.GRU(8, 8, batch_first=True)), TOKENS
    ),
    "deep recurrence with dropout": Case(
        embedded(
            lambda rnn, h: rnn(h)[1][-1],
            lambda: nn.RNN(8, 8, 2, dropout=0.3, bidirectional=True, batch_first=True),
        ),
        TOKENS,
    ),
    "cell in a loop": Case(StepByStep, SERIES),
}

ATTENTION = {
    "transformer": Case(encoder(0.0), TOKENS),
    "transformer with dropout": Case(encoder(0.2), TOKENS),
    "multi-head attention": Case(
        embedded(
            lambda part, h: part(h, h, h)[0].mean(dim=1),
            lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        TOKENS,
    ),
    "attention with dropout": Case(
        embedded(
            lambda part, h: F.scaled_dot_product_attention(
                part(h), h, h, dropout_p=0.2 if part.training else 0.0
            ).mean(dim=1),
            lambda: nn.Linear(8, 8),
        ),
        TOKENS,
    ),
    "causal attention": Case(
        embedded(
            lambda part, h: F.scaled_dot_product_attention(part(h), h, h, is_causal=True)[:, -1],
            lambda: nn.Linear(8, 8),
        ),
        TOKENS,
    ),
}

SHARED = {
    "tied words": Case(TiedWords, TOKENS, TOKENS.roll(-1, 1)),
    "tied words, some ignored": Case(TiedWords, TOKENS, NEXT),
    "tied layers": Case(tied_layers),
    "layer met twice": Case(layer_met_twice),
}

NORMS = {
    "layer norm": Case(between(lambda: nn.LayerNorm(8), nn.GELU)),
    "rms norm": Case(between(lambda: nn.RMSNorm(8), nn.SiLU)),
    "group norm": Case(on_images(lambda: nn.Conv2d(1, 4, 3), lambda: nn.GroupNorm(2, 4), width=64), IMAGES),
    "instance norm": Case(
        on_images(
            lambda: nn.Conv2d(1, 4, 3),
            lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
            width=64,
        ),
        IMAGES,
    ),
    "response norm": Case(
        on_images(lambda: nn.Conv2d(1, 4, 3), lambda: nn.LocalResponseNorm(2), width=64), IMAGES
    ),
    "batch norm": Case(
        on_images(
            lambda: nn.Conv2d(1, 4, 3), lambda: nn.BatchNorm2d(4), nn.ReLU, lambda: nn.MaxPool2d(2), width=16
        ),
        IMAGES,
    ),
    "batch norm, whole average": Case(between(lambda: nn.BatchNorm1d(8, momentum=None), nn.ReLU)),
    "batch norm without memory": Case(between(lambda: nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU)),
    "batch norm that stays still": Case(StillNorm),
    "weight norm": Case(chain(lambda: parametrizations.weight_norm(nn.Linear(6, 3)))),
    "weight norm of old": Case(
        chain(lambda: weight_norm(nn.Linear(6, 3))), refused="the model cannot be copied"
    ),
    "spectral norm": Case(chain(lambda: parametrizations.spectral_norm(nn.Linear(6, 3)))),
    "orthogonal": Case(between(lambda: parametrizations.orthogonal(nn.Linear(8, 8)))),
}

SHAPES = {
    "layers on sequences": Case(
        chain(lambda: nn.Linear(4, 6), nn.ReLU, nn.Flatten, lambda: nn.Linear(30, 3)), SERIES
    ),
    "convolution of series": Case(
        chain(
            lambda: nn.Conv1d(5, 6, 3, padding=1),
            lambda: nn.BatchNorm1d(6),
            nn.ReLU,
            lambda: nn.AdaptiveMaxPool1d(1),
            nn.Flatten,
            lambda: nn.Linear(6, 3),
        ),
        SERIES,
    ),
    "convolution of volumes": Case(
        chain(
            lambda: nn.Unflatten(1, (1, 1)),
            lambda: nn.Conv3d(1, 2, (1, 3, 3)),
            nn.Flatten,
            lambda: nn.Linear(32, 3),
        ),
        IMAGES,
    ),
    "strides and circles": Case(
        on_images(
            lambda: nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False),
            lambda: nn.Conv2d(4, 4, (3, 1), padding="same", padding_mode="circular"),
            width=36,
        ),
        IMAGES,
    ),
    "depthwise and dilated": Case(
        on_images(
            lambda: nn.Conv2d(1, 4, 3, dilation=2), lambda: nn.Conv2d(4, 8, 1, groups=4), nn.ReLU, width=32
        ),
        IMAGES,
    ),
    "transposed": Case(
        on_images(lambda: nn.ConvTranspose2d(1, 2, 3, stride=2), lambda: nn.AdaptiveAvgPool2d(3), width=18),
        IMAGES,
    ),
    "odd pooling": Case(
        on_images(
            lambda: nn.Conv2d(1, 4, 3),
            lambda: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            lambda: nn.LeakyReLU(0.1),
            width=36,
        ),
        IMAGES,
    ),
    "pooling and back": Case(unpooling, IMAGES),
    "upsampled": Case(
        on_images(
            lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
            lambda: nn.Conv2d(1, 2, 3, stride=3),
            width=32,
        ),
        IMAGES,
    ),
    "every pixel": Case(chain(lambda: nn.Conv2d(1, 3, 3, padding=1)), IMAGES, (IMAGES[:, 0] > 0).long()),
    "two outputs": Case(
        lambda: Of(lambda m, x: (m.out(x), x), out=nn.Linear(6, 3)),
        loss=lambda outputs, y: F.cross_entropy(outputs[0], y),
        refused="(?i)tuple",
    ),
    "named outputs": Case(
        lambda: Of(lambda m, x: {"logits": m.out(x)}, out=nn.Linear(6, 3)),
        loss=lambda outputs, y: F.cross_entropy(outputs["logits"], y),
        refused="(?i)dict",
    ),
}
