"""A device whose arrays have everything but values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from flambeau.backends import layout as lay
from flambeau.backends.base import DeviceProperties, HostArray, Kernel, KernelTable, Shape
from flambeau.backends.generic import generic_table
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core.dtype import DType

if TYPE_CHECKING:
    from flambeau.core.expr import Expr  # lazy for start-up

_NO_DATA = (
    "a meta tensor has a shape and a dtype and no data, so its values cannot be read or copied out; "
    "make it on a device with data, for example with empty_like(x, device=...)"
)


class NoDataError(NotImplementedError, RuntimeError):
    """A value of a meta array was asked for."""


class MetaBackend(StridedBackend):
    """Views, aliasing and memory statistics as on any device; nothing is stored and nothing computed.

    Its arrays are :class:`~flambeau.backends.strided.StridedArray` over storages that have a size and an
    identity only. ``memory_stats`` counts what a device with data would have to hold, and a memory limit
    is kept, so that a model can be tried against the memory of a device that is not there.

    >>> from flambeau.core.dtype import float32
    >>> backend = MetaBackend()
    >>> backend.empty((1 << 20, 1 << 20), float32).shape
    (1048576, 1048576)
    """

    device_type: ClassVar[str] = "meta"
    capabilities = frozenset({"has_fp64", "has_fp16", "no_data"})

    def __init__(self) -> None:
        super().__init__()
        self.kernels = KernelTable("meta", generic_table(self))

    def properties(self, index: int = 0) -> DeviceProperties:
        return DeviceProperties("shapes without data")

    def first_limit(self) -> int | None:
        return None  # the setting is for memory that is there

    # -- storage -----------------------------------------------------------------------------------
    def allocate(self, nbytes: int, index: int) -> Any:
        return None

    def read(self, memory: Any, start: int, nbytes: int) -> Any:
        raise NoDataError(_NO_DATA)

    def write(self, memory: Any, start: int, data: memoryview) -> None:
        pass

    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        return self.empty(host.shape, dtype, index)

    def to_host(self, array: StridedArray) -> HostArray:
        raise NoDataError(_NO_DATA)

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        """Nothing to move; that ``src`` broadcasts to ``dst`` was seen before."""

    # -- kernels -----------------------------------------------------------------------------------
    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel:
        """Broadcast, and the dtype that the record says."""
        result = out

        def kernel(*ins: StridedArray, out: StridedArray | None = None, **params: Any) -> StridedArray:
            shape = lay.broadcast_shapes(*[x.shape for x in ins])
            if out is None:
                return self.empty(shape, result)
            if out.shape != shape:
                raise lay.LayoutError(f"{name}: out has shape {out.shape}, the result {shape}")
            return out

        return kernel

    def kernel_from_infer(self, infer: Callable[..., Any], dtype: Callable[[int, Mapping[str, Any]], DType]) -> Kernel:
        """A kernel from an op's shape rule.

        ``infer(*shapes, **params)`` gets the operands' shapes (None for an absent one, a list for a list, ()
        for a number) and gives the result's shape, or a sequence of shapes for several results;
        ``dtype(i, params)`` is the dtype of result ``i``. NoDataError where the rule gives None: the shape
        depends on values.
        """

        def kernel(*ins: Any, **params: Any) -> Any:
            shapes = infer(*[_shape_of(a) for a in ins], **params)
            if shapes is None:
                raise NoDataError("the shape of the result depends on values, which a meta tensor does not have")
            if _is_shape(shapes):
                return self.empty(tuple(shapes), dtype(0, params))
            return [self.empty(tuple(s), dtype(i, params)) for i, s in enumerate(shapes)]

        return kernel

    def constant(self, value: complex, dtype: DType, index: int = 0) -> StridedArray:
        return self.empty((), dtype)


def _shape_of(operand: Any) -> Shape | list[Shape] | None:
    if isinstance(operand, (list, tuple)):
        return [x.shape for x in operand]
    return None if operand is None else getattr(operand, "shape", ())


def _is_shape(value: Sequence[Any]) -> bool:
    return not value or isinstance(value[0], int)
