"""Relatives of Adam and of gradient descent with a step size for each element."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from flambeau.core.creation import full_like, zeros_like
from flambeau.core.dtype import COMPLEX
from flambeau.core.events import host
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.nn.step import kept, update, updates
from flambeau.core.ops.storage import view_as_complex_p, view_as_real_p
from flambeau.core.tensor import Tensor
from flambeau.optim.numbers import advanced, is_on, live
from flambeau.optim.optimizer import Group, Optimizer, State
from flambeau.optim.options import AtLeast0, Betas, Params, Rate, Share, number, options
from flambeau.optim.sparse import by_rows, is_sparse, rows_of
from flambeau.optim.traced import Trace

Row: TypeAlias = tuple[Tensor, Tensor, State]


class ElementwiseOptimizer(Optimizer):
    """An optimizer that treats each parameter by itself: :meth:`one` is its rule.

    Options ``maximize``, ``weight_decay`` and ``decoupled_weight_decay`` are dealt with here.
    """

    zeros: ClassVar[tuple[str, ...]] = ()
    _takes_sparse: ClassVar[bool] = False
    _takes_complex: ClassVar[bool] = True

    #: Whether :meth:`one` uses nothing but what :class:`~flambeau.optim.traced.Symbol` has.
    _traceable: ClassVar[bool] = False

    def update(self, group: Group) -> None:
        """One step of a group; the parts of a complex parameter are parameters by themselves."""
        rows = self._rows(group)
        traceable = self._traceable and type(self).one.__module__ == __name__ and not group.get("differentiable")
        for counted, places in advanced(self, [p for p, _, _ in rows], group):
            numbers, some = self.common(counted, group), [rows[i] for i in places]
            for p, g, state in self._at_once(some, numbers, group) if traceable else some:
                self._alone(p, self._directed(p, g, group), state, numbers, group)

    def _alone(self, p: Tensor, d: Tensor, state: State, numbers: State, group: Group) -> None:
        """The rule for one parameter; the numbers in its state have gone further by themselves."""
        own = state | numbers
        if p.dtype.category == COMPLEX:
            own = {k: view_as_real_p(v) if _is_complex(v) else v for k, v in own.items()}
            self.one(view_as_real_p(p), view_as_real_p(d), own, group)
            state |= {k: v for k, v in own.items() if k not in numbers and not isinstance(v, Tensor)}
            return
        self.one(p, d, own, group)
        state |= {k: v for k, v in own.items() if k not in numbers}
        for gone in [k for k in state if k not in own]:
            del state[gone]

    def _rows(self, group: Group) -> list[Row]:
        """Each parameter that has a gradient, that, and its state."""
        pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
        for p, g in pairs:
            if is_sparse(g) and not self._takes_sparse:
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
            if p.dtype.category == COMPLEX and not self._takes_complex:
                raise RuntimeError(f"{type(self).__name__} does not support complex parameters")
        return [(p, g, self._begun(p, live(group))) for p, g in pairs]

    def _begun(self, p: Tensor, group: Group) -> State:
        state = self.state[p]
        if not state:
            if "step" in self.numbers:
                state["step"] = 0.0
            state |= self._initial(p, group)
        return state

    def common(self, numbers: State, group: Group) -> State:
        """The numbers that :meth:`one` finds in the state, for parameters that :meth:`advance` gave the same ones."""
        return numbers

    def _directed(self, p: Any, g: Any, group: Group) -> Any:
        """The gradient to go down, with that of the penalty on the size of ``p``, or ``p`` made smaller."""
        g = -g if group.get("maximize") else g
        if is_on(group, "weight_decay") and group.get("decoupled_weight_decay", False):
            p.mul_(1 - number(group["lr"]) * group["weight_decay"])
        elif is_on(group, "weight_decay"):
            g = g + p * group["weight_decay"]
        return g

    def _at_once(self, rows: list[Row], numbers: State, group: Group) -> list[Row]:
        """Change all parameters of a dispatch key in one call; the rows that are left."""
        alike: dict[Any, list[Row]] = {}
        left = []
        for row in rows:
            kind = _kind(*row)
            if kind is None:
                left.append(row)
            else:
                alike.setdefault(kind, []).append(row)
        for some in alike.values():
            if not self._traced(some, numbers, group):
                left += some
        return left

    def _traced(self, rows: list[Row], numbers: State, group: Group) -> bool:
        """The step of parameters whose state has the same numbers; False, and nothing done, where nothing serves."""
        trace, (_, _, model) = Trace(), rows[0]
        p, g = trace.column(), trace.column()
        state: State = {k: trace.column() if isinstance(v, Tensor) else v for k, v in model.items()} | numbers
        self.one(p, self._directed(p, g, group), state, group)  # type: ignore[arg-type]  # symbols do as tensors do
        names = [k for k, v in model.items() if isinstance(v, Tensor)]
        lists = [[p for p, _, _ in rows], [g for _, g, _ in rows], *([s[k] for _, _, s in rows] for k in names)]
        return update(trace.rule, lists, trace.values, "add_")

    def _initial(self, p: Tensor, group: Group) -> State:
        if p.dtype.category != COMPLEX:
            return self.initial(p, group)
        parts = self.initial(view_as_real_p(p), group)
        return {k: view_as_complex_p(v) if isinstance(v, Tensor) else v for k, v in parts.items()}

    def _expected(self, p: Tensor, values: Mapping[Any, Any], group: Group) -> State:
        return {"step": 0.0, **self._initial(p, group)}

    def initial(self, p: Tensor, group: Group) -> State:
        """The state of a parameter before its first step; as it stands, zeros under the names in ``zeros``."""
        return {name: zeros_like(p) for name in self.zeros}

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        """Change ``p`` by the gradient ``g``, in place; ``state["step"]`` counts this step.

        The numbers in ``numbers`` are :meth:`advance`'s to change: here they are read alone.
        """
        raise NotImplementedError


def _kind(p: Tensor, g: Tensor, state: State) -> tuple[Any, ...] | None:
    """What parameters that change in one call have in common; None for one that does not."""
    if is_sparse(g) or not updates(p):
        return None
    return (p._key, len(state)) if all(isinstance(v, (Tensor, float, int)) for v in state.values()) else None


def _is_complex(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype.category == COMPLEX


def _moments(state: State, g: Tensor, betas: Betas) -> tuple[Tensor, Tensor]:
    """The running means of the gradient and of its square, after they took it in."""
    first: Tensor = state["exp_avg"].lerp_(g, 1 - betas[0])
    second: Tensor = state["exp_avg_sq"].mul_(betas[1]).add_(g * g, alpha=1 - betas[1])
    return kept(first), kept(second)


class NAdam(ElementwiseOptimizer):
    """Adam that looks ahead along its momentum. Dozat, ICLR workshop 2016.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> NAdam([w]).step()
    >>> w
    tensor([0.9979], requires_grad=True)
    """

    _traceable = True
    zeros = ("exp_avg", "exp_avg_sq")
    numbers = ("step", "mu_product")

    def __init__(
        self, params: Params, lr: Rate = 2e-3, betas: Betas = (0.9, 0.999), eps: AtLeast0 = 1e-8,
        weight_decay: AtLeast0 = 0, momentum_decay: AtLeast0 = 4e-3, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        super().__init__(params, options(locals()))

    def initial(self, p: Tensor, group: Group) -> State:
        return {"mu_product": 1.0, **super().initial(p, group)}

    def advance(self, state: State, group: Group) -> tuple[float, ...]:
        (count,) = super().advance(state, group)
        now = state["mu_product"] = state["mu_product"] * self._momentum(count, group)
        return count, now

    def _momentum(self, count: float, group: Group) -> float:
        share: float = group["betas"][0] * (1 - 0.5 * 0.96 ** (count * group["momentum_decay"]))
        return share

    def common(self, numbers: State, group: Group) -> State:
        now, following = (self._momentum(n, group) for n in (numbers["step"], numbers["step"] + 1))
        return numbers | {"now": now, "following": following}

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        lr, beta2, t = number(group["lr"]), group["betas"][1], state["step"]
        now, following, product = state["now"], state["following"], state["mu_product"]
        first, second = _moments(state, g, group["betas"])
        size = (second / (1 - beta2**t)).sqrt() + group["eps"]
        p.add_(g / size, alpha=-lr * (1 - now) / (1 - product))
        p.add_(first / size, alpha=-lr * following / (1 - product * following))


class RAdam(ElementwiseOptimizer):
    """Adam without its adaptive size until the variance is known. Liu et al., arXiv:1908.03265.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> RAdam([w]).step()
    >>> w
    tensor([0.9980], requires_grad=True)
    """

    _traceable = True
    zeros = ("exp_avg", "exp_avg_sq")

    def __init__(
        self, params: Params, lr: Rate = 1e-3, betas: Betas = (0.9, 0.999), eps: AtLeast0 = 1e-8,
        weight_decay: AtLeast0 = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        super().__init__(params, options(locals()))

    def common(self, numbers: State, group: Group) -> State:
        factor = host(_rectified, numbers["step"], group["betas"][1])
        return numbers | {"factor": factor if factor > 0 else None}

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        first, second = _moments(state, g, group["betas"])
        step = first / (1 - group["betas"][0] ** state["step"])
        if state["factor"] is not None:
            step = step * state["factor"] / (second.sqrt() + group["eps"])
        p.add_(step, alpha=-number(group["lr"]))


def _rectified(t: float, beta2: float) -> float:
    """The factor of RAdam's steps at step ``t``; 0 while the variance is not known well enough."""
    most = 2 / (1 - beta2) - 1
    known = most - 2 * t * beta2**t / (1 - beta2**t)
    if known <= 5:
        return 0.0
    rect = math.sqrt((known - 4) * (known - 2) * most / ((most - 4) * (most - 2) * known))
    return rect * math.sqrt(1 - beta2**t)


