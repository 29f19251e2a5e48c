"""Forward-mode rules: the tangent of an op from the tangents of its operands.

In this order: the record's own ``jvp``; linearity (the op applied to the tangents); for elementwise ops
the gradient rules themselves, since their Jacobian is diagonal; the op's body; and else the transposed
gradient: the derivative of vjp(u) with respect to u (Townsend 2017, "A new trick for calculating
Jacobian vector products").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.core import state
from flambeau.core.autograd.api import grad
from flambeau.core.autograd.engine import alias
from flambeau.core.autograd.function import Function, FunctionCtx
from flambeau.core.creation import full_at, zeros_at, zeros_like
from flambeau.core.dispatch import _detached, call, tensor_of
from flambeau.core.dtype import COMPLEX, FLOATING, DType
from flambeau.core.graph import edge_of
from flambeau.core.record import ELEMENTWISE, OPS, VIEW, Op
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import Level, _tracked, to_level


# -- jvp ---------------------------------------------------------------------------------------------
class Dual:
    """A payload of forward mode: a primal and its tangent (None: zero), one level down.

    A view remembers the payload it was taken of and how, so that a tangent that a later write brings
    to either of them reaches both.
    """

    __slots__ = ("base", "primal", "replay", "shape", "tangent")

    def __init__(
        self, primal: Any, tangent: Any = None, base: Dual | None = None, replay: Callable[[Any], Any] | None = None
    ):
        self.primal, self.tangent, self.base, self.replay = primal, tangent, base, replay
        self.shape = primal._array.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        n: int = self.primal.numel()
        return n

    def direction(self) -> Any:
        """The tangent now: that of a view follows its base's."""
        if self.tangent is None and self.base is not None:
            owner, views = self._owner()
            if owner.tangent is not None:
                for view in views:
                    assert view.base is not None and view.replay is not None
                    view.tangent = view.replay(view.base.tangent)
        return self.tangent

    def _owner(self) -> tuple[Dual, list[Dual]]:
        """The nearest payload that has a tangent or is no view, and the views from there to this one."""
        owner, views = self, []
        while owner.tangent is None and owner.base is not None:
            views.append(owner)
            owner = owner.base
        return owner, views[::-1]

    def materialise(self, like: Any) -> Any:
        """A tangent with memory at the level of ``like``, shared with the base's where this is a view."""
        if self.direction() is None:
            owner, _ = self._owner()
            owner.tangent = zeros_at(like, tuple(owner.shape))
        return self.direction()


