"""Built-in functions of generated code: a call of a small kernel that costs what a call of CPython's own costs.

A built-in looks at its arguments in the fields of the array objects. What it does not serve it passes on unchanged
to its fallback, so that it stands in for that function: same results, same errors.

    module = Module(host())
    f = elementwise_builtin(module, "add", lambda f, x, y: x + y, (dt.float32, dt.float32), dt.float32)
    (add,) = builtins({f: np.add})

The interpreter's lock is held but for large arrays. Other threads then see arrays that are being written, as they do
with numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.llvm import cpython, threads
from flambeau.backends.llvm.chunk import JobFunction
from flambeau.backends.llvm.compiler import load
from flambeau.backends.llvm.ir import Function, Operand, Value, Variable
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target, host
from flambeau.backends.llvm.types import F16, F32, F64, I1, I8, I16, I32, I64, PTR, Type
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

unavailable = cpython.unavailable

#: What a function computes from vectors, all of as many lanes.
Body = Callable[..., Value]
#: Elements of an elementwise kernel's chunk: above, the interpreter's lock is given up, and threads share the work.
CHUNK: Final = 32768
#: The most inputs of an elementwise kernel.
MOST: Final = 8
#: Bytes of the widest vector: room for copies of one element.
_ROOM: Final = 64

#: How numbers stand in memory; bool, bfloat16 and float16 are computed with as :data:`_COMPUTED` says.
_STORED: Final[dict[DType, Type]] = {
    dt.bool_: I8, dt.uint8: I8, dt.int8: I8, dt.uint16: I16, dt.int16: I16, dt.uint32: I32, dt.int32: I32,
    dt.uint64: I64, dt.int64: I64, dt.float16: F16, dt.bfloat16: I16, dt.float32: F32, dt.float64: F64,
}  # fmt: skip
_COMPUTED: Final[dict[DType, Type]] = {**_STORED, dt.bool_: I1, dt.float16: F32, dt.bfloat16: F32}


@dataclass(frozen=True, slots=True)
class ArrayArgument:
    """An argument that is known to be an array: its fields."""

    function: BuiltinFunction
    object: Value
    data: Value
    ndim: Value
    shape: Value
    strides: Value

    def extent(self, axis: Value | int) -> Value:
        """How many elements there are along an axis."""
        return self.function.load(I64, self.shape, axis)

    def stride(self, axis: Value | int) -> Value:
        """How many bytes the next element along an axis is away."""
        return self.function.load(I64, self.strides, axis)


class Builtin(Function):
    """What :func:`builtins` makes a built-in of; ``args`` are the fallback, the arguments, their number, the keywords.

    It returns an object whose reference the caller owns, or null with an error set. ``signature`` is what
    :mod:`inspect` and :func:`help` say of it, such as ``(x, y, /, out=None)``, and ``title`` what it is called: the
    name, if nothing else is said, but code that several have in common is one on disk only under one name.
    """

    def __init__(self, module: Module, name: str, signature: str | None = None, more: Sequence[Type] = ()):
        super().__init__(module, name, [PTR, PTR, I64, PTR, *more], PTR)
        self.signature, self.title = signature, name

    def doc(self, fallback: Callable[..., Any]) -> str | None:
        """The fallback's documentation, behind the signature in the form in which CPython finds it."""
        if self.signature is None:
            return fallback.__doc__
        return f"{self.title}{self.signature}\n--\n\n{fallback.__doc__ or ''}"


