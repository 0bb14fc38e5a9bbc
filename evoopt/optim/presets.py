"""Well-known optimizers as update rules.

Each equals its namesake step for step (tested in float64); ``marfinetz2025`` is the published evolved genome.
"""

from __future__ import annotations

from evoopt.errors import unknown_name
from evoopt.optim.rule import UpdateRule

PRESETS: dict[str, UpdateRule] = {
    # A moment that averages, m = b*m + (1-b)*g, is (1-b) times the heavy ball's buffer, hence the weight 10.
    "sgd": UpdateRule((("momentum", 10.0),), lr=1e-2, use_v=False, bias_correction=False),
    "adam": UpdateRule((("adam", 1.0),), lr=1e-3),
    "adamw": UpdateRule((("adam", 1.0),), lr=1e-3, weight_decay=1e-2),
    "rmsprop": UpdateRule((("rms_norm", 1.0),), lr=1e-2, beta2=0.99, use_m=False, bias_correction=False),
    # beta1 decays the moment (Lion's beta2), beta3 interpolates inside the sign (Lion's beta1).
    "lion": UpdateRule((("lion", 1.0),), lr=1e-4, beta1=0.99, beta3=0.9, use_v=False, bias_correction=False),
    "marfinetz2025": UpdateRule(
        (
            ("sign_grad", 0.41205802174892475),
            ("sign_grad", 0.32238621456272765),
            ("adam", 2.0030004279455267),
            ("adam", 1.6322011630060542),
        ),
        lr=10**-2.9198932483267144,
        beta1=0.8553020861538518,
        beta2=0.9357561078635277,
        eps=10**-8.26423960220415,
        weight_decay=10**-3.0112238437153316,
        bias_correction=False,
        warmup_steps=100,
        cosine=True,
    ),
}
"""``torch.optim.SGD(lr=1e-2, momentum=0.9)``, ``Adam()``, ``AdamW()``, ``RMSprop()``; Lion (Chen et al.
2023) with its published defaults; the genome of Marfinetz (2025), arXiv 2512.11853."""


def preset(name: str) -> UpdateRule:
    """Look a preset up.

    Raises:
        EvooptError: No such preset; the message names the nearest one.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
