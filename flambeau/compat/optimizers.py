"""``torch.optim.adam.adam`` and the others: the step of an optimizer as a function of lists of tensors.

Parameters, running values and numbers of steps are changed in place, as the optimizer of that name would. ``foreach``,
``fused``, ``capturable``, ``differentiable`` and ``has_complex`` choose between PyTorch's kernels, of which there is
one here.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any

from flambeau import optim
from flambeau.core.tensor import Tensor

__all__ = [
    "adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd",
]  # fmt: skip

Tensors = Sequence[Tensor]
Lists = dict[str, MutableSequence[Any]]  # Any: tensors, or None before the first step
Real = float | Tensor
Maybe = Tensor | None


def _step(
    kind: type[optim.Optimizer], params: Tensors, grads: Tensors, lists: Lists, steps: Tensors | None,
    scaled: tuple[Maybe, Maybe] = (None, None), **options: Any,  # Any: options of the optimizer
) -> None:  # fmt: skip
    """One step of an optimizer that is made for it, on other names of the same memory."""
    if steps is not None and not all(isinstance(t, Tensor) for t in steps):
        raise RuntimeError("API has changed, `state_steps` argument must contain a list of singleton tensors")
    grad_scale, found_inf = scaled
    if found_inf is not None and found_inf.item():
        return
    if not params:
        return
    aliases = [p.detach() for p in params]
    made = kind(aliases, **options)
    for i, (alias, grad) in enumerate(zip(aliases, grads, strict=True)):
        alias.grad = grad if grad_scale is None else grad / grad_scale
        state = made.state[alias]
        if steps is not None:
            state["step"] = float(steps[i].item())
        for name, values in lists.items():
            if values and values[i] is not None:
                state[name] = values[i].item() if name in ("mu_product", "mu", "eta") else values[i]
    made.step()
    for i, alias in enumerate(aliases):
        state = made.state[alias]
        if steps is not None:
            steps[i].fill_(state["step"])
        for name, values in lists.items():
            if name in state and values:
                _keep(values, i, state[name])


def _keep(values: MutableSequence[Any], i: int, value: Any) -> None:  # Any: a tensor or number
    if isinstance(value, Tensor):
        values[i] = value
    else:
        values[i].fill_(value)


def adadelta(
    params: Tensors, grads: Tensors, square_avgs: list[Tensor], acc_deltas: list[Tensor], state_steps: Tensors,
    capturable: bool = False, foreach: bool | None = None, differentiable: bool = False, has_complex: bool = False, *,
    lr: float, rho: float, eps: float, weight_decay: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.Adadelta`."""
    lists: Lists = {"square_avg": square_avgs, "acc_delta": acc_deltas}
    options: dict[str, Any] = dict(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize)
    _step(optim.Adadelta, params, grads, lists, state_steps, **options)


