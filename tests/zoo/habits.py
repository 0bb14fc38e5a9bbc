"""What people do in forward, and what else a model may have."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.case import (
    CLASSES,
    IMAGES,
    TOKENS,
    Case,
    between,
    chain,
    hidden,
    linear,
    on_images,
)
from tests.zoo.modules import (
    Average,
    Counter,
    Moods,
    Of,
    Plain,
    Recomputed,
    StraightThrough,
    hooked,
    partly_frozen,
)

_chance, _same = np.random.default_rng(0), nn.Linear(6, 3)

RANDOM = {
    "functional dropout": Case(hidden(lambda m, h: F.dropout(h.relu(), 0.3, m.training))),
    "noise": Case(hidden(lambda m, h: h + 0.1 * torch.randn_like(h) if m.training else h)),
    "bernoulli mask": Case(
        hidden(lambda m, h: h * torch.bernoulli(torch.full_like(h, 0.7)) if m.training else h)
    ),
    "depth by chance": Case(hidden(lambda m, h: h if m.training and torch.rand(()) < 0.5 else h.tanh())),
    "alpha dropout": Case(between(nn.SELU, lambda: nn.AlphaDropout(0.2))),
    "feature dropout": Case(
        on_images(lambda: nn.Conv2d(1, 4, 3), lambda: nn.Dropout2d(0.3), nn.ReLU, width=64), IMAGES
    ),
    "randomised activation": Case(between(nn.RReLU)),
    "shuffled": Case(hidden(lambda m, h: h[:, torch.randperm(8)] if m.training else h)),
    "random numbers of numpy": Case(
        hidden(lambda m, h: h + m.training * float(_chance.random())), refused="(?i)numpy|random"
    ),
    "random numbers of Python": Case(
        hidden(lambda m, h: h * random.random() if m.training else h), refused="(?i)python|random"
    ),
}

IN_PLACE = {
    "input changed": Case(lambda: Of(lambda m, x: m.out(x.sub_(0.5).div_(2)), out=nn.Linear(6, 3))),
    "activation of the input": Case(chain(lambda: nn.ReLU(inplace=True), linear())),
    "activations": Case(
        between(lambda: nn.ELU(inplace=True), lambda: nn.Linear(8, 8), lambda: nn.Hardtanh(inplace=True))
    ),
    "activation behind a norm": Case(
        between(lambda: nn.BatchNorm1d(8), lambda: nn.LeakyReLU(0.1, inplace=True))
    ),
    "entries set": Case(hidden(lambda m, h: h.clone().clamp_(max=1).index_fill_(1, torch.tensor([0]), 0.0))),
    "entries chosen by a mask": Case(
        lambda: Of(lambda m, x: m.out(x.masked_fill(x > 1, 1.0)) + x[x > 1].sum(), out=nn.Linear(6, 3))
    ),
}

FLOW = {
    "branches and loops": Case(Moods),
    "number of a tensor": Case(hidden(lambda m, h: h / max(1.0, h.abs().max().item()))),
    "another way in evaluation": Case(hidden(lambda m, h: h if m.training else 2 * h)),
    "top entries": Case(
        hidden(lambda m, h: torch.zeros_like(h).scatter(1, h.topk(3).indices, h.topk(3).values))
    ),
    "sorted": Case(hidden(lambda m, h: h.sort(dim=1).values)),
    "straight through": Case(hidden(lambda m, h: StraightThrough.apply(h))),
    "partly without gradient": Case(hidden(lambda m, h: h + h.detach().softmax(dim=1))),
    "spectrum": Case(hidden(lambda m, h: torch.fft.irfft(torch.fft.rfft(h) * 2, n=8))),
    "hook": Case(hooked),
    "recomputed": Case(Recomputed, refused="its gradients are others there than alone"),
    "scripted": Case(lambda: torch.jit.script(Plain()), refused="the model is TorchScript"),
    "without numbers": Case(lambda: Plain().to("meta"), refused="weights on the device meta"),
    "compiled": Case(lambda: torch.compile(Plain(), backend="eager")),
}

PARTS = {
    "partly frozen": Case(partly_frozen),
    "counter": Case(Counter),
    "moving average": Case(Average),
    "parameters of odd shapes": Case(
        lambda: Of(
            lambda m, x: m.out(x) * m.scale,
            out=nn.Linear(6, 3),
            unused=nn.Linear(2, 2),
            empty=nn.Parameter(torch.empty(0, 4)),
            scale=nn.Parameter(torch.tensor(1.0)),
        )
    ),
    "parameter list": Case(
        lambda: Of(
            lambda m, x: torch.relu(x @ m.w[0]) @ m.w[1] + m.b["b"],
            w=nn.ParameterList([torch.randn(6, 8) / 3, torch.randn(8, 3) / 3]),
            b=nn.ParameterDict({"b": torch.zeros(3)}),
        )
    ),
    "module list": Case(
        lambda: Of(
            lambda m, x: sum(part(x) for part in m.parts),
            parts=nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3, bias=False)]),
        )
    ),
    "prelu": Case(between(lambda: nn.PReLU(8))),
    "bilinear": Case(lambda: Of(lambda m, x: m.out(x, x), out=nn.Bilinear(6, 6, 3))),
    "float64": Case(lambda: Plain().double()),
    "lazy, run before": Case(
        lambda: (lambda m: (m(torch.zeros(1, 6)), m)[1])(
            nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
        )
    ),
    "lazy": Case(chain(lambda: nn.LazyLinear(6), linear()), refused="(?i)lazy"),
    "bag of words": Case(chain(lambda: nn.EmbeddingBag(11, 8), lambda: nn.Linear(8, 3)), TOKENS),
    "words of bounded norm": Case(
        lambda: Of(
            lambda m, x: m.out(m.words(x).mean(dim=1)),
            words=nn.Embedding(11, 8, max_norm=1.0, padding_idx=0),
            out=nn.Linear(8, 3),
        ),
        TOKENS,
    ),
    "sparse gradients": Case(
        lambda: Of(
            lambda m, x: m.out(m.words(x).mean(dim=1)),
            words=nn.Embedding(11, 8, sparse=True),
            out=nn.Linear(8, 3),
        ),
        TOKENS,
    ),
    "all frozen": Case(lambda: nn.Linear(6, 3).requires_grad_(False), refused="(?i)trained|parameter"),
    "no parameters": Case(nn.Flatten, y=CLASSES, refused="(?i)trained|parameter"),
    "one model again and again": Case(lambda: _same, refused="(?i)same|fresh"),
}
