"""A torch.optim class written by evoopt 0.1.0; it needs torch and nothing else."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import (
    Optimizer,
    ParamsT,
    _get_capturable_supported_devices,
    _get_scalar_dtype,
)
from torch.optim.swa_utils import update_bn

__all__ = [
    "AdamWEMA",
]

_LOW_PRECISION = (torch.bfloat16, torch.float16)
# What is kept for each parameter, and its shape
_KEPT: dict[str, str] = {
    "exp_avg": "parameter",
    "exp_avg_sq": "parameter",
    "average": "average",
}


class AdamWEMA(Optimizer):
    """Implements the AdamWEMA update rule::

        w -= lr * (1*m/(sqrt(v)+eps)); read ema(w,ema_decay)/(1-ema_decay**t)

    One step does, for each parameter ``w`` with gradient ``g`` (``t`` counts from 1)::

        v = beta2 * v + (1 - beta2) * g**2
        v_hat = v / (1 - beta2**t)
        m = beta1 * m + (1 - beta1) * g
        m_hat = m / (1 - beta1**t)
        u = adam_weight * m_hat / (sqrt(v_hat) + eps)
        w = w - lr * weight_decay * w
        w = w - lr * u

    On the way the weights are averaged. The model always holds the last ones, and
    ``model.eval()`` does not change that: score and save the average inside ``with
    optimizer.averaged():``, or copy it into another model with ``copy_averaged_to``.
    Running statistics, as those of BatchNorm, belong to the last weights:
    ``averaged(model, batches)`` computes them anew, ``torch.optim.swa_utils.update_bn``
    in a copy. The average is ``ema(w, ema_decay) / (1 - ema_decay**t)``, kept as
    ``average`` in the state.

    Args:
        params (iterable): iterable of parameters or named_parameters to optimize or
            iterable of dicts defining parameter groups
        lr (float | Tensor, optional): learning rate; a tensor has one element (default:
            0.001)
        betas (tuple[float, float], optional): decay of the moving average of the
            gradient; decay of the moving average of the squared gradient (default:
            (0.9, 0.999))
        eps (float, optional): term added to denominators to improve numerical stability
            (default: 1e-08)
        weight_decay (float, optional): decoupled weight decay coefficient (default:
            0.01)
        adam_weight (float, optional): weight of the term m/(sqrt(v)+eps) (default: 1.0)
        ema_decay (float, optional): decay of the moving average of the weights
            (default: 0.999)
        foreach (bool, optional): None or False: there is no such implementation
            (default: None)
        maximize (bool, optional): maximize the objective, instead of minimizing
            (default: False)
        capturable (bool, optional): whether this instance is safe to capture in a CUDA
            graph; it slows one that is not captured (default: False)
        fused (bool, optional): None or False, likewise (default: None)
        stochastic_rounding (bool, optional): whether what is stored as bfloat16 is
            rounded up or down at random, so that steps too small for it count on
            average (default: False)

    Origin:
        Exported from: preset 'adamw_ema', AdamW that ends with an average of its
            weights, as in section 7.2 of D. Kingma and J. Ba, Adam: A Method for
            Stochastic Optimization, arXiv 1412.6980
        Hash of the rule: 9391e541f0e0d18e
        Rule as JSON::

            {"kind": "update_rule", "version": 2, "terms": [["adam", 1.0]], "lr": 0.001,
            "beta1": 0.9, "beta2": 0.999, "beta3": 0.9, "eps": 1e-08, "weight_decay":
            0.01, "use_m": true, "use_v": true, "bias_correction": true, "clip_value":
            null, "warmup_steps": 0, "cosine": false, "nesterov_beta": null,
            "clip_norm": null, "gradient_difference": 0.0, "normalize_first": false,
            "second_moment": "full", "slow_beta": null, "power": 0.5, "mask": "none",
            "shape": "none", "iterations": 5, "shape_output": false, "scale": "none",
            "cautious_decay": false, "others": "rule", "others_lr": 1.0, "others_beta1":
            0.9, "others_beta2": 0.95, "others_eps": 1e-10, "warmup_fraction": 0.0,
            "decay_shape": "none", "decay_start": 0.0, "decay_floor": 0.0,
            "decay_power": 1.0, "readout": "ema", "ema_decay": 0.999, "mean_fraction":
            0.25}
    """

    _reads_average: bool = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        *,
        adam_weight: float = 1.0,
        ema_decay: float = 0.999,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        fused: bool | None = None,
        stochastic_rounding: bool = False,
    ) -> None:
        if foreach or fused:
            raise ValueError(
                f"{type(self).__name__} has neither a foreach nor a fused "
                "implementation: leave foreach and fused out"
            )
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= betas[0] < 1.0:
            raise ValueError(f"Invalid beta parameter at index 0: {betas[0]}")
        if not 0.0 <= betas[1] < 1.0:
            raise ValueError(f"Invalid beta parameter at index 1: {betas[1]}")
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if not math.isfinite(adam_weight):
            raise ValueError(f"Invalid adam_weight: {adam_weight}")
        if not 0.0 <= ema_decay < 1.0:
            raise ValueError(f"Invalid ema_decay value: {ema_decay}")

        # Plain numbers: a checkpoint with numpy's would not load with weights_only.
        defaults = {
            "lr": lr if isinstance(lr, Tensor) else float(lr),
            "betas": (float(betas[0]), float(betas[1])),
            "eps": float(eps),
            "weight_decay": float(weight_decay),
            "adam_weight": float(adam_weight),
            "ema_decay": float(ema_decay),
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "fused": fused,
            "stochastic_rounding": stochastic_rounding,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for group in state["param_groups"]:
            for p in group["params"]:
                p_state = state["state"].get(p)
                missing = {"step", *_KEPT}.difference(p_state or ())
                if p_state and missing:
                    raise ValueError(
                        f"{type(self).__name__} cannot load the state of another "
                        f"optimizer: it has no {', '.join(sorted(missing))}"
                    )
        super().__setstate__(state)
        flags = {
            "maximize": False,
            "capturable": False,
            "foreach": None,
            "fused": None,
            "stochastic_rounding": False,
        }
        for group in self.param_groups:
            for name, value in {**flags, **self.defaults}.items():
                if name != "differentiable":  # torch adds it to the defaults
                    group.setdefault(name, value)
            for p in group["params"]:
                p_state = self.state.get(p, {})
                if p_state and not isinstance(p_state["step"], Tensor):
                    p_state["step"] = torch.tensor(
                        float(p_state["step"]),
                        dtype=_get_scalar_dtype(),
                        device=p.device if group["capturable"] else "cpu",
                    )
                if "average" in p_state:  # loading gave it the dtype of the parameter
                    p_state["average"] = p_state["average"].to(_wide(p.dtype))

    def _init_group(
        self,
        group: dict[str, Any],
        tensors: list[Tensor],
    ) -> None:
        # Of each parameter that has a gradient: step, parameter, what is kept, gradient
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients"
                )
            state = self.state[p]
            # Lazy state initialization
            if len(state) == 0:
                # On the CPU unless captured: kernel launches are costly.
                state["step"] = torch.zeros(
                    (),
                    dtype=_get_scalar_dtype(),
                    device=p.device if group["capturable"] else "cpu",
                )
                for name, shape in _KEPT.items():
                    state[name] = _zeros(p, shape)
            if group["capturable"]:
                devices = _get_capturable_supported_devices()
                if not p.device.type == state["step"].device.type in devices:
                    raise AssertionError(
                        "If capturable=True, params and state_steps must be on "
                        f"supported devices: {devices}."
                    )
            own = [state[name] for name in _KEPT]
            tensors += [state["step"], p, *own, p.grad]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Perform a single optimization step.

        Args:
            closure (Callable, optional): A closure that reevaluates the model
                and returns the loss.
        """
        if (
            not torch.compiler.is_compiling()
            and torch.cuda.is_available()
            and torch.cuda.is_current_stream_capturing()
            and not all(group["capturable"] for group in self.param_groups)
        ):
            raise RuntimeError(
                "Attempting CUDA graph capture of step() for an instance of "
                f"{type(self).__name__} but param_groups' capturable is False."
            )

        if self._reads_average:
            raise RuntimeError(
                "the parameters are averages now: leave averaged() before the next step"
            )
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        if all(p.grad is None for group in self.param_groups for p in group["params"]):
            return loss

        for group in self.param_groups:
            tensors: list[Tensor] = []
            self._init_group(group, tensors)
            lr = group["lr"]
            if isinstance(lr, Tensor):
                lr = lr.squeeze()
            _each_(_move_, tensors, 6, lr, group)

        return loss

    @contextmanager
    def averaged(
        self, model: torch.nn.Module | None = None, batches: Iterable[Any] = ()
    ) -> Iterator[None]:
        """Hold the averaged weights in the parameters, and the last ones afterwards.

        Args:
            model: One with BatchNorm, whose running statistics are then computed anew
                for these weights by ``torch.optim.swa_utils.update_bn``; its buffers
                are put back afterwards.
            batches: What from: inputs, or tuples that begin with them, as a loader of
                training data gives.
        """
        if self._reads_average:
            raise RuntimeError(
                "the parameters are averages already: averaged() does not nest"
            )
        pairs = [(state["average"], p) for p, state in self.state.items() if state]
        buffers = () if model is None else model.buffers()
        changed = [*(p for _, p in pairs), *buffers]
        last = [x.detach().clone() for x in changed]
        self._reads_average = True
        try:
            _copy_all(pairs)
            if model is not None:
                update_bn(batches, model)
            yield
        finally:
            _copy_all(zip(last, changed, strict=True))
            self._reads_average = False

    def copy_averaged_to(self, params: Iterable[Tensor]) -> None:
        """Write the averaged weights into other tensors, e.g. ``copy.parameters()``.

        Args:
            params: As many tensors as this optimizer has parameters, in their order
                and shapes.
        """
        own, others = [p for g in self.param_groups for p in g["params"]], list(params)
        if [p.shape for p in own] != [p.shape for p in others]:
            raise ValueError(
                "copy_averaged_to takes the parameters of a model like this one, in "
                "their order"
            )
        averages = [self.state[p]["average"] if self.state.get(p) else p for p in own]
        _copy_all(zip(averages, others, strict=True))