class BuiltinFunction(Builtin):
    """A built-in that looks at its arguments, which are ``count`` in number.

    Each ``require`` hands the call to the fallback if it is not met; nothing may have been changed before the last.
    Keywords are the fallback's. With ``out`` the only keyword ``out`` counts as one more argument, the last, and
    ``named`` says whether it came so.
    """

    def __init__(
        self, module: Module, name: str, signature: str | None = None, more: Sequence[Type] = (), *, out: bool = False
    ):
        super().__init__(module, name, signature, more)
        _, self.arguments, count, keywords = called = self.args[:4]
        self._fallback, start = self.name("fallback"), self.name("start")
        self.write(f"br label {start}")
        self.label(self._fallback)
        answer = self.call(self.api("PyObject_Vectorcall"), *called, result=PTR)
        self.write(f"ret ptr {answer.text}")
        self.label(start)
        if not out:
            self.require(keywords.eq(0))
        self.named = keywords.ne(0)
        with self.when(self.named, likely=False):
            self._require_out(keywords)
        self.count = count + self.named.zext(I64)

    def _require_out(self, keywords: Value) -> None:
        self.require(self.load(I64, keywords + cpython.LENGTH).eq(1))
        name = self.load(PTR, keywords + cpython.ITEMS)
        self.require(name.eq(self.outside("name_out", id(cpython.OUT))))

    def api(self, name: str) -> Value:
        """The address of a function of CPython."""
        return self.outside(name, cpython.function(name))

    def require(self, condition: Value) -> None:
        """Go on if a condition is true; the fallback serves the call if not."""
        on = self.name("on")
        self.write(f"br i1 {condition.text}, label {on}, label {self._fallback}, !prof !1")
        self.label(on)

    # -- arrays --------------------------------------------------------------------------------
    def array(self, index: Operand, dtype: DType, *, dense: bool = True, written: bool = False) -> ArrayArgument:
        """An argument that must be a numpy.ndarray itself of a dtype, aligned, dense in C's order and writeable."""
        return self.array_of(index, self.descriptor(dtype), dense=dense, written=written)

    def array_of(self, index: Operand, descriptor: Value, *, dense: bool, written: bool) -> ArrayArgument:
        """The same for the dtype object at an address."""
        found = self.load(PTR, self.arguments, index)
        self.require(self.load(PTR, found + cpython.TYPE).eq(self.ndarray()))
        self.require(self.load(PTR, found + cpython.DESCRIPTOR).eq(descriptor))
        wanted = cpython.ALIGNED | (cpython.C_CONTIGUOUS if dense else 0) | (cpython.WRITEABLE if written else 0)
        looked_at = wanted | (cpython.WARN_ON_WRITE if written else 0)
        self.require((self.load(I32, found + cpython.FLAGS).zext(I64) & looked_at).eq(wanted))
        return self.fields(found)

    def fields(self, array: Value) -> ArrayArgument:
        """The fields of what is known to be an array."""
        ndim = self.load(I32, array + cpython.NDIM).zext(I64)
        data, shape, strides = (self.load(PTR, array + at) for at in (cpython.DATA, cpython.SHAPE, cpython.STRIDES))
        return ArrayArgument(self, array, data, ndim, shape, strides)

    def descriptor(self, dtype: DType) -> Value:
        """The dtype's one object of the machine's byte order; an equal one that is another is not served."""
        return self.outside(f"numpy_dtype_{dtype.name}", id(dtype.numpy))

    def ndarray(self) -> Value:
        """numpy's class of arrays."""
        return self.outside("numpy_ndarray", id(np.ndarray))

    def size(self, x: ArrayArgument) -> Value:
        """How many elements an array has."""
        found = self.variable(I64, 1)
        for axis in self.range(0, x.ndim):
            found.set(found.now * x.extent(axis))
        return found.now

    def same_shape(self, a: ArrayArgument, b: ArrayArgument) -> Value:
        """Whether two arrays have one shape."""
        same = self.variable(I1, a.ndim.eq(b.ndim))
        with self.when(same.now, likely=True):
            for axis in self.range(0, a.ndim):
                same.set(same.now & a.extent(axis).eq(b.extent(axis)))
        return same.now

    def apart(self, a: Value, a_bytes: Value, b: Value, b_bytes: Value) -> Value:
        """Whether two pieces of memory share no byte."""
        a, b = a.address(), b.address()
        return (a + a_bytes).compare("ule", b) | (b + b_bytes).compare("ule", a)

    def empty(self, dtype: DType, like: ArrayArgument) -> Value:
        """A new array in the shape of another, dense, with anything in it; leaves with the error if there is none."""
        known = cpython.new_array() is not None
        maker = None if known else self.outside(f"empty_{dtype.name}", cpython.empty(dtype.numpy))
        return self.empty_of(self.descriptor(dtype), maker, like)

    def empty_of(self, descriptor: Value, maker: Value | None, like: ArrayArgument) -> Value:
        """The same for the dtype object at an address; by a function of Python where numpy's own is not known."""
        new = cpython.new_array()
        if new is None:
            assert maker is not None
            made = self.call(self.api("PyObject_CallOneArg"), maker, like.object, result=PTR)
        else:
            self.take(descriptor)  # which numpy keeps
            null, dense = self.constant(PTR, 0), self.constant(I32, 0)
            given = (self.ndarray(), descriptor, like.ndim.trunc(I32), like.shape, null, null, dense, null)
            made = self.call(self.outside("PyArray_NewFromDescr", new), *given, result=PTR)
        with self.when(made.eq(0), likely=False):
            self.ret(made)
        return made

    def data(self, array: Value) -> Value:
        """Where the elements of an array are."""
        return self.load(PTR, array + cpython.DATA)

    # -- the interpreter -----------------------------------------------------------------------
    def take(self, object: Value) -> None:
        """Own one more reference to an object."""
        self.call(self.api("Py_IncRef"), object)

    def drop(self, object: Value) -> None:
        """Own one reference less."""
        self.call(self.api("Py_DecRef"), object)

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """The block runs without the interpreter's lock: it touches no object."""
        state = self.call(self.api("PyEval_SaveThread"), result=PTR)
        yield
        self.call(self.api("PyEval_RestoreThread"), state)


