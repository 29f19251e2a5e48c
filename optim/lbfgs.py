"""Limited-memory BFGS, for losses that a closure can compute again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, SupportsFloat, TypeVar

from flambeau.core.dtype import COMPLEX
from flambeau.core.events import refuse
from flambeau.core.ops.joining import cat
from flambeau.core.ops.storage import view_as_real_p
from flambeau.core.state import enable_grad, no_grad
from flambeau.core.tensor import Tensor
from flambeau.optim.optimizer import Optimizer
from flambeau.optim.options import Params, Rate, number, options

Evaluate = Callable[[float], tuple[float, Tensor]]
Loss = TypeVar("Loss", bound=SupportsFloat)


class LBFGS(Optimizer):
    """Steps along an estimate of the inverse Hessian times the gradient, from the last ``history_size`` steps.

    ``step(closure)`` runs up to ``max_iter`` iterations; ``line_search_fn`` is None (steps of ``lr``) or
    "strong_wolfe". One parameter group only. Nocedal and Wright, Numerical Optimization, chapters 3 and 7.

    >>> w = fb.tensor([1.0], requires_grad=True)
    >>> optimizer = fb.optim.LBFGS([w])
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w * w).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> bool(w.abs() < 0.1)
    True
    """

    def __init__(
        self, params: Params, lr: Rate = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: Literal["strong_wolfe"] | None = None,
    ):  # fmt: skip
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError(f"LBFGS: line_search_fn must be None or 'strong_wolfe', got {line_search_fn!r}")
        max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
        super().__init__(params, options(locals()))
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        found: list[Tensor] = self.param_groups[0]["params"]
        return found

    def _gradient(self) -> Tensor:
        return cat([_numbers(p.detach() * 0 if p.grad is None else p.grad.detach()) for p in self._params])

    def _move(self, direction: Tensor, size: float) -> None:
        at = 0
        for p in self._params:
            real = view_as_real_p(p) if p.dtype.category == COMPLEX else p
            real.add_(direction[at : at + real.numel()].reshape(tuple(real.shape)), alpha=size)
            at += real.numel()

    def step(self, closure: Callable[[], Loss] | None = None) -> Loss:  # type: ignore[override]  # None only raises
        """Up to ``max_iter`` iterations; returns the first loss."""
        if closure is None:
            raise TypeError("LBFGS.step needs a closure that computes the loss and its gradients")
        refuse("LBFGS keeps a history of its steps in lists that grow and turn round")
        with no_grad():
            return _Run(self, closure).all()


def _numbers(t: Tensor) -> Tensor:
    """The elements as a vector of real numbers: a complex one as its parts."""
    return (view_as_real_p(t) if t.dtype.category == COMPLEX else t).reshape(-1)


class _Run(Generic[Loss]):
    """One call of step."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Loss]):
        self.optimizer, self.group, self.closure = optimizer, optimizer.param_groups[0], closure
        self.state = optimizer.state[optimizer._params[0]]
        for name, value in dict(func_evals=0, n_iter=0, old_dirs=[], old_stps=[], ro=[], H_diag=1.0).items():
            self.state.setdefault(name, value)
        self.evaluations = 0

    def evaluate(self) -> tuple[Loss, Tensor]:
        """The loss and the gradient where the parameters are now."""
        with enable_grad():
            loss = self.closure()
        self.evaluations += 1
        self.state["func_evals"] += 1
        return loss, self.optimizer._gradient()

    def all(self) -> Loss:
        group, state = self.group, self.state
        first, g = self.evaluate()
        loss = float(first)
        if float(g.abs().max()) <= group["tolerance_grad"]:
            return first
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = self._direction(g)
            state["prev_flat_grad"], previous = g, loss
            slope = float((g * d).sum())
            if slope > -group["tolerance_change"]:
                break
            t = number(group["lr"])
            t = min(1.0, 1.0 / float(g.abs().sum())) * t if state["n_iter"] == 1 else t
            loss, g, t = self._take(d, t, loss, g, slope, iteration)
            state["d"], state["t"] = d, t
            if self._done(loss, previous, g, d, t):
                break
        return first

    def _done(self, loss: float, previous: float, g: Tensor, d: Tensor, t: float) -> bool:
        group = self.group
        return bool(
            self.evaluations >= group["max_eval"]
            or float(g.abs().max()) <= group["tolerance_grad"]
            or float((d * t).abs().max()) <= group["tolerance_change"]
            or abs(loss - previous) < group["tolerance_change"]
        )

    def _direction(self, g: Tensor) -> Tensor:
        """Minus the estimated inverse Hessian times the gradient, by the two-loop recursion."""
        state = self.state
        if state["n_iter"] == 1:
            return -g
        y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
        ys = float((y * s).sum())
        if ys > 1e-10:
            if len(state["old_dirs"]) == self.group["history_size"]:
                for kept in ("old_dirs", "old_stps", "ro"):
                    state[kept].pop(0)
            state["old_dirs"].append(y)
            state["old_stps"].append(s)
            state["ro"].append(1.0 / ys)
            state["H_diag"] = ys / float((y * y).sum())
        history: list[tuple[Tensor, Tensor, float]] = list(
            zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True)
        )
        q, shares = -g, []
        for y, s, rho in reversed(history):
            share = float((s * q).sum()) * rho
            shares.append(share)
            q = q - y * share
        r: Tensor = q * state["H_diag"]
        for (y, s, rho), share in zip(history, reversed(shares), strict=True):
            r = r + s * (share - float((y * r).sum()) * rho)
        return r

    def _take(
        self, d: Tensor, t: float, loss: float, g: Tensor, slope: float, iteration: int
    ) -> tuple[float, Tensor, float]:
        """Move along ``d``; the loss and gradient there, and how far."""
        optimizer, group = self.optimizer, self.group
        if group["line_search_fn"] is None:
            optimizer._move(d, t)
            if iteration == group["max_iter"]:
                return loss, g, t
            found, g = self.evaluate()
            return float(found), g, t
        start = [p.detach().clone() for p in optimizer._params]

        def at(size: float) -> tuple[float, Tensor]:
            optimizer._move(d, size)
            found, gradient = self.evaluate()
            for p, kept in zip(optimizer._params, start, strict=True):
                p.copy_(kept)
            return float(found), gradient

        loss, g, t = strong_wolfe(at, d, t, loss, g, slope, group["tolerance_change"])
        optimizer._move(d, t)
        return loss, g, t


