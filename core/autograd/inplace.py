"""In-place ops: derived from the functional records, with torch's aliasing and its errors.

A write to a view rebases the history of the base (:class:`CopySlices`) and makes every view of the
storage resolve its edge anew. A write that a gradient could not follow raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from flambeau.backends.layout import is_dense
from flambeau.core import dispatch, events
from flambeau.core.arguments import bind
from flambeau.core.blame import explained_op, explaining_code
from flambeau.core.box import INFERENCE, box_of, mark_written, require_tracked
from flambeau.core.dtype import COMPLEX, HELD, can_cast, holds
from flambeau.core.errors import DTypeError, GradientError, LevelError, ShapeError, is_of_the_call
from flambeau.core.graph import PART, Edge, Leaf, Node, Slot, View, carry_keepers, edge_of
from flambeau.core.graph import node as new_node
from flambeau.core.keys import Key
from flambeau.core.out import overlaps_itself, require_apart
from flambeau.core.overrides import ARMED, NOTHING, intercept, met
from flambeau.core.record import ELEMENTWISE, OPS, Op
from flambeau.core.state import State, current, get, put, uncast
from flambeau.core.tape.compile import compiled
from flambeau.core.tape.modes import after_record
from flambeau.core.tensor import Tensor

_derived: dict[str, Op] = {}


def derived(op: Op) -> Op:
    """The record of the in-place form, as the layers see it: named ``add_``, its ``functional`` is ``add``."""
    found = _derived.get(op.name)
    if found is None:
        found = Op.__new__(Op)
        found.__dict__.update(op.__dict__)
        found.name = op.name + "_"
        found.functional = op
        found.perform = partial(write, op)
        _derived[op.name] = found
    return found


def direct(op: Op, x: Any, operands: Sequence[Any], name: str) -> bool:
    """Write an elementwise op's result straight into ``x``; False, and nothing done, where there is more to do.

    It serves what records nothing: plain tensors of one dispatch key, which broadcast to the shape of ``x``, and
    numbers that the key has constants for. An operand may be ``x`` itself, but no other tensor of its storage.
    ``name`` is what errors call the writer.
    """
    try:
        state = get()
        if op.family is not ELEMENTWISE or op.kinds or op.schema.params or state is None or not state.plain:
            return False
        key, box, array = operands[0]._key, x._box, x._array
        if key.level is not None or box is INFERENCE or x._key is not _goal(op, key):
            return False
        if x._node is not None and not unrecorded(x, state) or not _dense(array) and overlaps_itself(x):
            return False
        kernel = getattr(key, op.name + "_")
        if kernel is None:
            return False
        arrays, shape = [], array.shape
        for i, t in enumerate(operands):
            if t.__class__ is float or t.__class__ is int:
                arrays.append(_constant(op, i, t, key))
                continue
            found = t._array
            if (
                t._key is not key
                or (t._node is not None and not unrecorded(t, state))
                or (t is not x and box is not None and t._box is box)
                or (found.shape != shape and not _broadcasts(found.shape, shape))
            ):
                return False
            arrays.append(found)
    except RecursionError:
        raise
    except Exception:  # the uniform path says what is wrong
        return False
    kernel(*arrays, array)
    mark_written(x, name)
    return True


def _goal(op: Op, key: Key) -> Key | None:
    """The key of what an op gives for operands of a key; None where that depends on more."""
    results = op.dtype.results
    if results == ("same",):
        return key
    return key.boolean if results == ("bool",) else None


def _constant(op: Op, i: int, value: float, key: Key) -> Any:
    """What the kernel gets for a number; it raises for one that the uniform path must look at."""
    if op.schema.operands[i].name in op.tensors or value < 0 and op.negative is not None and key.floats is None:
        raise TypeError("not a number that every dtype takes")
    exact, whole = op.dtype.exact is not None, value.__class__ is int
    known = (key.exact_ints if exact else key.ints) if whole else key.exact_floats if exact else key.floats
    return known[value]  # type: ignore[index]


def _dense(array: Any) -> bool:
    """Whether an array surely has no two elements in one place."""
    flags = getattr(array, "flags", None)
    return flags is not None and bool(flags.c_contiguous)


def unrecorded(x: Tensor, state: State) -> bool:
    """Whether no gradient asks about a read of, or a write to, a tensor that has a link."""
    if not state.grad:
        return True
    link = x._node
    return link.__class__ is View and edge_of(x) is None and edge_of(link.base) is None


def _broadcasts(shape: Sequence[int], whole: Sequence[int]) -> bool:
    """Whether a shape broadcasts to another as it stands."""
    extra = len(whole) - len(shape)
    return extra >= 0 and all(n in (1, m) for n, m in zip(shape, whole[extra:], strict=True))


def into(op: Op, out: Tensor, operands: Sequence[Any]) -> bool:
    """``op(..., out=out)`` without an array in between, where :func:`direct` serves that and ``out`` has the shape."""
    shape = out._array.shape
    if edge_of(out) is not None:
        return False
    for t in operands:
        if t.__class__ not in _NUMBERS and isinstance(t, Tensor) and t._array.shape == shape:
            return direct(op, out, operands, op.name)
    return False


_NUMBERS: Final = (float, int, bool, complex)


def in_place(op: Op, args: Sequence[Any], params: Mapping[str, Any], kw: Mapping[str, Any] | None) -> Any:
    """``x.op_(...)``: write the op's result to its first operand and return that."""
    if not params and args[0].__class__ not in _NUMBERS:
        if not kw:
            if direct(op, args[0], args, op.name + "_"):
                return args[0]
        elif op.name in _SCALED and len(kw) == 1 and _add_scaled(op, args[0], args[1], kw.get("alpha")):
            return args[0]
    if ARMED:
        told = getattr(Tensor, op.name + "_", op.function)
        named = {p.public: params[p.name] for p in op.schema.params if params.get(p.name, p.default) is not p.default}
        found = intercept(told, tuple(args), named | dict(kw or {}))
        if found is not NOTHING:
            return found
    try:
        if kw and op.name in _SCALED and isinstance(args[0], Tensor):  # what is scaled is in other memory
            require_no_partial_overlap(op.name + "_", args[0], args[1:])
        operands, bound = bind(op, args, params, kw)
        state = current()
        for i in range(len(state.layers) - 1, -1, -1):
            try:
                put(state.replace(layers=state.layers[:i]))
                if state.layers[i](derived(op), tuple(operands), bound) is not NotImplemented:
                    return operands[0]
            finally:
                put(state)
        if state.casts is not None:  # autocast casts nothing for a write in place
            return uncast(lambda: write(op, operands, bound, current()))
        return write(op, operands, bound, state)
    except Exception as error:
        if met(error, args, kw or {}, explaining_code):
            return in_place(op, args, params, kw)
        if clear := explained_op(error, op, f"{op.name}_", args, params, kw):
            raise clear from clear.__cause__
        if is_of_the_call(error, op.name):
            raise error.with_traceback(None)  # noqa: B904  # it keeps the cause that it has
        raise