def builtins(functions: Mapping[Builtin, Callable[..., Any]]) -> list[Callable[..., Any]]:
    """Compile the module of some built-ins, and make them, each with its fallback.

    Their ``__doc__`` is the fallback's, their ``__self__`` the fallback itself.
    """
    (module,) = {f.module for f in functions}
    found = load(module, [f.symbol for f in functions])
    return [cpython.builtin(found[f.symbol], f.title, f.doc(fallback), fallback) for f, fallback in functions.items()]


# -- elementwise -------------------------------------------------------------------------------
def elementwise_builtin(
    module: Module,
    name: str,
    body: Body,
    inputs: Sequence[DType],
    out: DType,
    *,
    chunk: int = CHUNK,
    zero_dims: bool = False,
) -> Builtin:
    """A built-in ``name(*arrays[, out])`` that computes ``body(f, *vectors) -> vector`` for each element.

    It serves dense arrays of one shape, any of them instead of one element, which is then used for all; ``out`` has
    that shape and is an input or apart from them; its keyword is served too. ``body`` gets float32 for float16 and
    bfloat16 and gives it, and masks for bool; integers without a sign are of the same types as those with one. It is
    also called for single elements (vectors of one lane).

    Args:
        chunk: elements in a chunk of the work; more are done without the interpreter's lock.
        zero_dims: return a 0-d array for 0-d operands; as numpy's functions return a number, their fallback serves
            these unless this is set.

    Raises:
        ValueError: for a dtype in which this target cannot compute: complex ones, and float16 where no instruction
            converts it; for more than :data:`MOST` inputs, or none.
    """
    for dtype in (*inputs, out):
        _check(module.target, dtype)
    if not 0 < len(inputs) <= MOST:
        raise ValueError(f"elementwise_builtin: {name} has {len(inputs)} inputs; there can be 1 to {MOST}")
    job = _elementwise_job(module, f"{name}_chunk", body, inputs, out, chunk)
    return builtin_of_job(job, name, inputs, out, chunk, zero_dims)


def builtin_of_job(
    job: JobFunction, name: str, inputs: Sequence[DType], out: DType, chunk: int, zero_dims: bool
) -> Builtin:
    """The built-in of a job that takes pointers to the inputs, the steps of each, 1 or 0, to where and how many."""
    names = [f"x{i}, " for i in range(1, len(inputs) + 1)]
    f = Builtin(job.module, name, f"({''.join(names)}/, out=None)")
    plan = f.outside(f"{name}_plan", cpython.words(_plan(inputs, out, chunk, zero_dims)))
    serve = f.outside("flambeau_elementwise", _elementwise())
    f.ret(f.call(serve, *f.args, Value(f, PTR, f"@{job.symbol}"), plan, result=PTR))
    return f


def _check(target: Target, dtype: DType) -> None:
    if dtype not in _STORED:
        raise ValueError(f"elementwise_builtin: no vectors of {dtype}")
    if dtype is dt.float16 and not target.half:
        raise ValueError(f"elementwise_builtin: {target.name} has no instruction that converts float16")


#: What the function that serves all elementwise built-ins knows of one, in bytes from the start of its plan: numbers,
#: then itemsize and dtype of the result and of each input.
_INPUTS, _CHUNK, _ZERO_DIMS, _MAKER, _DTYPES = 0, 8, 16, 24, 32


