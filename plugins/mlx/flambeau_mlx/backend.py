"""The device ``mlx``: cells of immutable, lazy arrays, and for each op a function of whole arrays."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from itertools import count
from math import prod
from typing import Any, Final

import mlx.core as mx
import numpy as np

from flambeau.backends import base
from flambeau.backends.generic import generic_table
from flambeau.backends.group import Group, Operand, Step
from flambeau.backends.layout import LayoutError
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core import registry
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.expr import Expr, applies, lower
from flambeau_mlx import kernels
from flambeau_mlx.cells import DTYPES, EVERY, FLOATS, MX, Cell, convert, recast, to_mlx, to_numpy, written
from flambeau_mlx.elementwise import Pure, body_of, compiled_group, fuses_exactly, native

_ON_GPU: Final = mx.default_device().type == mx.DeviceType.gpu
#: MLX's wheels for Linux multiply by the reference BLAS, and its functions there are loops over single numbers: what
#: takes long is borrowed from flambeau's CPU, in the memory where it lies. FLAMBEAUMLX_BORROW=0 leaves that.
_BORROWS: Final = not _ON_GPU and sys.platform == "linux" and os.environ.get("FLAMBEAUMLX_BORROW") != "0"
_BORROWED: Final = frozenset({
    "matmul", "linear", "conv", "conv_grad_input", "conv_grad_weight", "attention", "attention_grad", "softmax",
    "softmax_grad", "log_softmax", "log_softmax_grad", "nll_loss", "nll_loss_grad", "layer_norm_grad", "max_pool",
    "max_pool_grad", "lstm_sequence", "lstm_sequence_grad", "lstm_layer", "lstm_layer_grad", "gru_layer",
    "gru_layer_grad", "rnn_layer", "rnn_layer_grad",
})  # fmt: skip
#: Steps of expressions that take MLX's processor code longer than the way to the host.
_SLOW: Final = frozenset({"exp", "log", "sin", "cos", "pow", "tanh", "erf", "expm1", "log1p", "sigmoid"})
_WORTH: Final = 1 << 14  # elements, or multiplications, that repay the wait for operands
_SUPPORTED: Final = frozenset(EVERY)
_WAITING: Final = 128  # writes that may wait before they are begun
_LONGEST: Final = 2**31 - 1  # what MLX counts sizes with
_LATE: Final = 512  # checks of indices that may wait
#: MLX binds a stream to the thread that made it, and an array to its stream; this kind serves every thread.
_STREAM: Final = mx.new_thread_unsafe_stream(mx.default_device())
_thread = threading.local()


def _largest(*ins: StridedArray | None) -> int:
    return max([x.size for x in ins if x is not None])


def _is_slow(expr: Expr, dtypes: tuple[DType, ...], out: DType) -> bool:
    return _BORROWS and any(step.op in _SLOW for step in lower(expr, dtypes, out, native).steps)


class MlxBackend(StridedBackend):
    """Tensors on MLX's default device: what an op computes is begun when a value is read or enough has piled up."""

    device_type = "mlx"
    api_version = 1
    capabilities = frozenset({"has_fp16", "distinct_memory", "lazy"})

    def __init__(self) -> None:
        super().__init__()
        self.lost = False
        self.pending: dict[int, mx.array] = {}  # by cell, what it holds since the last flush
        self._made = count(1)
        self._running = threading.RLock()  # one thread at a time may let MLX compute: a collection may be inside
        self._checks: list[tuple[mx.array, str, int, int]] = []
        self._failed: list[Exception] = []
        self.kernels = base.KernelTable("flambeau-mlx", generic_table(self))
        kernels.bind(self)
        if _BORROWS:
            for name in _BORROWED.difference(self.kernels.names()):
                self.function(name, None, FLOATS)

    # -- what is there -----------------------------------------------------------------------------
    def properties(self, index: int = 0) -> base.DeviceProperties:
        details = mx.device_info()
        name = f"{details.get('device_name', mx.default_device().type.name)} by MLX {version('mlx')}"
        return base.DeviceProperties(name, int(details.get("memory_size", 0)), dict(details))

    def accelerators(self) -> tuple[int, ...]:
        return (0,) if _ON_GPU else ()

    def supports(self, dtype: DType, index: int = 0) -> bool:
        return dtype in _SUPPORTED

    # -- what is computed, and when ----------------------------------------------------------------
    def enter(self) -> None:
        """What every thread does before it makes an array."""
        if self.lost:
            raise self._gone()
        if not hasattr(_thread, "entered"):
            mx.set_default_stream(_STREAM)
            _thread.entered = True

    def hold(self, cell: Cell, value: mx.array) -> None:
        """Let a cell have a value, to be computed with the next ones."""
        cell.value, cell.flat = value, False
        self.pending[id(cell)] = value
        if next(self._made) % _WAITING == 0:
            self.flush()

    def flush(self) -> None:
        """Begin to compute everything that a cell holds."""
        with self._running:
            values = list(self.pending.values())
            self.pending.clear()
            mx.async_eval(values)  # type: ignore[no-untyped-call]

    def force(self, *values: mx.array) -> None:
        """Compute values now."""
        with self._running:
            mx.eval(*values)

    # -- arrays ------------------------------------------------------------------------------------
    def load(self, x: StridedArray) -> mx.array:
        """The value of an array, in its shape and dtype."""
        self.enter()
        cell: Cell = x.buffer.memory
        value, kind = cell.value, MX[x.dtype]
        if value is None or not x.size:
            return mx.zeros(x.shape, kind)
        if value.dtype != kind:
            flat = recast(value, kind)
        elif x.offset == 0 and value.size == x.size and x.is_contiguous:
            return value if value.shape == x.shape else value.reshape(x.shape)
        else:
            flat = value if cell.flat else self._flatten(cell)
        if flat.size == x.size and x.offset == 0 and x.is_contiguous:
            return flat.reshape(x.shape)
        return mx.as_strided(flat if flat is cell.value else mx.contiguous(flat), x.shape, x.strides, x.offset)

    def _flatten(self, cell: Cell) -> mx.array:
        """The value of a cell without gaps, which the cell keeps: views of it are read more than once."""
        with self._writing:
            assert cell.value is not None
            flat = mx.contiguous(cell.value.reshape(-1))
            self.hold(cell, flat)
            cell.flat = True
            return flat

    def store(self, x: StridedArray, value: mx.array) -> None:
        """Let an array have a value of its shape and dtype."""
        if not x.size:
            return
        cell: Cell = x.buffer.memory
        size = x.dtype.itemsize
        if x.size * size == cell.nbytes and x.offset == 0 and x.is_contiguous:
            self.hold(cell, value)
            return
        with self._writing:  # read, changed and put back: two threads at two ends of a memory must not meet
            whole = self.load(x.viewed((-(-cell.nbytes // size),), (1,), 0))
            self.hold(cell, written(whole, value, base.Layout(x.shape, x.strides, x.offset)))

    def empty(self, shape: base.Shape, dtype: DType, index: int = 0) -> StridedArray:
        if prod(shape) > _LONGEST:
            raise base.OutOfMemoryError(
                f"mlx: {prod(shape)} elements asked for; MLX counts {_LONGEST} along an axis at most"
            )
        return super().empty(shape, dtype, index)

    def new(self, value: mx.array) -> StridedArray:
        """A new array with a value."""
        made = self.empty(value.shape, DTYPES[value.dtype])
        if made.size:
            self.hold(made.buffer.memory, value)
        return made

    def function(
        self, name: str, fn: Pure | None, dtypes: Iterable[DType] = EVERY, work: Callable[..., int] | None = None
    ) -> None:
        """Register a pure function of whole arrays, ``fn(*values, **params)``, as the kernel of an op.

        Where the op is borrowed the CPU computes what is large, or all without ``fn``: ``work`` tells how large it is.
        """
        load, new = self.load, self.new
        host = self.on_host(name) if _BORROWS and name in _BORROWED else None

        def kernel(*ins: StridedArray | None, **params: Any) -> Any:
            if host and (fn is None or (work or _largest)(*ins) >= _WORTH):
                return host(*ins, **params)
            assert fn is not None
            result = fn(*[None if x is None else load(x) for x in ins], **params)
            return tuple(map(new, result)) if isinstance(result, tuple) else new(result)

        self.kernels.register(name, kernel, dtypes)

    def on_host(
        self, name: str, find: Callable[[base.Backend, DType], base.Kernel | None] | None = None
    ) -> Callable[..., Any]:
        """What flambeau's CPU has for an op, as a kernel of this device."""

        def kernel(*ins: StridedArray | None, **params: Any) -> Any:
            arrays = [None if x is None else self.host_view(x) for x in ins]
            cpu = registry.get_backend("cpu")
            dtype = next(x.dtype for x in ins if x is not None)
            run = find(cpu, dtype) if find else cpu.kernels.find(name, dtype)
            if run is None:
                raise base.Declined
            result = run(*arrays, **params)
            if isinstance(result, (tuple, list)):
                return tuple([self.from_host(r, cpu.dtype_of(r)) for r in result])
            return self.from_host(result, cpu.dtype_of(result))

        return kernel

    def host_view(self, x: StridedArray) -> base.HostArray:
        """An array over the memory where MLX has it, computed first; to be read alone."""
        cell: Cell = x.buffer.memory
        value = cell.value
        if value is not None and value.dtype == MX[x.dtype]:
            self.force(value)
            whole: base.HostArray = to_numpy(value)
            if whole.shape == x.shape and x.is_contiguous and not x.offset:
                return whole
            if whole.flags.c_contiguous:  # the strides are the host's to apply: no work for MLX
                size, raw = whole.itemsize, whole.reshape(-1).view(np.uint8)
                return np.ndarray(x.shape, whole.dtype, raw, x.offset * size, [s * size for s in x.strides])
        value = self.load(x)
        self.force(value)
        return to_numpy(value)

    # -- elementwise -------------------------------------------------------------------------------
    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> base.Kernel | None:
        """A kernel from the expression, over MLX's functions."""
        if not _SUPPORTED.issuperset((*dtypes, out)) or not applies(expr, dtypes, out):
            return None
        fn, load = body_of(expr, dtypes, out, _ON_GPU), self.load
        result = out
        find = lambda cpu, dtype: cpu.elementwise(name, expr, dtypes, result)  # noqa: E731
        host = self.on_host(name, find) if _is_slow(expr, dtypes, out) else None

        def kernel(*ins: StridedArray, out: StridedArray | None = None) -> StridedArray:
            borrowed = host(*ins) if host and _largest(*ins) >= _WORTH else None
            if borrowed is not None and out is None:
                return borrowed  # type: ignore[no-any-return]
            value: mx.array = fn(*map(load, ins)) if borrowed is None else load(borrowed)
            if out is None:
                return self.new(value)
            if out.shape != value.shape:
                raise LayoutError(f"{name}: out has shape {out.shape}, the result {value.shape}")
            self.store(out, convert(value, MX[out.dtype]))
            return out

        return kernel

    def fuses(self, step: Step, operands: Sequence[Operand], shape: base.Shape) -> bool:
        dtypes = tuple([x.dtype for x in operands])
        if not fuses_exactly() or not self.supports(step.dtype) or not applies(step.expr, dtypes, step.dtype):
            return False
        return prod(shape) < _WORTH or not _is_slow(step.expr, dtypes, step.dtype)  # else its kernel is not MLX's

    def compile(self, group: Group) -> base.Kernel | None:
        """All steps of a group in one kernel of ``mx.compile``."""
        fn = compiled_group(group)

        def kernel(*ins: StridedArray) -> tuple[StridedArray, ...]:
            results = []
            for output, value in zip(group.outputs, fn(*map(self.load, ins)), strict=True):
                if output.into is not None:
                    self.store(ins[output.into], value)
                    continue
                made = self.empty(group.shape, DTYPES[value.dtype]).viewed(group.shape, output.strides or (), 0)
                self.store(made, value)
                results.append(made)
            return tuple(results)

        return kernel

    # -- storage -----------------------------------------------------------------------------------
    def allocate(self, nbytes: int, index: int) -> Cell:
        if self.lost:
            raise self._gone()
        return Cell(nbytes, self.pending.pop)

    def from_host(self, host: base.HostArray, dtype: DType, index: int = 0) -> StridedArray:
        self.enter()
        made = self.empty(host.shape, dtype)
        made.buffer.memory.value = to_mlx(np.asarray(host, dtype.numpy), dtype)
        return made

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> StridedArray:
        return self.from_host(host_scalar(value, dtype), dtype)

    def to_host(self, array: StridedArray) -> base.HostArray:
        self.enter()
        return np.array(self.host_view(array))

    def copy_into(self, dst: StridedArray, src: StridedArray) -> None:
        if dst.size:
            value = convert(self.load(src), MX[dst.dtype])
            self.store(dst, value if value.shape == dst.shape else mx.broadcast_to(value, dst.shape))

    # -- time --------------------------------------------------------------------------------------
    def mark_step(self, index: int = 0) -> None:
        self.flush()

    def synchronize(self, index: int = 0) -> None:
        if not self.lost:
            self.flush()
            mx.synchronize(_STREAM)

    def check_later(self, name: str, extent: mx.array, axis: int, size: int) -> None:
        """Raise, when the host next reads, unless the smallest and largest of some indices are in [0, ``size``)."""
        self._checks.append((extent, name, axis, size))
        if len(self._checks) > _LATE:
            self._look()

    def _look(self) -> None:
        checks, self._checks = self._checks, []
        self.force(*[extent for extent, *_ in checks])
        for extent, name, axis, size in checks:
            low, high = to_numpy(extent).tolist()
            if low < 0 or high >= size:
                bad = low if low < 0 else high
                text = f"{name}: index {bad} is out of bounds for dimension {axis} with size {size}"
                self._failed.append(IndexError(text))

    def check(self, index: int = 0) -> None:
        if self.lost:
            raise self._gone()
        if self._checks:
            self._look()
        if self._failed:
            first, self._failed = self._failed[0], []
            raise first

    def empty_cache(self) -> None:
        mx.clear_cache()

    def _gone(self) -> base.DeviceLostError:
        return base.DeviceLostError(f"{self.device_type}: MLX's devices belong to the process before the fork")

    def after_fork(self) -> None:
        self.lost = True
        self._running = threading.RLock()  # a thread that the child has not may hold the other
