"""Function transforms: grad, vjp, jvp, vmap and what they compose to, as in torch.func.

``grad`` needs no level: it lifts its inputs to the innermost level, records there, and asks the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, overload

from flambeau.core import state
from flambeau.core.autograd.api import grad as engine_grad
from flambeau.core.autograd.engine import alias
from flambeau.core.autograd.inplace import CopySlices
from flambeau.core.blame import explain_functions
from flambeau.core.box import INFERENCE
from flambeau.core.creation import eye, zeros_like
from flambeau.core.dispatch import _detached
from flambeau.core.errors import GradientError
from flambeau.core.graph import Leaf, Slot, edge_of
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.batching import stacked as stack
from flambeau.core.transforms.forward import Dual, JvpLevel
from flambeau.core.transforms.levels import bottom, innermost, to_level
from flambeau.core.transforms.vmap import Randomness, vmap
from flambeau.core.tree import flatten, unflatten

P = ParamSpec("P")
R = TypeVar("R")
Aux = TypeVar("Aux")

# Derivatives have the nesting of the arguments that they are taken by, which no annotation can say: they are Any.


def _inputs(
    args: Sequence[Any], argnums: int | Sequence[int], name: str
) -> tuple[list[Any], Any, list[Any], tuple[int, ...]]:
    """The arguments with those of ``argnums`` replaced by fresh aliases at the innermost level."""
    nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if any(not -len(args) <= n < len(args) for n in nums):
        raise ValueError(f"{name}: argnums={argnums} is out of range for {len(args)} positional argument(s)")
    nums = tuple(n % len(args) for n in nums)
    replaced = list(args)
    leaves: list[Any] = []
    structures = []
    for n in nums:
        flat, structure = flatten(args[n])
        for i, x in enumerate(flat):
            if not isinstance(x, Tensor):
                raise TypeError(f"{name}: argument {n} must hold tensors only, got {type(x).__name__}")
            if x._key.dtype.category < 2:
                raise GradientError(
                    f"{name}: argument {n} has dtype {x.dtype}; only floating point and complex tensors have gradients"
                )
            plain = x.clone() if x._box is INFERENCE else x  # whose writes are counted
            flat[i] = alias(to_level(plain, innermost()))
        leaves += flat
        structures.append(structure)
        replaced[n] = unflatten(flat, structure)
    return replaced, structures, leaves, nums


def _reaches_beyond(outputs: Sequence[Any], leaves: Sequence[Any]) -> bool:
    """Whether anything but ``leaves`` wants a gradient of ``outputs``: then theirs must be differentiable."""
    own = {id(edge_of(x)) for x in leaves}
    if any(edge_of(x).__class__ is not Leaf for x in leaves):
        return True
    seen: set[int] = set()
    stack = [e for o in outputs if (e := edge_of(o)) is not None]
    while stack:
        edge = stack.pop()
        node = edge.node if edge.__class__ is Slot else edge
        if id(node) in own or id(node) in seen:
            continue
        seen.add(id(node))
        if node.__class__ is Leaf:
            return True
        stack += [e for e in node.edges if e is not None]
        if isinstance(node, CopySlices):
            stack += [e for e in node.inner.edges if e is not None]
    return False


def _settled(aux: Any, leaves: Sequence[Any]) -> Any:
    """Auxiliary results, without the history that leads to ``leaves`` alone."""
    flat, structure = flatten(aux)
    tensors = [a for a in flat if isinstance(a, Tensor)]
    if _reaches_beyond(tensors, leaves):
        return aux
    return unflatten([_detached(a) if isinstance(a, Tensor) else a for a in flat], structure)


def _scalar(out: Any, name: str) -> Any:
    if not isinstance(out, Tensor):
        raise GradientError(f"{name}: the function must return a tensor, got {type(out).__name__}")
    if out.shape != ():
        raise GradientError(
            f"{name}: the function must return a scalar (0-d tensor), got shape {tuple(out.shape)}; use vjp or jacrev"
        )
    return out


def grad_and_value(func: Callable[P, Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[P, Any]:
    """A function that returns (gradient, value) of ``func``, which must return a scalar tensor.

    With ``has_aux`` func returns (value, aux) and the result is (gradient, (value, aux)).

    >>> fb.func.grad_and_value(lambda x: x**2)(fb.tensor(3.0))
    (tensor(6.), tensor(9.))
    """

    @wraps(func)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        with state.enable_grad():
            replaced, structures, leaves, _ = _inputs(args, argnums, "grad")
            result = func(*replaced, **kwargs)
            if has_aux and not (isinstance(result, tuple) and len(result) == 2):
                raise TypeError("grad: with has_aux=True the function must return (value, aux)")
            value, aux = result if has_aux else (result, None)
            _scalar(value, "grad")
            keep = _reaches_beyond([value], leaves)
            grads = _gradients([value], leaves, None, keep)
            aux = _settled(aux, leaves)
        done, i = [], 0
        for s in structures:
            done.append(unflatten(grads[i : i + s.leaves], s))
            i += s.leaves
        found = done[0] if isinstance(argnums, int) else tuple(done)
        value = value if keep else _detached(value)
        return found, ((value, aux) if has_aux else value)

    return wrapped


def _gradients(outputs: Sequence[Any], leaves: Sequence[Any], cotangents: Any, keep: bool) -> list[Any]:
    if not any(o.requires_grad for o in outputs):
        return [zeros_like(x) for x in leaves]
    live = [
        (o, None if cotangents is None else c)
        for o, c in zip(outputs, cotangents or outputs, strict=True)
        if o.requires_grad
    ]
    outs, cots = [o for o, _ in live], [c for _, c in live]
    return list(engine_grad(outs, leaves, cots, True, keep, allow_unused=True, materialize_grads=True))


def grad(func: Callable[P, Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[P, Any]:
    """The gradient of a scalar function, as a function of the same arguments.

    >>> fb.func.grad(lambda x: (x**2).sum())(fb.tensor([1.0, 3.0]))
    tensor([2., 6.])
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapped


