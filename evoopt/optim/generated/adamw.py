"""A torch.optim class written by evoopt 0.1.0; it needs torch and nothing else."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor
from torch.optim.optimizer import (
    Optimizer,
    ParamsT,
    _default_to_fused_or_foreach,
    _get_capturable_supported_devices,
    _get_scalar_dtype,
)

__all__ = [
    "AdamW",
    "adamw",
]

_LOW_PRECISION = (torch.bfloat16, torch.float16)
_CACHED = 2**18  # elements
_LARGE = 2**13  # elements, from which on a compiled kernel pays
_TOGETHER = 4  # tensors per call of it


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
        stochastic_rounding (bool, optional): whether what is stored as bfloat16 is
            rounded up or down at random, so that steps too small for it count on
            average (default: False)

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
        stochastic_rounding: bool = False,
    ) -> None:
        if fused and (foreach or capturable or stochastic_rounding):
            raise ValueError(
                "fused goes with neither foreach, capturable nor stochastic_rounding"
            )
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
            "stochastic_rounding": stochastic_rounding,
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
                step = p_state.get("step")
                # Loading takes it to the parameter where a group is fused
                if p_state and not (isinstance(step, Tensor) and step.is_meta):
                    p_state["step"] = torch.as_tensor(
                        step,
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
                stochastic_rounding=group["stochastic_rounding"],
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
    stochastic_rounding: bool,
) -> None:
    for i, whole in enumerate(params):
        step_t = state_steps[i]
        step_t += 1
        step = step_t if capturable else step_t.item()
        bias_correction1 = 1 - beta1**step
        bias_correction2 = 1 - beta2**step
        tensors = [
            whole,
            exp_avgs[i],
            exp_avg_sqs[i],
            -grads[i] if maximize else grads[i],
        ]
        for piece in _pieces(tensors):
            param, exp_avg, exp_avg_sq, grad = _in_float32(piece)

            if weight_decay != 0:
                param.mul_(1 - lr * weight_decay)

            exp_avg.lerp_(grad, 1 - beta1)
            exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)

            scratch = exp_avg_sq.div(bias_correction2)
            scratch.sqrt_()
            scratch.add_(eps)
            scale = -lr * adam_weight / bias_correction1
            _addcdiv_scaled_(param, exp_avg, scratch, scale)
            new = [param, exp_avg, exp_avg_sq]
            _store_(piece, new, stochastic_rounding)


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
    stochastic_rounding: bool,
) -> None:
    if len(params) == 0:
        return
    if isinstance(lr, Tensor) and not capturable:
        raise RuntimeError(
            "lr as a Tensor is not supported for capturable=False and foreach=True"
        )

    tensor_lists: Any = [
        params,
        exp_avgs,
        exp_avg_sqs,
        grads,
        state_steps,
    ]
    grouped = Optimizer._group_tensors_by_device_and_dtype(tensor_lists)
    for lists, _ in grouped.values():
        steps: Any = lists[-1]
        # Wrapped once here, or the slow path for CPU tensors wraps it for every step.
        if not torch.compiler.is_compiling() and steps[0].is_cpu:
            torch._foreach_add_(steps, torch.tensor(1.0), alpha=1.0)
        else:
            torch._foreach_add_(steps, 1)

        for chunk in _chunks(cast(Any, lists), capturable):
            (
                device_params,
                device_exp_avgs,
                device_exp_avg_sqs,
                device_grads,
                device_steps,
            ) = map(_in_float32, chunk)
            if maximize:
                device_grads = list(torch._foreach_neg(device_grads))
            bias_correction1 = _bias_correction(beta1, device_steps, capturable)
            bias_correction2 = _bias_correction(beta2, device_steps, capturable)

            if weight_decay != 0:
                torch._foreach_mul_(device_params, 1 - lr * weight_decay)

            torch._foreach_lerp_(device_exp_avgs, device_grads, 1 - beta1)
            torch._foreach_mul_(device_exp_avg_sqs, beta2)
            torch._foreach_addcmul_(
                device_exp_avg_sqs, device_grads, device_grads, 1 - beta2
            )
            del device_grads

            scratch = torch._foreach_div(device_exp_avg_sqs, bias_correction2)
            torch._foreach_sqrt_(scratch)
            torch._foreach_add_(scratch, eps)
            scale = _divided(-lr * adam_weight, bias_correction1)
            _foreach_addcdiv_scaled_(device_params, device_exp_avgs, scratch, scale)
            _store_(chunk[0], device_params, stochastic_rounding)
            _store_(chunk[1], device_exp_avgs, stochastic_rounding)
            _store_(chunk[2], device_exp_avg_sqs, stochastic_rounding)


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
    stochastic_rounding: bool,
) -> None:
    jobs: dict[Any, list[list[Tensor]]] = {}
    rest: list[list[Tensor]] = []
    large_steps: list[Tensor] = []
    for i, step_t in enumerate(state_steps):
        tensors = [params[i], exp_avgs[i], exp_avg_sqs[i], grads[i]]
        flat = _flat(tensors)
        if flat is None:
            rest.append([*tensors, step_t])
        else:
            if maximize:
                flat[-1] = -flat[-1]
            key = flat[0].dtype, flat[0].device, step_t.item() + 1
            jobs.setdefault(key, []).append(flat)
            large_steps.append(step_t)

    lr = float(lr)
    kernels = [_compiled(dtype, device, _surroundings()) for dtype, device, _ in jobs]
    for kernel, (key, parts) in zip(kernels, jobs.items(), strict=True):
        dtype, device, step = key
        bias_correction1 = 1 - beta1**step
        bias_correction2 = 1 - beta2**step
        values = (
            1 - lr * weight_decay,
            beta1,
            1 - beta1,
            beta2,
            1 - beta2,
            1 / bias_correction2,
            eps,
            -lr * adam_weight / bias_correction1,
        )
        numbers = torch.tensor(values, dtype=_wide(dtype), device=device)
        parts += _examples(dtype, device, 64)[: -len(parts) % _TOGETHER]
        for start in range(0, len(parts), _TOGETHER):
            together = zip(*parts[start : start + _TOGETHER], strict=True)
            kernel(*map(list, together), numbers)
    if large_steps:
        torch._foreach_add_(large_steps, torch.tensor(1.0), alpha=1.0)
    if rest:
        # A call of a kernel costs more than a few passes over what is small.
        columns = [list(column) for column in zip(*rest, strict=True)]
        _multi_tensor_adamw(
            columns[0],
            columns[-2],
            columns[1],
            columns[2],
            columns[-1],
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            adam_weight=adam_weight,
            maximize=maximize,
            capturable=capturable,
            has_complex=has_complex,
            stochastic_rounding=stochastic_rounding,
        )


def _kernel_adamw(
    params: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    grads: list[Tensor],
    numbers: Tensor,
) -> None:
    (
        decay,
        beta1,
        rest_of_beta1,
        beta2,
        rest_of_beta2,
        unbias2,
        eps,
        adam_scale,
    ) = numbers.unbind()
    for piece in zip(params, exp_avgs, exp_avg_sqs, grads, strict=True):
        param, exp_avg, exp_avg_sq, grad = _in_float32(piece)
        param.mul_(decay)

        exp_avg.mul_(beta1).add_(grad.mul(rest_of_beta1))
        exp_avg_sq.mul_(beta2).add_(grad.square().mul(rest_of_beta2))

        scratch = exp_avg_sq.mul(unbias2)
        scratch.sqrt_()
        scratch.add_(eps)
        param.add_(exp_avg.div(scratch).mul_(adam_scale))
        _store_(piece, [param, exp_avg, exp_avg_sq])


@functools.cache
def _compiled(dtype: torch.dtype, device: torch.device, _: Any) -> Callable[..., None]:
    # Once, for a few tensors of any size, with numbers in a tensor: they may change.
    function: Callable[..., Any] = _kernel_adamw
    kernel = torch.compile(function, dynamic=True, fullgraph=True)
    # Sizes that are equal now would have to be equal ever after.
    examples: Any = map(list, zip(*_examples(dtype, device, 2**14), strict=True))
    numbers = torch.zeros(8, dtype=_wide(dtype), device=device)
    try:
        kernel(*examples, numbers)
    except Exception as error:
        raise RuntimeError(
            "fused=True compiles the update with torch.compile, which failed; it needs "
            "a C++ compiler, on CUDA triton. Pass fused=False to do without"
        ) from error
    return kernel


def _surroundings() -> Any:
    # With any of these changed, a kernel is compiled anew.
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )


@functools.cache
def _examples(
    dtype: torch.dtype, device: torch.device, size: int
) -> list[list[Tensor]]:
    return [
        [torch.zeros(size + 64 * i, dtype=dtype, device=device) for _ in range(4)]
        for i in range(_TOGETHER)
    ]


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


def _flat(tensors: list[Tensor]) -> list[Tensor] | None:
    # Views with one dimension, if all are large and have one order of memory
    if tensors[0].numel() < _LARGE or not _plain(tensors):
        return None
    if torch.is_complex(tensors[0]):
        tensors = [torch.view_as_real(t) for t in tensors]
    if not all(t.is_contiguous() for t in tensors):
        order = sorted(range(tensors[0].dim()), key=tensors[0].stride, reverse=True)
        tensors = [t.permute(order) for t in tensors]
        if not all(t.is_contiguous() for t in tensors):
            return None
    return [t.detach().view(-1) for t in tensors]


def _plain(tensors: Sequence[Tensor]) -> bool:
    return all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)


def _pieces(tensors: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    # What a cache holds, of parameter, averages and gradient
    if torch.is_complex(tensors[0]):
        tensors = [torch.view_as_real(t) for t in tensors]
    if (
        tensors[0].numel() <= _CACHED
        or torch.compiler.is_compiling()
        or not all(t.is_cpu and t.is_contiguous() for t in tensors)
        or not _plain(tensors)
    ):
        return [tensors]
    return list(zip(*(torch.split(t.view(-1), _CACHED) for t in tensors), strict=True))


def _chunks(lists: list[list[Tensor]], capturable: bool) -> list[list[list[Tensor]]]:
    # As many tensors at a time as a cache holds, or as may be copied to float32, and
    # of one step, for they share its bias correction.
    chunks: list[list[Sequence[Tensor]]] = []
    size, last = 0, None
    for *tensors, step_t in zip(*lists, strict=True):
        step = None if capturable else step_t.item()
        for piece in _pieces(tensors):
            limited = piece[0].is_cpu or piece[0].dtype in _LOW_PRECISION
            size += piece[0].numel() if limited else 0
            full = size > (_CACHED if piece[0].is_cpu else 2**24)
            if full or step != last or not chunks:
                chunks.append([])
                size = piece[0].numel() if limited else 0
            chunks[-1].append([*piece, step_t])
            last = step
    return [[list(column) for column in zip(*chunk, strict=True)] for chunk in chunks]


def _addcdiv_scaled_(
    param: Tensor, numerator: Tensor, denominator: Tensor, scale: float | Tensor
) -> None:
    # value has to be a number
    if isinstance(scale, Tensor):
        param.addcdiv_(numerator * scale, denominator)
    else:
        param.addcdiv_(numerator, denominator, value=scale)


def _foreach_addcdiv_scaled_(
    params: list[Tensor],
    numerators: list[Tensor],
    denominators: tuple[Tensor, ...] | list[Tensor],
    scale: Any,
) -> None:
    if isinstance(scale, float | int):
        torch._foreach_addcdiv_(params, numerators, denominators, value=scale)
    else:
        scaled = torch._foreach_mul(numerators, scale)
        torch._foreach_addcdiv_(params, scaled, denominators)


def _bias_correction(beta: float, steps: list[Tensor], capturable: bool) -> Any:
    # 1 - beta**step, for each parameter and on the steps' device if captured
    if not capturable:
        return 1 - beta ** steps[0].item()
    corrections = torch._foreach_pow(beta, steps)
    torch._foreach_sub_(corrections, 1)
    torch._foreach_neg_(corrections)
    return corrections


def _divided(scale: float | Tensor, correction: Any) -> Any:
    if isinstance(correction, float):
        return scale / correction
    divided = torch._foreach_reciprocal(correction)
    torch._foreach_mul_(divided, scale)
    return divided


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
    stochastic_rounding: bool = False,
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
        stochastic_rounding=stochastic_rounding,
    )
