"""From plain kernels ``fn(out, *ins, **params)`` over flat memory to the kernels of the contract.

A :class:`StridedTable` wraps each kernel that is registered with it. The wrapper broadcasts the operands,
allocates the result, makes contiguous what the kernel wants so, and takes a detour where ``out`` partly
overlaps an operand. A kernel along an axis can ask for ``rows``: it then sees 2-d arrays only, the axis last.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.base import Kernel, KernelTable, Shape
from flambeau.backends.generic import generic_table
from flambeau.backends.strided import StridedArray, StridedBackend, partly_overlaps
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: From the operands and params to the result's shape and dtype.
ResultRule = Callable[..., tuple[Shape, DType]]


class StridedTable(KernelTable):
    """The kernels of a :class:`StridedBackend`, registered as ``fn(out, *ins, **params)``.

    ``contiguous`` says which arguments the kernel needs in row-major order without gaps: True (all, also
    ``out``), False (none), or the names of its parameters. ``rows`` is for ops along an axis: reductions,
    argsort, gather, scatter, matmul. ``result`` gives shape and dtype where :data:`RESULTS` has no rule.
    The views and copies of :mod:`flambeau.backends.generic` stand behind the table.
    """

    def __init__(self, source: str, backend: StridedBackend):
        super().__init__(source, generic_table(backend))
        self.backend = backend

    def add(
        self,
        name: str,
        fn: Kernel,
        dtypes: Iterable[DType] | None = None,
        *,
        contiguous: bool | Iterable[str] = True,
        rows: bool = False,
        result: ResultRule | None = None,
    ) -> Kernel:
        """Register a plain kernel; returns ``fn``."""
        rule = result or RESULTS.get(name, broadcast)
        plain = _Plain(self.backend, name, fn, contiguous, rule)
        if rows:
            adapt = _ROWS.get(name, _reduction if rule in _REDUCING else _along)
        else:
            adapt = _elementwise if rule in _BROADCASTING else _general
        self.register(name, adapt(plain), dtypes)
        return fn

    def plain(self, name: str, dtypes: Iterable[DType] | None = None, **how: Any) -> Callable[[Kernel], Kernel]:
        """The decorator form of :meth:`add`."""
        return lambda fn: self.add(name, fn, dtypes, **how)


def elementwise(
    backend: StridedBackend, name: str, fn: Kernel, out: DType, *, contiguous: bool | Iterable[str] = True
) -> Kernel:
    """What :meth:`Backend.elementwise` returns, from a plain kernel ``fn(out, *ins)``.

    ``fn`` gets what those of a :class:`StridedTable` get: operands broadcast to the result's shape, ``out`` of dtype
    ``out``, contiguous as ``contiguous`` says, and never partly overlapping an operand. ``name`` is for errors.
    """

    def rule(*ins: StridedArray) -> tuple[Shape, DType]:
        return lay.broadcast_shapes(*[x.shape for x in ins]), out

    return _elementwise(_Plain(backend, name, fn, contiguous, rule))


# -- the results of ops ------------------------------------------------------------------------------
def broadcast(*ins: StridedArray, **params: Any) -> tuple[Shape, DType]:
    """An elementwise result of the operands' own dtype."""
    return lay.broadcast_shapes(*[x.shape for x in ins]), ins[-1].dtype


def compared(*ins: StridedArray, **params: Any) -> tuple[Shape, DType]:
    """An elementwise truth value."""
    return lay.broadcast_shapes(*[x.shape for x in ins]), dt.bool_


def real_part(x: StridedArray, **params: Any) -> tuple[Shape, DType]:
    """An elementwise result of the dtype of the real part."""
    return x.shape, x.dtype.to_real()


def reduced(x: StridedArray, *, axis: Any = None, keepdims: bool = False, **params: Any) -> tuple[Shape, DType]:
    """One element in place of each reduced axis."""
    return lay.reduced_shape(x.shape, axis, keepdims), x.dtype


def reduced_index(x: StridedArray, *, axis: Any = None, keepdims: bool = False, **params: Any) -> tuple[Shape, DType]:
    """One position in place of each reduced axis."""
    return lay.reduced_shape(x.shape, axis, keepdims), dt.int64


def same(x: StridedArray, *ins: Any, **params: Any) -> tuple[Shape, DType]:
    """The shape and dtype of the first operand."""
    return x.shape, x.dtype


def positions(x: StridedArray, **params: Any) -> tuple[Shape, DType]:
    """A position for each element."""
    return x.shape, dt.int64


def product(x: StridedArray, y: StridedArray) -> tuple[Shape, DType]:
    """Matrices, batched."""
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise lay.LayoutError(f"matmul: shapes {x.shape} and {y.shape} cannot be multiplied")
    return (*lay.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]), x.dtype


def gathered(x: StridedArray, index: StridedArray, **params: Any) -> tuple[Shape, DType]:
    """An element of ``x`` for each index."""
    return index.shape, x.dtype


