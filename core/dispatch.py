"""From an op and its arguments to a kernel: the uniform path, which is the definition of every op.

The order: autocast → layers → normalise (scalars, promotion by recorded casts, one device) → transforms and
autograd, level by level → kernel, which the watchers see. The generated fast paths
(:mod:`flambeau.core.fastpath`) do the same for the common cases, and fall back to here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np

from flambeau.backends.base import MINIMUM_ELEMENTWISE, Declined, Kernel
from flambeau.core import config, events, registry
from flambeau.core import dtype as dt
from flambeau.core.device import device
from flambeau.core.dtype import DType, Number
from flambeau.core.errors import (
    DeviceError,
    DTypeError,
    LevelError,
    MissingKernelError,
    NumberError,
    UnsupportedDTypeError,
    not_a_tensor,
)
from flambeau.core.graph import Edge, edge_of, make_view
from flambeau.core.keys import Key, expression, get_default_device, key_for, real_key
from flambeau.core.record import CREATE, OPS, VIEW, Op
from flambeau.core.schema import Argument
from flambeau.core.state import State, current, get, no_grad, put, without_watchers
from flambeau.core.tape.compile import compiled
from flambeau.core.tape.modes import after_record
from flambeau.core.tensor import Tensor, blank

Operand: TypeAlias = Any  # a Tensor, a number, None or a list of tensors, as the schema says
Result: TypeAlias = Any  # a Tensor, or a tuple or list of them, as the schema says


# -- calls -------------------------------------------------------------------------------------------
def call(op: Op, args: Sequence[Operand], params: Mapping[str, Any]) -> Result:
    """Run an op on bound arguments: operands in order, every param by its schema name."""
    state = current()
    if state.casts is not None:
        return state.casts.call(op, args, dict(params), state)
    if state.layers:
        return through_layers(op, tuple(args), dict(params), state)
    return run(op, args, dict(params), state)


def through_layers(op: Op, args: tuple[Operand, ...], params: dict[str, Any], state: State) -> Result:
    """Ask the layers from the innermost out; each runs with itself and those inside it off."""
    layers = state.layers
    try:
        for i in range(len(layers) - 1, -1, -1):
            put(state.replace(layers=layers[:i]))
            result = layers[i](op, args, params)
            if result is not NotImplemented:
                return result
    finally:
        put(state)
    return run(op, args, params, state)


def run(op: Op, args: Sequence[Operand], params: dict[str, Any], state: State) -> Result:
    """Normalise, lift to the innermost level among the operands, and run kernel or body."""
    if op.perform is not None:  # an in-place form, called on by a layer
        return op.perform(list(args), params, state)
    if op.random and state.levels:
        return state.levels[-1].draw(op, list(args), params, state)
    args, key = normalise(op, list(args), params)
    level = key.level
    if state.levels and op.family is CREATE and state.levels[-1].adopts:
        return state.levels[-1].lift(execute(op, args, params, key, state))
    if level is not None:
        if not level.alive:
            raise LevelError(
                f"{op.title}: a tensor of a finished {level.kind} is used outside of it; "
                "return it from the transformed function instead of keeping it"
            )
        args = [_lift(a, level) for a in args]
    return execute(op, args, params, key, state)


def execute(op: Op, args: list[Operand], params: dict[str, Any], key: Key, state: State) -> Result:
    """Run one op at one level, and record it there."""
    kernel: Kernel | None = getattr(key, op.name)
    wants = state.grad and op.differentiable and any(_edge(a) is not None for a in args)
    if kernel is None:
        if not op.decomposes:
            infer_shapes(op, args, params)  # bad shapes are the user's first concern
            return _fall_back(op, args, params, key, state, wants)
        if wants and op.has_vjp:
            out = decompose(op, [_detached(a) for a in args], params, key)
            return _record(op, args, params, out, state)
        return decompose(op, args, params, key)
    out = _invoke(op, kernel, args, params, key, state)
    if op.family is VIEW:
        return make_view(args[0], out, op, params, state.grad)
    return _record(op, args, params, out, state) if wants else out


def decompose(op: Op, args: list[Operand], params: dict[str, Any], key: Key) -> Result:
    """An op by its body, in float32 where the operands are of low precision."""
    if op.check:
        infer_shapes(op, args, params)
    low = op.upcast and key.dtype in dt.LOW_PRECISION
    body = op.body or _expression_body(op)
    if low:
        cast = OPS["cast"]
        args = [_cast_all(cast, a, key.dtype, dt.float32) for a in args]
    out = body(*args, **params)
    if low:
        out = _cast_all(OPS["cast"], out, dt.float32, key.dtype)
    return out


def _cast_all(cast: Op, value: Any, from_: DType, to: DType) -> Any:
    if isinstance(value, Tensor):
        return call(cast, (value,), {"dtype": to}) if value._key.dtype is from_ else value
    if isinstance(value, (list, tuple)):
        return type(value)(_cast_all(cast, v, from_, to) for v in value)
    return value


def _expression_body(op: Op) -> Callable[..., Any]:
    """The body that an expression stands for: itself, on tensors, in the minimum ops."""
    from flambeau.core import expr  # parsed at first need

    names = [a.name for a in op.schema.operands]

    def body(*args: Any, **params: Any) -> Any:
        dtype = expr.compute_dtype(tuple(_computing(a._key) for a in args if isinstance(a, Tensor)))
        lead = next(a for a in args if isinstance(a, Tensor))
        operands = [_full(a, lead._key.dtype, lead) if _is_number(a) else a for a in args]  # for log and its like
        values = dict(zip(names, operands, strict=True))
        out = expr.evaluate(expression(op, dtype), values, expression_functions(dtype), dtype)
        result = op.dtype.out(0, compute_dtype(op, args), params)
        return out if out._key.dtype is result else call(OPS["cast"], (out,), {"dtype": result})

    return body


def _full(value: Number, dtype: DType, like: Tensor) -> Any:
    return call(OPS["full"], (), {"shape": (), "value": value, "dtype": dtype, "device": like.device})


def _computing(key: Key) -> DType:
    """The dtype whose constants and bits an expression reads: that of the arrays, but for bools."""
    return key.dtype if key.truth else key.stored


@cache
def expression_functions(dtype: DType) -> Mapping[str, Callable[..., Any]]:
    """The minimum ops by the names that expressions use, and the casts between ``dtype`` and its bits."""
    from flambeau.core.expr import bits_dtype  # parsed at first need

    cast, view_dtype, xor = (OPS[n].function for n in ("cast", "view_dtype", "bitwise_xor"))
    real = {dt.int32: dt.float32, dt.int64: dt.float64}
    bits = {
        "to_int": lambda x: cast(x, dtype=bits_dtype(dtype)),
        "bitcast_int": lambda x: (
            cast(x, dtype=dt.int32) if x.dtype is dt.bool_ else view_dtype(x, dtype=bits_dtype(x.dtype))
        ),
        "bitcast_float": lambda x: view_dtype(x, dtype=real[x.dtype]),
        "constant": _full,
        "bitwise_not": lambda x: xor(x, True if x.dtype is dt.bool_ else -1),
    }
    return {n: OPS[n].function for n in MINIMUM_ELEMENTWISE} | bits


def _invoke(op: Op, kernel: Kernel, args: list[Operand], params: dict[str, Any], key: Key, state: State) -> Result:
    """Call the kernel; when it raises, the op's own shape rule gets to name what was wrong."""
    if op.check:
        infer_shapes(op, args, params)
    arrays = kernel_arguments(op, args, key)
    if "device" in params and key.level is None:
        params = {k: v for k, v in params.items() if k != "device"} | {"index": key.device.number}
    try:
        if key.level is not None:
            raw = key.level.below(kernel, arrays, params)
        elif state.watchers:
            raw = watched(op, kernel, arrays, params, key, state)
        else:
            raw = kernel(*arrays, **params)
    except Declined:
        return decompose(op, [_detached(a) for a in args], params, key)
    except Exception as error:
        if key.level is None and not isinstance(error, MemoryError) and "index" not in params:
            _blame_shapes(op, args, params)
        raise
    return wrap_outputs(op, raw, params, key)


