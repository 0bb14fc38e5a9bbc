"""A torch.optim class written by evoopt 0.1.0; it needs torch and nothing else."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, overload

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
    "NorMuon",
]

_LOW_PRECISION = (torch.bfloat16, torch.float16)
_CACHED = 2**18  # elements
_LARGE = 2**13  # elements, from which on a compiled kernel pays
_TOGETHER = 4  # tensors per call of it
_STACKED = 2**12  # elements of a matrix, up to which stacks pay on a CPU
# What is kept for each matrix, and its shape
_KEPT: dict[str, str] = {
    "exp_avg": "parameter",
    "update_sq_row": "rows",
}
# What is kept for each other parameter, and its shape
_KEPT_OF_OTHERS: dict[str, str] = {
    "exp_avg": "parameter",
    "exp_avg_sq": "parameter",
}


class NorMuon(Optimizer):
    """Implements the NorMuon update rule::

        u = 1*m; o = newton_schulz(u/norm(u),iterations); u =
            o/sqrt(ema(row_mean(o**2),beta2)); u = u*sqrt(min(rows,columns))/norm(u); u
            = 0.2*sqrt(max(rows,columns))*u; w -= lr * u; no matrix: adam

    One step does, for each matrix ``w`` with gradient ``g`` (``t`` counts from 1)::

        m = beta1 * m + (1 - beta1) * g
        u = momentum_weight * m
        o = newton_schulz(u / norm(u),iterations)
        u = o / sqrt(ema(row_mean(o**2),beta2))
        u = u * sqrt(min(rows,columns)) / norm(u)
        w = w - lr * weight_decay * w
        u = 0.2 * sqrt(max(rows,columns)) * u
        w = w - lr * u

    A matrix is a parameter of two or more dimensions, seen as ``[out, rest]``, unless
    its group says ``matrix=False``, as it should for embeddings and for the output
    layer: ``matrix_groups`` of evoopt.optim makes such groups from a model and a rule,
    ``parameter_groups`` of evoopt.integrations from a model alone. Each other parameter
    follows Adam with the decay of the rule::

        v = others_betas[1] * v + (1 - others_betas[1]) * g**2
        v_hat = v / (1 - others_betas[1]**t)
        m = others_betas[0] * m + (1 - others_betas[0]) * g
        m_hat = m / (1 - others_betas[0]**t)
        u = m_hat / (sqrt(v_hat) + others_eps)
        w = w - others_lr * lr * weight_decay * w
        w = w - others_lr * lr * u

    Args:
        params (iterable): iterable of parameters or named_parameters to optimize or
            iterable of dicts defining parameter groups
        lr (float | Tensor, optional): learning rate; a tensor has one element (default:
            0.001)
        betas (tuple[float, float], optional): decay of the moving average of the
            gradient; decay of the moving average of squared updates (default: (0.95,
            0.95))
        weight_decay (float, optional): decoupled weight decay coefficient (default:
            0.1)
        momentum_weight (float, optional): weight of the term m (default: 1.0)
        iterations (int, optional): iterations of Newton and Schulz (default: 5)
        others_lr (float, optional): factor on the learning rate of parameters that are
            no matrices (default: 1.0)
        others_betas (tuple[float, float], optional): betas of Adam for those (default:
            (0.9, 0.95))
        others_eps (float, optional): term added to the denominators of Adam for those
            (default: 1e-10)
        foreach (bool, optional): whether the foreach implementation is used; if None,
            it is where all parameters are on CUDA (default: None)
        maximize (bool, optional): maximize the objective, instead of minimizing
            (default: False)
        capturable (bool, optional): whether this instance is safe to capture in a CUDA
            graph; it slows one that is not captured (default: False)
        fused (bool, optional): whether one pass over memory makes the whole update of a
            tensor, compiled by torch.compile at the first step; the fastest on a CPU;
            matrices are moved as with foreach (default: None, that is not)
        stochastic_rounding (bool, optional): whether what is stored as bfloat16 is
            rounded up or down at random, so that steps too small for it count on
            average (default: False)

    Origin:
        Exported from: preset 'normuon', Z. Li et al., NorMuon: Making Muon more
            efficient and scalable, arXiv 2510.05491
        Hash of the rule: e59e1f7848a660ce
        Rule as JSON::

            {"kind": "update_rule", "version": 2, "terms": [["momentum", 1.0]], "lr":
            0.001, "beta1": 0.95, "beta2": 0.95, "beta3": 0.9, "eps": 1e-08,
            "weight_decay": 0.1, "use_m": true, "use_v": false, "bias_correction":
            false, "clip_value": null, "warmup_steps": 0, "cosine": false,
            "nesterov_beta": null, "clip_norm": null, "gradient_difference": 0.0,
            "normalize_first": false, "second_moment": "full", "slow_beta": null,
            "power": 0.5, "mask": "none", "shape": "orthogonal_rows", "iterations": 5,
            "shape_output": false, "scale": "match_rms", "cautious_decay": false,
            "others": "adam", "others_lr": 1.0, "others_beta1": 0.9, "others_beta2":
            0.95, "others_eps": 1e-10, "warmup_fraction": 0.0, "decay_shape": "none",
            "decay_start": 0.0, "decay_floor": 0.0, "decay_power": 1.0, "readout":
            "last", "ema_decay": 0.999, "mean_fraction": 0.25}
    """

    # Of a model's parameters those that evoopt.optim.matrix_groups calls matrices
    matrix_roles = frozenset(["matrix"])

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float, float] = (0.95, 0.95),
        weight_decay: float = 0.1,
        *,
        momentum_weight: float = 1.0,
        iterations: int = 5,
        others_lr: float = 1.0,
        others_betas: tuple[float, float] = (0.9, 0.95),
        others_eps: float = 1e-10,
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
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if not math.isfinite(momentum_weight):
            raise ValueError(f"Invalid momentum_weight: {momentum_weight}")
        if not iterations >= 1:
            raise ValueError(f"Invalid iterations value: {iterations}")
        if not others_lr > 0.0:
            raise ValueError(f"Invalid others_lr value: {others_lr}")
        if not 0.0 <= others_betas[0] < 1.0:
            raise ValueError(
                f"Invalid others_betas parameter at index 0: {others_betas[0]}"
            )
        if not 0.0 <= others_betas[1] < 1.0:
            raise ValueError(
                f"Invalid others_betas parameter at index 1: {others_betas[1]}"
            )
        if not others_eps >= 0.0:
            raise ValueError(f"Invalid others_eps value: {others_eps}")

        # Plain numbers: a checkpoint with numpy's would not load with weights_only.
        defaults = {
            "lr": lr if isinstance(lr, Tensor) else float(lr),
            "betas": (float(betas[0]), float(betas[1])),
            "weight_decay": float(weight_decay),
            "momentum_weight": float(momentum_weight),
            "iterations": int(iterations),
            "others_lr": float(others_lr),
            "others_betas": (float(others_betas[0]), float(others_betas[1])),
            "others_eps": float(others_eps),
            "matrix": None,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "fused": fused,
            "stochastic_rounding": stochastic_rounding,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group."""
        super().add_param_group(param_group)
        try:
            for p in self.param_groups[-1]["params"]:
                self._check(p, self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise

    def _check(self, p: Tensor, group: dict[str, Any]) -> None:
        if _is_matrix(p, group) and p.is_complex():
            raise ValueError(
                f"{type(self).__name__} has stages for matrices, which are not defined "
                "for complex ones"
            )
        if _is_matrix(p, group) and p.dim() < 2:
            raise ValueError(
                f"a parameter of shape {tuple(p.shape)} is no matrix: leave "
                "matrix=True out"
            )
        placements = getattr(p, "placements", ())
        sharded = any(not placement.is_replicate() for placement in placements)
        if sharded and _is_matrix(p, group):
            raise ValueError(
                f"{type(self).__name__} needs matrices whole: it cannot move "
                "what fully_shard or tensor parallelism has sharded"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Whether they are matrices, saved groups may leave to this optimizer's
        own_groups = vars(self).get("param_groups", ())
        for group, own in zip(state["param_groups"], own_groups, strict=False):
            group.setdefault("matrix", own["matrix"])
        for group in state["param_groups"]:
            for p in group["params"]:
                p_state = state["state"].get(p)
                missing = {"step", *_kept(p, group)}.difference(p_state or ())
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
        matrices: list[list[Tensor]],
        others: list[list[Tensor]],
    ) -> None:
        # Of each parameter that has a gradient: itself, what is kept, gradient, step
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients"
                )
            kept = _kept(p, group)
            state = self.state[p]
            # Lazy state initialization
            if len(state) == 0:
                # On the CPU unless captured: kernel launches are costly.
                state["step"] = torch.zeros(
                    (),
                    dtype=_get_scalar_dtype(),
                    device=p.device if group["capturable"] else "cpu",
                )
                for name, shape in kept.items():
                    state[name] = _zeros(p, shape)
            if group["capturable"]:
                devices = _get_capturable_supported_devices()
                if not p.device.type == state["step"].device.type in devices:
                    raise AssertionError(
                        "If capturable=True, params and state_steps must be on "
                        f"supported devices: {devices}."
                    )
            own = [state[name] for name in kept]
            rows = matrices if _is_matrix(p, group) else others
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

        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        if all(p.grad is None for group in self.param_groups for p in group["params"]):
            return loss

        for group in self.param_groups:
            matrices: list[list[Tensor]] = []
            others: list[list[Tensor]] = []
            self._init_group(group, matrices, others)
            lr = group["lr"]
            if isinstance(lr, Tensor):
                lr = lr.squeeze()
                if group["fused"] and not (
                    group["capturable"] or torch.compiler.is_compiling()
                ):
                    lr = float(lr)
            _move_matrix_(matrices, lr, group)
            lr = lr * group["others_lr"]
            _move_other_(others, lr, group)

        return loss


