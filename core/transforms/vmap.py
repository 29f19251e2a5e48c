"""vmap: a function mapped over an axis of its arguments, as one computation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

from flambeau.core.autograd.function import Function
from flambeau.core.blame import explain_functions
from flambeau.core.creation import full_at
from flambeau.core.dispatch import call, tensor_of
from flambeau.core.dtype import DType
from flambeau.core.errors import LevelError
from flambeau.core.record import OPS, Op
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.batching import Batched, rule_for
from flambeau.core.transforms.custom import mapped
from flambeau.core.transforms.levels import Level, _tracked, to_level
from flambeau.core.tree import Structure, broadcast_prefix, flatten, unflatten

P = ParamSpec("P")
R = TypeVar("R")
#: An axis, None, or a nesting of them that may stop early: the rest is the same.
Dims: TypeAlias = int | Sequence[Any] | dict[Any, Any] | None
#: What random ops give inside: an error, the same for all elements of the batch, or different numbers.
Randomness: TypeAlias = Literal["error", "same", "different"]


class VmapLevel(Level):
    """vmap over ``size`` elements; ``randomness`` is "error", "same" or "different"."""

    kind = "vmap"
    payload = Batched

    def __init__(self, size: int, randomness: str | None):
        super().__init__()
        self.size, self.randomness = size, randomness

    def again(self) -> VmapLevel:
        return VmapLevel(self.size, self.randomness)

    def find(self, op: Op) -> Callable[..., Any] | None:
        rule = rule_for(op)
        if rule is None:
            return None

        def kernel(*args: Any, **params: Any) -> Any:
            if not any(_is_batched(a) for a in args):
                out = call(op, [_plain(a) for a in args], params)
                return _wrap_all(out, False)
            return _wrap_all(rule(self, op, list(args), params), True)

        if op.schema.operands and op.schema.operands[-1].is_list:
            count = len(op.schema.operands) - 1
            return lambda *args, **params: kernel(*args[:count], list(args[count:]), **params)
        return kernel

    def lift(self, t: Any) -> Any:
        return self.wrap(Batched(t, False), t)

    def batch(self, t: Any) -> Any:
        return self.wrap(Batched(t, True), t)

    def assign(self, target: Batched, value: Batched) -> None:
        if value.batched and not target.batched:
            raise LevelError(
                "vmap: an unbatched tensor is written to with batched values; each element would need its own copy. "
                "Use the out-of-place op, or make the tensor inside with zeros_like of a batched one"
            )
        target.value.copy_(value.value)

    def tracked(self, payload: Batched) -> bool:
        return _tracked(payload.value)

    def detached(self, payload: Batched) -> Batched:
        return Batched(payload.value.detach(), payload.batched)

    def full(self, like: Any, shape: Any, value: Any, dtype: DType) -> Any:
        model, batched = like._array.value, like._array.batched
        made = self.below(full_at, [model, (self.size, *shape) if batched else shape, value, dtype], {})
        return tensor_of(Batched(made, batched), self.key(like.device, dtype))

    def custom(self, cls: type[Function], inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        payloads = [to_level(x, self)._array if isinstance(x, Tensor) else x for x in inputs]
        outs, several = self.below(mapped, [self, cls, payloads, kwargs], {})
        results = tuple(self.wrap(o, o.value) if isinstance(o, Batched) else o for o in outs)
        return results if several else results[0]

    def inner(self, payload: Batched) -> Any:
        return payload.value

    def varies(self, payload: Batched) -> bool:
        return payload.batched

    def describe(self, payload: Batched) -> str:
        return f"batch={self.size if payload.batched else None}, value={payload.value!r}"


def _is_batched(a: Any) -> bool:
    if isinstance(a, (list, tuple)):
        return any(_is_batched(v) for v in a)
    return isinstance(a, Batched) and a.batched


def _plain(a: Any) -> Any:
    if isinstance(a, (list, tuple)):
        return [_plain(v) for v in a]
    return a.value if isinstance(a, Batched) else a


def _wrap_all(out: Any, batched: bool) -> Any:
    if isinstance(out, (tuple, list)):
        return tuple(_wrap_all(o, batched) for o in out)
    return out if isinstance(out, Batched) else Batched(out, batched)


def vmap(
    func: Callable[P, R], in_dims: Dims = 0, out_dims: Dims = 0, randomness: Randomness = "error", *,
    chunk_size: int | None = None,
) -> Callable[P, R]:  # fmt: skip
    """``func`` mapped over an axis of its arguments, as one computation.

    ``in_dims`` names the axis of each argument (None: the same for all elements), ``out_dims`` where it
    goes in the results. ``randomness``: "error", "same" for all elements, or "different".

    >>> fb.func.vmap(fb.dot)(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), fb.tensor([[1.0, 1.0], [2.0, 0.0]]))
    tensor([3., 6.])
    """
    if randomness not in ("error", "same", "different"):
        raise ValueError(f"vmap: randomness must be 'error', 'same' or 'different', got {randomness!r}")

    @wraps(func)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        flat, structure = flatten(args)
        dims = broadcast_prefix(in_dims if not isinstance(in_dims, list) else tuple(in_dims), structure, "vmap in_dims")
        size = _batch_size(flat, dims)
        if chunk_size is not None and chunk_size < size:
            parts: R = _in_chunks(flat, structure, dims, size, kwargs)
            return parts
        fronted = [x if d is None else x.movedim(d, 0) for x, d in zip(flat, dims, strict=True)]
        found: R = _run(fronted, structure, dims, size, kwargs)
        return found

    def _run(fronted: Sequence[Any], structure: Structure, dims: Sequence[Any], size: int, kwargs: Any) -> Any:
        with VmapLevel(size, randomness) as level:
            inside = [x if d is None else level.wrap(Batched(x, True), x) for x, d in zip(fronted, dims, strict=True)]
            result = func(*unflatten(inside, structure), **kwargs)
            outs, out_structure = flatten(result)
            where = broadcast_prefix(
                out_dims if not isinstance(out_dims, list) else tuple(out_dims), out_structure, "vmap out_dims"
            )
            done = [_unbatch(o, d, level) for o, d in zip(outs, where, strict=True)]
        return unflatten(done, out_structure)

    def _in_chunks(flat: Sequence[Any], structure: Structure, dims: Sequence[Any], size: int, kwargs: Any) -> Any:
        assert chunk_size is not None
        parts = []
        for start in range(0, size, chunk_size):
            n = min(chunk_size, size - start)
            part = [x if d is None else x.movedim(d, 0).narrow(0, start, n) for x, d in zip(flat, dims, strict=True)]
            parts.append(flatten(_run(part, structure, dims, n, kwargs)))
        where = broadcast_prefix(out_dims, parts[0][1], "vmap out_dims")
        return unflatten(
            [
                OPS["cat"].function(list(ts), d)
                for ts, d in zip(zip(*(p[0] for p in parts), strict=True), where, strict=True)
            ],
            parts[0][1],
        )

    return wrapped


def _batch_size(flat: Sequence[Any], dims: Sequence[Any]) -> int:
    sizes: dict[int, int] = {}
    for i, (x, d) in enumerate(zip(flat, dims, strict=True)):
        if d is None:
            continue
        if not isinstance(x, Tensor):
            raise TypeError(
                f"vmap: argument {i} is mapped over dim {d}, but it is a {type(x).__name__}, not a tensor; "
                "give None for it"
            )
        if not -len(x.shape) <= d < len(x.shape):
            raise ValueError(f"vmap: in_dim {d} is out of range for argument {i} of shape {tuple(x.shape)}")
        sizes[i] = x.shape[d]
    if not sizes:
        raise ValueError("vmap: at least one argument must be mapped over (in_dims are all None)")
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"vmap: the mapped sizes differ: {', '.join(f'argument {i} has {n}' for i, n in sizes.items())}"
        )
    return next(iter(sizes.values()))


def _unbatch(o: Any, d: Any, level: VmapLevel) -> Any:
    if not isinstance(o, Tensor):
        raise ValueError(f"vmap: the function must return tensors only, got {type(o).__name__}")
    payload = to_level(o, level)._array
    if d is None:
        if payload.batched:
            raise LevelError("vmap: out_dims is None for an output that depends on the batch; give it a dim")
        return payload.value
    value = payload.value
    if not payload.batched:
        value = call(OPS["expand"], (value,), {"shape": (level.size, *payload.shape)}).clone()
    return value if d == 0 else value.movedim(0, d)


explain_functions(globals(), "vmap")
