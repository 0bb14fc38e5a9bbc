"""A torch.optim class written by evoopt 0.1.0; it needs torch and nothing else."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.optimizer import (
    Optimizer,
    ParamsT,
    _default_to_fused_or_foreach,
    _get_capturable_supported_devices,
    _get_scalar_dtype,
)
from torch.optim.swa_utils import update_bn

__all__ = [
    "AdamWEMA",
]

_LOW_PRECISION = (torch.bfloat16, torch.float16)
_CACHED = 2**18  # elements
_LARGE = 2**13  # elements, from which on a compiled kernel pays
_TOGETHER = 4  # tensors per call of it
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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state as in torch.optim."""
        super().load_state_dict(state_dict)
        # torch has rounded what is kept in float32 to the types of the parameters
        saved = [k for group in state_dict["param_groups"] for k in group["params"]]
        own = [p for group in self.param_groups for p in group["params"]]
        for k, p in zip(saved, own, strict=True):
            for name in ("average",):
                value = state_dict["state"].get(k, {}).get(name)
                if value is not None:
                    self.state[p][name] = value.to(p.device, _wide(p.dtype))

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
        rows: list[list[Tensor]],
    ) -> None:
        # Of each parameter that has a gradient: itself, what is kept, gradient, step
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
            rows.append([p, *own, p.grad, state["step"]])

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
            rows: list[list[Tensor]] = []
            self._init_group(group, rows)
            lr = group["lr"]
            if isinstance(lr, Tensor):
                lr = lr.squeeze()
                if group["fused"] and not (
                    group["capturable"] or torch.compiler.is_compiling()
                ):
                    lr = float(lr)
            _move_(rows, lr, group)

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
                _update_statistics(batches, model)
            yield
        finally:
            _copy_all(zip(last, changed, strict=True))
            self._reads_average = False

    def copy_averaged_to(self, params: Iterable[Tensor]) -> None:
        """Write the averaged weights into other tensors, e.g. ``copy.parameters()``.

        Args:
            params: As many tensors as this optimizer has parameters, in the order of
                its groups: of a copy of the model, grouped alike.
        """
        own, others = [p for g in self.param_groups for p in g["params"]], list(params)
        if [p.shape for p in own] != [p.shape for p in others]:
            raise ValueError(
                "copy_averaged_to takes the parameters of a model like this one, in "
                "their order"
            )
        averages = [self.state[p]["average"] if self.state.get(p) else p for p in own]
        _copy_all(zip(averages, others, strict=True))


def _update_statistics(batches: Iterable[Any], model: torch.nn.Module) -> None:
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    before, training = [m.momentum for m in norms], model.training
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    first = (x[0] if isinstance(x, (list, tuple)) else x for x in batches)
    inputs = ([x.to(device) if isinstance(x, Tensor) else x] for x in first)
    try:
        update_bn(inputs, model)
    finally:  # which update_bn leaves undone if it fails
        model.train(training)
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def _zeros(p: Tensor, shape: str) -> Tensor:
    if shape == "average":
        p = p.to(_wide(p.dtype))
    return torch.zeros_like(p, memory_format=torch.preserve_format)


