"""Products and convolutions whose results go through a line of elementwise steps while the cache holds them.

The bits are those of the kernel and the steps one after another: the sums are the kernel's, and a number's way through
the steps does not depend on its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu.native import conv, matmul
from flambeau.backends.cpu.native.after import After, Applied
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.cpu.native.elementwise import Lines
from flambeau.backends.cpu.storage import address
from flambeau.backends.group import Group, Head, Input, Operand
from flambeau.core import dtype as dt

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
#: (the head's arrays, where its result goes, the values of the line): whether that was done.
Run = Callable[[Sequence[Array | None], Array, tuple[int, ...]], bool]

PRODUCTS: Final = frozenset({"linear", "matmul"})
CONVOLUTIONS: Final = frozenset({"conv", "conv_grad_input"})
#: Multiplications from which these kernels are machine code for certain, and terms up to which they are one sum.
_LEAST, _TERMS = 1 << 20, 1 << 16


def serves(table: KernelTable, head: Head, inputs: Sequence[Operand], result: Operand) -> bool:
    """Whether a group may begin with a kernel: float32 and, of products, float64, large enough for machine code."""
    if active() is None or any(x.dtype is not result.dtype for x in inputs):
        return False
    first, second = inputs[:2]
    if head.name in PRODUCTS:
        if result.dtype not in (dt.float32, dt.float64) or min(len(first.shape), len(second.shape)) < 2:
            return False
        terms = first.shape[-1]
        return prod(result.shape) * terms >= _LEAST and terms < _TERMS
    if head.name in CONVOLUTIONS and result.dtype is dt.float32:
        places = first.shape[0] * prod(first.shape[2:])
        return places * prod(second.shape) >= _LEAST
    return False


class _Array(NamedTuple):
    """An array of the line: which input it is, or -1 for the head's result, or -2 and below for new ones."""

    place: int
    moves: int  # 0 where all rows are one


_RESULT: Final = -1


def kernel(table: KernelTable, group: Group, read: tuple[int, ...], lines: Lines, rest: Kernel) -> Kernel | None:
    """The function of a group with a head, of which ``rest`` does the steps; None where there is none."""
    head = group.head
    assert head is not None
    last = len(group.inputs) - 1
    by_rows = head.name in PRODUCTS
    walked = [_walked(group, i, last, by_rows) for i in read]
    if not _outputs_fit(group, by_rows) or any(x is None for x in walked):
        return None
    dtypes = [group.inputs[i].dtype for i in read] + [group.steps[o.step].dtype for o in group.outputs]
    after = After(tuple([d.itemsize for d in dtypes]), len(group.outputs))
    run = (_product if by_rows else _convolution)(head, group, after)
    own = table.own(head.name, group.inputs[last].dtype)
    if run is None or own is None:
        return None
    return Headed(group, own.fn, run, [x for x in walked if x is not None], lines, rest)


def _walked(group: Group, i: int, last: int, by_rows: bool) -> _Array | None:
    """How the line reads an input; None for what does not lie as the result does."""
    if i == last:
        return _Array(_RESULT, 1)
    x = group.inputs[i]
    if x.shape == group.shape and _is_dense(x.shape, x.strides):
        return _Array(i, 1)
    row = (1,) * (len(x.shape) - 1) + group.shape[-1:]
    return _Array(i, 0) if by_rows and x.shape == row and x.strides[-1] == 1 else None


def _is_dense(shape: Shape, strides: Shape) -> bool:
    step = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and s != step:
            return False
        step *= n
    return True


def _outputs_fit(group: Group, by_rows: bool) -> bool:
    """Whether results lie as the head's does; a convolution's line may run twice, so that it changes no input."""
    for o in group.outputs:
        if o.strides is not None and not _is_dense(group.shape, o.strides):
            return False
        if o.into is not None and not (by_rows and _is_dense(group.shape, group.inputs[o.into].strides)):
            return False
    return _is_dense(group.shape, group.inputs[-1].strides)


# -- heads -----------------------------------------------------------------------------------------
def _bytes(x: Input) -> Shape:
    return tuple([s * x.dtype.itemsize for s in x.strides])