def _blame_shapes(op: Op, args: list[Operand], params: dict[str, Any]) -> None:
    """Raise what the op's shape rule has to say, in place of what the kernel said."""
    try:
        infer_shapes(op, args, params)
    except Exception as clear:
        raise clear from None


def kernel_arguments(op: Op, args: Sequence[Operand], key: Key) -> list[Any]:
    """What a kernel gets for the operands: arrays, numbers as constants; a last Tensor[] is spread out."""
    try:
        arrays = [_array_of(op, a, arg, key) for a, arg in zip(args, op.schema.operands, strict=True)]
    except DTypeError as error:  # a number that the device cannot hold
        raise DTypeError(f"{op.name}: {error}") from None
    if op.schema.operands and op.schema.operands[-1].is_list:
        arrays = [*arrays[:-1], *arrays[-1]]
    return arrays


def watched(op: Op, kernel: Kernel, arrays: list[Any], params: dict[str, Any], key: Key, state: State) -> Any:
    """Let the watchers stand in for the kernel, the innermost first, watching off inside.

    One that is a recorder hears of no other events while it is asked, since what a kernel does is part of the kernel.
    """
    try:
        put(without_watchers(state))
        for watcher in state.watchers:
            inner, told = kernel, partial(events.untold, watcher) if watcher is state.recorder else watcher
            kernel = lambda *a, _w=told, _k=inner, **p: _w(op, key, a, p, _k)  # noqa: E731
        return kernel(*arrays, **params)
    finally:
        put(state)