def _move_(
    rows: list[list[Tensor]],
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    foreach = _takes_foreach(rows, lr, group)
    if group["fused"] and not foreach and not torch.compiler.is_compiling():
        # A call of a kernel costs more than a few passes over what is small.
        rows, foreach = _fused_move_(rows, lr, group), True
    if foreach:
        move = _multi_tensor_move_
        _multi_tensor_(move, rows, lr, group)
    else:
        _single_tensor_(_single_tensor_move_, rows, lr, group)


def _takes_foreach(
    rows: list[list[Tensor]], lr: float | Tensor, group: dict[str, Any]
) -> bool:
    foreach = group["foreach"]
    if foreach is None and not group["fused"]:
        params = [row[0] for row in rows]
        _, foreach = _default_to_fused_or_foreach(params, differentiable=False)
        # foreach takes a tensor lr only if capturable
        if isinstance(lr, Tensor) and not group["capturable"]:
            foreach = False
    return bool(foreach)


def _single_tensor_(
    move: Callable[..., None],
    rows: list[list[Tensor]],
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    captured = group["capturable"] or torch.compiler.is_compiling()
    for *parts, step_t in rows:
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


def _multi_tensor_(
    move: Callable[..., None],
    rows: list[list[Tensor]],
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    captured = group["capturable"] or torch.compiler.is_compiling()
    if isinstance(lr, Tensor) and not captured:
        raise RuntimeError(
            "lr as a Tensor is not supported for capturable=False and foreach=True"
        )
    alike: dict[Any, list[list[Tensor]]] = {}
    for row in rows:
        alike.setdefault((row[0].device, row[0].dtype), []).append(row)
    for some in alike.values():
        lists = [list(column) for column in zip(*some, strict=True)]
        # Wrapped once here, or the slow path for CPU tensors wraps it for every step.
        if not torch.compiler.is_compiling() and lists[-1][0].is_cpu:
            torch._foreach_add_(lists[-1], torch.tensor(1.0), alpha=1.0)
        else:
            torch._foreach_add_(lists[-1], 1)

        for *parts, steps in _chunks(lists, captured):
            # Numbers are those of all these tensors, or one for each if captured.
            step = torch.stack(steps) if captured else steps[0].item()
            averages = parts.pop(-2)
            *own, grads = map(_in_float32, parts)
            if group["maximize"]:
                grads = list(torch._foreach_neg(grads))
            move(*own, grads, step=step, lr=lr, group=group)
            for tensors, values in zip(parts, own, strict=False):
                _store_(tensors, values, group["stochastic_rounding"])
            share, params = _share(step, group), _in_float32(parts[0])
            if isinstance(share, Tensor):
                differences = torch._foreach_sub(params, averages)
                torch._foreach_mul_(differences, share.unbind())
                torch._foreach_add_(averages, differences)
            else:
                torch._foreach_lerp_(averages, params, share)


def _single_tensor_move_(
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


def _multi_tensor_move_(
    params: Any,
    exp_avgs: Any,
    exp_avg_sqs: Any,
    grads: Any,
    *,
    step: Any,
    lr: Any,
    group: dict[str, Any],
) -> None:
    beta1, beta2 = group["betas"]
    eps = group["eps"]
    weight_decay = group["weight_decay"]
    adam_weight = group["adam_weight"]

    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)
    denoms = torch._foreach_div(exp_avg_sqs, _of_each(1 - beta2**step))
    torch._foreach_sqrt_(denoms)
    torch._foreach_add_(denoms, eps)
    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    momentums = torch._foreach_div(exp_avgs, _of_each(1 - beta1**step))
    updates = torch._foreach_mul(momentums, adam_weight)
    torch._foreach_div_(updates, denoms)
    del denoms, momentums
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_mul_(updates, lr)
    torch._foreach_sub_(params, updates)


def _fused_move_(
    rows: list[list[Tensor]], lr: float | Tensor, group: dict[str, Any]
) -> list[list[Tensor]]:
    # Move what is large, and return the rest
    jobs: dict[Any, list[list[Tensor]]] = {}
    rest: list[list[Tensor]] = []
    large_steps: list[Tensor] = []
    for row in rows:
        *tensors, step_t = row
        flat = _flat(tensors)
        if flat is None:
            rest.append(row)
        else:
            if group["maximize"]:
                flat[-1] = -flat[-1]
            key = flat[0].dtype, flat[0].device, step_t.item() + 1
            jobs.setdefault(key, []).append(flat)
            large_steps.append(step_t)

    lr = float(lr)
    beta1, beta2 = group["betas"]
    eps = group["eps"]
    weight_decay = group["weight_decay"]
    adam_weight = group["adam_weight"]
    kernels = [_compiled(dtype, device, _surroundings()) for dtype, device, _ in jobs]
    for kernel, (key, parts) in zip(kernels, jobs.items(), strict=True):
        dtype, device, step = key
        values = (
            beta2,
            1 - beta2,
            1 - beta2**step,
            eps,
            1 - beta1,
            1 - beta1**step,
            adam_weight,
            1 - lr * weight_decay,
            lr,
            _share(step, group),
        )
        numbers = torch.tensor(values, dtype=_wide(dtype), device=device)
        parts += _examples(dtype, device, 64)[: -len(parts) % _TOGETHER]
        for start in range(0, len(parts), _TOGETHER):
            together = zip(*parts[start : start + _TOGETHER], strict=True)
            kernel(*map(list, together), numbers)
    if large_steps:
        torch._foreach_add_(large_steps, torch.tensor(1.0), alpha=1.0)
    return rest


def _kernel(
    params: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    averages: list[Tensor],
    grads: list[Tensor],
    numbers: Tensor,
) -> None:
    (
        beta2,
        rest_of_beta2,
        bias_correction2,
        eps,
        rest_of_beta1,
        bias_correction1,
        adam_weight,
        decay,
        lr,
        share,
    ) = numbers.unbind()
    for piece in zip(params, exp_avgs, exp_avg_sqs, averages, grads, strict=True):
        average = piece[-2]
        param, exp_avg, exp_avg_sq, grad = _in_float32([*piece[:-2], piece[-1]])
        exp_avg_sq.mul_(beta2).add_(grad * grad * rest_of_beta2)
        denom = (exp_avg_sq / bias_correction2).sqrt() + eps
        exp_avg.lerp_(grad, rest_of_beta1)
        momentum = exp_avg / bias_correction1
        update = adam_weight * momentum / denom
        param.mul_(decay)
        param.sub_(lr * update)
        _store_(piece, [param, exp_avg, exp_avg_sq])
        average.lerp_(piece[0].to(average.dtype), share)


def _share(step: float | Tensor, group: dict[str, Any]) -> Any:
    # That of the new weights in the average
    ema_decay = group["ema_decay"]
    return (1 - ema_decay) / (1 - ema_decay**step)


@torch.no_grad()
def _copy_all(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    for source, target in pairs:
        target.copy_(source)


@functools.cache
def _compiled(dtype: torch.dtype, device: torch.device, _: Any) -> Callable[..., None]:
    # Once, for a few tensors of any size, with numbers in a tensor: they may change.
    function: Callable[..., Any] = _kernel
    kernel = torch.compile(function, dynamic=True, fullgraph=True)
    # Sizes that are equal now would have to be equal ever after.
    examples: Any = map(list, zip(*_examples(dtype, device, 2**14), strict=True))
    numbers = torch.zeros(10, dtype=_wide(dtype), device=device)
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
        [
            torch.zeros(size + 64 * i, dtype=of, device=device)
            for of in (*[dtype] * 3, _wide(dtype), dtype)
        ]
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
    # As many tensors at a time as a cache holds, or as there may be temporaries of, and
    # of one step, for they share its bias correction.
    chunks: list[list[Sequence[Tensor]]] = []
    size, last = 0, None
    for *tensors, step_t in zip(*lists, strict=True):
        step = None if capturable else step_t.item()
        for piece in _pieces(tensors):
            size += piece[0].numel()
            full = size > (_CACHED if piece[0].is_cpu else 2**24)
            if full or step != last or not chunks:
                chunks.append([])
                size = piece[0].numel()
            chunks[-1].append([*piece, step_t])
            last = step
    return [[list(column) for column in zip(*chunk, strict=True)] for chunk in chunks]


def _of_each(values: Any) -> Any:
    # One number for all tensors of a list, or one for each
    return values.unbind() if isinstance(values, Tensor) else values
