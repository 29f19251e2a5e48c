"""Custom functions under vmap: one level down, by their ``vmap`` rule, or forward and backward mapped over.

They are recorded there with their own backward, so the gradient that the author gave holds at every level, and
never that of the ops in forward.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from flambeau.core.autograd.function import Function, FunctionCtx, run_forward
from flambeau.core.errors import LevelError
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.batching import Batched, batched_value
from flambeau.core.transforms.levels import Level, to_level
from flambeau.core.tree import broadcast_prefix, flatten


class VmapInfo(NamedTuple):
    """What a ``vmap`` staticmethod is told beside the axes."""

    batch_size: int
    randomness: str | None


def _as_tuple(out: Any) -> tuple[tuple[Any, ...], bool]:
    return (out, True) if isinstance(out, tuple) else ((out,), False)


def mapped(level: Level, cls: type[Function], payloads: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], bool]:
    """The payloads of the outputs at a vmap ``level``, and whether there are several."""
    values = [p.value if isinstance(p, Batched) else p for p in payloads]
    dims = tuple(0 if isinstance(p, Batched) and p.batched else None for p in payloads)
    if all(d is None for d in dims):
        outs, several = _as_tuple(cls.apply(*values, **kwargs))
        return [Batched(o, False) if isinstance(o, Tensor) else o for o in outs], several
    if cls.vmap is not Function.vmap:
        return _by_rule(level, cls, values, dims, kwargs)
    spec = _Spec(cls, level.again(), dims, kwargs)
    outs, several = _as_tuple(_Mapped.apply(spec, *values))
    return [Batched(o, True) if isinstance(o, Tensor) else o for o in outs], several


def _by_rule(
    level: Level, cls: type[Function], values: list[Any], dims: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Any], bool]:
    """By the function's own rule."""
    found = cls.vmap(VmapInfo(level.size, level.randomness), dims, *values, **kwargs)
    if not (isinstance(found, tuple) and len(found) == 2):
        raise TypeError(f"{cls.__name__}.vmap must return (output, out_dims), got {type(found).__name__}")
    outs, several = _as_tuple(found[0])
    where = broadcast_prefix(found[1], flatten(outs if several else outs[0])[1], f"{cls.__name__}.vmap out_dims")
    done = []
    for o, d in zip(outs, where, strict=True):
        if isinstance(o, Tensor):
            done.append(Batched(o, False) if d is None else Batched(o.movedim(d, 0), True))
        else:
            done.append(o)
    return done, several


class _Spec:
    """Which function is mapped, and over what."""

    __slots__ = ("cls", "dims", "kwargs", "level")

    def __init__(self, cls: type[Function], level: Level, dims: tuple[Any, ...], kwargs: dict[str, Any]):
        self.cls, self.level, self.dims, self.kwargs = cls, level, dims, kwargs


class _Mapped(Function):
    """A custom function one level down whose forward and backward map those of another."""

    @staticmethod
    def forward(ctx: Any, spec: _Spec, *values: Any) -> Any:
        inner = FunctionCtx(ctx.needs_input_grad[1:])
        with spec.level.again() as here:
            wrapped = tuple(
                here.wrap(Batched(v, d is not None), v) if isinstance(v, Tensor) else v
                for v, d in zip(values, spec.dims, strict=True)
            )
            outs, several = _as_tuple(run_forward(spec.cls, inner, wrapped, spec.kwargs))
            if inner._dirty:
                raise LevelError(f"{spec.cls.__name__}: mark_dirty is not supported inside vmap; give it a vmap rule")
            payloads = [to_level(o, here)._array if isinstance(o, Tensor) else o for o in outs]
            kept = [None if t is None else to_level(t, here)._array for t in inner._to_save]
        fixed = [id(t) for t in inner._fixed]
        inner._to_save, inner._fixed, inner._for_forward = (), (), ()
        results = tuple(batched_value(here, p) for p in payloads)
        ctx.spec, ctx.inner, ctx.kept = spec, inner, [k is not None and k.batched for k in kept]
        ctx.set_materialize_grads(inner.materialize_grads)
        same = {id(p.value): r for p, r in zip(payloads, results, strict=True) if isinstance(p, Batched)}
        ctx.save_for_backward(*[None if k is None else same.get(id(k.value), k.value) for k in kept])
        ctx.mark_non_differentiable(*[r for o, r in zip(outs, results, strict=True) if id(o) in fixed])
        return results if several else results[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        inner, spec = copy.copy(ctx.inner), ctx.spec
        with spec.level.again() as here:
            inner._to_save = tuple(
                None if t is None else here.wrap(Batched(t, b), t)
                for t, b in zip(ctx.saved_tensors, ctx.kept, strict=True)
            )
            found = spec.cls.backward(inner, *[None if g is None else here.wrap(Batched(g, True), g) for g in grads])
            found = found if isinstance(found, tuple) else (found,)
            payloads = [to_level(f, here)._array if isinstance(f, Tensor) else f for f in found]
        mapped = [d is not None for d in spec.dims] + [False] * len(payloads)
        return None, *(_collected(p, m, here) for p, m in zip(payloads, mapped, strict=False))


def _collected(payload: Any, mapped: bool, level: Level) -> Any:
    """The gradient of an input: of each element of the batch, or their sum where the input was the same for all."""
    if not isinstance(payload, Batched):
        return payload
    if mapped:
        return batched_value(level, payload)
    return payload.value.sum(0) if payload.batched else payload.value * level.size