def _plan(inputs: Sequence[DType], out: DType, chunk: int, zero_dims: bool) -> list[int]:
    maker = cpython.empty(out.numpy) if cpython.new_array() is None else 0
    return [len(inputs), chunk, zero_dims, maker, *(n for d in (out, *inputs) for n in (d.itemsize, id(d.numpy)))]


@cache
def _elementwise() -> int:
    """The address of the function that serves all elementwise built-ins: it is large, and no part of it is theirs."""
    module = Module(host())
    return load(module, [write_elementwise(module).symbol])["elementwise"]


def write_elementwise(module: Module) -> BuiltinFunction:
    """Write the function that serves all elementwise built-ins: it looks at the arguments and runs the job."""
    f = BuiltinFunction(module, "elementwise", more=[PTR, PTR], out=True)
    job, plan = f.args[4:]
    operands = _Operands(f, plan)
    inputs, model = operands.count, operands.model
    has_out = f.count.eq(inputs + 1)
    size = f.size(model)
    itemsize, descriptor = f.load(I64, plan + _DTYPES), f.load(PTR, plan + (_DTYPES + 8))
    result, data = f.variable(PTR), f.variable(PTR)
    with f.when(has_out):
        given = f.array_of(inputs, descriptor, dense=True, written=True)
        f.require(f.same_shape(given, model))
        operands.require_apart(given, size, itemsize)
        f.take(given.object)
        result.set(given.object)
        data.set(given.data)
    with f.unless(has_out):
        f.require(model.ndim.ne(0) | f.load(I64, plan + _ZERO_DIMS).ne(0))
        made = f.empty_of(descriptor, f.load(PTR, plan + _MAKER), model)
        result.set(made)
        data.set(f.data(made))
    f.store(data.now, operands.packed, inputs * 2)
    f.store(size, operands.packed, inputs * 2 + 1)
    chunk = f.load(I64, plan + _CHUNK)
    small = size <= chunk
    with f.when(small, likely=True):
        f.call(job, operands.packed, f.constant(I64, 0), f.constant(I64, 0))
    with f.unless(small, likely=False):
        _spread(f, job, operands.packed, (size + (chunk - 1)) // chunk)
    f.ret(result)
    return f


def _spread(f: BuiltinFunction, job: Value, packed: Value, chunks: Value) -> None:
    """Do a job's chunks with the threads, without the interpreter's lock."""
    count = threads.wanted(f, chunks)
    with f.unlocked():
        threads.parallel(f, job, packed, chunks, count)


class _Operands:
    """The inputs, as an elementwise job wants them: in ``packed`` where each is and how far its next element.

    ``model`` is the one whose shape the result has. One element for all is copied into a vector of it, with steps of 0.
    """

    def __init__(self, f: BuiltinFunction, plan: Value):
        self.function, self.plan = f, plan
        self.count = f.load(I64, plan + _INPUTS)
        f.require(f.count.eq(self.count + 1) | (f.count.eq(self.count) & ~f.named))
        self.packed = f.buffer(8 * (2 * MOST + 2), 8)
        self.rooms = f.buffer(_ROOM * MOST)
        first = self._take(0)
        same = f.variable(I1, True)
        for i in f.range(1, self.count):
            same.set(same.now & f.same_shape(first, self._take(i)))
        chosen = f.variable(PTR, first.object)
        with f.unless(same.now, likely=False):
            self._broadcast(chosen)
        self.model = f.fields(chosen.now)

    def _itemsize(self, i: Value) -> Value:
        return self.function.load(I64, self.plan + (_DTYPES + 16), i * 2)

    def _take(self, i: Value | int) -> ArrayArgument:
        f = self.function
        number = f.value(I64, i)
        descriptor = f.load(PTR, self.plan + (_DTYPES + 24), number * 2)
        x = f.array_of(number, descriptor, dense=True, written=False)
        f.store(x.data, self.packed, number)
        f.store(f.constant(I64, 1), self.packed, self.count + number)
        return x

    def _broadcast(self, chosen: Variable) -> None:
        """Choose the array whose shape the result has; the others have it too, or one element and no more axes."""
        f = self.function
        for i in f.range(1, self.count):
            model, x = f.fields(chosen.now), f.fields(f.load(PTR, f.arguments, i))
            with f.when(f.size(model).eq(1) & (model.ndim <= x.ndim)):
                chosen.set(x.object)
        model = f.fields(chosen.now)
        for i in f.range(0, self.count):
            x = f.fields(f.load(PTR, f.arguments, i))
            whole = f.same_shape(x, model)
            with f.unless(whole):
                f.require(f.size(x).eq(1) & (x.ndim <= model.ndim))
                self._copy(i, x)

    def _copy(self, i: Value, x: ArrayArgument) -> None:
        """Fill a vector with an element: a product puts copies of it side by side into 64 bits."""
        f = self.function
        bits = f.variable(I64)
        for t in (I8, I16, I32, I64):
            with f.when(self._itemsize(i).eq(t.bytes)):
                bits.set(f.load(t, x.data).zext(I64) * sum(1 << at for at in range(0, 64, t.bits)))
        room = self.rooms + i * _ROOM
        for at in range(0, _ROOM, 8):
            f.store(bits.now, room + at)
        f.store(room, self.packed, i)
        f.store(f.constant(I64, 0), self.packed, self.count + i)

    def require_apart(self, out: ArrayArgument, size: Value, itemsize: Value) -> None:
        """Each input's memory is that of ``out``, element for element, or apart from it."""
        f = self.function
        for i in f.range(0, self.count):
            read, step, width = f.load(PTR, self.packed, i), f.load(I64, self.packed, self.count + i), self._itemsize(i)
            same = read.eq(out.data) & width.eq(itemsize)
            f.require(same | f.apart(read, step * size * width, out.data, size * itemsize))


def _elementwise_job(
    module: Module, name: str, body: Body, inputs: Sequence[DType], out: DType, chunk: int
) -> JobFunction:
    """The job of one chunk: pointers and steps of the inputs, where the results go, and how many there are."""
    n = len(inputs)
    f = JobFunction(module, name, [PTR] * n + [I64] * n + [PTR, I64])
    pointers, steps, (result, count) = f.values[:n], f.values[n : 2 * n], f.values[2 * n :]
    used = (*inputs, out)
    lanes = min(f.target.lanes(_STORED[d]) for d in used)

    def element(i: Value, lanes: int, mask: Value | None = None) -> None:
        loaded = []
        for pointer, step, dtype in zip(pointers, steps, inputs, strict=True):
            t = _STORED[dtype].vector(lanes)
            at = i * step
            # no zero in the lanes that are not used: an integer divided by it would kill the process
            x = f.load(t, pointer, at) if mask is None else f.load_masked(t, pointer, at, mask, 1)
            loaded.append(_read(x, dtype))
        answer = _written(f.value(_COMPUTED[out].vector(lanes), body(f, *loaded)), out)
        if mask is None:
            f.store(answer, result, i)
        else:
            f.store_masked(answer, result, i, mask)

    start = f.chunk * chunk
    end = f.minimum(start + chunk, count)
    main = end - (end - start) % lanes
    for i in f.range(start, main, lanes):
        element(i, lanes)
    if _has_masks(f.target, used):
        with f.when(main < end):
            element(main, lanes, f.below(end - main, lanes))
    else:
        for i in f.range(main, end):
            element(i, 1)
    f.ret()
    return f


def _has_masks(target: Target, dtypes: Sequence[DType]) -> bool:
    """Whether the rest of a vector is done faster by masks: for few lanes also where a mask is a branch for each."""
    return target.register == 64 or all(d.itemsize >= 4 for d in dtypes)


def _read(x: Value, dtype: DType) -> Value:
    """Numbers from memory as they are computed with."""
    if dtype is dt.bool_:
        return x.ne(0)
    if dtype is dt.bfloat16:
        return (x.zext(I32) << 16).bitcast(F32)
    return x.convert("fpext", F32) if dtype is dt.float16 else x


def _written(x: Value, dtype: DType) -> Value:
    """What was computed as it stands in memory, rounded to nearest, ties to even."""
    if dtype is dt.bool_:
        return x.zext(I8)
    if dtype is dt.bfloat16:
        bits = x.bitcast(I32)
        high = bits >> 16
        rounded = (bits + 0x7FFF + (high & 1)) >> 16
        return x.function.select(x.is_nan(), high | 0x40, rounded).trunc(I16)
    return x.convert("fptrunc", F16) if dtype is dt.float16 else x