def kernel_call(op: Op, kernel: Kernel, arrays: list[Any], params: dict[str, Any], key: Key) -> Any:
    """A kernel called on arrays, which the watchers see."""
    state = get()
    if state is None or not state.watchers:
        return kernel(*arrays, **params)
    return watched(op, kernel, arrays, params, key, state)


def _array_of(op: Op, value: Operand, argument: Argument, key: Key) -> Any:
    if isinstance(value, Tensor):
        return value._array
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [v._array for v in value]
    if argument.type == "Scalar":
        return value
    return events.constant(key, value)


def check_number(op: Op, argument: Argument, value: Number, dtype: DType) -> None:
    """NumberError for a number operand that no dtype holds, or that an exact op's compute dtype does not."""
    dt.check_int(f"{op.title}: {argument.public}", value)
    exact = op.dtype.exact
    if exact is not None and exact(argument.name, dtype) and not dt.holds(dtype, value):
        raise NumberError(
            f"{op.title}: {argument.public}={value!r} cannot be converted to {dtype.name} without overflow"
        )


def wrap_outputs(op: Op, raw: Any, params: Mapping[str, Any], key: Key) -> Result:
    """Tensors from what a kernel returned."""
    schema = op.schema
    if schema.single:
        return tensor_of(raw, key.sibling(op.dtype.out(0, key.dtype, params)))
    if schema.returns_list:
        return [tensor_of(r, key) for r in raw]
    return tuple(tensor_of(r, key.sibling(op.dtype.out(i, key.dtype, params))) for i, r in enumerate(raw))


def tensor_of(raw: Any, key: Key) -> Tensor:
    """A tensor without history from a backend's array."""
    t = blank()
    t._array = raw if raw.__class__ is key.array else key.wrap(raw)
    state = get()
    t._key, t._box, t._node = key, None if state is None else state.box, None
    return t


def from_host(host: np.ndarray[Any, Any], dtype: DType, device: device) -> Tensor:
    """A tensor with a copy of a numpy array's values."""
    key = key_for(device, dtype)
    return tensor_of(key.from_host(host), key)


def _record(op: Op, args: list[Operand], params: dict[str, Any], out: Result, state: State) -> Result:
    out = compiled(op).record_checked(*args, params, out)
    if not state.plain and (state.saved_hooks or state.anomaly):
        after_record(op, out, state)
    return out


