"""Well-known optimizers as update rules.

Each equals its namesake step for step (tested in float64); ``marfinetz2025`` is the published evolved genome.
"""

from __future__ import annotations

from dataclasses import replace

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


_MUON = UpdateRule(
    # Nesterov's momentum of Muon: beta1*m + (1-beta1)*g.
    (("nesterov", 1.0),),
    lr=1e-3,
    beta1=0.95,
    nesterov_beta=1 - 0.95,
    weight_decay=0.1,
    use_v=False,
    bias_correction=False,
    shape="orthogonal",
    scale="match_rms",
    others="adam",
)

STAGED_PRESETS: dict[str, UpdateRule] = {
    "muon": _MUON,
    "normuon": replace(
        _MUON, terms=(("momentum", 1.0),), nesterov_beta=None, beta2=0.95, shape="orthogonal_rows"
    ),
    "soap": replace(
        _MUON,
        terms=(("momentum", 1.0),),
        nesterov_beta=None,
        lr=3e-3,
        beta2=0.95,
        weight_decay=1e-2,
        shape="soap",
    ),
    "polaris": UpdateRule(
        (("nesterov", 1.0),),
        lr=0.09,
        beta1=0.77,
        beta2=0.9994,
        eps=3e-6,
        nesterov_beta=0.05,
        weight_decay=0.06,
        bias_correction=False,
        normalize_first=True,
        shape="orthogonal",
        others="adam",
    ),
    "muon_sgd": UpdateRule(
        (("momentum", 10.0),),  # what is orthogonalised has no size: the factor is that of everything else
        lr=0.1,
        beta1=0.94,
        use_v=False,
        bias_correction=False,
        shape="orthogonal",
        others_lr=1.5,
    ),
    "ademamix": UpdateRule((("adam", 1.0), ("slow_adam", 2.0)), lr=1e-3, slow_beta=0.9999),
    "cautious_adamw": UpdateRule((("adam", 1.0),), lr=1e-3, eps=1e-6, weight_decay=1e-2, mask="cautious"),
    "mars_adamw": UpdateRule(
        (("adam", 1.0),), lr=3e-3, beta1=0.95, beta2=0.99, gradient_difference=0.025, clip_norm=1.0
    ),
    "laprop": UpdateRule((("momentum", 1.0),), lr=4e-4, eps=1e-15, normalize_first=True),
    "lamb": UpdateRule((("adam", 1.0),), lr=1e-3, eps=1e-6, weight_decay=1e-2, scale="trust"),
    "adafactor_moments": UpdateRule(
        (("adam", 1.0),), lr=1e-3, weight_decay=1e-2, second_moment="factored", shape_output=True
    ),
    "adamw_ema": UpdateRule((("adam", 1.0),), lr=1e-3, weight_decay=1e-2, readout="ema"),
}
"""Published optimizers that need stages, with the constants that their publications recommend: Muon (Jordan
2024) with the scale and decay of Liu et al. (2025) and Adam for what is no hidden matrix, NorMuon (Li et al.
2025), SOAP (Vyas et al. 2024) likewise and with one side, AdEMAMix (Pagliardini et al. 2024)
without its schedulers, cautious AdamW (Liang et al. 2024), MARS-AdamW (Yuan et al. 2024), LaProp (Ziyin et
al. 2020), LAMB (You et al. 2019), AdamW with the second moment of Adafactor (Shazeer and Stern 2018) and
AdamW ending with an average of its weights. Polaris and Muon with SGD, which has one number for each weight,
are of searches by evoopt: docs/discovery.md."""


def preset(name: str) -> UpdateRule:
    """Look a preset up, with stages or without.

    Raises:
        EvooptError: No such preset; the message names the nearest one.
    """
    known = PRESETS | STAGED_PRESETS
    if name not in known:
        raise unknown_name("preset", name, known)
    return known[name]
