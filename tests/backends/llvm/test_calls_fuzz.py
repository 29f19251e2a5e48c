"""Built-ins called with everything there is: each call ends as the fallback's does, and writes what that writes."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.backends.llvm import cpython
from flambeau.backends.llvm.target import Target, host, runnable
from flambeau.core import dtype as dt
from tests.backends.llvm.builtin_kernels import KERNELS, Kernel, kernels, made, numbers, same

pytestmark = pytest.mark.skipif(cpython.unsuited() is not None, reason=str(cpython.unsuited()))

every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)


class Sub(np.ndarray[Any, Any]):
    """A subclass that does nothing."""


class Overriding(np.ndarray[Any, Any]):
    """A subclass that takes ufuncs over."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return "overridden", ufunc.__name__, method, len(inputs), sorted(kwargs)


# -- a call as data, from which it is built twice ----------------------------------------------------
SHAPES = [(), (0,), (1,), (2,), (7,), (8,), (16,), (33,), (64,), (3, 5), (1, 1), (8, 1), (1, 9), (2, 0, 3), (2, 3, 4)]
#: How an operand lies in memory, or what else it is.
LAYOUTS = [
    "transposed", "reversed", "gaps", "odd", "swapped", "locked", "repeated", "matrix", "masked", "sub", "overriding",
    "list", "float", "int", "huge", "bool", "numpy number", "text", "None", "object", "type", "unpickled", "wider",
    "narrower", "larger", "f4", "f8", "i4", "i8", "c8", "O", "U3", "?",
]  # fmt: skip
ONES = ["zero dims", "one", "ones", "more ones", "locked zero dims"]
OUTS = ["absent", "absent", "dense", "operand", "shifted"]
EXTRAS = ["out", "nonsense", "where", "dtype", "few", "many"]


@dataclass(frozen=True)
class Call:
    """A call: a layout for each operand, ``out`` and what else is passed."""

    kernel: Kernel
    shape: tuple[int, ...]
    layouts: tuple[str, ...]
    out: str
    shift: int
    extra: str
    seed: int


@st.composite
def some_calls(draw: st.DrawFn) -> Call:
    """Calls with one thing that is odd, with none, or with everything so."""
    kernel = draw(st.sampled_from(KERNELS))
    odd = draw(st.sampled_from(["nothing", "nothing", "operand", "operand", "out", "rest", "all"]))
    position = draw(st.integers(0, len(kernel.inputs) - 1))
    plain, strange = st.sampled_from(["dense"] * 5 + ONES[:-2] + ["first"]), st.sampled_from(LAYOUTS + ONES)
    layouts = [
        draw(strange if odd == "all" or (odd == "operand" and i == position) else plain)
        for i in range(len(kernel.inputs))
    ]
    out = st.sampled_from(LAYOUTS + ONES if odd in ("all", "out") else OUTS)
    extra = st.sampled_from(EXTRAS if odd in ("all", "rest") else ["nothing"])
    shift = draw(st.one_of(st.just(0), st.integers(-9, 9)))
    return Call(
        kernel, draw(st.sampled_from(SHAPES)), tuple(layouts), draw(out), shift, draw(extra), draw(st.integers(0, 5))
    )