#: Sums with a factor, and the sign of it.
_SCALED: Final = {"add": 1, "sub": -1}


def _add_scaled(op: Op, x: Any, other: Any, alpha: Any) -> bool:
    """``x.add_(other, alpha=alpha)`` of floats in one pass, where :func:`direct` serves that."""
    key = getattr(x, "_key", None)
    if key is None or key.level is not None or key.floats is None or other.__class__ in _NUMBERS:
        return False
    if alpha.__class__ is not float and alpha.__class__ is not int:
        return False
    state = get()
    if state is None or not state.plain:
        return False
    one, factor = key.floats[1.0], _SCALED[op.name] * alpha
    if x._node is None and other.__class__ is Tensor and other._key is key and other._array.shape == x._array.shape:
        box, array = x._box, x._array
        apart = other is x or box is None or other._box is not box
        quiet = other._node is None or not state.grad
        kernel = key.addcmul_
        if kernel and quiet and apart and box is not INFERENCE and _dense(array) and holds(key.dtype, alpha):
            kernel(array, other._array, one, _constant(OPS["addcmul"], 3, factor, key), array)
            mark_written(x, op.name + "_")
            return True
    return direct(OPS["addcmul"], x, (x, other, dispatch.tensor_of(one, key), factor), op.name + "_")


#: In-place ops that read all of their operands before they write, in torch too.
_READ_FIRST: Final = frozenset({"addbmm", "addmm", "addmv", "baddbmm", "masked_fill"})


