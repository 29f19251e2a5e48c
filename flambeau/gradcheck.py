"""gradcheck and gradgradcheck: gradients against central differences, in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeAlias

from flambeau.core import state
from flambeau.core.autograd.api import as_tuple
from flambeau.core.autograd.engine import alias
from flambeau.core.blame import explain_functions, plain
from flambeau.core.creation import arange, eye
from flambeau.core.dtype import COMPLEX, float64
from flambeau.core.errors import GradientError
from flambeau.core.from_data import tensor
from flambeau.core.ops.joining import stack
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.func import jvp, vmap
from flambeau.core.transforms.gradients import grad

Matrix: TypeAlias = list[list[float]]  # a row for each component of one side, a column for each of the other
#: With so many elements of inputs and outputs, a call for each costs less than one under vmap.
FEW = 24


class GradcheckError(GradientError, AssertionError):
    """The gradient differs from the numerical one."""


def _outputs(fn: Callable[..., Any], inputs: Sequence[Any]) -> list[Tensor]:
    return [o for o in as_tuple(fn(*inputs)) if isinstance(o, Tensor) and (o.is_floating_point() or o.is_complex())]


def gradcheck(
    func: Callable[..., Any], inputs: Tensor | Sequence[Any], *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None,
) -> bool:  # fmt: skip
    """Compare the gradients of ``func`` with central differences, element by element.

    ``inputs`` are tensors, best of float64 or complex128; those with requires_grad are checked. GradcheckError names
    the input, the output and the largest difference. Also checked: that backward gives the same twice (up to
    ``nondet_tol``), that outputs without a gradient count as zero (``check_undefined_grad``), and on demand
    forward mode and both modes under vmap. ``fast_mode`` makes the same comparisons with one call of ``func`` under
    vmap instead of one an element, and checks that the gradients under vmap are those without it; ``masked`` is
    accepted for PyTorch's sake.

    >>> fb.autograd.gradcheck(fb.sin, (fb.tensor([0.5], dtype=fb.float64, requires_grad=True),))
    True
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("gradcheck: nothing to check; give check_forward_ad=True or check_backward_ad=True")
    if check_undefined_grad and not check_backward_ad:
        check_undefined_grad = False
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError("gradcheck: check_batched_forward_grad=True needs check_forward_ad=True")
    inputs = as_tuple(inputs)
    places = _differentiable(inputs)
    try:
        with state.enable_grad():
            outs = _outputs(func, inputs)
        live = [(j, o) for j, o in enumerate(outs) if o.requires_grad]
        batched = fast_mode and sum(x.numel() for x in (*(inputs[i] for i in places), *outs)) > FEW
        if outs and not live:
            _check_constant(_numerical(func, inputs, places, list(range(len(outs))), eps, batched))
        jacobians = _numerical(func, inputs, places, [j for j, _ in live], eps, batched)
        if check_backward_ad:
            _check_backward(live, jacobians, inputs, places, atol, rtol, nondet_tol, batched)
        if check_undefined_grad and check_backward_ad:
            _check_undefined([o for _, o in live], [inputs[i] for i in places])
        if check_grad_dtypes:
            _check_dtypes([o for _, o in live], [inputs[i] for i in places])
        if check_forward_ad:
            _check_forward(func, inputs, places, live, jacobians, atol, rtol)
        if check_batched_grad or (batched and check_backward_ad):
            _check_batched([o for _, o in live], [inputs[i] for i in places])
        if check_batched_forward_grad:
            _check_batched_forward(func, inputs, places)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _differentiable(inputs: tuple[Any, ...]) -> list[int]:
    """Which inputs to check."""
    places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not places:
        raise ValueError("gradcheck: none of the inputs requires grad")
    for i in places:
        x = inputs[i]
        if x.dtype.to_real() is not float64:
            text = f"gradcheck: input {i} has dtype {x.dtype}; central differences need float64 or complex128"
            warnings.warn(f"{text}: this check will likely fail", stacklevel=3)
        if x.numel() and any(n > 1 and step == 0 for n, step in zip(x.shape, x.stride(), strict=True)):
            raise GradientError(
                f"gradcheck: input {i} has a dimension with stride 0, so that a difference in one element moves "
                "another: give a tensor whose elements do not overlap, as by contiguous()"
            )
    return places


def _check_constant(jacobians: list[list[Matrix]]) -> None:
    """Where no output has a gradient the function must not depend on its inputs."""
    if any(value for jacobian in jacobians for rows in jacobian for row in rows for value in row):
        raise GradcheckError("gradcheck: no output requires grad, but the numerical gradient is not zero")


