"""gradcheck and gradgradcheck: gradients against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core import state
from flambeau.core.autograd.api import grad
from flambeau.core.dtype import COMPLEX, float64
from flambeau.core.errors import GradientError
from flambeau.core.tensor import Tensor


class GradcheckError(GradientError, AssertionError):
    """The gradient differs from the numerical one."""


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _outputs(fn: Callable[..., Any], inputs: Sequence[Any]) -> list[Any]:
    return [o for o in _tuple(fn(*inputs)) if isinstance(o, Tensor) and (o.is_floating_point() or o.is_complex())]


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = False,
    check_batched_grad: bool = False,
    fast_mode: bool = False,
) -> bool:
    """Compare the gradients of ``func`` with central differences, element by element.

    ``inputs`` are float64 tensors; those with requires_grad are checked. GradcheckError names the input,
    the output and the largest difference.

    >>> import flambeau as fb
    >>> fb.autograd.gradcheck(fb.sin, (fb.tensor([0.5], dtype=fb.float64, requires_grad=True),))
    True
    """
    inputs = _tuple(inputs)
    try:
        _check(func, inputs, eps, atol, rtol)
        if check_batched_grad:
            _check_batched(func, inputs)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(func: Callable[..., Any], inputs: tuple[Any, ...], eps: float, atol: float, rtol: float) -> None:
    wanted = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError("gradcheck: none of the inputs requires grad")
    for i in wanted:
        if inputs[i].dtype.to_real() is not float64:
            raise ValueError(
                f"gradcheck: input {i} has dtype {inputs[i].dtype}; central differences need float64 or complex128"
            )
    with state.enable_grad():
        outs = _outputs(func, inputs)
    for j, out in enumerate(outs):
        if not out.requires_grad:
            continue
        analytical = _analytical(out, [inputs[i] for i in wanted])
        for i, rows in zip(wanted, analytical, strict=True):
            numerical = _numerical(func, inputs, i, j, eps)
            _compare(rows, numerical, i, j, inputs[i], out, atol, rtol)


def _parts(t: Any) -> list[float]:
    """The elements as real numbers, the imaginary parts after the real ones."""
    host = t.detach().cpu().numpy().reshape(-1)
    return [*host.real.tolist(), *host.imag.tolist()] if t.dtype.category == COMPLEX else host.tolist()


def _analytical(out: Any, inputs: Sequence[Any]) -> list[list[list[float]]]:
    """For each input: one row per real component of the output."""
    components = 2 if out.dtype.category == COMPLEX else 1
    rows: list[list[list[float]]] = [[] for _ in inputs]
    for part in range(components):
        for k in range(out.numel()):
            u = out.new_zeros(out.numel())
            u[k] = 1j if part else 1
            u = u.reshape(tuple(out.shape))
            for x, g, into in zip(
                inputs, grad(out, inputs, u, retain_graph=True, allow_unused=True), rows, strict=True
            ):
                into.append(_parts(g) if g is not None else [0.0] * len(_parts(x)))
    return rows


def _numerical(func: Callable[..., Any], inputs: tuple[Any, ...], i: int, j: int, eps: float) -> list[list[float]]:
    """One row per real component of the input: the central difference of output ``j``."""
    x = inputs[i]
    steps = [1.0, 1j] if x.dtype.category == COMPLEX else [1.0]
    columns = []
    with state.no_grad():
        for step in steps:
            for k in range(x.numel()):
                values = []
                for sign in (1, -1):
                    moved = x.detach().reshape((-1,)).clone()
                    moved[k] += sign * eps * step
                    moved = moved.reshape(tuple(x.shape))
                    values.append(_parts(_outputs(func, [*inputs[:i], moved, *inputs[i + 1 :]])[j]))
                columns.append([(p - m) / (2 * eps) for p, m in zip(*values, strict=True)])
    return columns


def _compare(rows: Any, columns: Any, i: int, j: int, x: Any, out: Any, atol: float, rtol: float) -> None:
    worst, where = 0.0, (0, 0)
    for r, row in enumerate(rows):
        for c, a in enumerate(row):
            n = columns[c][r]
            off = abs(a - n) - (atol + rtol * abs(n))
            if not off <= worst:
                worst, where = off, (r, c)
    if worst > 0 or worst != worst:
        r, c = where
        raise GradcheckError(
            f"gradcheck: output {j} of shape {tuple(out.shape)} with respect to input {i} of shape {tuple(x.shape)}: "
            f"at output element {r}, input element {c} the gradient is {rows[r][c]:.8g}, "
            f"the central difference {columns[c][r]:.8g} (atol={atol}, rtol={rtol})"
        )


def _check_batched(func: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    """The gradient under vmap equals the gradients one by one."""
    from flambeau.core.ops.arrange import stack

    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    for out in _outputs(func, inputs):
        us = stack([out.detach() * 0 + k for k in (1.0, 2.0)])
        batched = grad(out, wanted, us, retain_graph=True, allow_unused=True, is_grads_batched=True)
        singles = [
            grad(out, wanted, u, retain_graph=True, allow_unused=True, materialize_grads=True) for u in us.unbind(0)
        ]
        for k, pair in enumerate(zip(*singles, strict=True)):
            if _parts(stack(list(pair)) - batched[k]) and max(map(abs, _parts(stack(list(pair)) - batched[k]))) > 1e-8:
                raise GradcheckError(
                    f"gradcheck: the gradient of input {k} under vmap differs from the gradients one by one"
                )


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **ignored: Any,
) -> bool:
    """:func:`gradcheck` of the gradient of ``func``: its double backward against central differences."""
    inputs = _tuple(inputs)
    outs = _outputs(func, inputs)
    if grad_outputs is None:
        us = tuple((o.detach() * 0 + 1.0 / (1 + k)).requires_grad_() for k, o in enumerate(outs))
    else:
        us = tuple(u.detach().requires_grad_() for u in _tuple(grad_outputs))
    positions = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]

    def first(*args: Any) -> tuple[Any, ...]:
        with state.enable_grad():
            xs, vs = list(args[: len(inputs)]), args[len(inputs) :]
            chosen = []
            for i in positions:
                xs[i] = xs[i] if xs[i].requires_grad else xs[i].detach().requires_grad_()
                chosen.append(xs[i])
            results = [(o, v) for o, v in zip(_outputs(func, xs), vs, strict=True) if o.requires_grad]
            found = grad([o for o, _ in results], chosen, [v for _, v in results], create_graph=True, allow_unused=True)
            return tuple(x * 0 if g is None else g for x, g in zip(chosen, found, strict=True))

    return gradcheck(first, (*inputs, *us), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)