def _is_matrix(p: Tensor, group: dict[str, Any]) -> bool:
    told = group.get("matrix")
    return p.dim() >= 2 if told is None else bool(told)


def _kept(p: Tensor, group: dict[str, Any]) -> dict[str, str]:
    return _KEPT if _is_matrix(p, group) else _KEPT_OF_OTHERS


def _zeros(p: Tensor, shape: str) -> Tensor:
    if shape == "rows":
        return p.new_zeros((p.flatten(1).shape[0], 1))
    return torch.zeros_like(p, memory_format=torch.preserve_format)


def _move_matrix_(
    rows: list[list[Tensor]],
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    foreach = _takes_foreach(rows, lr, group)
    # Matrices are no matter of one pass over memory: fused moves them as lists, too.
    foreach = foreach or (group["fused"] and not torch.compiler.is_compiling())
    if foreach:
        move = _multi_tensor_move_matrix_
        _multi_tensor_(move, rows, lr, group, whole=True)
    else:
        _single_tensor_(_single_tensor_move_matrix_, rows, lr, group)


def _move_other_(
    rows: list[list[Tensor]],
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    foreach = _takes_foreach(rows, lr, group)
    if group["fused"] and not foreach and not torch.compiler.is_compiling():
        # A call of a kernel costs more than a few passes over what is small.
        rows, foreach = _fused_move_other_(rows, lr, group), True
    if foreach:
        move = _multi_tensor_move_other_
        _multi_tensor_(move, rows, lr, group)
    else:
        _single_tensor_(_single_tensor_move_other_, rows, lr, group)


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
        *own, grad = _in_float32(parts)
        grad = -grad if group["maximize"] else grad
        move(*own, grad, step=step, lr=lr, group=group)
        _store_(parts, own, group["stochastic_rounding"])


def _multi_tensor_(
    move: Callable[..., None],
    rows: list[list[Tensor]],
    lr: float | Tensor,
    group: dict[str, Any],
    whole: bool = False,
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

        for *parts, steps in _chunks(lists, captured, whole):
            # Numbers are those of all these tensors, or one for each if captured.
            step = torch.stack(steps) if captured else steps[0].item()
            *own, grads = map(_in_float32, parts)
            if group["maximize"]:
                grads = list(torch._foreach_neg(grads))
            move(*own, grads, step=step, lr=lr, group=group)
            for tensors, values in zip(parts, own, strict=False):
                _store_(tensors, values, group["stochastic_rounding"])


def _single_tensor_move_matrix_(
    param: Tensor,
    exp_avg: Tensor,
    update_sq_row: Tensor,
    grad: Tensor,
    *,
    step: float | Tensor,
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    beta1, beta2 = group["betas"]
    weight_decay = group["weight_decay"]
    momentum_weight = group["momentum_weight"]
    iterations = group["iterations"]

    exp_avg.lerp_(grad, 1 - beta1)
    update = momentum_weight * exp_avg
    rows = _newton_schulz(update.flatten(1), iterations)
    update_sq_row.lerp_(rows.square().mean(1, keepdim=True), 1 - beta2)
    rows = rows / update_sq_row.sqrt().clamp(min=1e-15)
    norm = torch.linalg.vector_norm(rows).clamp(min=1e-15)
    update = (rows * (math.sqrt(min(rows.shape)) / norm)).view_as(update)
    param.mul_(1 - lr * weight_decay)
    update = update * (0.2 * math.sqrt(max(update.flatten(1).shape)))
    param.sub_(lr * update)


def _multi_tensor_move_matrix_(
    params: Any,
    exp_avgs: Any,
    update_sq_rows: Any,
    grads: Any,
    *,
    step: Any,
    lr: Any,
    group: dict[str, Any],
) -> None:
    beta1, beta2 = group["betas"]
    weight_decay = group["weight_decay"]
    momentum_weight = group["momentum_weight"]
    iterations = group["iterations"]

    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    updates = torch._foreach_mul(exp_avgs, momentum_weight)
    all_rows = _newton_schulz_together(
        tuple(update.flatten(1) for update in updates), iterations
    )
    torch._foreach_lerp_(
        update_sq_rows,
        tuple(rows.square().mean(1, keepdim=True) for rows in all_rows),
        1 - beta2,
    )
    scratch = torch._foreach_sqrt(update_sq_rows)
    torch._foreach_clamp_min_(scratch, 1e-15)
    all_rows = torch._foreach_div(all_rows, scratch)
    del scratch
    norm = torch.stack(torch._foreach_norm(all_rows)).clamp(min=1e-15)
    updates = tuple(
        (rows * (math.sqrt(min(rows.shape)) / norm)).view_as(update)
        for rows, norm, update in zip(all_rows, norm, updates, strict=True)
    )
    del all_rows
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    updates = torch._foreach_mul(
        updates, [0.2 * math.sqrt(max(update.flatten(1).shape)) for update in updates]
    )
    torch._foreach_mul_(updates, lr)
    torch._foreach_sub_(params, updates)


def _single_tensor_move_other_(
    param: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    grad: Tensor,
    *,
    step: float | Tensor,
    lr: float | Tensor,
    group: dict[str, Any],
) -> None:
    beta1, beta2 = group["others_betas"]
    weight_decay = group["weight_decay"]
    eps = group["others_eps"]

    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    denom = (exp_avg_sq / (1 - beta2**step)).sqrt() + eps
    exp_avg.lerp_(grad, 1 - beta1)
    momentum = exp_avg / (1 - beta1**step)
    update = momentum / denom
    param.mul_(1 - lr * weight_decay)
    param.sub_(lr * update)


def _multi_tensor_move_other_(
    params: Any,
    exp_avgs: Any,
    exp_avg_sqs: Any,
    grads: Any,
    *,
    step: Any,
    lr: Any,
    group: dict[str, Any],
) -> None:
    beta1, beta2 = group["others_betas"]
    weight_decay = group["weight_decay"]
    eps = group["others_eps"]

    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)
    denoms = torch._foreach_div(exp_avg_sqs, _of_each(1 - beta2**step))
    torch._foreach_sqrt_(denoms)
    torch._foreach_add_(denoms, eps)
    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    momentums = torch._foreach_div(exp_avgs, _of_each(1 - beta1**step))
    updates = torch._foreach_div(momentums, denoms)
    del denoms, momentums
    torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_mul_(updates, lr)
    torch._foreach_sub_(params, updates)


def _fused_move_other_(
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
    beta1, beta2 = group["others_betas"]
    weight_decay = group["weight_decay"]
    eps = group["others_eps"]
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
            1 - lr * weight_decay,
            lr,
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
        decay,
        lr,
    ) = numbers.unbind()
    for piece in zip(params, exp_avgs, exp_avg_sqs, grads, strict=True):
        param, exp_avg, exp_avg_sq, grad = _in_float32(piece)
        exp_avg_sq.mul_(beta2).add_(grad * grad * rest_of_beta2)
        denom = (exp_avg_sq / bias_correction2).sqrt() + eps
        exp_avg.lerp_(grad, rest_of_beta1)
        momentum = exp_avg / bias_correction1
        update = momentum / denom
        param.mul_(decay)
        param.sub_(lr * update)
        _store_(piece, [param, exp_avg, exp_avg_sq])


def _newton_schulz(x: Tensor, iterations: int) -> Tensor:
    # Singular values near 1, to about [0.7, 1.2]; in bfloat16 where that is fast
    exact, tall = x.dtype, x.shape[-2] > x.shape[-1]
    dtype = torch.bfloat16 if x.is_cuda and exact == torch.float32 else exact
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
    x = (x / norm.clamp(min=1e-15)).to(dtype)
    x = x.mT if tall else x
    add = torch.addmm if x.dim() == 2 else torch.baddbmm  # matrices of a stack
    for _ in range(iterations):
        gram = x @ x.mT
        gram = add(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = add(x, gram, x, beta=3.4445)
    return (x.mT if tall else x).to(exact)


def _newton_schulz_together(
    xs: Sequence[Tensor], iterations: int
) -> tuple[Tensor, ...]:
    # Those of one shape, or its transpose, as one stack
    alike: dict[Any, list[int]] = {}
    for i, x in enumerate(xs):
        alone = x.is_cpu and x.numel() > _STACKED
        key = i if alone else (min(x.shape), max(x.shape))
        alike.setdefault(key, []).append(i)
    found = list(xs)
    for some in alike.values():
        if len(some) == 1:
            found[some[0]] = _newton_schulz(xs[some[0]], iterations)
            continue
        tall = {i for i in some if xs[i].shape[0] > xs[i].shape[1]}
        wide = [xs[i].T if i in tall else xs[i] for i in some]
        stack = _newton_schulz(torch.stack(wide), iterations)
        for i, x in zip(some, stack, strict=True):
            found[i] = x.T if i in tall else x
    return tuple(found)


@functools.cache
def _compiled(dtype: torch.dtype, device: torch.device, _: Any) -> Callable[..., None]:
    # Once, for a few tensors of any size, with numbers in a tensor: they may change.
    function: Callable[..., Any] = _kernel
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


def _pieces(tensors: Sequence[Tensor], whole: bool) -> list[Sequence[Tensor]]:
    # What a cache holds, of parameter, averages and gradient, or all if needed whole
    if torch.is_complex(tensors[0]):
        tensors = [torch.view_as_real(t) for t in tensors]
    if (
        whole
        or tensors[0].numel() <= _CACHED
        or torch.compiler.is_compiling()
        or not all(t.is_cpu and t.is_contiguous() for t in tensors)
        or not _plain(tensors)
    ):
        return [tensors]
    return list(zip(*(torch.split(t.view(-1), _CACHED) for t in tensors), strict=True))


def _chunks(
    lists: list[list[Tensor]], capturable: bool, whole: bool
) -> list[list[list[Tensor]]]:
    # As many tensors at a time as a cache holds, or as there may be temporaries of, and
    # of one step, for they share its bias correction.
    chunks: list[list[Sequence[Tensor]]] = []
    size, last = 0, None
    for *tensors, step_t in zip(*lists, strict=True):
        step = None if capturable else step_t.item()
        for piece in _pieces(tensors, whole):
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