def _edge(a: Operand) -> Edge:
    if isinstance(a, Tensor):
        return edge_of(a)
    if isinstance(a, (list, tuple)):
        return next((e for t in a if (e := edge_of(t)) is not None), None)
    return None


def _detached(a: Operand) -> Operand:
    """The same values at the same level without history."""
    if isinstance(a, Tensor):
        if a._node is None:
            return a
        t = blank()
        t._array, t._key, t._box, t._node = a._array, a._key, a._box, None
        return t
    if isinstance(a, list):
        return [_detached(t) for t in a]
    return a


def _lift(a: Operand, level: Any) -> Operand:
    if isinstance(a, Tensor):
        return a if a._key.level is level else level.lift(a)
    if isinstance(a, (list, tuple)):
        return [_lift(t, level) for t in a]
    return a


# -- normalisation -----------------------------------------------------------------------------------
def normalise(op: Op, args: list[Operand], params: dict[str, Any]) -> tuple[list[Any], Key]:
    """Operands of one device and dtype, and the key to dispatch on (the innermost level's)."""
    tensors = [t for a in args for t in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(t, Tensor)]
    if not tensors:
        return _normalise_without(op, args, params)
    first = real_key(tensors[0]._key)
    plain = not op.kinds and op.accepts(first.dtype) and all(map(_is_operand, args, op.schema.operands))
    if plain and all(real_key(t._key) is first for t in tensors):
        return args, first
    target = _common_device(op, tensors)
    dtype = compute_dtype(op, args)
    out = [_convert(op, a, argument, target, dtype) for a, argument in zip(args, op.schema.operands, strict=True)]
    level = max((t._key.level for t in tensors if t._key.level is not None), key=lambda v: v.depth, default=None)
    key = key_for(target, dtype)
    return out, key if level is None else level.key(target, dtype)


def _is_operand(a: Operand, argument: Argument) -> bool:
    """Whether an operand needs no conversion once its tensors have the right dtype and device."""
    if isinstance(a, (list, tuple)):
        return argument.is_list and all(isinstance(t, Tensor) for t in a)
    return a is None or isinstance(a, Tensor)


def _is_number(a: Operand) -> bool:
    return isinstance(a, (bool, int, float, complex))


def _normalise_without(op: Op, args: list[Operand], params: dict[str, Any]) -> tuple[list[Any], Key]:
    """No tensor among the operands: a constructor, or numbers alone."""
    where = params.get("device") or get_default_device()
    if "dtype" in params and isinstance(params["dtype"], DType):
        return args, key_for(where, params["dtype"])
    for a, argument in zip(args, op.schema.operands, strict=True):
        if a is not None and argument.type == "Tensor" and not (op.numbers and _is_number(a)):
            raise not_a_tensor(op.title, argument.public, a, "a tensor or a number" if op.numbers else "a tensor")
    dtype = compute_dtype(op, args)
    numbers = [_of_number(op, arg, a, dtype, where) if _is_number(a) and arg.type != "Scalar" else a
               for a, arg in zip(args, op.schema.operands, strict=True)]  # fmt: skip
    return numbers, key_for(where, dtype)


def _of_number(op: Op, argument: Argument, value: Number, dtype: DType, where: device) -> Tensor:
    check_number(op, argument, value, dtype)
    return from_host(dt.host_scalar(value, dtype), dtype, where)


def _common_device(op: Op, tensors: list[Tensor]) -> device:
    """The device of the operands; 0-d host tensors go along with any other."""
    devices = {t._key.device for t in tensors}
    if len(devices) > 1:
        devices = {t._key.device for t in tensors if not _travels(t)} or {tensors[0]._key.device}
    if len(devices) > 1:
        names = [a.public for a in op.schema.operands]
        many = f"{names.pop()}[{{}}]" if op.schema.operands[-1].is_list else "tensor"
        names += [many.format(i) for i in range(len(tensors))]
        listing = ", ".join(f"{n} {str(t._key.device)!r}" for n, t in zip(names, tensors, strict=False))
        raise DeviceError(
            f"{op.title}: expected all tensors to be on the same device, got {listing}; move one with .to(device)"
        )
    return devices.pop()