def _zeros(p: Tensor, shape: str) -> Tensor:
    if shape == "average":
        p = p.to(_wide(p.dtype))
    return torch.zeros_like(p, memory_format=torch.preserve_format)


def _each_(
    move: Callable[..., None],
    tensors: list[Tensor],
    count: int,
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    captured = group["capturable"] or torch.compiler.is_compiling()
    for start in range(0, len(tensors), count):
        step_t, *parts = tensors[start : start + count]
        step_t += 1
        step = step_t if captured else step_t.item()
        parts = [torch.view_as_real(t) if torch.is_complex(t) else t for t in parts]
        average = parts.pop(-2)
        *own, grad = _in_float32(parts)
        grad = -grad if group["maximize"] else grad
        move(*own, grad, step=step, lr=lr, group=group)
        _store_(parts, own, group["stochastic_rounding"])
        share = _share(step, group)
        if isinstance(share, Tensor):
            average.add_((parts[0] - average) * share)
        else:
            average.lerp_(parts[0].to(average.dtype), share)


def _move_(
    param: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    grad: Tensor,
    *,
    step: float | Tensor,
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    beta1, beta2 = group["betas"]
    eps = group["eps"]
    weight_decay = group["weight_decay"]
    adam_weight = group["adam_weight"]

    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    denom = (exp_avg_sq / (1 - beta2**step)).sqrt() + eps
    exp_avg.lerp_(grad, 1 - beta1)
    momentum = exp_avg / (1 - beta1**step)
    update = adam_weight * momentum / denom
    param.mul_(1 - lr * weight_decay)
    param.sub_(lr * update)


def _share(step: float | Tensor, group: dict[str, Any]) -> Any:
    # That of the new weights in the average
    ema_decay = group["ema_decay"]
    return (1 - ema_decay) / (1 - ema_decay**step)


@torch.no_grad()
def _copy_all(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    for source, target in pairs:
        target.copy_(source)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in _LOW_PRECISION else dtype


def _in_float32(tensors: Sequence[Tensor]) -> list[Tensor]:
    # Low precision is computed in float32, for the sum of all terms to be rounded once.
    return [t.float() if t.dtype in _LOW_PRECISION else t for t in tensors]


def _store_(
    tensors: Sequence[Tensor], values: Sequence[Tensor], at_random: bool = False
) -> None:
    for tensor, value in zip(tensors, values, strict=False):
        if at_random and tensor.dtype == torch.bfloat16:
            # Up or down, so that the mean is kept, by what is cut off after it is added
            bits = value.view(torch.int32)
            bits = (bits + torch.randint_like(bits, 2**16)).bitwise_and_(-(2**16))
            value = torch.where(value.isfinite(), bits.view(torch.float32), value)
        if tensor is not value:
            tensor.copy_(value)