class Adamax(ElementwiseOptimizer):
    """Adam by the largest gradient in place of the mean square. Kingma and Ba, arXiv:1412.6980.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adamax([w]).step()
    >>> w
    tensor([0.9980], requires_grad=True)
    """

    _traceable = True
    zeros = ("exp_avg", "exp_inf")

    def __init__(
        self, params: Params, lr: Rate = 2e-3, betas: Betas = (0.9, 0.999), eps: AtLeast0 = 1e-8,
        weight_decay: AtLeast0 = 0, foreach: bool | None = None, *, maximize: bool = False,
        differentiable: bool = False, capturable: bool = False,
    ):  # fmt: skip
        super().__init__(params, options(locals()))

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        beta1, beta2 = group["betas"]
        first = state["exp_avg"].lerp_(g, 1 - beta1)
        largest = state["exp_inf"]
        largest.copy_((largest * beta2).maximum(g.abs() + group["eps"]))
        p.add_(kept(first) / kept(largest), alpha=-number(group["lr"]) / (1 - beta1 ** state["step"]))


class RMSprop(ElementwiseOptimizer):
    """Steps over the root of the running mean of squared gradients. Tieleman and Hinton, 2012.

    ``centered`` takes the variance in place of the mean square; ``momentum`` gathers the steps.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> RMSprop([w]).step()
    >>> w
    tensor([0.9000], requires_grad=True)
    """

    _traceable = True

    def __init__(
        self, params: Params, lr: Rate = 1e-2, alpha: AtLeast0 = 0.99, eps: AtLeast0 = 1e-8,
        weight_decay: AtLeast0 = 0, momentum: AtLeast0 = 0, centered: bool = False, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        super().__init__(params, options(locals()))

    def initial(self, p: Tensor, group: Group) -> State:
        wanted = {"square_avg": True, "momentum_buffer": group["momentum"] > 0, "grad_avg": group["centered"]}
        return {name: zeros_like(p) for name, is_wanted in wanted.items() if is_wanted}

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        alpha = group["alpha"]
        square = state["square_avg"].mul_(alpha).add_(g * g, alpha=1 - alpha)
        if group["centered"]:
            mean = state["grad_avg"].lerp_(g, 1 - alpha)
            square = square - mean * mean
        step = g / (square.sqrt() + group["eps"])
        if is_on(group, "momentum"):
            step = state["momentum_buffer"].mul_(group["momentum"]).add_(step)
        p.add_(step, alpha=-number(group["lr"]))


class Adagrad(ElementwiseOptimizer):
    """Steps over the root of the sum of squared gradients. Duchi, Hazan and Singer, JMLR 12 (2011).

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adagrad([w]).step()
    >>> w
    tensor([0.9900], requires_grad=True)
    """

    _takes_sparse = _traceable = True

    def __init__(
        self, params: Params, lr: Rate = 1e-2, lr_decay: AtLeast0 = 0, weight_decay: AtLeast0 = 0,
        initial_accumulator_value: AtLeast0 = 0, eps: AtLeast0 = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ):  # fmt: skip
        super().__init__(params, options(locals()))

    def initial(self, p: Tensor, group: Group) -> State:
        return {"sum": full_like(p, group["initial_accumulator_value"])}

    def share_memory(self) -> None:
        """Move the sums, those of parameters without any made first, to memory that other processes can share."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state |= {"step": 0.0, **self._initial(p, group)}
                state["sum"].share_memory_()

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        rate = number(group["lr"]) / (1 + (state["step"] - 1) * group["lr_decay"])
        if is_sparse(g):  # only its rows change
            where, values, axes = rows_of(g)
            rows = by_rows(state["sum"], axes).index_add_(0, where, values * values).index_select(0, where)
            by_rows(p, axes).index_add_(0, where, values / (rows.sqrt() + group["eps"]), alpha=-rate)
            return
        total = state["sum"].add_(g * g)
        p.add_(g / (total.sqrt() + group["eps"]), alpha=-rate)


class Adadelta(ElementwiseOptimizer):
    """Steps by the ratio of the running mean squares of steps and gradients. Zeiler, arXiv:1212.5701.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adadelta([w]).step()
    >>> w
    tensor([0.9968], requires_grad=True)
    """

    _traceable = True
    zeros = ("square_avg", "acc_delta")

    def __init__(
        self, params: Params, lr: Rate = 1.0, rho: Share = 0.9, eps: AtLeast0 = 1e-6, weight_decay: AtLeast0 = 0,
        foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        super().__init__(params, options(locals()))

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        rho, eps = group["rho"], group["eps"]
        square = state["square_avg"].mul_(rho).add_(g * g, alpha=1 - rho)
        step = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * g
        state["acc_delta"].mul_(rho).add_(step * step, alpha=1 - rho)
        p.add_(step, alpha=-number(group["lr"]))


class Rprop(ElementwiseOptimizer):
    """Steps by the gradient's sign, longer while it stays the same. Riedmiller and Braun, ICNN 1993.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Rprop([w]).step()
    >>> w
    tensor([0.9900], requires_grad=True)
    """

    def __init__(
        self, params: Params, lr: Rate = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ):  # fmt: skip
        if not 0 < etas[0] < 1 < etas[1]:
            raise ValueError(f"Rprop: invalid eta values: {etas[0]}, {etas[1]}; they must be below and above 1")
        super().__init__(params, options(locals()))

    def initial(self, p: Tensor, group: Group) -> State:
        return {"prev": zeros_like(p), "step_size": full_like(p, number(group["lr"]))}

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        (shorter, longer), (least, most) = group["etas"], group["step_sizes"]
        same = (g * state["prev"]).sign()
        factor = (same > 0).to(g.dtype) * (longer - 1) + (same < 0).to(g.dtype) * (shorter - 1) + 1
        size = state["step_size"].mul_(factor).clamp_(min=least, max=most)
        g = where(same < 0, 0.0, g)
        p.sub_(g.sign() * size)
        state["prev"].copy_(g)


class ASGD(ElementwiseOptimizer):
    """Gradient descent and the average of its parameters (``ax``). Polyak and Juditsky, SIAM J. Control 30 (1992).

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * w).sum().backward()
    >>> ASGD([w]).step()
    >>> w
    tensor([0.9800], requires_grad=True)
    """

    _traceable = True
    numbers = ("step", "eta", "mu")

    def __init__(
        self, params: Params, lr: Rate = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
        weight_decay: AtLeast0 = 0, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False, capturable: bool = False,
    ):  # fmt: skip
        super().__init__(params, options(locals()))

    def initial(self, p: Tensor, group: Group) -> State:
        return {"eta": number(group["lr"]), "mu": 1.0, "ax": zeros_like(p)}

    def advance(self, state: State, group: Group) -> tuple[float, ...]:
        (count,), eta, mu = super().advance(state, group), state["eta"], state["mu"]
        lr = number(group["lr"])
        state["eta"] = lr / (1 + group["lambd"] * lr * count) ** group["alpha"]  # of the next step
        state["mu"] = 1 / max(1, count - group["t0"])
        return count, eta, mu

    def one(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        p.mul_(1 - group["lambd"] * state["eta"]).add_(g, alpha=-state["eta"])
        state["ax"].add_((p - state["ax"]) * state["mu"])