def adagrad(
    params: Tensors, grads: Tensors, state_sums: list[Tensor], state_steps: Tensors, fused: bool | None = None,
    grad_scale: Maybe = None, found_inf: Maybe = None, has_sparse_grad: bool = False, foreach: bool | None = None,
    differentiable: bool = False, has_complex: bool = False, *, lr: float, weight_decay: float, lr_decay: float,
    eps: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.Adagrad`."""
    options: dict[str, Any] = dict(lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay, maximize=maximize)
    _step(optim.Adagrad, params, grads, {"sum": state_sums}, state_steps, (grad_scale, found_inf), **options)


def adam(
    params: Tensors, grads: Tensors, exp_avgs: list[Tensor], exp_avg_sqs: list[Tensor], max_exp_avg_sqs: list[Tensor],
    state_steps: Tensors, foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
    fused: bool | None = None, grad_scale: Maybe = None, found_inf: Maybe = None, has_complex: bool = False,
    decoupled_weight_decay: bool = False, *, amsgrad: bool, beta1: Real, beta2: Real, lr: Real, weight_decay: float,
    eps: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.Adam`."""
    lists: Lists = {"exp_avg": exp_avgs, "exp_avg_sq": exp_avg_sqs, "max_exp_avg_sq": max_exp_avg_sqs}
    options: dict[str, Any] = dict(lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)
    options |= dict(maximize=maximize, decoupled_weight_decay=decoupled_weight_decay)
    _step(optim.Adam, params, grads, lists, state_steps, (grad_scale, found_inf), **options)


def adamw(
    params: Tensors, grads: Tensors, exp_avgs: list[Tensor], exp_avg_sqs: list[Tensor], max_exp_avg_sqs: list[Tensor],
    state_steps: Tensors, foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
    fused: bool | None = None, grad_scale: Maybe = None, found_inf: Maybe = None, has_complex: bool = False, *,
    amsgrad: bool, beta1: Real, beta2: Real, lr: Real, weight_decay: float, eps: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.AdamW`."""
    adam(
        params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, grad_scale=grad_scale, found_inf=found_inf,
        decoupled_weight_decay=True, amsgrad=amsgrad, beta1=beta1, beta2=beta2, lr=lr, weight_decay=weight_decay,
        eps=eps, maximize=maximize,
    )  # fmt: skip


def adamax(
    params: Tensors, grads: Tensors, exp_avgs: list[Tensor], exp_infs: list[Tensor], state_steps: Tensors,
    foreach: bool | None = None, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    has_complex: bool = False, *, eps: float, beta1: float, beta2: float, lr: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.Adamax`."""
    options: dict[str, Any] = dict(lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, maximize=maximize)
    _step(optim.Adamax, params, grads, {"exp_avg": exp_avgs, "exp_inf": exp_infs}, state_steps, **options)


def asgd(
    params: Tensors, grads: Tensors, axs: list[Tensor], mus: list[Tensor], etas: list[Tensor], state_steps: Tensors,
    foreach: bool | None = None, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    has_complex: bool = False, *, lambd: float, lr: float, t0: float, alpha: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.ASGD`."""
    options: dict[str, Any] = dict(lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay, maximize=maximize)
    _step(optim.ASGD, params, grads, {"ax": axs, "mu": mus, "eta": etas}, state_steps, **options)


def nadam(
    params: Tensors, grads: Tensors, exp_avgs: list[Tensor], exp_avg_sqs: list[Tensor], mu_products: list[Tensor],
    state_steps: Tensors, decoupled_weight_decay: bool = False, foreach: bool | None = None, capturable: bool = False,
    differentiable: bool = False, has_complex: bool = False, maximize: bool = False, *, beta1: float, beta2: float,
    lr: float, weight_decay: float, momentum_decay: float, eps: float,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.NAdam`."""
    lists: Lists = {"exp_avg": exp_avgs, "exp_avg_sq": exp_avg_sqs, "mu_product": mu_products}
    options: dict[str, Any] = dict(lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, maximize=maximize)
    options |= dict(momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay)
    _step(optim.NAdam, params, grads, lists, state_steps, **options)


def radam(
    params: Tensors, grads: Tensors, exp_avgs: list[Tensor], exp_avg_sqs: list[Tensor], state_steps: Tensors,
    decoupled_weight_decay: bool = False, foreach: bool | None = None, differentiable: bool = False,
    capturable: bool = False, has_complex: bool = False, maximize: bool = False, *, beta1: float, beta2: float,
    lr: float, weight_decay: float, eps: float,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.RAdam`."""
    options: dict[str, Any] = dict(lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, maximize=maximize)
    options |= dict(decoupled_weight_decay=decoupled_weight_decay)
    _step(optim.RAdam, params, grads, {"exp_avg": exp_avgs, "exp_avg_sq": exp_avg_sqs}, state_steps, **options)


def rmsprop(
    params: Tensors, grads: Tensors, square_avgs: list[Tensor], grad_avgs: list[Tensor],
    momentum_buffer_list: list[Tensor], state_steps: Tensors, foreach: bool | None = None, maximize: bool = False,
    differentiable: bool = False, capturable: bool = False, has_complex: bool = False, *, lr: float, alpha: float,
    eps: float, weight_decay: float, momentum: float, centered: bool,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.RMSprop`."""
    lists: Lists = {"square_avg": square_avgs, "grad_avg": grad_avgs, "momentum_buffer": momentum_buffer_list}
    options: dict[str, Any] = dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
    _step(optim.RMSprop, params, grads, lists, state_steps, centered=centered, maximize=maximize, **options)


def rprop(
    params: Tensors, grads: Tensors, prevs: list[Tensor], step_sizes: list[Tensor], state_steps: Tensors,
    foreach: bool | None = None, capturable: bool = False, maximize: bool = False, differentiable: bool = False,
    has_complex: bool = False, *, step_size_min: float, step_size_max: float, etaminus: float, etaplus: float,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.Rprop`."""
    options: dict[str, Any] = dict(etas=(etaminus, etaplus), step_sizes=(step_size_min, step_size_max))
    _step(
        optim.Rprop, params, grads, {"prev": prevs, "step_size": step_sizes}, state_steps, maximize=maximize, **options
    )


def sgd(
    params: Tensors, d_p_list: Tensors, momentum_buffer_list: list[Tensor | None], has_sparse_grad: bool = False,
    foreach: bool | None = None, fused: bool | None = None, grad_scale: Maybe = None, found_inf: Maybe = None, *,
    weight_decay: float, momentum: float, lr: float, dampening: float, nesterov: bool, maximize: bool,
) -> None:  # fmt: skip
    """One step of :class:`flambeau.optim.SGD`."""
    options: dict[str, Any] = dict(lr=lr, momentum=momentum, dampening=dampening, nesterov=nesterov)
    options |= dict(weight_decay=weight_decay, maximize=maximize)
    lists: Lists = {"momentum_buffer": momentum_buffer_list}
    _step(optim.SGD, params, d_p_list, lists, None, (grad_scale, found_inf), **options)


for _name in __all__:
    globals()[_name].__module__ = f"torch.optim.{_name}"