#: The rules by op; every other name is an elementwise op of one dtype.
RESULTS: dict[str, ResultRule] = {
    **dict.fromkeys(("lt", "eq", "ne", "le", "gt", "ge", "isnan", "isinf", "isfinite", "signbit"), compared),
    **dict.fromkeys(("logical_not", "logical_and", "logical_or", "logical_xor"), compared),
    **dict.fromkeys(("abs", "real", "imag", "angle"), real_part),
    **dict.fromkeys(("sum", "prod", "max", "min", "any", "all", "mean", "var"), reduced),
    **dict.fromkeys(("argmax", "argmin"), reduced_index),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp", "softmax", "log_softmax", "scatter"), same),
    "argsort": positions, "matmul": product, "gather": gathered,
    "arange": lambda *a, length, dtype, **p: ((length,), dtype),
    "random_bits": lambda *a, length, **p: ((length,), dt.uint32),
}  # fmt: skip
_BROADCASTING = (broadcast, compared, real_part)
_REDUCING = (reduced, reduced_index)


# -- adapters ----------------------------------------------------------------------------------------
class _Plain:
    """A registered kernel, with what it declared."""

    def __init__(
        self, backend: StridedBackend, name: str, fn: Kernel, contiguous: bool | Iterable[str], rule: ResultRule
    ):
        self.backend, self.name, self.fn, self.rule = backend, name, fn, rule
        self.every, self.out_dense, self.dense = contiguous is True, contiguous is True, frozenset[int]()
        if not isinstance(contiguous, bool):
            names = list(inspect.signature(fn).parameters)
            unknown = set(contiguous) - set(names)
            if unknown:
                raise TypeError(f"kernel {name!r}: contiguous names {sorted(unknown)}, its parameters are {names}")
            wanted = {names.index(n) for n in contiguous}
            self.out_dense, self.dense = 0 in wanted, frozenset(i - 1 for i in wanted if i)

    def operand(self, i: int, x: StridedArray) -> StridedArray:
        """Operand ``i`` as the kernel wants it."""
        return self.contiguous(x) if self.every or i in self.dense else x

    def contiguous(self, x: StridedArray) -> StridedArray:
        if x.is_contiguous:
            return x
        copy = self.empty_like(x)
        self.backend.copy_into(copy, x)
        return copy

    def empty_like(self, x: StridedArray) -> StridedArray:
        return self.backend.empty(x.shape, x.dtype, x.index)

    def run(self, out: StridedArray, ins: Sequence[Any], params: dict[str, Any]) -> None:
        """Call the kernel; empty results are not worth a call."""
        if out.size:
            arrays = [self.operand(i, x) if isinstance(x, StridedArray) else x for i, x in enumerate(ins)]
            self.fn(out, *arrays, **params)


def _elementwise(plain: _Plain) -> Kernel:
    backend, rule = plain.backend, plain.rule

    def kernel(*ins: StridedArray, out: StridedArray | None = None, **params: Any) -> StridedArray:
        shape, dtype = rule(*ins, **params)
        expanded = [x.expanded(shape) for x in ins]
        if out is None:
            result = backend.result(shape, dtype, ins[0].index)
            plain.run(result, expanded, params)
            return result
        if out.shape != shape:
            raise lay.LayoutError(f"{plain.name}: out has shape {out.shape}, the result {shape}")
        direct = out.dtype is dtype and (out.is_contiguous or not plain.out_dense)
        if direct and not any(partly_overlaps(out, x) for x in expanded):
            plain.run(out, expanded, params)
            return out
        result = backend.result(shape, dtype, out.index)
        plain.run(result, expanded, params)
        backend.copy_into(out, result)
        return out

    return kernel


def _general(plain: _Plain) -> Kernel:
    backend, rule = plain.backend, plain.rule

    def kernel(*ins: Any, out: StridedArray | None = None, **params: Any) -> StridedArray:
        shape, dtype = rule(*ins, **params)
        number = params.pop("index", 0)  # of the device, for kernels that make arrays from nothing
        arrays = [x for x in ins if isinstance(x, StridedArray)]
        if not arrays:
            params = {k: v for k, v in params.items() if k not in ("length", "dtype")}  # the result has them
        result = backend.result(shape, dtype, arrays[0].index if arrays else number)
        plain.run(result, ins, params)
        if out is None:
            return result
        backend.copy_into(out, result)
        return out

    return kernel


# -- rows --------------------------------------------------------------------------------------------
def _rows(plain: _Plain, x: StridedArray, height: int, width: int) -> StridedArray:
    """``x`` as contiguous rows."""
    x = plain.contiguous(x)
    return x.viewed((height, width), (width, 1), x.offset)


def _back(plain: _Plain, turned: StridedArray, axis: int, shape: Shape) -> StridedArray:
    return plain.contiguous(turned.turned_back(axis, len(shape)))