def _travels(t: Tensor) -> bool:
    return bool(t._array.shape == () and t._key.backend.has("shares_host"))


def compute_dtype(op: Op, args: Sequence[Operand]) -> DType:
    """The dtype that the kernel gets, by torch's rules: dimensioned tensors, then 0-d ones, then numbers."""
    rule = op.dtype
    if rule.check is not None:
        rule.check(op.title, args)
    ranks: list[DType | None] = [None, None, None]
    for a, argument in zip(args, op.schema.operands, strict=True):
        if op.kind_of(argument) != "same" or argument.type == "Scalar" and not rule.promotes:
            continue
        for v in a if isinstance(a, (list, tuple)) else (a,):
            if isinstance(v, Tensor):
                rank, d = (0 if v._array.shape != () else 1), v._key.dtype
            elif _is_number(v):
                dt.check_int(f"{op.title}: {argument.public}", v)
                rank, d = 2, dt.scalar_dtype(v)
            else:
                continue
            found = ranks[rank]
            if rank == 2 and found is not None:
                _check_together(op, found, d)
            ranks[rank] = d if found is None else dt.promote_types(found, d)
            if not rule.promotes:
                break
    dtype = _combine(ranks)
    if dtype is dt.uint64 and ranks[2] is dt.uint64 and dt.bool_ in ranks[:2]:
        raise NumberError(f"{op.title}: a number of 2**63 or more does not fit in int64, the dtype that it would have")
    compute = rule.compute(dtype)
    if compute not in rule.accepts and dtype in dt.HELD:
        raise MissingKernelError(f"{op.title}: no op computes in {dtype.name}; cast it, to float32 say")
    if compute not in rule.accepts:
        takes = ", ".join(d.name for d in dt.ALL if d in rule.accepts)
        raise UnsupportedDTypeError(f"{op.title}: not implemented for {dtype.name}; it takes {takes}")
    return compute


def _check_together(op: Op, a: DType, b: DType) -> None:
    """Two numbers of which one is beyond int64 promote only with floats."""
    if a is not b and dt.uint64 in (a, b) and not (a.is_floating_point or b.is_floating_point):
        raise NumberError(f"{op.title}: a number of 2**63 or more does not go with {(a if b is dt.uint64 else b).name}")


def _combine(ranks: Sequence[DType | None]) -> DType:
    """A weaker rank only raises the category of a stronger one, never its width."""
    result: DType | None = None
    for d in ranks:
        if d is None:
            continue
        if result is None:
            result = d
        elif d.category > result.category:
            result = dt.promote_types(d, result) if d.category == dt.COMPLEX and result.category == dt.FLOATING else d
            if d.category == dt.COMPLEX and d is dt.complex128 and ranks[0] in (dt.float32, dt.float16, dt.bfloat16):
                result = dt.complex64
    return result or dt.get_default_dtype()


def _convert(op: Op, a: Operand, argument: Argument, target: device, dtype: DType) -> Operand:
    """Bring one operand to the device and, unless it has a dtype of its own, to the compute dtype."""
    if isinstance(a, (list, tuple)) and argument.is_list:
        return [_convert(op, t, argument, target, dtype) for t in a]
    if not isinstance(a, Tensor):
        if argument.type == "Tensor" and a is not None and not _is_number(a):
            raise not_a_tensor(op.title, argument.public, a)
        if op.kind_of(argument) == "bool" and not isinstance(a, bool):
            raise not_a_tensor(op.title, argument.public, a, "a bool tensor")
        if _is_number(a) and argument.type != "Scalar" and op.kind_of(argument) == "same":
            check_number(op, argument, a, dtype)
        return a
    kind = op.kind_of(argument)
    wanted = {"same": dtype, "bool": dt.bool_, "index": dt.int64}.get(kind, a._key.dtype)
    if kind == "bool" and a._key.dtype not in (dt.bool_, dt.uint8):
        raise DTypeError(f"{op.title}: {argument.public} must be a bool tensor, got {a._key.dtype}")
    if kind == "index" and a._key.dtype not in (dt.int32, dt.int64):
        raise DTypeError(f"{op.title}: {argument.public} must be an integer tensor, int64 or int32, got {a._key.dtype}")
    travels = a._key.device is not target
    if travels and wanted.category == dtype.category and not registry.resolve(target).offers(wanted, target.number):
        wanted = dtype  # of an operand of any dtype, float64 say, which the other device lacks
    if a._key.dtype is not wanted:
        a = call(OPS["cast"], (a,), {"dtype": wanted})
    if travels:
        a = call(OPS["to_device"], (a,), {"device": target})
    return a