def _check_backward(
    live: Any, jacobians: Any, inputs: Any, places: list[int], atol: float, rtol: float, nondet_tol: float,
    batched: bool,
) -> None:  # fmt: skip
    wanted = [inputs[i] for i in places]
    for (j, out), numerical in zip(live, jacobians, strict=True):
        for i, rows, columns in zip(places, _analytical(out, wanted, batched), numerical, strict=True):
            _compare(rows, columns, i, j, inputs[i], out, atol, rtol)
        first, again = (grad(out, wanted, out.detach() * 0 + 1, retain_graph=True, allow_unused=True) for _ in range(2))
        for i, one, other in zip(places, first, again, strict=True):
            if one is not None and other is not None and _far([_parts(one)], [_parts(other)], nondet_tol):
                raise GradcheckError(
                    f"gradcheck: backward is not deterministic: the gradient of output {j} with respect to input {i} "
                    f"differs between two runs by more than nondet_tol={nondet_tol}"
                )


def _far(rows: Matrix, others: Matrix, tolerance: float) -> bool:
    return any(abs(a - b) > tolerance for r, s in zip(rows, others, strict=True) for a, b in zip(r, s, strict=True))


def _check_undefined(outs: list[Tensor], wanted: list[Tensor]) -> None:
    """An output whose gradient never comes counts as one whose gradient is zero."""
    if len(outs) < 2:
        return
    for j, out in enumerate(outs):
        u = out.detach() * 0 + 1
        alone = grad(out, wanted, u, retain_graph=True, allow_unused=True)
        us = [u if k == j else o.detach() * 0 for k, o in enumerate(outs)]
        beside = grad(outs, wanted, us, retain_graph=True, allow_unused=True)
        for i, (a, b) in enumerate(zip(alone, beside, strict=True)):
            first, second = ([0.0] * len(_parts(wanted[i])) if g is None else _parts(g) for g in (a, b))
            if _far([first], [second], 1e-10):
                raise GradcheckError(
                    f"gradcheck: the gradient of output {j} with respect to input {i} depends on whether the other "
                    "outputs get no gradient or zeros"
                )


def _check_dtypes(outs: list[Tensor], wanted: list[Tensor]) -> None:
    for j, out in enumerate(outs):
        found = grad(out, wanted, out.detach() * 0 + 1, retain_graph=True, allow_unused=True)
        for i, (g, x) in enumerate(zip(found, wanted, strict=True)):
            if g is not None and (g.dtype is not x.dtype or g.shape != x.shape):
                raise GradcheckError(
                    f"gradcheck: the gradient of output {j} with respect to input {i} is {g.dtype}, the input {x.dtype}"
                )


def _along(func: Callable[..., Any], inputs: tuple[Any, ...], i: int) -> Callable[[Tensor], list[Tensor]]:
    """The tangents of the outputs, as a function of the tangent of input ``i``."""

    def moved(t: Tensor) -> list[Tensor]:
        def of(x: Tensor) -> tuple[Tensor, ...]:
            return tuple(_outputs(func, [*inputs[:i], x, *inputs[i + 1 :]]))

        return list(jvp(of, (inputs[i].detach(),), (t,))[1])

    return moved


def _units(x: Any) -> list[Any]:
    """The unit vectors of a tensor, the imaginary ones after the real ones."""
    n = x.numel()
    rows = eye(n, dtype=x.dtype, device=x.device).reshape((n, *x.shape)).unbind(0) if n else ()
    return [u * step for step in _directions(x) for u in rows]


def _directions(t: Any) -> tuple[complex, ...]:
    return (1.0, 1j) if t.dtype.category == COMPLEX else (1.0,)


def _check_forward(
    func: Callable[..., Any], inputs: tuple[Any, ...], places: list[int], live: list[tuple[int, Tensor]],
    jacobians: list[list[Matrix]], atol: float, rtol: float,
) -> None:  # fmt: skip
    detached = tuple(x.detach() if isinstance(x, Tensor) else x for x in inputs)
    for position, i in enumerate(places):
        tangents = [_along(func, detached, i)(u) for u in _units(inputs[i])]
        for (j, out), numerical in zip(live, jacobians, strict=True):
            rows = [list(r) for r in zip(*(_parts(ts[j]) for ts in tangents), strict=True)]
            _compare(rows, numerical[position], i, j, inputs[i], out, atol, rtol, "forward-mode derivative")


def _check_batched_forward(func: Callable[..., Any], inputs: tuple[Any, ...], places: list[int]) -> None:
    detached = tuple(x.detach() if isinstance(x, Tensor) else x for x in inputs)
    for i in places:
        units = _units(inputs[i])
        if not units:
            continue
        along = _along(func, detached, i)
        batched = vmap(lambda t, along=along: tuple(along(t)))(stack(units))
        for k, u in enumerate(units):
            for j, (one, mapped) in enumerate(zip(along(u), batched, strict=True)):
                if _far([_parts(one)], [_parts(mapped[k])], 1e-8):
                    raise GradcheckError(
                        f"gradcheck: the forward-mode derivative of output {j} along input {i} under vmap differs"
                    )


