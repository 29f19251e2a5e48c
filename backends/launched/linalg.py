"""Matrix products, batched: which form, and the packing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Final

from flambeau.backends import layout as lay
from flambeau.backends.dialect import linalg as texts
from flambeau.backends.launched import elementwise
from flambeau.backends.launched.device import Arrays, Device, Plan
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt

#: Multiplications up to which the operands are used where they are; above, copying them to panels pays.
_DIRECT: Final = 1 << 27
#: Multiplications from which on it pays where the direct form cannot serve.
_PACKED: Final = 48**3
#: Multiplications that an item does at least.
_SHARE: Final = 1 << 15
#: Terms of a sum from which on products are made of :data:`_TERMS` at a time, if these have room in so many elements.
_LONG: Final = 1 << 15
_TERMS: Final = 1 << 12
_ROOM: Final = 1 << 22


def register(backend: Launcher) -> None:
    """Enter the products."""
    backend.kernels.register("matmul", partial(matmul, backend), dt.REALS)
    backend.kernels.register("matmul", partial(_complex, backend), dt.COMPLEXES)


def matmul(backend: Launcher, x: StridedArray, y: StridedArray) -> StridedArray:
    """``x @ y`` for arrays of at least two axes; the axes before the last two broadcast."""
    key = (x.dtype, x.shape, x.strides, x.offset, y.shape, y.strides, y.offset)
    ready: Callable[[Arrays], StridedArray] | None = backend.device(x.index).products.get(key)
    if ready is not None:
        return ready((x, y))
    batch = lay.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = backend.empty((*batch, x.shape[-2], y.shape[-1]), x.dtype, x.index)
    plan = _multiply(backend, out, x, y)
    if plan is not None:
        device = backend.device(x.index)
        device.products.remember(key, device.computing(plan, out.shape, out.strides, out.dtype))
    return out


def matmul_into(backend: Launcher, out: StridedArray, x: StridedArray, y: StridedArray) -> None:
    """Write ``x @ y`` to ``out``: contiguous, of the result's shape, in memory of its own."""
    device = backend.device(x.index)
    key = (x.dtype, out.shape, out.offset, x.shape, x.strides, x.offset, y.shape, y.strides, y.offset)
    plan: Plan | None = device.products.get(key)
    if plan is not None:
        device.launch(plan.kernel, (x, y), (out,), plan.params, plan.size, plan.group)
        return
    plan = _multiply(backend, out, x, y)
    if plan is not None:
        device.products.remember(key, plan)