class _Point(NamedTuple):
    """A step size, the loss there, and its slope and gradient."""

    size: float
    loss: float
    slope: float
    gradient: Tensor


def _cubic(a: _Point, b: _Point, low: float, high: float) -> float:
    """The minimum within bounds of the cubic through two points."""
    (x1, f1, g1, _), (x2, f2, g2, _) = sorted((a, b), key=lambda p: p.size)
    if x1 == x2:
        return (low + high) / 2
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1 * d1 - g1 * g2
    if not square >= 0:
        return (low + high) / 2
    d2: float = square**0.5
    place = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2)) if g2 - g1 + 2 * d2 else (low + high) / 2
    return min(max(place, low), high)


def strong_wolfe(
    at: Evaluate, d: Tensor, t: float, f0: float, g0: Tensor, slope0: float, tolerance: float, c1: float = 1e-4,
    c2: float = 0.9, most: int = 25,
) -> tuple[float, Tensor, float]:  # fmt: skip
    """A step size whose loss is low and slope flat enough: bracket, then zoom by cubic interpolation."""
    scale = float(d.abs().max())

    def point(size: float) -> _Point:
        f, g = at(size)
        return _Point(size, f, float((g * d).sum()), g)

    start = before = _Point(0.0, f0, slope0, g0)
    now = point(t)
    count = 1
    bracket = None
    while count < most:
        if now.loss > f0 + c1 * now.size * slope0 or (count > 1 and now.loss >= before.loss):
            bracket = [before, now]
        elif abs(now.slope) <= -c2 * slope0:
            return now.loss, now.gradient, now.size
        elif now.slope >= 0:
            bracket = [before, now]
        if bracket:
            break
        low, high = now.size + 0.01 * (now.size - before.size), now.size * 10
        following = _cubic(before, now, low, high)
        before, now = now, point(following)
        count += 1
    bracket = bracket or [start, now]
    stuck = False
    while count < most:
        bracket.sort(key=lambda p: p.loss)  # the lower loss first
        best, other = bracket
        low, high = sorted((best.size, other.size))
        if abs(high - low) * scale < tolerance:
            break
        t = _cubic(best, other, low, high)
        margin = 0.1 * (high - low)
        if min(high - t, t - low) < margin:  # too near an end: once may pass, twice is moved inside
            if stuck or t >= high or t <= low:
                t, stuck = (high - margin if abs(t - high) < abs(t - low) else low + margin), False
            else:
                stuck = True
        else:
            stuck = False
        now = point(t)
        count += 1
        if now.loss > f0 + c1 * t * slope0 or now.loss >= best.loss:
            bracket = [best, now]
        elif abs(now.slope) <= -c2 * slope0:
            return now.loss, now.gradient, now.size
        else:
            bracket = [now, other if now.slope * (other.size - best.size) < 0 else best]
    now = min(bracket, key=lambda p: p.loss)
    return now.loss, now.gradient, now.size