def _parts(t: Tensor) -> list[float]:
    """The elements as real numbers, the imaginary parts after the real ones."""
    host = t.detach().cpu().numpy().reshape(-1)
    return [*host.real.tolist(), *host.imag.tolist()] if t.dtype.category == COMPLEX else host.tolist()


def _rows(t: Tensor) -> Matrix:
    """:func:`_parts` of every element along the first axis."""
    host = t.detach().cpu().numpy().reshape(len(t), -1)
    if t.dtype.category == COMPLEX:
        return [[*re, *im] for re, im in zip(host.real.tolist(), host.imag.tolist(), strict=True)]
    return host.tolist()


def _analytical(out: Tensor, inputs: Sequence[Tensor], batched: bool) -> list[Matrix]:
    """For each input: one row per real component of the output."""
    units = _units(out)
    if batched and units:
        found = grad(out, inputs, stack(units), True, is_grads_batched=True, materialize_grads=True)
        return [_rows(g) for g in found]
    rows = [grad(out, inputs, u, True, materialize_grads=True) for u in units]
    return [[_parts(row[k]) for row in rows] for k in range(len(inputs))]


def _numerical(
    func: Callable[..., Any], inputs: tuple[Any, ...], places: list[int], live: list[int], eps: float, batched: bool
) -> list[list[list[list[float]]]]:
    """For each output and input: one row per real component of the input, the central difference of the output."""

    def of(*given: Any) -> tuple[Any, ...]:
        args = list(inputs)
        for place, value in zip(places, given, strict=True):
            args[place] = value
        return tuple(_outputs(func, args))

    fixed = [inputs[place].detach() for place in places]
    jacobians: list[list[list[list[float]]]] = [[[] for _ in places] for _ in live]
    points = [
        [*fixed[:k], x + u * step, *fixed[k + 1 :]]
        for k, x in enumerate(fixed) for u in _units(x) for step in (eps, -eps)
    ]  # fmt: skip
    with state.no_grad():
        if batched and points:  # all of them mapped over, since a gradient taken inside sees no tensor from outside
            outs = vmap(of)(*map(stack, zip(*points, strict=True)))
            values = [_rows(outs[j]) for j in live]
        else:
            results = [of(*point) for point in points]
            values = [[_parts(outs[j]) for outs in results] for j in live]
    for found, jacobian in zip(values, jacobians, strict=True):
        pairs = iter(zip(found[::2], found[1::2], strict=True))
        for x, rows in zip(fixed, jacobian, strict=True):
            for ahead, behind in islice(pairs, x.numel() * len(_directions(x))):
                rows.append([(p - m) / (2 * eps) for p, m in zip(ahead, behind, strict=True)])
    return jacobians


def _compare(
    rows: Matrix, columns: Matrix, i: int, j: int, x: Tensor, out: Tensor, atol: float, rtol: float,
    what: str = "gradient",
) -> None:  # fmt: skip
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
            f"at output element {r}, input element {c} the {what} is {rows[r][c]:.8g}, "
            f"the central difference {columns[c][r]:.8g} (atol={atol}, rtol={rtol})"
        )


def _check_batched(outs: list[Tensor], wanted: list[Tensor]) -> None:
    """The gradient under vmap equals the gradients one by one."""
    for out in outs:
        angles = arange(1.0, 1.0 + out.numel(), dtype=float64, device=out.device)
        us = stack([angles.cos(), angles.sin()]).reshape((2, *out.shape)).to(out.dtype)
        batched = grad(out, wanted, us, True, is_grads_batched=True, materialize_grads=True)
        singles = [grad(out, wanted, u, True, materialize_grads=True) for u in us.unbind(0)]
        for k, pair in enumerate(zip(*singles, strict=True)):
            if _far([_parts(stack(list(pair)))], [_parts(batched[k])], 1e-8):
                raise GradcheckError(
                    f"gradcheck: the gradient of input {k} under vmap differs from the gradients one by one"
                )