def _product(head: Head, group: Group, after: After) -> Run | None:
    """linear, and matmul of matrices and of dense batches with a matrix."""
    places = [i for i in head.operands if i is not None]
    x, y = (group.inputs[i] for i in places[:2])
    bias = group.inputs[places[2]] if len(places) > 2 else None
    if head.name == "linear":
        y = Input(y.dtype, y.shape[::-1], y.strides[::-1])
    if len(y.shape) != 2 or (len(x.shape) > 2 and not _is_dense(x.shape, x.strides)):
        return None
    if bias is not None and (bias.shape != y.shape[-1:] or not _is_dense(bias.shape, bias.strides)):
        return None
    rows, terms = prod(x.shape[:-1]), x.shape[-1]
    itemsize = x.dtype.itemsize
    flat = _bytes(x) if len(x.shape) == 2 else (terms * itemsize, itemsize)
    multiply = matmul.followed(((rows, terms), flat), (y.shape, _bytes(y)), x.dtype.numpy, after)
    if multiply is None:
        return None
    turned = head.name == "linear"

    def run(arrays: Sequence[Array | None], out: Array, line: tuple[int, ...]) -> bool:
        first, second = arrays[0], arrays[1]
        assert first is not None and second is not None
        multiply(first, second.T if turned else second, arrays[2] if len(arrays) > 2 else None, out, *line)
        return True

    return run


def _convolution(head: Head, group: Group, after: After) -> Run | None:
    params = dict(head.params)
    fn = getattr(conv, head.name)

    def run(arrays: Sequence[Array | None], out: Array, line: tuple[int, ...]) -> bool:
        target = active()
        if target is None:
            return False
        return fn(target, *arrays, **params, out=out, applied=Applied(after, line)) is not None

    return run


# -- the kernel ------------------------------------------------------------------------------------
class Headed:
    """``fn(*arrays)``: a tuple of the new arrays. For arrays that lie in another way the kernel runs, then the line."""

    def __init__(self, group: Group, own: Kernel, run: Run, reads: list[_Array], lines: Lines, rest: Kernel):
        assert group.head is not None
        self.head, self.own, self.run, self.rest, self.reads = group.head, own, run, rest, reads
        self.params = dict(group.head.params)
        self.shape, self.dtype = group.shape, group.inputs[-1].dtype.numpy
        self.layouts = [(x.dtype.numpy, x.shape, _bytes(x)) for x in group.inputs[:-1]]
        self.outputs = [(group.steps[o.step].dtype.numpy, o.into) for o in group.outputs]
        fresh = [k for k, (d, into) in enumerate(self.outputs) if into is None and d == self.dtype]
        #: The result whose memory holds the head's until the line has been there.
        self.over = fresh[0] if fresh and not self.head.kept else None
        self.line = (lines.places[0], lines.places[2])
        self.moves = (*[x.moves for x in reads], *[1] * len(self.outputs))
        self.known: dict[tuple[Shape, ...], bool] = {}

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        given = [None if i is None else arrays[i] for i in self.head.operands]
        if not self._lie_as_told(arrays):
            return self._apart(given, arrays)
        outs = [np.empty(self.shape, d) if into is None else arrays[into] for d, into in self.outputs]
        result = np.empty(self.shape, self.dtype) if self.over is None else outs[self.over]
        walked = [result if x.place == _RESULT else arrays[x.place] for x in self.reads] + outs
        if not self.run(given, result, (*self.line, *map(address, walked), *self.moves)):
            return self._apart(given, arrays)
        new = [x for x, (_, into) in zip(outs, self.outputs, strict=True) if into is None]
        return (result, *new) if self.head.kept else tuple(new)

    def _apart(self, given: list[Array | None], arrays: Sequence[Array]) -> tuple[Array, ...]:
        result = self.own(*given, **self.params)
        new = self.rest(*arrays, result)
        return (result, *new) if self.head.kept else tuple(new)

    def _lie_as_told(self, arrays: Sequence[Array]) -> bool:
        strides = tuple([x.strides for x in arrays])
        found = self.known.get(strides)
        if found is None:
            found = self.known[strides] = all(
                x.dtype == d and x.shape == shape and all(
                    n == 1 or a == b for n, a, b in zip(shape, x.strides, there, strict=True))
                for x, (d, shape, there) in zip(arrays, self.layouts, strict=True)
            )  # fmt: skip
        return found and all([x.flags.aligned for x in arrays])  # noqa: C419  # no generator: asked by every call