# -- shapes ------------------------------------------------------------------------------------------
def shape_of(a: Operand) -> Any:
    """What ``infer`` gets for an operand: its shape, () for a number, None, or a list of shapes."""
    if isinstance(a, Tensor):
        return a._array.shape
    if isinstance(a, (list, tuple)):
        return [t._array.shape for t in a]
    return None if a is None else ()


def infer_shapes(op: Op, args: Sequence[Operand], params: Mapping[str, Any]) -> Any:  # nested as the outputs are
    """The result's shape by the op's rule, raising its error; None where the op has no rule."""
    if op.infer is None:
        return None
    return op.infer(*[shape_of(a) for a in args], **params)


# -- no kernel ---------------------------------------------------------------------------------------
fallbacks: dict[tuple[str, str], list[int]] = {}  # (device, op) -> [calls, bytes]


def _fall_back(op: Op, args: list[Operand], params: dict[str, Any], key: Key, state: State, wants: bool) -> Result:
    """No kernel and no body: on the host, if the policy allows; else an error that says what would help."""
    policy = config.get("fallback")
    host = device("cpu")
    if policy == "error" or key.level is not None or key.device is host:
        raise missing_kernel(op, key, "or set FLAMBEAU_FALLBACK=warn to let flambeau do it")
    out = run_on_host(op, [_detached(a) for a in args], params, key, host, warn=policy == "warn")
    return _record(op, args, params, out, state) if wants else out


def missing_kernel(op: Op, key: Key, remedy: str) -> MissingKernelError:
    """The error of an op that nothing serves, with what would help beside moving the operands."""
    return MissingKernelError(
        f"{op.title}: no kernel for device {str(key.device)!r} and dtype {key.dtype.name}, and the op has no "
        f"decomposition. Move the operands with .to('cpu'), {remedy}"
    )


def run_on_host(
    op: Op, args: list[Operand], params: Mapping[str, Any], key: Key, host: device, *, warn: bool
) -> Result:
    """Move the operands to the host, run the op there, move the results back."""
    if op.family is VIEW:
        raise MissingKernelError(f"{op.title}: views never fall back to the host; device {str(key.device)!r}")
    moved = 0

    def move(a: Any, to: device) -> Any:
        nonlocal moved
        if isinstance(a, Tensor):
            if a._key.device is to:
                return a
            moved += a.nbytes
            return call(OPS["to_device"], (a,), {"device": to})
        if isinstance(a, (list, tuple)):
            return type(a)(move(t, to) for t in a)
        return a

    with no_grad():
        there = dict(params) | ({"device": host} if "device" in params else {})
        out = move(call(op, [move(a, host) for a in args], there), key.device)
    counts = fallbacks.setdefault((str(key.device), op.name), [0, 0])
    counts[0] += 1
    counts[1] += moved
    if warn and counts[0] == 1:
        warnings.warn(
            f"{op.title}: no kernel on {str(key.device)!r} for {key.dtype.name}; it runs on the cpu "
            f"({moved} bytes moved in this call). FLAMBEAU_FALLBACK=allow silences this",
            RuntimeWarning,
            stacklevel=2,
        )
    return out


def fallback_counts() -> dict[tuple[str, str], tuple[int, int]]:
    """For each (device, op) that fell back: how often, and how many bytes moved."""
    return {k: (v[0], v[1]) for k, v in fallbacks.items()}