class Memory:
    """Bytes that all arrays of a call lie in, apart from each other but where they are meant not to be."""

    def __init__(self) -> None:
        self.bytes = np.full(1 << 16, 0xAA, np.uint8)
        self.next = 64

    def at(self, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        return np.ndarray(shape, dtype, self.bytes.data, start)

    def dense(self, dtype: np.dtype[Any], values: Any, odd: int = 0) -> Any:
        start = self.next + odd
        self.next += -(-values.size * dtype.itemsize // 64) * 64 + 128
        found = self.at(start, dtype, values.shape)
        found[...] = values
        return found


_ONES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "zero dims": lambda n: (), "locked zero dims": lambda n: (), "one": lambda n: (1,), "ones": lambda n: (1,) * n,
    "more ones": lambda n: (1,) * (n + 1),
}  # fmt: skip
_SHAPES: dict[str, Callable[[tuple[int, ...]], tuple[int, ...]]] = {
    "transposed": lambda s: s[::-1], "gaps": lambda s: (*s[:-1], 2 * s[-1]) if s else s, "wider": lambda s: (2, *s),
    "narrower": lambda s: s[1:], "larger": lambda s: (*s[:-1], s[-1] + 1) if s else s, "repeated": lambda s: (),
}  # fmt: skip
_OTHERS: dict[str, Any] = {
    "float": 1.5, "int": 3, "huge": 10**30, "bool": True, "numpy number": np.float64(2), "text": "two", "None": None,
    "object": Ellipsis, "type": np.ndarray,
}  # fmt: skip
_CLASSES: dict[str, Any] = {"matrix": np.matrix, "sub": Sub, "overriding": Overriding, "masked": np.ma.MaskedArray}


def operand(memory: Memory, layout: str, dtype: dt.DType, shape: tuple[int, ...], seed: int) -> Any:
    """An operand of a layout."""
    if layout in _OTHERS:
        return _OTHERS[layout]
    if layout in _ONES:
        shape = _ONES[layout](len(shape))
    inner = _SHAPES.get(layout, lambda s: s)(shape)
    values = numbers(dtype, prod(inner), seed).reshape(inner)
    kind = dtype.numpy
    if layout in ("f4", "f8", "i4", "i8", "c8", "O", "U3", "?"):
        kind = np.dtype(layout)
        if kind.kind in "OU":
            return np.where(values.astype(bool), "1", "0").astype(kind)
        values = np.nan_to_num(values.astype("f8")).clip(-100, 100)
    elif layout == "swapped" and dtype is not dt.bfloat16:
        kind = kind.newbyteorder()
    elif layout == "unpickled":
        kind = pickle.loads(pickle.dumps(values)).dtype
    x = memory.dense(kind, values, odd=1 if layout == "odd" else 0)
    return _changed(x, layout, shape)


def _changed(x: Any, layout: str, shape: tuple[int, ...]) -> Any:
    if layout in _CLASSES:
        return x.view(_CLASSES[layout] if layout != "matrix" or x.ndim == 2 else Sub)
    if layout.startswith("locked"):
        x.flags.writeable = False
    if layout == "transposed":
        return x.T
    if layout == "reversed":
        return x[::-1] if x.ndim else x
    if layout == "gaps":
        return x[..., ::2] if x.ndim else x
    if layout == "repeated":
        return np.broadcast_to(x, shape)
    return x.tolist() if layout == "list" else x


def built(call: Call) -> tuple[list[Any], dict[str, Any], Memory]:
    """The arguments, and the memory that they lie in."""
    memory, kernel = Memory(), call.kernel
    args: list[Any] = []
    for i, (layout, dtype) in enumerate(zip(call.layouts, kernel.inputs, strict=True)):
        first = layout == "first" and i > 0
        args.append(args[0] if first else operand(memory, layout.replace("first", "dense"), dtype, call.shape, i))
    position = call.seed % len(kernel.inputs)
    out: list[Any] = []
    if call.out == "operand":
        out = [args[position]]
    elif call.out == "shifted":
        at = args[position].ctypes.data - memory.bytes.ctypes.data if isinstance(args[position], np.ndarray) else 128
        step = kernel.out.itemsize if call.seed % 2 else 1
        if 0 < at + step * call.shift < 1 << 15:
            out = [memory.at(at + step * call.shift, kernel.out.numpy, call.shape)]
    elif call.out != "absent":
        out = [operand(memory, call.out, kernel.out, call.shape, 9)]
    named: dict[str, Any] = {
        "out": {"out": out[0]} if out else {}, "nonsense": {"nonsense": 1}, "where": {"where": True},
        "dtype": {"dtype": kernel.out.numpy},
    }.get(call.extra, {})  # fmt: skip
    given = args + (out if call.extra != "out" else [])
    return {"few": args[1:], "many": [*args, args[0], *out, 1]}.get(call.extra, given), named, memory


# -- comparing ---------------------------------------------------------------------------------------
def outcome(function: Callable[..., Any], call: Call) -> tuple[Any, ...]:
    """What a call gives or raises, which argument that is, and all memory afterwards."""
    args, named, memory = built(call)
    with np.errstate(all="ignore"):
        try:
            found = function(*args, **named)
        except Exception as error:
            return type(error), str(error), None, memory.bytes
    passed = [*args, *named.values()]
    return type(found), found, [i for i, x in enumerate(passed) if x is found], memory.bytes


def alike(found: Any, wanted: Any) -> bool:
    if type(found) in (np.ndarray, Sub) and found.dtype.kind not in "OU":
        return same(found, wanted)
    return repr(found) == repr(wanted)


def check(target: Target, call: Call) -> None:
    if call.kernel not in kernels(target):
        return
    found, wanted = outcome(made(target)[call.kernel.name], call), outcome(call.kernel.fallback, call)
    assert found[0] is wanted[0] and found[2] == wanted[2] and alike(found[1], wanted[1]), (found[:3], wanted[:3])
    assert np.array_equal(found[3], wanted[3]), np.flatnonzero(found[3] != wanted[3])


@every_width
@settings(max_examples=300, deadline=None)
@given(call=some_calls())
def test_a_call_ends_as_the_fallbacks_does(target: Target, call: Call) -> None:
    check(target, call)


@settings(max_examples=15, deadline=None)
@given(some=st.lists(some_calls(), min_size=5, max_size=10))
def test_calls_from_several_threads(some: list[Call]) -> None:
    errors: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for i in range(2 * len(some)):
                check(host(), some[(start + i) % len(some)])
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