def gradgradcheck(
    func: Callable[..., Any], inputs: Tensor | Sequence[Any], grad_outputs: Tensor | Sequence[Tensor] | None = None, *,
    eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True, fast_mode: bool = False, masked: bool = False,
) -> bool:  # fmt: skip
    """:func:`gradcheck` of the gradient of ``func``: its double backward against central differences.

    ``check_fwd_over_rev`` also checks the forward-mode derivative of the gradient.

    >>> fb.autograd.gradgradcheck(fb.sin, fb.zeros(2, dtype=fb.float64, requires_grad=True))
    True
    """
    inputs = as_tuple(inputs)
    outs = _outputs(func, inputs)
    if grad_outputs is None:
        us = tuple((o.detach() * 0 + 1.0 / (1 + k)).requires_grad_() for k, o in enumerate(outs))
    else:
        us = tuple(u.detach().requires_grad_() for u in as_tuple(grad_outputs))
    positions = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]

    def first(*args: Any) -> tuple[Any, ...]:
        recorded = state.is_grad_enabled()  # central differences need no graph of the gradient
        with state.enable_grad():
            xs, vs = list(args[: len(inputs)]), args[len(inputs) :]
            chosen = []
            for i in positions:
                xs[i] = xs[i] if xs[i].requires_grad else alias(xs[i])
                chosen.append(xs[i])
            results = [(o, v) for o, v in zip(_outputs(func, xs), vs, strict=True) if o.requires_grad]
            found = grad(
                [o for o, _ in results], chosen, [v for _, v in results], create_graph=recorded, allow_unused=True
            )
            return tuple(x * 0 if g is None else g for x, g in zip(chosen, found, strict=True))

    return gradcheck(
        first, (*inputs, *us), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad, check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev, fast_mode=fast_mode,
    )  # fmt: skip


def _matrix(name: str, rows: Matrix, x: Tensor, out: Tensor) -> Tensor:
    if x.is_complex() or out.is_complex():
        raise ValueError(f"{name}: for real tensors only; gradcheck compares the derivatives of complex ones")
    return tensor(rows, dtype=x.dtype).reshape(x.numel(), out.numel())


def get_numerical_jacobian(
    fn: Callable[..., Any], inputs: Any, target: Any = None, eps: float = 1e-3, grad_out: float = 1.0
) -> tuple[Tensor, ...]:  # Any: what fn takes: a tensor, or a nesting of them in one argument
    """The central differences of ``fn(inputs)`` by each of ``inputs``, or of ``target``: (elements in, elements out).

    For real tensors; PyTorch has declared it deprecated.
    """
    if grad_out != 1.0:
        raise ValueError(f"get_numerical_jacobian: grad_out must be 1.0, got {grad_out!r}")
    chosen = as_tuple(inputs if target is None else target)
    given = as_tuple(inputs)
    places = [next(i for i, x in enumerate(given) if x is t) for t in chosen]
    call = lambda *xs: fn(xs if isinstance(inputs, (tuple, list)) else xs[0])  # noqa: E731
    out = _outputs(call, given)[0]
    found = _numerical(call, given, places, [0], eps, False)[0]
    return tuple(_matrix("get_numerical_jacobian", rows, given[i], out) for i, rows in zip(places, found, strict=True))


def get_numerical_jacobian_wrt_specific_input(
    fn: Callable[..., Any], input_idx: int, inputs: Sequence[Any], outputs: Sequence[Tensor], eps: float,
    input: Tensor | None = None, is_forward_ad: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The central differences of each output of ``fn(*inputs)`` by one input: (elements in, elements out)."""
    given = list(inputs)
    given[input_idx] = inputs[input_idx] if input is None else input
    found = _numerical(fn, tuple(given), [input_idx], list(range(len(outputs))), eps, False)
    name = "get_numerical_jacobian_wrt_specific_input"
    return tuple(_matrix(name, rows[0], given[input_idx], o) for rows, o in zip(found, outputs, strict=True))


def get_analytical_jacobian(
    inputs: Sequence[Tensor], output: Tensor, nondet_tol: float = 0.0, grad_out: float = 1.0
) -> tuple[tuple[Tensor, ...], bool, bool, bool]:
    """The gradients of ``output`` as matrices (elements in, elements out); and whether backward gave the same twice,
    the shapes and the dtypes of the inputs.

    For real tensors; PyTorch has declared it deprecated.
    """
    if grad_out != 1.0:
        raise ValueError(f"get_analytical_jacobian: grad_out must be 1.0, got {grad_out!r}")
    wanted = [x for x in as_tuple(inputs) if isinstance(x, Tensor) and x.requires_grad]
    first, again = (_analytical(output, wanted, False) for _ in range(2))
    same = not any(_far(a, b, nondet_tol) for a, b in zip(first, again, strict=True))
    found = grad(output, wanted, output.detach() * 0 + 1, retain_graph=True, allow_unused=True)
    pairs = [(g, x) for g, x in zip(found, wanted, strict=True) if g is not None]
    turned = [[list(column) for column in zip(*rows, strict=True)] for rows in first]
    name = "get_analytical_jacobian"
    matrices = tuple(_matrix(name, rows, x, output) for rows, x in zip(turned, wanted, strict=True))
    return matrices, same, all(g.shape == x.shape for g, x in pairs), all(g.dtype is x.dtype for g, x in pairs)


explain_functions(globals(), "gradcheck gradgradcheck", wrap=plain)
