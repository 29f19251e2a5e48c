"""The CPU backend's class: storage calls over numpy, and the table of its kernels."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flambeau.backends.base import Backend, DeviceProperties, Kernel, Layout, MemoryStats, Shape
from flambeau.backends.cpu import storage, threads
from flambeau.backends.cpu.memory import memory
from flambeau.backends.cpu.native import deferred
from flambeau.backends.cpu.table import build_table
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType, host_scalar

if TYPE_CHECKING:
    from flambeau.backends.group import Group, Head, Operand, Step  # lazy for start-up
    from flambeau.core.expr import Expr  # likewise

Array = np.ndarray[Any, Any]


class CpuBackend(Backend):
    """Host memory and numpy: every op, every dtype."""

    device_type: ClassVar[str] = "cpu"
    array = np.ndarray
    capabilities = frozenset({"has_fp64", "has_fp16", "shares_host", "linalg"})

    def __init__(self) -> None:
        self.kernels = build_table(self)
        self.prepare_thread()
        if config.source("num_threads") != "default":
            threads.set_blas_threads(config.get("num_threads"))

    @staticmethod
    def prepare_thread() -> None:
        """Silence numpy's floating point warnings in this thread: IEEE results speak for themselves. Keep memory."""
        np.seterr(all="ignore")
        memory.enter()

    def properties(self, index: int = 0) -> DeviceProperties:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        details = {"cores": threads.available_cores(), "threads": threads.num_threads(), "numpy": np.__version__}
        return DeviceProperties(platform.processor() or platform.machine(), memory, details)

    def processor(self, index: int = 0) -> str:
        from flambeau.backends.llvm import compiler, target  # lazy for start-up

        code = "no machine code"
        if compiler.unavailable() is None and (chosen := target.chosen()) is not None:
            code = f"{chosen.name} {chosen.triple} {chosen.cpu} {chosen.features}"
        return f"{platform.processor() or platform.machine()} {code} numpy {np.__version__}"

    def memory_stats(self, index: int = 0) -> MemoryStats:
        return memory.stats()

    def set_memory_limit(self, limit: int | None, index: int = 0) -> None:
        memory.set_limit(limit)

    def reset_peak(self, index: int = 0) -> None:
        memory.reset_peak()

    def empty_cache(self) -> None:
        memory.trim()

    def notes(self) -> list[str]:
        from flambeau.backends.llvm import compiler, cpython, target  # lazy for start-up

        try:
            reason = compiler.unavailable()
        except config.ConfigError as error:
            reason = str(error)
        if reason is not None:
            return [f"no machine code, numpy computes everything: {reason}"]
        chosen = target.named(config.get("cpu_code"))
        calls = cpython.unsuited()
        slow = [] if calls is None else [f"calls of machine code go through ctypes: {calls}"]
        return [
            f"machine code for {chosen.cpu}, {8 * chosen.register}-bit registers, in {compiler.store.folder}",
            *slow,
        ]

    def set_num_threads(self, count: int) -> None:
        """Tell BLAS and the pool; the setting ``num_threads`` itself is the caller's to change."""
        threads.reset_pool()
        threads.set_blas_threads(count)

    def after_fork(self) -> None:
        threads.after_fork()

    # -- storage -------------------------------------------------------------------------------
    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> Array:
        return np.empty(shape, dtype.numpy)

    def from_host(self, host: Array, dtype: DType, index: int = 0) -> Array:
        return np.array(host, dtype.numpy, order="C", copy=True, subok=False)

    def to_host(self, array: Array) -> Array:
        return array

    def copy_into(self, dst: Array, src: Array) -> None:
        if dst.size >= deferred.CAST and dst.dtype is not src.dtype and deferred.copy(dst, src):
            return
        if src.dtype.kind == "c" and dst.dtype.kind not in "cb":
            src = src.real  # numpy warns about the imaginary part, through another channel than seterr's
        np.copyto(dst, src, casting="unsafe")

    def as_strided(
        self, array: Array, shape: Shape, strides: tuple[int, ...], offset: int, dtype: DType | None = None
    ) -> Array:
        return storage.as_strided(array, shape, strides, offset, array.dtype if dtype is None else dtype.numpy)

    # -- what an array is ----------------------------------------------------------------------
    def layout(self, array: Array) -> Layout:
        return storage.layout(array)

    def dtype_of(self, array: Array) -> DType:
        return dt.from_numpy(array.dtype)

    def storage_id(self, array: Array) -> int:
        return id(storage.owner(array))

    def storage_nbytes(self, array: Array) -> int:
        return storage.owner(array).nbytes

    def wrap(self, value: Any, dtype: DType, index: int = 0) -> Array:
        if isinstance(value, np.generic):
            out = np.empty((), dtype.numpy)  # twice as fast as np.asarray
            out[()] = value
            return out
        return np.asarray(value, dtype.numpy)

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> Array:
        made = host_scalar(value, dtype)
        made.flags.writeable = False  # it is shared by every op that takes the number
        return made

    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        from flambeau.backends.cpu import generated  # expressions are compiled at first need

        return generated.kernel(name, expr, dtypes, out, self.kernels.changed)

    def fuses(self, step: Step, operands: Sequence[Operand], shape: Shape) -> bool:
        from flambeau.backends.cpu.native import fused  # what programs need that are recorded

        return fused.fuses(self.kernels, step, operands)

    def fuses_rows(self, step: Step, operands: Sequence[Operand], shape: Shape) -> bool:
        from flambeau.backends.cpu.native import fused_rows  # likewise

        return fused_rows.fuses(self.kernels, step, operands, shape)

    def fuses_head(self, head: Head, inputs: Sequence[Operand], result: Operand) -> bool:
        from flambeau.backends.cpu.native import fused_heads  # likewise

        return fused_heads.serves(self.kernels, head, inputs, result)

    def compile(self, group: Group) -> Kernel | None:
        from flambeau.backends.cpu.native import fused  # likewise

        return fused.kernel(self.kernels, group)