def write(op: Op, operands: list[Any], params: dict[str, Any], state: State) -> Any:
    """The write itself: check, compute into the storage, and record."""
    x = operands[0]
    edge = edge_of(x)  # resolved before the write
    wants = state.grad and (edge is not None or any(dispatch._edge(a) is not None for a in operands[1:]))
    check_writable(op, x, wants, state)
    if op.name not in _READ_FIRST:
        require_no_partial_overlap(op.name + "_", x, operands[1:])
    others, key = _prepare(op, operands)
    _check_result(op, x, [x, *others], params, key)
    old = x
    if wants:
        old = _snapshot(op, x, edge)
        others = [_own_copy(a, x) for a in others]
    _compute(op, x, others, params, key, state)
    mark_written(x, op.name + "_")
    if wants and (op.differentiable or op.has_vjp):  # a comparison has no gradient, but what it writes over goes
        _link(op, x, old, others, params)
    return x


def check_writable(op: Op, x: Tensor, wants: bool, state: State) -> None:
    """Raise where torch would: leaves, views made under no_grad, memory that several elements share."""
    link = x._node
    name = op.name + "_"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: the first argument must be a tensor, got {type(x).__name__}")
    require_tracked(x, f"{name}: writing to", state.inference)
    if x._key.level is not None and not x._key.level.alive:
        raise LevelError(f"{name}: a tensor of a finished {x._key.level.kind} is used outside of it")
    require_writable_history(name, x, wants, state)
    made_by = link.node if isinstance(link, Slot) else link
    if wants and isinstance(made_by, Node) and made_by.aliases:
        raise GradientError(
            f"{name}: an output of the custom function {made_by.name()} "
            "that shares memory with an input is being modified in place; return a clone, or use mark_dirty"
        )
    if x._key.level is None:
        require_apart(name, x)


def require_writable_history(name: str, x: Tensor, wants: bool, state: State) -> None:
    """GradientError for what gradients could not follow: a leaf, a view of one, one of several views."""
    link = x._node
    if state.grad and (link.__class__ is Leaf):
        raise GradientError(
            f"{name}: a leaf Tensor that requires grad is being used in an in-place operation; "
            "do it under no_grad(), or on a clone"
        )
    if state.grad and link.__class__ is View and (wants or edge_of(link.base) is not None):
        chain = link.chain()
        if any(not view.grad_mode for view in chain):
            raise GradientError(
                f"{name}: a view was created in no_grad mode and is being modified inplace with grad mode enabled; "
                "make the view outside of no_grad(), or write under no_grad()"
            )
        if any(view.grad_mode == PART for view in chain):
            raise GradientError(
                f"{name}: an output of a function that returns multiple views (split, chunk, unbind, iteration) is "
                "being modified inplace; use the out-of-place op, or take the view by slicing"
            )
        if link.base._node.__class__ is Leaf:
            raise GradientError(
                f"{name}: a view of a leaf Tensor that requires grad is being used in an in-place operation; "
                "do it under no_grad(), or on a clone"
            )


def require_no_partial_overlap(name: str, x: Tensor, operands: Sequence[Any]) -> None:
    """ShapeError where an operand shares a part of the memory of ``x``, which is written to, as in torch.

    The same elements in the same order are no matter, and neither is what only interleaves.
    """
    for t in (t for a in operands for t in (a if isinstance(a, (list, tuple)) else (a,))):
        if isinstance(t, Tensor) and t is not x and t._box is x._box is not None and _overlap_partly(x, t):
            raise ShapeError(
                f"{name}: unsupported operation: some elements of an input of shape {tuple(t.shape)} and of "
                f"the written-to tensor of shape {tuple(x.shape)} refer to a single memory location; "
                "clone() the input first"
            )


