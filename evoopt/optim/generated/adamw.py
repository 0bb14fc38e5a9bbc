"""A torch.optim class written by evoopt 0.1.0; it needs torch and nothing else."""

import functools
import math
from collections.abc import Callable
from typing import Any, cast, overload

import torch
from torch import Tensor
from torch.optim.optimizer import (
    Optimizer,
    ParamsT,
    _default_to_fused_or_foreach,
    _get_capturable_supported_devices,
    _get_scalar_dtype,
    _view_as_real,
)

__all__ = [
    "AdamW",
    "adamw",
]

_LOW_PRECISION = (torch.bfloat16, torch.float16)


class AdamW(Optimizer):
    """Implements the AdamW update rule::

        w -= lr * (1*m/(sqrt(v)+eps))

    One step does, for each parameter ``w`` with gradient ``g`` (``t`` counts from 1)::

        w = w * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        w = w - lr * adam_weight * m_hat / (sqrt(v_hat) + eps)

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
        foreach (bool, optional): whether the foreach implementation is used; if None,
            it is where all parameters are on CUDA (default: None)
        maximize (bool, optional): maximize the objective, instead of minimizing
            (default: False)
        capturable (bool, optional): whether this instance is safe to capture in a CUDA
            graph; it slows one that is not captured (default: False)
        fused (bool, optional): whether one pass over memory makes the whole update of a
            tensor, compiled by torch.compile at the first step; the fastest on a CPU
            (default: None, that is not)

    Origin:
        Exported from: preset 'adamw'
        Hash of the rule: 36f8a699523969a7
        Rule as JSON::

            {"kind": "update_rule", "version": 1, "terms": [["adam", 1.0]], "lr": 0.001,
            "beta1": 0.9, "beta2": 0.999, "beta3": 0.9, "eps": 1e-08, "weight_decay":
            0.01, "use_m": true, "use_v": true, "bias_correction": true, "clip_value":
            null, "warmup_steps": 0, "cosine": false, "nesterov_beta": null}
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        *,
        adam_weight: float = 1.0,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if fused and (foreach or capturable):
            raise ValueError("fused goes with neither foreach nor capturable")
        if isinstance(lr, Tensor):
            if foreach and not capturable:
                raise ValueError(
                    "lr as a Tensor is not supported for capturable=False "
                    "and foreach=True"
                )
            if lr.numel() != 1:
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

        # Plain numbers: a checkpoint with numpy's would not load with weights_only.
        defaults = {
            "lr": lr if isinstance(lr, Tensor) else float(lr),
            "betas": (float(betas[0]), float(betas[1])),
            "eps": float(eps),
            "weight_decay": float(weight_decay),
            "adam_weight": float(adam_weight),
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for group in state["param_groups"]:
            for p in group["params"]:
                p_state = state["state"].get(p)
                missing = {"step", "exp_avg", "exp_avg_sq"}.difference(p_state or ())
                if p_state and missing:
                    raise ValueError(
                        f"{type(self).__name__} cannot load the state of another "
                        f"optimizer: it has no {', '.join(sorted(missing))}"
                    )
        super().__setstate__(state)
        flags = {"maximize": False, "capturable": False, "foreach": None, "fused": None}
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

    def _init_group(
        self,
        group: dict[str, Any],
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        state_steps: list[Tensor],
    ) -> bool:
        has_complex = False
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients"
                )
            has_complex |= torch.is_complex(p)
            params_with_grad.append(p)
            grads.append(p.grad)

            state = self.state[p]
            # Lazy state initialization
            if len(state) == 0:
                # On the CPU unless captured: kernel launches are costly.
                state["step"] = torch.zeros(
                    (),
                    dtype=_get_scalar_dtype(),
                    device=p.device if group["capturable"] else "cpu",
                )
                # Exponential moving average of gradient values
                state["exp_avg"] = torch.zeros_like(
                    p, memory_format=torch.preserve_format
                )
                # Exponential moving average of squared gradient values
                state["exp_avg_sq"] = torch.zeros_like(
                    p, memory_format=torch.preserve_format
                )
            exp_avgs.append(state["exp_avg"])
            exp_avg_sqs.append(state["exp_avg_sq"])
            state_steps.append(state["step"])
        return has_complex

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

        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        if all(p.grad is None for group in self.param_groups for p in group["params"]):
            return loss

        for group in self.param_groups:
            params_with_grad: list[Tensor] = []
            grads: list[Tensor] = []
            exp_avgs: list[Tensor] = []
            exp_avg_sqs: list[Tensor] = []
            state_steps: list[Tensor] = []
            beta1, beta2 = group["betas"]

            has_complex = self._init_group(
                group,
                params_with_grad,
                grads,
                exp_avgs,
                exp_avg_sqs,
                state_steps,
            )

            adamw(
                params_with_grad,
                grads,
                exp_avgs,
                exp_avg_sqs,
                state_steps,
                foreach=group["foreach"],
                capturable=group["capturable"],
                fused=group["fused"],
                has_complex=has_complex,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                adam_weight=group["adam_weight"],
                maximize=group["maximize"],
            )

        return loss


def _single_tensor_adamw(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    state_steps: list[Tensor],
    *,
    lr: float | Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    adam_weight: float,
    maximize: bool,
    capturable: bool,
    has_complex: bool,
) -> None:
    for i, param in enumerate(params):
        grad = grads[i] if not maximize else -grads[i]
        exp_avg = exp_avgs[i]
        exp_avg_sq = exp_avg_sqs[i]
        step_t = state_steps[i]

        if has_complex and torch.is_complex(param):
            param = torch.view_as_real(param)
            grad = torch.view_as_real(grad)
            exp_avg = torch.view_as_real(exp_avg)
            exp_avg_sq = torch.view_as_real(exp_avg_sq)

        stored = [param, exp_avg, exp_avg_sq]
        param, exp_avg, exp_avg_sq = _in_float32(stored)
        (grad,) = _in_float32([grad])

        step_t += 1
        step = step_t if capturable else step_t.item()

        if weight_decay != 0:
            param.mul_(1 - lr * weight_decay)

        exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        m_hat = exp_avg.div(1 - beta1**step)
        denom = exp_avg_sq.div(1 - beta2**step).sqrt_().add_(eps)

        update = m_hat.div_(denom).mul_(adam_weight)
        if isinstance(lr, Tensor):
            param.sub_(update.mul_(lr))
        else:
            param.sub_(update, alpha=lr)
        _store_(stored, [param, exp_avg, exp_avg_sq])


def _multi_tensor_adamw(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    state_steps: list[Tensor],
    *,
    lr: float | Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    adam_weight: float,
    maximize: bool,
    capturable: bool,
    has_complex: bool,
) -> None:
    if len(params) == 0:
        return
    if isinstance(lr, Tensor) and not capturable:
        raise RuntimeError(
            "lr as a Tensor is not supported for capturable=False and foreach=True"
        )

    tensor_lists: Any = [
        params,
        grads,
        exp_avgs,
        exp_avg_sqs,
        state_steps,
    ]
    grouped = Optimizer._group_tensors_by_device_and_dtype(tensor_lists)
    for tensors in _chunks([cast(Any, lists) for lists, _ in grouped.values()]):
        (
            device_params,
            device_grads,
            device_exp_avgs,
            device_exp_avg_sqs,
            device_steps,
        ) = tensors

        if has_complex:
            _view_as_real(
                device_params,
                device_grads,
                device_exp_avgs,
                device_exp_avg_sqs,
            )

        if maximize:
            device_grads = list(torch._foreach_neg(device_grads))

        # Wrapped once here, or the slow path for CPU tensors wraps it for every step.
        if not torch.compiler.is_compiling() and device_steps[0].is_cpu:
            torch._foreach_add_(device_steps, torch.tensor(1.0), alpha=1.0)
        else:
            torch._foreach_add_(device_steps, 1)

        stored = [*device_params, *device_exp_avgs, *device_exp_avg_sqs]
        device_params = _in_float32(device_params)
        device_exp_avgs = _in_float32(device_exp_avgs)
        device_exp_avg_sqs = _in_float32(device_exp_avg_sqs)
        device_grads = _in_float32(device_grads)

        if weight_decay != 0:
            torch._foreach_mul_(device_params, 1 - lr * weight_decay)

        torch._foreach_lerp_(device_exp_avgs, device_grads, 1 - beta1)
        torch._foreach_mul_(device_exp_avg_sqs, beta2)
        torch._foreach_addcmul_(
            device_exp_avg_sqs, device_grads, device_grads, 1 - beta2
        )
        del device_grads

        bias_correction2 = _bias_corrections(beta2, device_steps, capturable)
        scratch = torch._foreach_div(device_exp_avg_sqs, bias_correction2)
        torch._foreach_sqrt_(scratch)
        torch._foreach_add_(scratch, eps)
        bias_correction1 = _bias_corrections(beta1, device_steps, capturable)
        torch._foreach_mul_(scratch, bias_correction1)
        _addcdiv_scaled_(device_params, device_exp_avgs, scratch, -lr * adam_weight)
        _store_(stored, [*device_params, *device_exp_avgs, *device_exp_avg_sqs])


@functools.cache
def _compiled() -> Callable[..., None]:
    # Once, for tensors of every size, and with numbers in a tensor: they may change.
    return torch.compile(_kernel_adamw, dynamic=True, fullgraph=True)


def _kernel_adamw(
    param: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    grad: Tensor,
    scalars: Tensor,
) -> None:
    (
        lr,
        decay,
        sign,
        unbias1,
        unbias2,
        rest_of_beta1,
        rest_of_beta2,
        beta1,
        beta2,
        eps,
        adam_weight,
    ) = scalars.unbind()
    stored = [param, exp_avg, exp_avg_sq]
    param, exp_avg, exp_avg_sq = _in_float32(stored)
    (grad,) = _in_float32([grad])
    grad = grad * sign
    param.mul_(decay)

    exp_avg.mul_(beta1).add_(grad.mul(rest_of_beta1))
    exp_avg_sq.mul_(beta2).add_(grad.square().mul_(rest_of_beta2))
    m_hat = exp_avg.mul(unbias1)
    denom = exp_avg_sq.mul(unbias2).sqrt_().add_(eps)

    update = m_hat.div_(denom).mul_(adam_weight)
    param.sub_(update.mul_(lr))
    _store_(stored, [param, exp_avg, exp_avg_sq])


def _fused_adamw(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    state_steps: list[Tensor],
    *,
    lr: float | Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    adam_weight: float,
    maximize: bool,
    capturable: bool,
    has_complex: bool,
) -> None:
    jobs: dict[Any, list[list[Tensor]]] = {}
    for i, param in enumerate(params):
        step = state_steps[i].item() + 1
        tensors = [param, exp_avgs[i], exp_avg_sqs[i], grads[i]]
        if torch.is_complex(param):
            tensors = [torch.view_as_real(t) for t in tensors]
        if not all(t.is_contiguous() for t in tensors):
            # In the order of memory, if it is the same for all of them
            order = sorted(range(tensors[0].dim()), key=tensors[0].stride, reverse=True)
            tensors = [t.permute(order) for t in tensors]
        dense = param.numel() > 1 and all(t.is_contiguous() for t in tensors)
        if dense:
            tensors = [t.view(-1) for t in tensors]
        scalars = (
            float(lr),
            1 - float(lr) * weight_decay,
            -1 if maximize else 1,
            1 / (1 - beta1**step),
            1 / (1 - beta2**step),
            1 - beta1,
            1 - beta2,
            beta1,
            beta2,
            eps,
            adam_weight,
        )
        # A call costs more than a copy of what is small: all of that goes together.
        alone = i if param.numel() >= 2**13 or not dense else None
        key = alone, dense, scalars, tensors[0].dtype, param.device
        jobs.setdefault(key, []).append(tensors)

    for (alone, dense, scalars, dtype, device), parts in jobs.items():
        dtype = torch.float64 if dtype == torch.float64 else torch.float32
        numbers = torch.tensor(scalars, dtype=dtype, device=device)
        columns = list(zip(*parts, strict=True))
        joined = [c[0] if alone is not None else torch.cat(c) for c in columns]
        try:
            update: Any = _compiled() if dense else _kernel_adamw
            update(*joined, numbers)
        except Exception as error:
            raise RuntimeError(
                "fused=True compiles the update with torch.compile, which failed; it "
                "needs a C++ compiler, on CUDA triton. Pass fused=False to do without"
            ) from error
        if alone is None:
            for kept, whole in zip(columns[:-1], joined[:-1], strict=True):
                _store_(list(kept), list(whole.split([t.numel() for t in kept])))
    for step_t in state_steps:
        step_t += 1


def _in_float32(tensors: list[Tensor]) -> list[Tensor]:
    # Low precision is computed in float32, for the sum of all terms to be rounded once.
    return [t.float() if t.dtype in _LOW_PRECISION else t for t in tensors]


def _store_(tensors: list[Tensor], values: list[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        if tensor is not value:
            tensor.copy_(value)


def _chunks(groups: list[list[list[Tensor]]]) -> list[list[list[Tensor]]]:
    # As many tensors at a time as a cache holds, or as may be copied to float32.
    chunks = []
    for lists in groups:
        start = size = 0
        for end, param in enumerate(lists[0], 1):
            limited = param.is_cpu or param.dtype in _LOW_PRECISION
            size += param.numel() if limited else 0
            if size >= (2**20 if param.is_cpu else 2**24) or end == len(lists[0]):
                chunks.append([tensors[start:end] for tensors in lists])
                start, size = end, 0
    return chunks


def _addcdiv_scaled_(
    params: list[Tensor],
    numerators: list[Tensor],
    denominators: tuple[Tensor, ...] | list[Tensor],
    scale: float | Tensor,
) -> None:
    # value has to be a number
    if isinstance(scale, Tensor):
        scaled = torch._foreach_mul(numerators, scale)
        torch._foreach_addcdiv_(params, scaled, denominators)
    else:
        torch._foreach_addcdiv_(params, numerators, denominators, value=scale)


def _bias_corrections(
    beta: float, steps: list[Tensor], capturable: bool
) -> tuple[Tensor, ...] | list[float]:
    # 1 - beta**step for each parameter, on the steps' device if captured
    if not capturable:
        return [1 - beta ** step.item() for step in steps]
    corrections = torch._foreach_pow(beta, steps)
    torch._foreach_sub_(corrections, 1)
    torch._foreach_neg_(corrections)
    return corrections


def adamw(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    capturable: bool = False,
    has_complex: bool = False,
    fused: bool | None = None,
    *,
    lr: float | Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    adam_weight: float,
    maximize: bool,
) -> None:
    """Functional form of :class:`AdamW`."""
    if foreach is None and not fused:
        _, foreach = _default_to_fused_or_foreach(params, differentiable=False)
        # foreach takes a tensor lr only if capturable
        if foreach and isinstance(lr, Tensor) and not capturable:
            foreach = False

    if torch.compiler.is_compiling():
        # A compiler, as a graph, needs steps as tensors; what it can capture it checks.
        capturable = True
    elif capturable:
        devices = _get_capturable_supported_devices()
        if not all(
            p.device.type == step.device.type and p.device.type in devices
            for p, step in zip(params, state_steps, strict=True)
        ):
            raise AssertionError(
                "If capturable=True, params and state_steps must be on supported "
                f"devices: {devices}."
            )

    func = _single_tensor_adamw
    if foreach:
        func = _multi_tensor_adamw
    elif fused and not torch.compiler.is_compiling():
        func = _fused_adamw
    func(
        params,
        grads,
        exp_avgs,
        exp_avg_sqs,
        state_steps,
        lr=lr.squeeze() if isinstance(lr, Tensor) else lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        adam_weight=adam_weight,
        maximize=maximize,
        capturable=capturable,
        has_complex=has_complex,
    )