@overload
def vjp(
    func: Callable[..., R], *primals: object, has_aux: Literal[False] = False
) -> tuple[R, Callable[..., tuple[Any, ...]]]: ...
@overload
def vjp(
    func: Callable[..., tuple[R, Aux]], *primals: object, has_aux: Literal[True]
) -> tuple[R, Callable[..., tuple[Any, ...]], Aux]: ...
@overload
def vjp(func: Callable[..., Any], *primals: object, has_aux: bool) -> tuple[Any, ...]: ...
def vjp(func: Callable[..., Any], *primals: object, has_aux: bool = False) -> tuple[Any, ...]:
    """``(output, vjp_fn)``: vjp_fn maps the gradient of the output to those of ``primals``.

    >>> value, pull = fb.func.vjp(fb.sin, fb.zeros(2))
    >>> pull(fb.ones(2))
    (tensor([1., 1.]),)
    """
    with state.enable_grad():
        replaced, structures, leaves, _ = _inputs(primals, tuple(range(len(primals))), "vjp")
        result = func(*replaced)
    out, aux = result if has_aux else (result, None)
    outs, out_structure = flatten(out)
    if not all(isinstance(o, Tensor) for o in outs):
        raise TypeError("vjp: the function must return tensors only")
    keep = _reaches_beyond(outs, leaves)

    def vjp_fn(*cotangents: Any) -> Any:
        given, _ = flatten(cotangents[0] if len(cotangents) == 1 and out_structure.kind is None else
                           cotangents if len(cotangents) != 1 else cotangents[0])  # fmt: skip
        if len(given) != len(outs):
            raise GradientError(f"vjp: the function has {len(outs)} output(s), but got {len(given)} cotangent(s)")
        differentiable = keep or any(c.requires_grad for c in given)
        grads = _gradients(outs, leaves, given, differentiable)
        done, i = [], 0
        for s in structures:
            done.append(unflatten(grads[i : i + s.leaves], s))
            i += s.leaves
        return tuple(done)

    aux = _settled(aux, leaves)
    shown = out if keep else unflatten([_detached(o) for o in outs], out_structure)
    return (shown, vjp_fn, aux) if has_aux else (shown, vjp_fn)