def _overlap_partly(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors of one storage, each without holes, share some of their memory and are not the same."""
    if x._key.level is not None or y._key.level is not None or 0 in x._array.shape or 0 in y._array.shape:
        return False
    a, b = (t._key.backend.layout(t._array) for t in (x, y))
    if not (is_dense(a.shape, a.strides) and is_dense(b.shape, b.strides)):
        return False
    start_x, start_y = a.offset * x._key.dtype.itemsize, b.offset * y._key.dtype.itemsize
    end_x, end_y = (s + t._array.size * t._key.dtype.itemsize for s, t in ((start_x, x), (start_y, y)))
    if (start_x, end_x) == (start_y, end_y):
        steps = [[(n, s) for n, s in zip(v.shape, v.strides, strict=True) if n > 1] for v in (a, b)]
        return steps[0] != steps[1]
    return bool(start_x < end_y and start_y < end_x)


def _prepare(op: Op, operands: list[Any]) -> tuple[list[Any], Key]:
    """The other operands, converted, and the key in which the result is computed (at the level of x)."""
    x = operands[0]
    deepest = max((t._key.level.depth for a in operands[1:] for t in (a if isinstance(a, (list, tuple)) else (a,))
                   if isinstance(t, Tensor) and t._key.level is not None), default=-1)  # fmt: skip
    own = -1 if x._key.level is None else x._key.level.depth
    if deepest > own:
        raise LevelError(
            f"{op.name}_: an unbatched tensor of shape {tuple(x.shape)} is written to with a tensor that a transform "
            "maps over; each element would need its own result: use the out-of-place op"
        )
    if op.name == "copy" and isinstance(operands[1], Tensor) and operands[1]._key.device is not x._key.device:
        source, goal = operands[1], x._key
        if not goal.backend.offers(source._key.dtype, goal.device.number):
            source = dispatch.call(OPS["cast"], (source,), {"dtype": goal.dtype})
        operands = [x, dispatch.call(OPS["to_device"], (source,), {"device": goal.device})]
    converted, key = dispatch.normalise(op, operands, {})
    if key.level is not None:
        converted = [dispatch._lift(a, key.level) for a in converted]
    return converted[1:], key


def _check_result(op: Op, x: Tensor, operands: list[Any], params: Mapping[str, Any], key: Key) -> None:
    result = op.dtype.out(0, key.dtype, params)
    if op.dtype.results[0] == "real" and x._key.dtype.category == COMPLEX:
        raise DTypeError(f"{op.name}_: not for a complex tensor ({x.dtype}), whose result is real; use {op.name}")
    if not can_cast(result, x._key.dtype):
        raise DTypeError(
            f"{op.name}_: result type {result.name} can't be cast to the desired output type {x._key.dtype.name}"
        )
    shape = dispatch.infer_shapes(op, operands, params)
    if shape is not None and tuple(shape) != tuple(x._array.shape):
        raise ShapeError(
            f"{op.name}_: output with shape {tuple(x._array.shape)} doesn't match the broadcast shape {tuple(shape)}; "
            "an in-place op cannot change the shape of its tensor"
        )


def _snapshot(op: Op, x: Tensor, edge: Edge) -> Tensor:
    """``x`` as the op's gradient will read it: its old values where a rule saves them, else only its shape."""
    reads = any(op.schema.operands[0].name in g.reads for g in op.gradients)
    if reads:
        with_values: Tensor = dispatch.call(OPS["clone"], (dispatch._detached(x),), {"order": "K"})
    else:
        with_values = dispatch.tensor_of(x._array, x._key)
    with_values._node = edge
    return with_values


def readable(x: Tensor, *others: Any) -> Tensor:
    """``x`` for a function whose result is then written to it: a copy where a gradient could save what it reads."""
    wants = current().grad and any(dispatch._edge(a) is not None for a in (x, *others))
    found: Tensor = dispatch.call(OPS["clone"], (x,), {"order": "K"}) if wants else x
    return found


def _own_copy(a: Any, x: Tensor) -> Any:
    """An operand in memory of its own: one that shares the storage being written must be saved as it was."""
    if isinstance(a, list):
        return [_own_copy(t, x) for t in a]
    if not isinstance(a, Tensor) or (a is not x and (a._box is None or a._box is not x._box)):
        return a
    copy = dispatch.call(OPS["clone"], (dispatch._detached(a),), {"order": "K"})
    copy._node = edge_of(a)
    return copy


def _compute(op: Op, x: Tensor, others: list[Any], params: dict[str, Any], key: Key, state: State) -> None:
    """Put the result into the storage of ``x``, directly where the kernel can."""
    level = x._key.level
    first = dispatch._detached(x)
    if level is not None and op.name != "copy" and level.tracked(x._array):  # a graph below must not save what changes
        first = dispatch.call(OPS["clone"], (first,), {"order": "K"})
        others = [_own_copy(a, x) for a in others]
    plain = [dispatch._detached(a) for a in others]
    if level is None and key is x._key and op.family is ELEMENTWISE and op.dtype.results == ("same",):
        kernel = getattr(key, op.name)
        if kernel is not None:
            arrays = [dispatch._array_of(op, a, arg, key) for a, arg in zip(plain, op.schema.operands[1:], strict=True)]
            dispatch.kernel_call(op, kernel, [x._array, *arrays], params | {"out": x._array}, key)
            return
    if level is None and op.name == "copy" and isinstance(plain[0], Tensor):
        if (x._key.truth or x._key.dtype in HELD) and plain[0]._key is not x._key:
            plain = [dispatch.call(OPS["cast"], (plain[0],), {"dtype": x._key.dtype})]
        events.write(x._key, x._array, plain[0]._array)
        return
    if getattr(key, op.name) is None and not op.decomposes:
        raise dispatch.missing_kernel(op, key, "or use the op that is not in place: writes never fall back to the host")
    if key.dtype is not x._key.dtype:
        first = dispatch.call(OPS["cast"], (first,), {"dtype": key.dtype})
    result = dispatch.execute(op, [first, *plain], params, key, state)
    if level is not None:
        level.below(level.assign, [x._array, dispatch._lift(result, level)._array], {})
    else:
        events.write(x._key, x._array, result._array)


def _link(op: Op, x: Tensor, old: Tensor, others: list[Any], params: dict[str, Any]) -> None:
    """Record the write: on ``x`` itself, or through its chain of views on the base."""
    result = dispatch.tensor_of(x._array, x._key)
    box = result._box = box_of(x)
    compiled(op).record_checked(old, *others, params, result)
    node = result._node
    if node is None:
        return
    state = current()
    if not state.plain and (state.saved_hooks or state.anomaly):
        after_record(op, result, state)
    link = x._node
    if link.__class__ is View:
        base, before = link.base, edge_of(link.base)
        base._node = copy_slices(before, node, link.chain(), base)
        carry_keepers(before, base._node)
    else:
        carry_keepers(old._node, node)
        x._node = node
    box.generation += 1  # every view resolves anew


class CopySlices(Node):
    """The history of a base after a write to a view: outside it the gradient passes, inside it goes through the op."""

    __slots__ = ("chain", "inner", "order")
    plain = False

    chain: list[tuple[Op, dict[str, Any]]]
    inner: Node
    order: tuple[int, ...] | None  # the base's axes by stride, where they are not in order: views must be possible

    def backward(self, grad: Any, keep: bool) -> tuple[Any, ...]:
        part = whole = self._copy(grad)
        for step_op, step_params in self.chain:
            part = dispatch.call(step_op, (part,), step_params)
        inner = _twin(self.inner) if keep and self.inner.plain else self.inner
        inputs = inner.backward(part.clone(), keep)
        if inputs[0] is None:
            part.zero_()
        else:
            part.copy_(inputs[0])
        return (whole, *inputs[1:])

    def _copy(self, grad: Any) -> Any:
        """The gradient in memory of its own that is laid out like the base's."""
        order = self.order
        if order is None:
            return dispatch.call(OPS["clone"], (grad,), {"order": "C"})
        back = tuple(order.index(i) for i in range(len(order)))
        return dispatch.call(OPS["clone"], (grad.permute(order),), {"order": "C"}).permute(back)

    def release(self) -> None:
        self.inner.release()

    def name(self) -> str:
        return "CopySlices"


def _twin(n: Node) -> Node:
    """A node of its own with the same content: what was saved of its output leads to it, and it is freed by itself."""
    twin = new_node(n.op, n.edges, n.saved, n.params, n.shape, n.key)
    twin.trace = n.trace
    return twin


def _axis_order(x: Tensor) -> tuple[int, ...] | None:
    """The axes from the greatest stride to the least; None where that is their order."""
    if x._key.level is not None:
        return None
    strides = x._key.backend.layout(x._array).strides
    order = tuple(sorted(range(len(strides)), key=lambda i: -strides[i]))
    return None if order == tuple(range(len(strides))) else order


def copy_slices(base_edge: Edge, inner: Node, chain: list[View], base: Tensor) -> CopySlices:
    """The node that takes the place of the base's; it must not hold the base."""
    n = CopySlices()
    n.op, n.params, n.saved = inner.op, {}, ()
    n.edges = (base_edge, *inner.edges[1:])
    n.shape, n.key = base._array.shape, base._key
    n.hooks = n.pre_hooks = n.trace = None
    n.inner, n.chain, n.order = inner, [(v.op, v.params) for v in chain], _axis_order(base)
    return n