def _reduction(plain: _Plain) -> Kernel:
    """``fn(out (rows,), x (rows, n), **params)`` for ``axis`` and ``keepdims``."""

    def kernel(x: StridedArray, *, axis: Any = None, keepdims: bool = False, **params: Any) -> StridedArray:
        shape, dtype = plain.rule(x, axis=axis, keepdims=keepdims)
        out = plain.backend.result(shape, dtype, x.index)
        axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        width = prod(x.shape[a] for a in axes if a < x.ndim)
        if out.size:
            plain.fn(out.viewed((out.size,), (1,), 0), _rows(plain, x.turned(axes), out.size, width), **params)
        return out

    return kernel


def _along(plain: _Plain) -> Kernel:
    """``fn(out (rows, n), x (rows, n), **params)`` for an op that keeps the shape."""

    def kernel(x: StridedArray, *, axis: int, **params: Any) -> StridedArray:
        _, dtype = plain.rule(x, axis=axis, **params)
        turned = x.turned((axis,))
        out = plain.backend.result(turned.shape, dtype, x.index)
        if out.size:
            size = (out.size // turned.shape[-1], turned.shape[-1])
            plain.fn(_rows(plain, out, *size), _rows(plain, turned, *size), **params)
        return _back(plain, out, axis, x.shape)

    return kernel


def _within(x: StridedArray, shape: Shape, axis: int | None = None) -> StridedArray:
    """``x`` cut down to ``shape``, but for ``axis``."""
    cut = [slice(0, n if a == axis else m) for a, (n, m) in enumerate(zip(x.shape, shape, strict=True))]
    return x.viewed(*lay.basic_index(*x.layout, cut))


def _indexed(plain: _Plain, axis: int, size: int, arrays: Sequence[StridedArray], params: dict[str, Any]) -> None:
    """Run a kernel that reads indices; its IndexError knows rows only, and learns here what they stand for."""
    try:
        plain.fn(*arrays, **params)
    except IndexError as error:
        raise IndexError(f"{plain.name}: {error} for dimension {axis} with size {size}") from error


def _gather(plain: _Plain) -> Kernel:
    """``fn(out (rows, m), x (rows, n), index (rows, m))``."""

    def kernel(x: StridedArray, index: StridedArray, *, axis: int) -> StridedArray:
        turned, places = _within(x, index.shape, axis).turned((axis,)), index.turned((axis,))
        out = plain.backend.empty(places.shape, x.dtype, x.index)
        if out.size:
            size = (out.size // places.shape[-1], places.shape[-1])
            source = _rows(plain, turned, size[0], turned.shape[-1])
            _indexed(plain, axis, source.shape[1], (_rows(plain, out, *size), source, _rows(plain, places, *size)), {})
        return _back(plain, out, axis, index.shape)

    return kernel


def _scatter(plain: _Plain) -> Kernel:
    """``fn(out (rows, n), index (rows, m), src (rows, m), reduce=)``; ``out`` arrives with the values of ``x``."""

    def kernel(
        x: StridedArray, index: StridedArray, src: StridedArray, *, axis: int, reduce: str = "set"
    ) -> StridedArray:
        result = plain.empty_like(x)
        plain.backend.copy_into(result, x)
        if index.size:
            part = _within(result, index.shape, axis).turned((axis,))
            places, values = index.turned((axis,)), _within(src, index.shape).turned((axis,))
            size = (places.size // places.shape[-1], places.shape[-1])
            rows = _rows(plain, part, size[0], part.shape[-1])
            arrays = (rows, _rows(plain, places, *size), _rows(plain, values, *size))
            _indexed(plain, axis, rows.shape[1], arrays, {"reduce": reduce})
            if rows.buffer is not result.buffer:
                plain.backend.copy_into(part, rows.reshaped(part.shape))
        return result

    return kernel


def _matmul(plain: _Plain) -> Kernel:
    """``fn(out (b, n, m), x (b, n, k), y (b, k, m))``, none of them empty."""

    def kernel(x: StridedArray, y: StridedArray) -> StridedArray:
        shape, dtype = product(x, y)
        out = plain.backend.empty(shape, dtype, x.index)
        if not x.shape[-1]:
            plain.backend.copy_into(out, plain.backend.from_host(np.zeros((), dtype.numpy), dtype, x.index))
        elif out.size:
            arrays = [plain.contiguous(a.expanded((*shape[:-2], *a.shape[-2:]))) for a in (x, y)]
            plain.fn(*[_batch(a) for a in (out, *arrays)])
        return out

    return kernel


def _batch(x: StridedArray) -> StridedArray:
    return x.reshaped((prod(x.shape[:-2]), *x.shape[-2:]))


_ROWS: dict[str, Callable[[_Plain], Kernel]] = {"gather": _gather, "scatter": _scatter, "matmul": _matmul}