class JvpLevel(Level):
    """Forward-mode differentiation: every op carries tangents beside its values."""

    kind = "jvp"
    payload = Dual
    adopts = True

    def find(self, op: Op) -> Callable[..., Any] | None:
        return kernel_for(self, op)

    def lift(self, t: Any) -> Any:
        return self.wrap(Dual(t), t)

    def assign(self, target: Dual, value: Dual) -> None:
        tangent = value.direction()
        target.primal.copy_(value.primal)
        if tangent is not None:
            target.materialise(tangent).copy_(tangent)
        elif target.direction() is not None:
            target.tangent.zero_()

    def tracked(self, payload: Dual) -> bool:
        return _tracked(payload.primal) or (payload.tangent is not None and _tracked(payload.tangent))

    def detached(self, payload: Dual) -> Dual:
        return Dual(payload.primal.detach())

    def full(self, like: Any, shape: Any, value: Any, dtype: DType) -> Any:
        made = self.below(full_at, [like._array.primal, shape, value, dtype], {})
        return tensor_of(Dual(made), self.key(like.device, dtype))

    def custom(self, cls: type[Function], inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        payloads = [to_level(x, self)._array if isinstance(x, Tensor) else x for x in inputs]
        outs, several = self.below(_moved, [cls, payloads, kwargs], {})
        results = tuple(self.wrap(o, o.primal) if isinstance(o, Dual) else o for o in outs)
        return results if several else results[0]

    def inner(self, payload: Dual) -> Any:
        return payload.primal

    def describe(self, payload: Dual) -> str:
        return f"primal={payload.primal!r}, tangent={payload.direction()!r}"


def kernel_for(level: Any, op: Op) -> Callable[..., Any] | None:
    """The level's kernel for an op, or None where its body runs at the level."""
    rule = _rule(op)
    if rule is None:
        return None
    spread = bool(op.schema.operands) and op.schema.operands[-1].is_list
    count = len(op.schema.operands) - 1

    def kernel(*args: Any, **params: Any) -> Any:
        operands = [*args[:count], list(args[count:])] if spread else list(args)
        primals = [_primal(a) for a in operands]
        out = call(op, primals, params)
        if not _has_tangent(operands):
            if op.family is VIEW:
                return Dual(out, None, operands[0], lambda t: call(op, (t,), params))
            return _pack(out, None)
        return _pack(out, rule(op, operands, primals, out, params))

    return kernel


def explain(op: Op) -> str:
    """How the op runs in forward mode, in words."""
    rule = _rule(op)
    return "its body" if rule is None else f"the rule `{rule.__name__}`"


def _rule(op: Op) -> Any:
    if not op.differentiable:
        return constant
    if op.jvp is not None:
        return own
    if op.linear:
        return linear
    if op.family is ELEMENTWISE and op.gradients and not any(g.joint for g in op.gradients):
        return diagonal
    if op.body is not None or op.decomposes and not op.has_vjp:
        return None
    return transposed


def _primal(a: Any) -> Any:
    if isinstance(a, (list, tuple)):
        return [_primal(v) for v in a]
    return a.primal if isinstance(a, Dual) else a


def _direction(a: Any) -> Any:
    return a.direction() if isinstance(a, Dual) else None


def _has_tangent(a: Any) -> bool:
    if isinstance(a, (list, tuple)):
        return any(_has_tangent(v) for v in a)
    return _direction(a) is not None


def _pack(out: Any, tangent: Any) -> Any:
    if isinstance(out, (tuple, list)):
        tangents = tangent if tangent is not None else (None,) * len(out)
        return tuple(_pack(o, t) for o, t in zip(out, tangents, strict=True))
    if tangent is not None and out._key.dtype.category < FLOATING:
        tangent = None
    return Dual(out, tangent)


def constant(op: Op, operands: list[Any], primals: list[Any], out: Any, params: dict[str, Any]) -> Any:
    """No tangent passes: integers, comparisons."""
    return None


def own(op: Op, operands: list[Any], primals: list[Any], out: Any, params: dict[str, Any]) -> Any:
    """The record's rule: ``jvp(tangents, primals, out, **params)``."""
    assert op.jvp is not None
    return op.jvp([_direction(a) for a in operands], primals, out, **params)


def linear(op: Op, operands: list[Any], primals: list[Any], out: Any, params: dict[str, Any]) -> Any:
    """The op applied to the tangents; operands in which it is not linear keep their values."""
    moved = []
    for a, p, declared in zip(operands, primals, op.schema.operands, strict=True):
        if declared.name not in op.linear:
            moved.append(p)
        elif isinstance(a, (list, tuple)):
            moved.append([_or_zero(v, q) for v, q in zip(a, p, strict=True)])
        elif isinstance(p, Tensor):
            moved.append(_or_zero(a, p))
        else:
            moved.append(None if p is None else 0.0)  # a constant shift has no derivative
    tangent = call(op, moved, params)
    return _fit(tangent, out)


def _or_zero(a: Any, primal: Any) -> Any:
    t = _direction(a)
    return zeros_like(primal) if t is None else t


def _fit(tangent: Any, out: Any) -> Any:
    if tangent._key.dtype is not out._key.dtype:
        tangent = call(OPS["cast"], (tangent,), {"dtype": out._key.dtype})
    if tangent._array.shape != out._array.shape:
        tangent = call(OPS["expand"], (tangent,), {"shape": tuple(out._array.shape)})
    return tangent


def diagonal(op: Op, operands: list[Any], primals: list[Any], out: Any, params: dict[str, Any]) -> Any:
    """Elementwise: the gradient rule of each operand applied to its tangent, summed."""
    values = {a.name: p for a, p in zip(op.schema.operands, primals, strict=True)} | {"out": out} | params
    total = None
    for gradient in op.gradients:
        name = gradient.inputs[0]
        position = next(i for i, a in enumerate(op.schema.operands) if a.name == name)
        t = _direction(operands[position])
        if t is None:
            continue
        complex_ = t._key.dtype.category == COMPLEX
        term = gradient.fn(*[_read(r, values, t.conj() if complex_ else t) for r in gradient.reads])
        term = term.conj() if complex_ and term._key.dtype.category == COMPLEX else term
        total = term if total is None else total + term
    if total is None:
        return None
    if total._key.dtype.category == COMPLEX and out._key.dtype.category < COMPLEX:
        total = total.real
    return _fit(total, out)


def _read(name: str, values: dict[str, Any], t: Any) -> Any:
    if name == "g":
        return t
    if name in values:
        return values[name]
    if name.endswith("_shape"):
        return tuple(values[name.removesuffix("_shape")]._array.shape)
    return values[name.removesuffix("_dtype")]._key.dtype


def transposed(op: Op, operands: list[Any], primals: list[Any], out: Any, params: dict[str, Any]) -> Any:
    """The gradient, transposed: it is linear in the output's gradient u, so d/du <vjp(u), t> is the tangent."""
    return pushed(lambda lead: call(op, [lead(a, p) for a, p in zip(operands, primals, strict=True)], params))


class _Leading:
    """Takes the place of each operand that has a tangent by an alias to differentiate by."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.tangents: list[Any] = []
        self.history = False  # whether anything but the aliases wants a gradient

    def __call__(self, a: Any, primal: Any) -> Any:
        if isinstance(a, (list, tuple)):
            return [self(v, q) for v, q in zip(a, primal, strict=True)]
        t = _direction(a)
        if t is None or not isinstance(primal, Tensor):
            return primal
        self.history = self.history or edge_of(primal) is not None or edge_of(t) is not None
        self.inputs.append(alias(primal))
        self.tangents.append(t)
        return self.inputs[-1]


def pushed(run: Callable[[Callable[[Any, Any], Any]], Any]) -> Any:
    """The tangents of what ``run(lead)`` gives; it calls ``lead(payload, primal)`` for each of its operands."""
    lead = _Leading()
    with state.enable_grad():
        results = run(lead)
        several = isinstance(results, (tuple, list))
        ordered = results if several else [results]
        outs = [o for o in ordered if isinstance(o, Tensor) and o.requires_grad]
        us = [zeros_like(o).requires_grad_() for o in outs]
        gs = grad(outs, lead.inputs, us, create_graph=True, allow_unused=True)
        pairs = [(g, t) for g, t in zip(gs, lead.tangents, strict=True) if g is not None and g.requires_grad]
        moved: Any = ()
        if pairs:
            back, along = [g for g, _ in pairs], [t for _, t in pairs]
            moved = grad(back, us, along, create_graph=True, allow_unused=True, materialize_grads=True)
        if not lead.history:  # what is recorded leads to the aliases alone
            moved = [_detached(t) for t in moved]
    by_out: dict[int, Any] = dict(zip(map(id, outs), moved, strict=False))
    found = tuple(by_out.get(id(o)) for o in ordered)
    return found if several else found[0]


# -- custom functions --------------------------------------------------------------------------------
def _moved(cls: type[Function], payloads: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], bool]:
    primals = tuple(p.primal if isinstance(p, Dual) else p for p in payloads)
    tangents = [p.direction() if isinstance(p, Dual) else None for p in payloads]
    out = cls.apply(*primals, **kwargs)
    several = isinstance(out, tuple)
    outs = out if several else (out,)
    if all(t is None for t in tangents):
        moved: tuple[Any, ...] = (None,) * len(outs)
    elif cls.jvp is not Function.jvp:
        moved = _by_jvp(cls, primals, tangents, kwargs, out)
    else:
        found = pushed(lambda lead: cls.apply(*[lead(a, p) for a, p in zip(payloads, primals, strict=True)], **kwargs))
        moved = found if several else (found,)
    return [Dual(o, t) if isinstance(o, Tensor) else o for o, t in zip(outs, moved, strict=True)], several


def _by_jvp(
    cls: type[Function], primals: tuple[Any, ...], tangents: list[Any], kwargs: dict[str, Any], out: Any
) -> Any:
    """By the function's own rule; inputs without a tangent have zeros, those that are no tensors None."""
    ctx = FunctionCtx(tuple(t is not None for t in tangents))
    if cls.setup_context is Function.setup_context:
        with state.no_grad():
            cls.forward(ctx, *(_detached(p) if isinstance(p, Tensor) else p for p in primals), **kwargs)
    else:
        cls.setup_context(ctx, primals, out)
    given = [
        zeros_like(p) if t is None and isinstance(p, Tensor) and ctx.materialize_grads else t
        for p, t in zip(primals, tangents, strict=True)
    ]
    found = cls.jvp(ctx, *given)
    return found if isinstance(found, tuple) else (found,)
