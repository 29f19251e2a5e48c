"""Relatives of Adam and of gradient descent with a step size for each element."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from flambeau.core.creation import full_like, zeros_like
from flambeau.core.dtype import COMPLEX
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.storage import view_as_complex_p as view_as_complex
from flambeau.core.ops.storage import view_as_real_p as view_as_real
from flambeau.core.tensor import Tensor
from flambeau.optim.adam import Betas
from flambeau.optim.optimizer import Group, Optimizer, check_options, number


class ElementwiseOptimizer(Optimizer):
    """An optimizer that treats each parameter by itself: :meth:`one` is its rule.

    Options ``maximize``, ``weight_decay`` and ``decoupled_weight_decay`` are dealt with here.
    """

    def update(self, group: Group) -> None:
        """One step of a group; the parts of a complex parameter are parameters by themselves."""
        for p, g, state in self._rows(group):
            if p.dtype.category == COMPLEX:
                parts = {k: view_as_real(v) if _is_complex(v) else v for k, v in state.items()}
                self.one(view_as_real(p), view_as_real(g), parts, group)
                state |= {k: v for k, v in parts.items() if not isinstance(v, Tensor)}
            else:
                self.one(p, g, state, group)

    def _rows(self, group: Group) -> Iterator[tuple[Tensor, Tensor, dict[str, Any]]]:
        """Each parameter that has a gradient, the gradient to go down, and its state."""
        decay, decoupled = group.get("weight_decay", 0), group.get("decoupled_weight_decay", False)
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            state = self.state[p]
            if not state:
                state["step"] = 0.0
                state |= self._initial(p, group)
            state["step"] += 1
            g = -g if group.get("maximize") else g
            if decay and decoupled:
                p.mul_(1 - number(group["lr"]) * decay)
            elif decay:
                g = g + p * decay
            yield p, g, state

    def _initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        if p.dtype.category != COMPLEX:
            return self.initial(p, group)
        parts = self.initial(view_as_real(p), group)
        return {k: view_as_complex(v) if isinstance(v, Tensor) else v for k, v in parts.items()}

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        """Change ``p`` by the gradient ``g``, in place; ``state["step"]`` counts this step."""
        raise NotImplementedError


def _is_complex(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype.category == COMPLEX


def _moments(state: dict[str, Any], g: Tensor, betas: Betas) -> tuple[Tensor, Tensor]:
    """The running means of the gradient and of its square, after they took it in."""
    first: Tensor = state["exp_avg"].lerp_(g, 1 - betas[0])
    second: Tensor = state["exp_avg_sq"].mul_(betas[1]).add_(g * g, alpha=1 - betas[1])
    return first, second


def _two(p: Tensor, *names: str) -> dict[str, Any]:
    return {n: zeros_like(p) for n in names}


class NAdam(ElementwiseOptimizer):
    """Adam that looks ahead along its momentum. Dozat, ICLR workshop 2016.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.NAdam([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 2e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        check_options(
            "NAdam",
            lr=lr,
            eps=eps,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
        )
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay, maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        return {"mu_product": 1.0, **_two(p, "exp_avg", "exp_avg_sq")}

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        lr, (beta1, beta2), t = number(group["lr"]), group["betas"], state["step"]
        now, following = (beta1 * (1 - 0.5 * 0.96 ** (n * group["momentum_decay"])) for n in (t, t + 1))
        product = state["mu_product"] = state["mu_product"] * now
        first, second = _moments(state, g, group["betas"])
        size = (second / (1 - beta2**t)).sqrt() + group["eps"]
        p.add_(g / size, alpha=-lr * (1 - now) / (1 - product))
        p.add_(first / size, alpha=-lr * following / (1 - product * following))


class RAdam(ElementwiseOptimizer):
    """Adam without its adaptive size until the variance is known. Liu et al., arXiv:1908.03265.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.RAdam([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        check_options("RAdam", lr=lr, eps=eps, beta1=betas[0], beta2=betas[1], weight_decay=weight_decay)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize, foreach=foreach,
            capturable=capturable, decoupled_weight_decay=decoupled_weight_decay, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        return _two(p, "exp_avg", "exp_avg_sq")

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        lr, (beta1, beta2), t = number(group["lr"]), group["betas"], state["step"]
        first, second = _moments(state, g, group["betas"])
        step = first / (1 - beta1**t)
        most = 2 / (1 - beta2) - 1
        known = most - 2 * t * beta2**t / (1 - beta2**t)
        if known > 5:
            rect = math.sqrt((known - 4) * (known - 2) * most / ((most - 4) * (most - 2) * known))
            step = step * (rect * math.sqrt(1 - beta2**t)) / (second.sqrt() + group["eps"])
        p.add_(step, alpha=-lr)


class Adamax(ElementwiseOptimizer):
    """Adam by the largest gradient in place of the mean square. Kingma and Ba, arXiv:1412.6980.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.Adamax([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 2e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
        capturable: bool = False,
    ):  # fmt: skip
        check_options("Adamax", lr=lr, eps=eps, beta1=betas[0], beta2=betas[1], weight_decay=weight_decay)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=foreach, maximize=maximize,
            differentiable=differentiable, capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        return _two(p, "exp_avg", "exp_inf")

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        beta1, beta2 = group["betas"]
        first = state["exp_avg"].lerp_(g, 1 - beta1)
        largest = state["exp_inf"]
        largest.copy_((largest * beta2).maximum(g.abs() + group["eps"]))
        p.add_(first / largest, alpha=-number(group["lr"]) / (1 - beta1 ** state["step"]))


class RMSprop(ElementwiseOptimizer):
    """Steps over the root of the running mean of squared gradients. Tieleman and Hinton, 2012.

    ``centered`` takes the variance in place of the mean square; ``momentum`` gathers the steps.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.RMSprop([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        check_options("RMSprop", lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = dict(
            lr=lr, momentum=momentum, alpha=alpha, eps=eps, centered=centered, weight_decay=weight_decay,
            capturable=capturable, foreach=foreach, maximize=maximize, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        names = ["square_avg"]
        names += ["momentum_buffer"] if group["momentum"] > 0 else []
        names += ["grad_avg"] if group["centered"] else []
        return _two(p, *names)

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        alpha = group["alpha"]
        square = state["square_avg"].mul_(alpha).add_(g * g, alpha=1 - alpha)
        if group["centered"]:
            mean = state["grad_avg"].lerp_(g, 1 - alpha)
            square = square - mean * mean
        step = g / (square.sqrt() + group["eps"])
        if group["momentum"] > 0:
            step = state["momentum_buffer"].mul_(group["momentum"]).add_(step)
        p.add_(step, alpha=-number(group["lr"]))


class Adagrad(ElementwiseOptimizer):
    """Steps over the root of the sum of squared gradients. Duchi, Hazan and Singer, JMLR 12 (2011).

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.Adagrad([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        check_options(
            "Adagrad", lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps,
            initial_accumulator_value=initial_accumulator_value,
        )  # fmt: skip
        defaults = dict(
            lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, foreach=foreach, maximize=maximize,
            differentiable=differentiable, fused=fused,
        )  # fmt: skip
        super().__init__(params, defaults)

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        return {"sum": full_like(p, group["initial_accumulator_value"])}

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        total = state["sum"].add_(g * g)
        rate = number(group["lr"]) / (1 + (state["step"] - 1) * group["lr_decay"])
        p.add_(g / (total.sqrt() + group["eps"]), alpha=-rate)


class Adadelta(ElementwiseOptimizer):
    """Steps by the ratio of the running mean squares of steps and gradients. Zeiler, arXiv:1212.5701.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.Adadelta([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
        foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        check_options("Adadelta", lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
        if rho > 1:
            raise ValueError(f"Adadelta: invalid rho: {rho}; it must be between 0 and 1")
        defaults = dict(
            lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize, capturable=capturable,
            foreach=foreach, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        return _two(p, "square_avg", "acc_delta")

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        rho, eps = group["rho"], group["eps"]
        square = state["square_avg"].mul_(rho).add_(g * g, alpha=1 - rho)
        step = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * g
        state["acc_delta"].mul_(rho).add_(step * step, alpha=1 - rho)
        p.add_(step, alpha=-number(group["lr"]))


class Rprop(ElementwiseOptimizer):
    """Steps by the gradient's sign, longer while it stays the same. Riedmiller and Braun, ICNN 1993.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.Rprop([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        check_options("Rprop", lr=lr)
        if not 0 < etas[0] < 1 < etas[1]:
            raise ValueError(f"Rprop: invalid eta values: {etas[0]}, {etas[1]}; they must be below and above 1")
        defaults = dict(
            lr=lr, etas=etas, step_sizes=step_sizes, foreach=foreach, maximize=maximize, differentiable=differentiable,
            capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        return {"prev": zeros_like(p), "step_size": full_like(p, number(group["lr"]))}

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        (shorter, longer), (least, most) = group["etas"], group["step_sizes"]
        same = (g * state["prev"]).sign()
        factor = (same > 0).to(g.dtype) * (longer - 1) + (same < 0).to(g.dtype) * (shorter - 1) + 1
        size = state["step_size"].mul_(factor).clamp_(min=least, max=most)
        g = where(same < 0, 0.0, g)
        p.sub_(g.sign() * size)
        state["prev"].copy_(g)


class ASGD(ElementwiseOptimizer):
    """Gradient descent and the average of its parameters (``ax``). Polyak and Juditsky, SIAM J. Control 30 (1992).

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.ASGD([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> bool((w < 1).all())
    True
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
        weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
        capturable: bool = False,
    ):  # fmt: skip
        check_options("ASGD", lr=lr, weight_decay=weight_decay)
        defaults = dict(
            lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay, foreach=foreach, maximize=maximize,
            differentiable=differentiable, capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def initial(self, p: Tensor, group: Group) -> dict[str, Any]:
        return {"eta": number(group["lr"]), "mu": 1.0, "ax": zeros_like(p)}

    def one(self, p: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        lr, t = number(group["lr"]), state["step"]
        p.mul_(1 - group["lambd"] * state["eta"]).add_(g, alpha=-state["eta"])
        state["ax"].add_((p - state["ax"]) * state["mu"])
        state["eta"] = lr / (1 + group["lambd"] * lr * t) ** group["alpha"]
        state["mu"] = 1 / max(1, t - group["t0"])