@overload
def jvp(
    func: Callable[..., R], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False,
    has_aux: Literal[False] = False,
) -> tuple[R, R]: ...  # fmt: skip
@overload
def jvp(
    func: Callable[..., tuple[R, Aux]], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False,
    has_aux: Literal[True],
) -> tuple[R, R, Aux]: ...  # fmt: skip
@overload
def jvp(
    func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False,
    has_aux: bool,
) -> tuple[Any, ...]: ...  # fmt: skip
def jvp(
    func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """``(output, tangent)``: the derivative of ``func`` at ``primals`` in the direction ``tangents``.

    An output that does not depend on them has a tangent of zeros; with ``strict`` it raises.

    >>> fb.func.jvp(fb.sin, (fb.tensor(0.0),), (fb.tensor(2.0),))
    (tensor(0.), tensor(2.))
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise TypeError("jvp: primals and tangents must be tuples")
    flat, structure = flatten(primals)
    directions, other = flatten(tangents)
    if other != structure:
        raise GradientError("jvp: primals and tangents must have the same structure")
    for i, (p, t) in enumerate(zip(flat, directions, strict=True)):
        if p.shape != t.shape:
            raise GradientError(f"jvp: primal {i} has shape {tuple(p.shape)}, its tangent {tuple(t.shape)}")
    with JvpLevel() as level:
        duals = [level.wrap(Dual(p, t), p) for p, t in zip(flat, directions, strict=True)]
        result = func(*unflatten(duals, structure))
        out, aux = result if has_aux else (result, None)
        outs, out_structure = flatten(out)
        payloads = [to_level(o, level)._array for o in outs]
        aux = _lower(aux, level)
    if strict and any(d.direction() is None for d in payloads):
        raise GradientError("jvp: an output of the function does not depend on the inputs (strict=True)")
    values = unflatten([d.primal for d in payloads], out_structure)
    moved = unflatten(
        [zeros_like(d.primal) if d.direction() is None else d.direction() for d in payloads], out_structure
    )
    return (values, moved, aux) if has_aux else (values, moved)


def _lower(aux: Any, level: Any) -> Any:
    flat, structure = flatten(aux)
    return unflatten(
        [a._array.primal if isinstance(a, Tensor) and a._key.level is level else a for a in flat], structure
    )


def _basis(x: Any) -> Any:
    """The standard basis of the elements of ``x``: shape (numel, *shape)."""
    n = x.numel()
    return eye(n, dtype=x.dtype, device=x.device).reshape((n, *x.shape))


def jacrev(
    func: Callable[P, Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, *, chunk_size: int | None = None
) -> Callable[P, Any]:
    """The Jacobian by reverse mode, one row of the output at a time: shape (*output, *input).

    ``chunk_size`` says how many rows are computed together, at most; None: all of them.

    >>> fb.func.jacrev(fb.sin)(fb.zeros(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return by_rows(func, argnums, has_aux, lambda pulled, basis: vmap(pulled, chunk_size=chunk_size)(basis))


def one_by_one(pulled: Callable[[Any], Any], basis: Any) -> Any:
    """What vmap gives, by a loop: for backward functions that no transform can look into."""
    if not len(basis):
        return vmap(pulled)(basis)
    found = [flatten(pulled(u)) for u in basis]
    return unflatten([stack(list(column)) for column in zip(*(f[0] for f in found), strict=True)], found[0][1])


def by_rows(
    func: Callable[P, Any], argnums: int | Sequence[int], has_aux: bool, over: Callable[[Callable[..., Any], Any], Any]
) -> Callable[P, Any]:
    """The Jacobian by reverse mode; ``over(pulled, basis)`` pulls every row of a basis back."""

    @wraps(func)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)

        def of(*chosen: Any) -> Any:
            full = list(args)
            for n, x in zip(nums, chosen, strict=True):
                full[n] = x
            return func(*full, **kwargs)  # type: ignore[arg-type]  # its own arguments, some of them replaced

        got = vjp(of, *(args[n] for n in nums), has_aux=has_aux)
        out, pull = got[0], got[1]
        outs, structure = flatten(out)
        rows = []
        for i, o in enumerate(outs):

            def pulled(u: Any, i: int = i) -> Any:
                cotangents = [u if j == i else zeros_like(p) for j, p in enumerate(outs)]
                return pull(unflatten(cotangents, structure)) if structure.kind is not None else pull(u)

            flat, inner = flatten(over(pulled, _basis(o)))
            shaped = unflatten([g.reshape((*o.shape, *g.shape[1:])) for g in flat], inner)
            rows.append(shaped[0] if isinstance(argnums, int) else shaped)
        jacobian = unflatten(rows, structure)
        return (jacobian, got[2]) if has_aux else jacobian

    return wrapped


def jacfwd(
    func: Callable[P, Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, *,
    randomness: Randomness = "error", chunk_size: int | None = None,
) -> Callable[P, Any]:  # fmt: skip
    """The Jacobian by forward mode, one column of the input at a time: shape (*output, *input).

    ``chunk_size`` says how many columns are computed together, at most; None: all of them.

    >>> fb.func.jacfwd(fb.sin)(fb.zeros(2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    @wraps(func)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        per_input = []  # for each argument, its Jacobians by output
        aux = structure = None
        for n in nums:
            leaves, inner = flatten(args[n])
            columns = []
            for k in range(len(leaves)):
                column, structure, aux = _columns(func, args, kwargs, n, k, has_aux, randomness, chunk_size)
                columns.append(column)
            per_input.append([unflatten(per, inner) for per in zip(*columns, strict=True)])
        rows = per_input[0] if isinstance(argnums, int) else list(zip(*per_input, strict=True))
        assert structure is not None
        found = unflatten(rows, structure)
        return (found, aux) if has_aux else found

    return wrapped


def _columns(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], n: int, k: int, has_aux: bool,
    randomness: Randomness, chunk_size: int | None,
) -> tuple[list[Any], Any, Any]:  # fmt: skip
    """The Jacobians of each output by leaf ``k`` of argument ``n``, the outputs' structure, and aux."""
    leaves, inner = flatten(args[n])
    x = leaves[k]

    def along(t: Any) -> Any:
        def of(v: Any) -> Any:
            chosen = unflatten([*leaves[:k], v, *leaves[k + 1 :]], inner)
            return func(*args[:n], chosen, *args[n + 1 :], **kwargs)

        return jvp(of, (x,), (t,), has_aux=has_aux)[1:]

    dims = (0, None) if has_aux else (0,)
    got = vmap(along, randomness=randomness, out_dims=dims, chunk_size=chunk_size)(_basis(x))
    flat, structure = flatten(got[0])
    shaped = [t.movedim(0, -1).reshape((*t.shape[1:], *x.shape)) for t in flat]
    return shaped, structure, got[1] if has_aux else None


def hessian(func: Callable[P, Any], argnums: int | Sequence[int] = 0) -> Callable[P, Any]:
    """The matrix of second derivatives: forward over reverse.

    >>> fb.func.hessian(lambda x: (x**3).sum())(fb.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)


def linearize(func: Callable[..., R], *primals: object) -> tuple[R, Callable[..., R]]:
    """``(output, jvp_fn)``: jvp_fn maps tangents to the output's tangent at ``primals``; func runs once.

    The tangent is the gradient of the gradient: vjp(u) is linear in u, and its derivative along the tangents is
    what is asked for.

    >>> value, along = fb.func.linearize(fb.sin, fb.tensor(0.0))
    >>> along(fb.tensor(2.0))
    tensor(2.)
    """
    with state.enable_grad():
        replaced, structures, leaves, _ = _inputs(primals, tuple(range(len(primals))), "linearize")
        out = func(*replaced)
        outs, structure = flatten(out)
        if not all(isinstance(o, Tensor) for o in outs):
            raise TypeError("linearize: the function must return tensors only")
        live = [o for o in outs if o.requires_grad]
        us = [zeros_like(o).requires_grad_() for o in live]
        pulled: Sequence[Any] = (None,) * len(leaves)
        if live:
            pulled = engine_grad(live, leaves, us, create_graph=True, allow_unused=True)
    keep = _reaches_beyond(outs, leaves)

    def jvp_fn(*tangents: Any) -> R:
        given, shape = flatten(tangents)
        if shape.children != tuple(structures) or any(t.shape != x.shape for t, x in zip(given, leaves, strict=True)):
            raise GradientError("linearize: the tangents must have the structure and shapes of the primals")
        pairs = [(g, t) for g, t in zip(pulled, given, strict=True) if g is not None and g.requires_grad]
        moved = [zeros_like(u) for u in us]
        if pairs:
            gs, ts = [g for g, _ in pairs], [t for _, t in pairs]
            beyond = keep or any(t.requires_grad for t in ts)
            moved = list(engine_grad(gs, us, ts, True, beyond, allow_unused=True, materialize_grads=True))
        by_out = dict(zip(map(id, live), moved, strict=True))
        found: R = unflatten([by_out[id(o)] if id(o) in by_out else zeros_like(o) for o in outs], structure)
        return found

    shown = out if keep else unflatten([_detached(o) for o in outs], structure)
    return shown, jvp_fn


def functionalize(func: Callable[P, R], *, remove: str = "mutations") -> Callable[P, R]:
    """``func`` without writes to its intermediate tensors, which cannot be told from outside: func itself, here.

    ``remove`` is "mutations" or "mutations_and_views". Writes to arguments stay, as in PyTorch.

    >>> fb.func.functionalize(lambda x: x.clone().add_(1))(fb.ones(2))
    tensor([2., 2.])
    """
    if remove not in ("mutations", "mutations_and_views"):
        raise GradientError(f"functionalize: remove must be 'mutations' or 'mutations_and_views', got {remove!r}")

    @wraps(func)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        return func(*args, **kwargs)

    return wrapped


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """What a tensor inside a transform holds: the whole batch, or the value without its tangent; to look at alone.

    With ``recurse`` through all transforms, else through the innermost.

    >>> held = []
    >>> _ = fb.func.vmap(lambda x: (held.append(fb.func.debug_unwrap(x)), x)[1])(fb.ones(2))
    >>> held
    [tensor([1., 1.])]
    """
    level = tensor._key.level
    found: Tensor = bottom(tensor) if recurse or level is None else level.inner(tensor._array)
    return found


__all__ = [
    "alias", "debug_unwrap", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
    "linearize", "vjp", "vmap",
]  # fmt: skip

explain_functions(globals())
