"""Writes the nodes and initialisers of an ONNX graph, and what a mapping sees of the node that it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor
from flambeau.export.calls import Input, TensorInput
from flambeau.export.graph import Node, Size, Value
from flambeau.export.laws import Feature, Law
from flambeau.onnx.errors import OnnxError, Unmapped

#: ONNX's element types by dtype.
ELEMENT: Final[Mapping[DType, int]] = {
    dt.float16: TensorProto.FLOAT16, dt.bfloat16: TensorProto.BFLOAT16, dt.float32: TensorProto.FLOAT,
    dt.float64: TensorProto.DOUBLE, dt.bool_: TensorProto.BOOL, dt.uint8: TensorProto.UINT8, dt.int8: TensorProto.INT8,
    dt.int16: TensorProto.INT16, dt.int32: TensorProto.INT32, dt.int64: TensorProto.INT64,
}  # fmt: skip

#: Literals up to this many bytes are written once where they are the same.
_SHARED: Final = 1024


def element(dtype: DType) -> int:
    """ONNX's element type of a dtype; Unmapped for one that it lacks."""
    try:
        return ELEMENT[dtype]
    except KeyError:
        raise Unmapped(f"tensors of {dtype.name}") from None


def host(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A tensor's elements as an array of ONNX's element type."""
    kind = helper.tensor_dtype_to_np_dtype(element(tensor.dtype))
    t = tensor.detach().cpu()
    if tensor.dtype is dt.bfloat16:
        return np.asarray(t.float().numpy()).astype(kind)
    return np.ascontiguousarray(t.numpy()).astype(kind, copy=False).reshape(tuple(tensor.shape))


class Writer:
    """A graph that grows.

    Args:
        opset: the version of ONNX's ops.
        inputs: the arguments of a call, from whose shapes dynamic sizes are read.
        sizes: the dimensions of the example, by name.
    """

    def __init__(self, opset: int, inputs: Iterable[Input], sizes: Mapping[str, int]):
        self.opset, self.sizes = opset, sizes
        self.nodes: list[NodeProto] = []
        self.names: dict[Value, str] = {}
        self.held: dict[str, np.ndarray[Any, Any]] = {}  # initialisers
        self.last: set[Value] = set()  # values of which only the last part along the first axis is there
        self._inputs = [i for i in inputs if isinstance(i, TensorInput)]
        self.input_names: dict[str, str] = {}
        self._literals: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._numbers: dict[tuple[object, ...], str] = {}
        self._taken: dict[str, int] = {}
        self.scope, self.fold = "", True
        self.reads: dict[str, int] = {}  # how many nodes of the program read each initialiser

    # -- names -----------------------------------------------------------------------------------
    def fresh(self, stem: str) -> str:
        """A name that no other value has."""
        while True:
            n = self._taken.get(stem, 0)
            self._taken[stem] = n + 1
            name = f"{stem}_{n}" if n else stem
            if name == stem or name not in self._taken:
                self._taken.setdefault(name, 1)
                return name

    @contextmanager
    def inside(self) -> Iterator[list[NodeProto]]:
        """Nodes go to a list of their own; what was computed of sizes there is forgotten."""
        outside, numbers, self.nodes = self.nodes, dict(self._numbers), []
        try:
            yield self.nodes
        finally:
            self.nodes, self._numbers = outside, numbers

    # -- nodes and initialisers ------------------------------------------------------------------
    def emit(self, kind: str, *inputs: str | None, count: int = 1, **attributes: Any) -> Any:
        """A node; the name of its output, or a tuple of ``count`` names."""
        stem = f"{self.scope}.{kind}" if self.scope else kind
        outs = [self.fresh(stem) for _ in range(count)]
        made = helper.make_node(kind, [i or "" for i in inputs], outs, name=outs[0])
        for name in sorted(attributes):
            value = attributes[name]
            if value is not None:
                made.attribute.append(helper.make_attribute(name, value))
        while made.input and not made.input[-1]:
            del made.input[-1]
        self.nodes.append(made)
        return outs[0] if count == 1 else tuple(outs)

    def constant(self, array: Any, stem: str = "constant") -> str:
        """An initialiser; one for all small ones that are the same."""
        a = np.asarray(array)
        key = (a.dtype.str + a.dtype.name, a.shape, a.tobytes()) if a.nbytes <= _SHARED else None
        if key is not None and key in self._literals:
            return self._literals[key]
        name = self.fresh(stem)
        self.held[name] = a
        if key is not None:
            self._literals[key] = name
        return name

    def ints(self, numbers: Sequence[Size]) -> str:
        """A vector of int64, of which those that depend on sizes are computed."""
        if not any(isinstance(n, Law) for n in numbers):
            return self.constant(np.array(list(numbers), np.int64))
        parts = [self._law(n) if isinstance(n, Law) else self.ints([n]) for n in numbers]
        return str(self.emit("Concat", *parts, axis=0)) if len(parts) > 1 else parts[0]

    def number(self, value: Any, dtype: DType) -> str:
        """A tensor without dimensions of a number or law."""
        if isinstance(value, Law):
            if value.form == "linear" and dtype is dt.int64:
                return str(self.emit("Squeeze", self._law(value), self.ints([0])))
            return str(self.emit("Squeeze", self.cast(self._law(value), dtype), self.ints([0])))
        if isinstance(value, complex):
            raise Unmapped("complex numbers")
        if isinstance(value, float) and not dtype.is_floating_point:
            value = int(value)
        return self.constant(np.array(value).astype(helper.tensor_dtype_to_np_dtype(element(dtype))))

    def cast(self, name: str, dtype: DType) -> str:
        """The elements in another dtype."""
        return str(self.emit("Cast", name, to=element(dtype)))

    # -- sizes -----------------------------------------------------------------------------------
    def _law(self, law: Law) -> str:
        """A law as a vector of one number: int64 where it is linear, else float64."""
        whole = self._whole(replace(law, form="linear", scale=1.0))
        if law.form == "linear":
            return whole
        return self._once(("law", law), lambda: self._float(law, self.cast(whole, dt.float64)))

    def _float(self, law: Law, m: str) -> str:
        def made(x: float) -> str:
            return self.constant(np.array([x], np.float64))

        if law.form == "unbiased":
            return str(self.emit("Div", m, self.emit("Sub", m, made(1.0))))
        if law.form in ("over_root", "root"):
            m = str(self.emit("Sqrt", m))
        over = law.form.startswith("over")
        return str(self.emit("Div", made(law.scale), m) if over else self.emit("Mul", made(law.scale), m))

    def _whole(self, law: Law) -> str:
        return self._once(("whole", law), lambda: self._sum(law))

    def _sum(self, law: Law) -> str:
        total = ""
        for factor, feature in law.terms:
            part = self._feature(feature)
            if factor != 1:
                part = str(self.emit("Mul", part, self.ints([factor])))
            total = str(self.emit("Add", total, part)) if total else part
        if law.constant:
            total = str(self.emit("Add", total, self.ints([law.constant]))) if total else self.ints([law.constant])
        return self._floored(total, law.divisor)

    def _feature(self, feature: Feature) -> str:
        total = ""
        for d in feature.dims:
            part = self._once(("dim", d), lambda d=d: self._dim(d))
            total = str(self.emit("Mul", total, part)) if total else part
        if feature.more:
            total = str(self.emit("Add", total, self.ints([feature.more])))
        return self._floored(total, feature.divisor)

    def _floored(self, name: str, divisor: int) -> str:
        """Division that rounds down; ONNX's rounds towards zero."""
        if divisor == 1:
            return name
        by = self.ints([divisor])
        return str(self.emit("Div", self.emit("Sub", name, self.emit("Mod", name, by)), by))

    def _dim(self, dim: str) -> str:
        """The size of a dimension, from the shape of an input in which it stands."""
        places = [(i, axis, n) for i in self._inputs for axis, n in enumerate(i.shape) if isinstance(n, Law)]
        lines = [(i, axis, n) for i, axis, n in places if _is_line(n, dim)]
        if not lines:
            raise OnnxError(f"onnx.export: no input has the dimension {dim!r} as a size, or a multiple of it")
        given, axis, law = min(lines, key=lambda line: (line[2].terms[0][0] != 1, line[2].constant != 0))
        name = str(self.emit("Shape", self.input_names[given.name], start=axis, end=axis + 1))
        if law.divisor != 1:
            name = str(self.emit("Mul", name, self.ints([law.divisor])))
        if law.constant:
            name = str(self.emit("Sub", name, self.ints([int(law.constant)])))
        return name if law.terms[0][0] == 1 else str(self.emit("Div", name, self.ints([law.terms[0][0]])))

    def _once(self, key: tuple[object, ...], make: Any) -> str:
        if key not in self._numbers:
            scope, self.scope = self.scope, ""
            self._numbers[key] = make()
            self.scope = scope
        return self._numbers[key]


class Call:
    """One node of the program, as its mapping sees it."""

    def __init__(self, writer: Writer, node: Node, users: Mapping[Value, Sequence[Node | None]]):
        self.writer, self.node, self.params = writer, node, node.params
        self.emit, self.ints, self.constant, self.cast = writer.emit, writer.ints, writer.constant, writer.cast
        self.opset = writer.opset
        self._users = users

    def users(self, output: int) -> Sequence[Node | None]:
        """The nodes that read an output; None among them where it is a result of the program."""
        found = self.node.outs[output] if output < len(self.node.outs) else None
        return () if found is None else self.users_of(found)

    def users_of(self, value: Value) -> Sequence[Node | None]:
        """The same of any value."""
        return self._users.get(value, ())

    def value(self, operand: int) -> Value:
        """An operand; Unmapped where it is a number."""
        found = self.node.args[operand]
        if not isinstance(found, Value):
            raise Unmapped(f"operand {operand} that is no tensor")
        return found

    def shape(self, operand: int = 0) -> tuple[Size, ...]:
        """The shape of an operand."""
        return self.value(operand).shape

    def rank(self, operand: int = 0) -> int:
        """How many dimensions an operand has; 0 for a number."""
        found = self.node.args[operand]
        return len(found.shape) if isinstance(found, Value) else 0

    def fixed(self, operand: int = 0) -> tuple[int, ...]:
        """The shape of an operand none of whose sizes may change; Unmapped else."""
        return fixed(self.shape(operand))

    @property
    def dtype(self) -> DType:
        """The dtype of the first result."""
        return self.node.out.dtype

    def array(self, name: str) -> np.ndarray[Any, Any] | None:
        """The elements of an initialiser; None for what is computed."""
        return self.writer.held.get(name)

    def same(self, operand: int) -> str:
        """An operand in the dtype of the result."""
        found = self.node.args[operand]
        if not isinstance(found, Value):
            return self.writer.number(found, self.dtype)
        name = self.writer.names[found]
        return name if found.dtype is self.dtype else self.cast(name, self.dtype)

    def scalar(self, operand: int) -> float:
        """An operand that is a number; Unmapped where it is a tensor or depends on sizes."""
        found = self.node.args[operand]
        if isinstance(found, (int, float)):
            return float(found)
        raise Unmapped(f"operand {operand} that is no constant number")

    def derived(self, name: str, how: str, kind: str, change: Any, *inputs: str, **attributes: Any) -> str:
        """What a node makes of an operand; worked out now where that is an initialiser."""
        array = self.array(name)
        if array is None:
            return str(self.emit(kind, name, *inputs, **attributes))
        key = ("derived", name, how)
        return self.writer._once(key, lambda: self.constant(np.ascontiguousarray(change(array)), f"{name}.{how}"))

    def transposed(self, name: str, axes: Sequence[int]) -> str:
        """An operand with permuted dimensions."""
        how = "transposed" if len(axes) == 2 else "permuted" + "".join(map(str, axes))
        return self.derived(name, how, "Transpose", lambda a: a.transpose(axes), perm=list(axes))

    def squeezed(self, name: str, *axes: int) -> str:
        """Without dimensions of size one."""
        return str(self.emit("Squeeze", name, self.ints(axes)))

    def unsqueezed(self, name: str, *axes: int) -> str:
        """With dimensions of size one."""
        return self.derived(name, "unsqueezed" + "_".join(map(str, axes)), "Unsqueeze",
                            lambda a: np.expand_dims(a, axes), self.ints(axes))  # fmt: skip

    def reshaped(self, name: str, shape: Sequence[Size]) -> str:
        """In another shape; one size that depends on others is left to ONNX."""
        laws = [i for i, n in enumerate(shape) if isinstance(n, Law)]
        numbers: list[int] = [n for n in shape if not isinstance(n, Law)]
        if len(laws) == 1 and 0 not in numbers:
            shape = [-1 if isinstance(n, Law) else n for n in shape]
        return str(self.emit("Reshape", name, self.ints(shape), allowzero=1 if 0 in numbers else None))

    def at_example(self, number: Size) -> int:
        """A number at the sizes of the example."""
        return int(number.at(self.writer.sizes)) if isinstance(number, Law) else number


def _is_line(law: Law, dim: str) -> bool:
    """Whether a dimension can be worked out from a size."""
    return law.terms == ((law.terms[0][0], Feature((dim,))),)


def fixed(shape: Sequence[Size]) -> tuple[int, ...]:
    """A shape none of whose sizes may change; Unmapped else."""
    found = tuple(n for n in shape if isinstance(n, int))
    if len(found) != len(shape):
        raise Unmapped("sizes that may change")
    return found


def has_law(tree: Any) -> bool:
    """Whether a number in a nesting depends on sizes."""
    if isinstance(tree, (list, tuple)):
        return any(map(has_law, tree))
    return isinstance(tree, Law) or (isinstance(tree, slice) and has_law([tree.start, tree.stop, tree.step]))


def initialiser(name: str, array: np.ndarray[Any, Any]) -> TensorProto:
    """The proto of an initialiser."""
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


__all__ = ["Call", "Writer", "element", "fixed", "has_law", "host", "initialiser"]