def _multiply(backend: Launcher, out: StridedArray, x: StridedArray, y: StridedArray) -> Plan | None:
    """Write the product; the plan of it where that is one launch on the operands as they are given."""
    batch = out.shape[:-2]
    (m, k), (k2, n) = x.shape[-2:], y.shape[-2:]
    if k != k2:
        raise lay.LayoutError(f"matmul: shapes {x.shape} and {y.shape} cannot be multiplied")
    if not out.size:
        return None
    if not k:
        elementwise.fill(backend, out, 0)
        return None
    x, y = x.expanded((*batch, m, k)), y.expanded((*batch, k, n))
    folded = _folded(x, y)
    if folded is not None:  # one right operand for all: a single tall product
        x, y, m = folded, y.viewed((k, n), y.strides[-2:], y.offset), folded.shape[0]
        batch = ()
    if k >= _LONG and not batch and x.dtype in (dt.float32, dt.float64) and m * n * (k // _TERMS) <= _ROOM:
        _by_terms(backend, out, x, y)
        return None
    swapped = n == 1
    if swapped:  # a column: as a row, which lies in memory just so
        x, y, m, n = turned(y), turned(x), n, m
    shape, strides = lay.coalesce(tuple(batch), x.strides[:-2], y.strides[:-2])
    if len(shape) > texts.MAX_AXES:
        swapped, x, y = True, backend.dense(x), backend.dense(y)
        shape, strides = lay.coalesce(tuple(batch), x.strides[:-2], y.strides[:-2])
    device = backend.device(x.index)
    work = _Product(backend, device, x, y, out, (m, n, k), shape, strides)
    if not device.target.cpu:
        if not backend.product(out.reshaped((*batch, m, n)), x, y):
            work.tiled()
    elif m >= work.block.rows and m * n * k <= _DIRECT and texts.computed(x.dtype) is x.dtype:
        plan = work.direct()
        return None if swapped else plan
    elif m * n * k >= _PACKED and min(m, n) >= work.block.rows:
        work.packed()
    else:
        work.plain()
    return None


def _by_terms(backend: Launcher, out: StridedArray, x: StridedArray, y: StridedArray) -> None:
    """A product of two matrices that adds up many terms: of some terms at a time, whose sums are added pairwise."""
    (m, k), n, step = x.shape, y.shape[1], _TERMS
    whole = k // step
    parts = backend.empty((whole + (k % step > 0), m, n), x.dtype, x.index)
    left = x.viewed((whole, m, step), (x.strides[1] * step, *x.strides), x.offset)
    right = y.viewed((whole, step, n), (y.strides[0] * step, *y.strides), y.offset)
    matmul_into(backend, parts.viewed((whole, m, n), parts.strides, parts.offset), left, right)
    if k % step:
        rest = whole * step
        matmul_into(
            backend,
            parts.viewed((m, n), (n, 1), parts.offset + whole * m * n),
            x.viewed((m, k - rest), x.strides, x.offset + rest * x.strides[1]),
            y.viewed((k - rest, n), y.strides, y.offset + rest * y.strides[0]),
        )
    add_up = backend.kernels.find("sum", x.dtype)
    assert add_up is not None  # every backend has sums
    backend.copy(out, add_up(parts, axis=(0,), keepdims=False).reshaped(out.shape))


def _folded(x: StridedArray, y: StridedArray) -> StridedArray | None:
    """``x`` with its batch axes as rows, if ``y`` is the same for all of them."""
    if x.ndim == 2 or any(s for s, n in zip(y.strides[:-2], y.shape[:-2], strict=True) if n > 1):
        return None
    shape = (prod(x.shape[:-1]), x.shape[-1])
    strides = lay.view_strides(x.shape, x.strides, shape)
    return None if strides is None else x.viewed(shape, strides, x.offset)


def turned(x: StridedArray) -> StridedArray:
    """The matrices transposed."""
    *batch, m, n = x.shape
    *steps, down, along = x.strides
    return x.viewed((*batch, n, m), (*steps, along, down), x.offset)


class _Product:
    """One product of m x k by k x n matrices, over merged batch axes."""

    def __init__(
        self, backend: Launcher, device: Device, x: StridedArray, y: StridedArray, out: StridedArray,
        sizes: tuple[int, int, int], shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...],
    ):  # fmt: skip
        self.backend, self.device, self.x, self.y, self.out = backend, device, x, y, out
        self.m, self.n, self.k = sizes
        self.shape, (self.sx, self.sy) = shape, strides if strides else ((), ())
        self.batches = prod(shape)
        self.block = texts.block(x.dtype, device.target)

    def params(self, chunk: int, height: int = 0) -> bytes:
        x, y = self.x, self.y
        sides = (*x.strides[-2:], *y.strides[-2:])
        return _packed((self.m, self.n, self.k, self.batches), self.shape, self.sx, self.sy, sides,
                       (x.offset, y.offset, self.out.offset, chunk, height))  # fmt: skip

    def launch(self, form: str, text: Callable[[], str], params: bytes, size: int, group: int) -> None:
        kernel = self.device.kernel((form, self.x.dtype), "product", text)
        self.device.launch(kernel, (self.x, self.y), (self.out,), params, size, group)

    def plain(self) -> None:
        total = self.batches * self.m * -(-self.n // texts.STRIP)
        chunk = max(1, min(65536 // (self.k * min(self.n, texts.STRIP)), -(-total // self.device.units)))
        text = partial(texts.plain_source, self.x.dtype, self.device.target)
        self.launch("plain", text, self.params(chunk), -(-total // chunk), 1)

    def direct(self) -> Plan:
        block = self.block if self.n > self.block.lanes else self.block._replace(vectors=1)
        panels, across = -(-self.m // block.rows), -(-self.n // block.columns)
        split = max(1, min(panels // 4, 8 * self.device.units // (across * self.batches)))
        height = -(-panels // split)
        tasks = self.batches * across * -(-panels // height)
        chunk = max(1, min(_SHARE // (height * block.rows * block.columns * self.k), tasks))
        params = self.params(chunk, height)
        text = partial(texts.direct_source, self.x.dtype, self.device.target, block)
        kernel = self.device.kernel(("direct", self.x.dtype, block.vectors), "product", text)
        plan = Plan(kernel, params, -(-tasks // chunk), 1)
        self.device.launch(kernel, (self.x, self.y), (self.out,), params, plan.size, plan.group)
        return plan

    def tiled(self) -> None:
        groups = self.batches * -(-self.m // texts.TILE) * -(-self.n // texts.TILE)
        self.launch(
            "tiled", partial(texts.tiled_source, self.x.dtype, self.device.target), self.params(1), groups * 256, 256
        )

    def packed(self) -> None:
        x, y, m, n, k = self.x, self.y, self.m, self.n, self.k
        left, a = self.pack(x, m, x.strides[-2], x.strides[-1], self.sx, self.block.rows)
        right, b = self.pack(y, n, y.strides[-1], y.strides[-2], self.sy, self.block.columns)
        panels, across = -(-m // self.block.rows), -(-n // self.block.columns)
        split = max(1, min(panels, -(-4 * self.device.units // (across * self.batches))))
        chunk = -(-panels // split)
        params = _packed((m, n, k, self.batches), (1,), (a,), (b,), (0, 0, 0, 0), (0, 0, self.out.offset, chunk, 0))
        text = partial(texts.packed_source, x.dtype, self.device.target)
        kernel = self.device.kernel(("packed", x.dtype), "product", text)
        size = self.batches * across * -(-panels // chunk)
        self.device.launch(kernel, (left, right), (self.out,), params, size, 1)

    def pack(
        self, x: StridedArray, lines: int, line: int, depth: int, strides: tuple[int, ...], width: int
    ) -> tuple[StridedArray, int]:
        """An operand as panels, and the elements between its batches."""
        shared = not any(strides)
        batches = 1 if shared else self.batches
        each = -(-lines // width) * width * self.k
        q = self.backend.empty((batches * each,), texts.computed(x.dtype), x.index)
        kernel = self.device.kernel(("pack", x.dtype), "pack", partial(texts.pack_source, x.dtype, self.device.target))
        params = _packed((lines, width, self.k, batches), self.shape, strides, strides, (line, depth, 0, 0),
                         (x.offset, 0, 0, 0, 0))  # fmt: skip
        self.device.launch(kernel, (x,), (q,), params, batches * -(-lines // width), 1)
        return q, 0 if shared else each


def _packed(
    sizes: tuple[int, int, int, int], shape: tuple[int, ...], sx: tuple[int, ...], sy: tuple[int, ...],
    sides: tuple[int, ...], rest: tuple[int, ...],
) -> bytes:  # fmt: skip
    """The kernels' Params."""
    fill = (0,) * (texts.MAX_AXES - len(shape))
    numbers = (*sizes, len(shape), *shape, *fill, *sx, *fill, *sy, *fill, *sides, *rest)
    return struct.pack(f"{len(numbers)}q", *numbers)


def _complex(backend: Launcher, x: StridedArray, y: StridedArray) -> StridedArray:
    """Complex matrices by four real products of their parts."""
    xr, xi, yr, yi = (part for a in (x, y) for part in parts(a))
    batch = lay.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = backend.empty((*batch, x.shape[-2], y.shape[-1]), x.dtype, x.index)
    real, imag = parts(out)
    rr, ii, ri, ir = (matmul(backend, a, b) for a, b in ((xr, yr), (xi, yi), (xr, yi), (xi, yr)))
    pair = (rr.dtype, rr.dtype)
    backend.expression("x - y", pair, rr.dtype)(rr, ii, out=real)
    backend.expression("x + y", pair, rr.dtype)(ri, ir, out=imag)
    return out


def parts(x: StridedArray) -> tuple[StridedArray, StridedArray]:
    """The real and the imaginary parts as views."""
    shape, strides, offset = lay.view_as_real(*x.layout)
    real = x.viewed(shape[:-1], strides[:-1], offset, x.dtype.to_real())
    return real, real.viewed(real.shape, real.strides, offset + 1)
